"""One run of plan or apply: the definitions, the actual state in Honeycomb, and the plan."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final, Self

import click

from ..project import Project, ProjectError
from ..terminal import complain, progress, say
from .apply import Applier
from .auth import Place, authenticate, permissions_for
from .client import APIError, HoneycombClient
from .definitions import Definitions, load
from .output import Printer, step_as_json, summary
from .plan import Options, Plan, make_plan
from .remote import RemoteState, read_remote
from .runbooks import RUNBOOKS, base_from_git, base_in, base_of, with_links

DONE: Final = 0
FAILED: Final = 1
CHANGES_PENDING: Final = 2


def load_definitions(project: Project) -> Definitions:
    definitions = load(project.honeycomb_dir, project.service_name, project.honeycomb_plan)
    if not definitions.all:
        raise ProjectError(
            f"{project.honeycomb_dir} does not contain boards, triggers or SLOs. The project was made"
            f" by {project.release}, and releases before 0.2.0 have none: run"
            f" `{project.update_command()}`."
        )
    return definitions


class Session:
    """Reads the state in Honeycomb when it is entered, and makes the plan."""

    plan: Plan
    place: Place
    _client: HoneycombClient
    _remote: RemoteState
    _definitions: Definitions

    def __init__(
        self,
        project: Project,
        *,
        prune: bool,
        overwrite: bool,
        recipients: tuple[Mapping[str, Any], ...],
        repository: str | None,
    ) -> None:
        self._project = project
        self._service_name = project.service_name
        self._options = Options(
            prune=prune,
            overwrite="everything" if overwrite else "nothing",
            recipients=recipients,
        )
        self._base: str | None = None
        if repository and (base := base_of(repository, project.root)) is None:
            raise ProjectError(
                f"--repository {repository!r} is not the URL of a repository, such as"
                " https://github.com/example/shop."
            )
        if repository:
            self._base = base

    def __enter__(self) -> Self:
        definitions = load_definitions(self._project)
        permissions = permissions_for(definitions, bool(self._options.recipients))
        self._client, self.place = authenticate(self._project, permissions, complain)
        progress("Reading from Honeycomb ...")
        try:
            with self._client.validated_responses():
                self._remote = read_remote(self._client, definitions, self._service_name)
                self._base = (
                    self._base
                    or base_from_git(self._project.root)
                    or base_in(one.body for one in self._remote.objects if one.tag)
                )
                self._definitions = definitions
                self._make_plan()
        except BaseException:
            self._client.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def show(self, as_json: bool) -> int:
        """Print the plan, and return the exit status."""
        if as_json:
            report = {
                **self._place_as_json(),
                "error": None,
                "changes": len(self.plan.changes),
                "steps": [step_as_json(step) for step in self.plan.steps],
                "notes": list(self.plan.notes),
            }
            say(json.dumps(report, indent=2))
        else:
            self._printer().plan(self.plan)
        if self.plan.undecided:
            return FAILED
        return CHANGES_PENDING if self.plan.changes else DONE

    def apply(self, as_json: bool) -> int:
        """Carry out the plan, and return the exit status."""
        if not as_json and sys.stdin.isatty():
            self._ask()
        printer = self._printer(silent=as_json)
        printer.start(self.plan)
        applier = Applier(self._client, self._remote, self._service_name, self.plan)
        error: APIError | None = None
        try:
            with self._client.validated_responses():
                is_done = applier.run(printer.done)
        except APIError as stopped:
            is_done, error = False, stopped
        results = printer.finish()
        undecided = [step_as_json(step) for step in self.plan.undecided]
        left = len(self.plan.changes) - len(results)
        if as_json:
            report = {
                **self._place_as_json(),
                "error": str(error) if error else None,
                "done": results,
                "left": left,
                "undecided": undecided,
                "notes": list(self.plan.notes),
            }
            say(json.dumps(report, indent=2))
        elif is_done:
            printer.left_alone(self.plan)
            say(("\n" if results else "") + summary(self.plan, is_done=True))
            for note in (*self.plan.notes, *self._unnotified()):
                say(note)
        else:
            if error:
                complain(f"\n{error}")
            failed = sum(1 for result in results if result["error"])
            complain(
                f"{failed} failed, {left} not tried. Completed changes were kept; run apply again"
                " for the rest."
            )
        return DONE if is_done and not undecided else FAILED

    def _make_plan(self) -> None:
        definitions, notes = self._definitions, list[str]()
        if definitions.of("SLO") and not self._remote.has_slos:
            definitions = definitions.on_plan("free")
            answer = self._project.honeycomb_plan
            command = self._project.update_command(
                "-r", ":current:", "--data", "honeycomb_plan=free"
            )
            notes.append(
                f"honeycomb_plan is {answer}, but the plan of this team has no SLOs: applying what"
                f" the Free plan includes. Run `{command}`."
            )
        definitions = definitions.with_descriptions(with_links(self._base))
        plan = make_plan(definitions, self._remote, self._service_name, self._options)
        self.plan = replace(plan, notes=tuple(notes))

    def _ask(self) -> None:
        """Ask for the decisions that the plan needs."""
        if self.plan.undecided:
            self._printer().undecided(self.plan)
            if click.confirm("Replace these changes, which people made in Honeycomb?", err=True):
                self._options = replace(self._options, overwrite="conflicts")
                self._make_plan()
        descriptions = [str(one.body.get("description")) for one in self._definitions.active()]
        if self._base is None and self.plan.changes and RUNBOOKS in "".join(descriptions):
            progress("")
            repository = click.prompt(
                f"URL of the repository, for links to {RUNBOOKS} (none: Enter)",
                default="",
                show_default=False,
                err=True,
            )
            self._base = base_of(repository, self._project.root)
            self._make_plan()

    def _unnotified(self) -> list[str]:
        """A sentence if alerts have no recipients."""
        alerts = [
            step
            for step in self.plan.steps
            if step.kind == "trigger" and step.wanted and step.action not in ("skipped", "delete")
        ]
        silent = [
            step.name
            for step in alerts
            if not step.recipients
            and not (step.wanted and step.wanted.body.get("recipients"))
            and not (step.existing and step.existing.body.get("recipients"))
        ]
        if not silent:
            return []
        about = "Nobody will be notified: no trigger has a recipient."
        if len(silent) < len(alerts):
            about = f"Nobody will be notified by these triggers: {', '.join(silent)}."
        return [f"{about} Add a recipient: apply --recipient email:on-call@example.com"]

    def _printer(self, *, silent: bool = False) -> Printer:
        return Printer(self.place, self._service_name, silent=silent)

    def _place_as_json(self) -> dict[str, Any]:
        return {**asdict(self.place), "dataset": self._service_name}
