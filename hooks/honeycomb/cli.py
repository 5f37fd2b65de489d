"""The commands plan, apply, marker and check."""

import json
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import click

from ..project import Project, ProjectError, project_options
from ..terminal import complain, say
from .auth import authenticate
from .check import problems
from .client import APIError
from .definitions import InvalidDefinition
from .fire import CannotFire, fire_trigger
from .marker import record_deploy
from .recipients import parse_recipient
from .runbooks import base_from_git, with_links
from .session import DONE, FAILED, Session, load_definitions
from .terraform import configuration

_Command = Callable[..., int]
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
_change_options = (
    click.option(
        "--prune", is_flag=True, help="Delete orphaned objects: those whose definition was deleted."
    ),
    click.option(
        "--overwrite",
        is_flag=True,
        help="Replace and delete the changes that people made in Honeycomb since the last apply.",
    ),
    click.option(
        "--recipient",
        "recipients",
        multiple=True,
        metavar="TYPE:TARGET",
        callback=lambda _context, _option, values: tuple(map(parse_recipient, values)),
        help="Add a recipient to alerts that define none, such as email:on-call@example.com.",
    ),
    click.option(
        "--repository",
        metavar="URL",
        help="Repository of the project, for links to runbooks (default: the remote of git).",
    ),
)


def _with_change_options(command: Callable[..., int]) -> Callable[..., int]:
    for option in reversed(_change_options):
        command = option(command)
    return command


def _reports_errors(command: _Command) -> _Command:
    """Print an expected error as one sentence, or as JSON, and return the exit status."""

    @wraps(command)
    def reported(project: Project, *, as_json: bool, **options: Any) -> int:
        try:
            return command(project, as_json=as_json, **options)
        except (APIError, CannotFire, InvalidDefinition, ProjectError) as error:
            if as_json:
                say(json.dumps({"error": str(error)}))
            else:
                complain(str(error))
            return FAILED

    return reported


@click.command()
@_with_change_options
@_json_option
@project_options
@_reports_errors
def plan(project: Project, *, as_json: bool, **options: Any) -> int:
    """Compare honeycomb/ with Honeycomb and show the changes that apply would make.

    Needs HONEYCOMB_CONFIG_KEY. Exit status: 0 nothing to do, 2 changes pending, 1 error, or a change
    that needs --overwrite.
    """
    with Session(project, **options) as session:
        return session.show(as_json)


@click.command()
@_with_change_options
@click.option("--dry-run", is_flag=True, help="Change nothing, like plan.")
@_json_option
@project_options
@_reports_errors
def apply(project: Project, *, dry_run: bool, as_json: bool, **options: Any) -> int:
    """Create and update boards, triggers and SLOs in Honeycomb as defined in honeycomb/.

    Needs HONEYCOMB_CONFIG_KEY. Only objects that apply created are changed. Changes that people made in
    them stay. If a file changes the same field, apply asks in a terminal, and otherwise needs
    --overwrite. Safe to repeat: if it fails, the next run completes the rest. Exit status: 0 done, 1
    error, or a change that needs --overwrite.
    """
    with Session(project, **options) as session:
        return session.show(as_json) if dry_run else session.apply(as_json)


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
    definitions = load_definitions(project)
    found = problems(definitions, project.root)
    if found:
        raise InvalidDefinition(found)
    if as_json:
        say(json.dumps({"error": None, "definitions": len(definitions.all)}))
    else:
        say(f"{len(definitions.all)} definitions are valid.")
    return DONE


@click.command()
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    metavar="TYPE:TARGET",
    callback=lambda _context, _option, values: tuple(map(parse_recipient, values)),
    help="A default of the variable `recipients`, such as email:on-call@example.com.",
)
@project_options
def terraform(project: Project, *, recipients: tuple[Mapping[str, Any], ...]) -> int:
    """Print honeycomb/ as a configuration of Terraform or OpenTofu.

    Works offline and without a key. Use Terraform or apply, not both. Exit status: 0 done, 1 invalid.
    """
    definitions = load_definitions(project)
    found = problems(definitions, project.root)
    if found:
        raise click.ClickException("\n".join(found))
    definitions = definitions.with_descriptions(with_links(base_from_git(project.root)))
    url = project.honeycomb_endpoint
    click.echo(configuration(definitions, project.service_name, url, recipients), nl=False)
    return DONE


@click.command()
@click.argument("trigger", metavar="TRIGGER")
@click.option(
    "--environment",
    required=True,
    help="The test environment that HONEYCOMB_API_KEY belongs to.",
)
@_json_option
@project_options
@_reports_errors
def fire(project: Project, *, trigger: str, environment: str, as_json: bool) -> int:
    """Make a trigger fire on purpose: send marked test spans to a test environment.

    TRIGGER is its key in triggers.json, such as high-error-rate. Needs HONEYCOMB_API_KEY of that environment,
    in which apply was run. Exit status: 0 sent, 1 error.
    """
    sentence = fire_trigger(project, load_definitions(project), trigger, environment)
    say(json.dumps({"error": None, "message": sentence}) if as_json else sentence)
    return DONE
