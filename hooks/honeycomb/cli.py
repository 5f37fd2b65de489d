"""The commands plan, apply, marker and check."""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from typing import Any, Final, Self

import click

from ..project import Project, ProjectError, project_options
from ..terminal import complain, progress, say
from .apply import Applier
from .auth import Place, authenticate, permissions_for
from .check import problems
from .client import APIError, HoneycombClient
from .definitions import Definitions, InvalidDefinition, load
from .marker import record_deploy
from .output import Printer, step_as_json, summary
from .plan import Plan, make_plan
from .remote import RemoteState, read_remote

DONE: Final = 0
FAILED: Final = 1
CHANGES_PENDING: Final = 2

_Command = Callable[..., int]
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
_prune_option = click.option(
    "--prune", is_flag=True, help="Delete orphaned objects: those whose file was deleted."
)


def _reports_errors(command: _Command) -> _Command:
    """Print an expected error as one sentence, or as JSON, and return the exit status."""

    @wraps(command)
    def reported(project: Project, *, as_json: bool, **options: Any) -> int:
        try:
            return command(project, as_json=as_json, **options)
        except (APIError, InvalidDefinition, ProjectError) as error:
            if as_json:
                say(json.dumps({"error": str(error)}))
            else:
                complain(str(error))
            return FAILED

    return reported


@click.command()
@_prune_option
@_json_option
@project_options
@_reports_errors
def plan(project: Project, *, prune: bool, as_json: bool) -> int:
    """Compare honeycomb/ with Honeycomb and show the changes that apply would make.

    Needs HONEYCOMB_CONFIG_KEY. Exit status: 0 nothing to do, 2 changes pending, 1 error.
    """
    with _Session(project, prune) as session:
        if as_json:
            say(json.dumps(session.as_json(), indent=2))
        else:
            session.print_plan()
        return CHANGES_PENDING if session.plan.changes else DONE


@click.command()
@_prune_option
@click.option("--dry-run", is_flag=True, help="Change nothing, like plan.")
@_json_option
@project_options
@_reports_errors
def apply(project: Project, *, prune: bool, dry_run: bool, as_json: bool) -> int:
    """Create and update boards, triggers and SLOs in Honeycomb as defined in honeycomb/.

    Needs HONEYCOMB_CONFIG_KEY. Objects that were created by hand are not changed. Safe to repeat: if
    it fails, the next run completes the rest. Exit status: 0 done, 1 error.
    """
    with _Session(project, prune) as session:
        if not dry_run:
            return session.apply(as_json)
        if as_json:
            say(json.dumps(session.as_json(), indent=2))
        else:
            session.print_plan()
        return CHANGES_PENDING if session.plan.changes else DONE


@click.command()
@click.option("--version", help="The deployed version (default: service.version).")
@click.option("--url", help="A page that describes the deploy.")
@_json_option
@project_options
@_reports_errors
def marker(project: Project, *, version: str | None, url: str | None, as_json: bool) -> int:
    """Record a deploy, as a line in every graph of the dataset.

    Needs HONEYCOMB_CONFIG_KEY. Exit status: 0 recorded, 1 error.
    """
    version, service_name = version or project.service_version, project.service_name
    client, place = authenticate(project, ("markers",), complain)
    with client, client.validated_responses():
        created = record_deploy(client, service_name, version, url)["id"]
    if as_json:
        say(json.dumps({"error": None, "id": created, "message": version}))
    else:
        say(f"Recorded: deploy of {version} in {service_name}, environment {place.environment}.")
    return DONE


@click.command()
@_json_option
@project_options
@_reports_errors
def check(project: Project, *, as_json: bool) -> int:
    """Validate honeycomb/ against telemetry.yaml, the documents and the rules of Honeycomb's API.

    Works offline and without a key. Exit status: 0 valid, 1 invalid.
    """
    definitions = _load(project)
    found = problems(definitions, project.root)
    if found:
        raise InvalidDefinition(found)
    if as_json:
        say(json.dumps({"error": None, "definitions": len(definitions.all)}))
    else:
        say(f"{len(definitions.all)} definitions are valid.")
    return DONE


def _load(project: Project) -> Definitions:
    definitions = load(project.honeycomb_dir, project.service_name, project.honeycomb_plan)
    if not definitions.all:
        raise ProjectError(
            f"{project.honeycomb_dir} does not contain boards, triggers or SLOs. The project was made"
            f" by {project.release}, and releases before 0.2.0 have none: run `copier update`."
        )
    return definitions


class _Session:
    """The definitions, the actual state in Honeycomb, and the plan."""

    plan: Plan
    place: Place
    _client: HoneycombClient
    _remote: RemoteState

    def __init__(self, project: Project, prune: bool) -> None:
        self._project = project
        self._prune = prune
        self._service_name = project.service_name

    def __enter__(self) -> Self:
        definitions = _load(self._project)
        self._client, self.place = authenticate(
            self._project, permissions_for(definitions), complain
        )
        progress("Reading from Honeycomb ...")
        try:
            with self._client.validated_responses():
                self._remote = read_remote(self._client, definitions, self._service_name)
                self.plan = make_plan(
                    definitions, self._remote, self._service_name, prune=self._prune
                )
        except BaseException:
            self._client.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def print_plan(self) -> None:
        Printer(self.place, self._service_name).plan(self.plan)

    def as_json(self) -> dict[str, Any]:
        return {
            **self._place_as_json(),
            "error": None,
            "changes": len(self.plan.changes),
            "steps": [step_as_json(step) for step in self.plan.steps],
        }

    def apply(self, as_json: bool) -> int:
        printer = Printer(self.place, self._service_name, silent=as_json)
        printer.start(self.plan)
        applier = Applier(self._client, self._remote, self._service_name, self.plan)
        error: APIError | None = None
        try:
            with self._client.validated_responses():
                is_done = applier.run(printer.done)
        except APIError as stopped:
            is_done, error = False, stopped
        results = printer.finish()
        left = len(self.plan.changes) - len(results)
        if as_json:
            report = {
                **self._place_as_json(),
                "error": str(error) if error else None,
                "done": results,
                "left": left,
            }
            say(json.dumps(report, indent=2))
        elif is_done:
            say(("\n" if results else "") + summary(self.plan, is_done=True))
        else:
            if error:
                complain(f"\n{error}")
            failed = sum(1 for result in results if result["error"])
            complain(
                f"{failed} failed, {left} not tried. Completed changes were kept; run apply again"
                " for the rest."
            )
        return DONE if is_done else FAILED

    def _place_as_json(self) -> dict[str, Any]:
        return {**asdict(self.place), "dataset": self._service_name}
