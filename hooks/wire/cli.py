"""The `copier-honeycomb wire` command."""

import sys
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from ..interpreter import find_interpreter
from ..terminal import progress
from .check import check
from .project import Project
from .prompts import (
    choose_app,
    is_confirmed,
    prints_refusals,
    refuse_uncommitted_changes,
    write,
)
from .removal import plan_removal
from .report import new_console, print_check, print_diff, print_plan
from .served_app import find_app
from .wiring import plan_wiring

# Seconds for the installation of an image's packages: if nobody asked for a check, and with --check.
SECONDS: Final = 15
CHECK_SECONDS: Final = 60


@click.command("wire", short_help="Trace an existing service: edit its files.")
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option("--app", metavar="MODULE:NAME", help="The application, if there are several.")
@click.option("--dry-run", is_flag=True, help="Show the edits; change no file.")
@click.option("--yes", is_flag=True, help="Edit without confirmation.")
@click.option("--check", "only_check", is_flag=True, help="Only check that a request is traced.")
@click.option(
    "--wait",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="Time limit for installing the packages of an image; 0: check with those of .venv."
    f"  [default: {CHECK_SECONDS} with --check, else {SECONDS}]",
)
@click.option("--remove", is_flag=True, help="Remove the edits of an earlier run.")
@click.option("--beside", is_flag=True, help="Edit even if other telemetry is configured.")
@click.option("--allow-dirty", is_flag=True, help="Edit even if there are uncommitted changes.")
@prints_refusals
def main(
    path: Path,
    app: str | None,
    dry_run: bool,
    yes: bool,
    only_check: bool,
    wait: int | None,
    remove: bool,
    beside: bool,
    allow_dirty: bool,
) -> int:
    """Trace the FastAPI service in PATH (default: the current folder).

    Run it after `copier copy` has added the observability module. It adds instrument_app to the file
    that creates the application, the required packages to pyproject.toml or requirements.txt, and
    the secret and packages to Modal functions. It shows the edits, asks for confirmation, and sends
    one request to the application to check that it is traced: with the files and packages that its
    image would contain, or, if these cannot be installed, the packages of its virtual environment.
    Edits that would not be safe are left to you, with a snippet to paste. A second run changes
    nothing.

    Exit status: 0 if the edits are complete (with --check, if the request is traced), 1 if requests
    are not traced, 2 if nothing could be done.
    """
    console = new_console()
    project = Project(path.resolve())
    project.answers  # noqa: B018 - raises EditRefused without the module
    if remove:
        plan, target = plan_removal(project, app), None
    else:
        target = choose_app(console, project, app, can_ask=not yes)
        if only_check:
            seconds = CHECK_SECONDS if wait is None else wait
            return check_app(console, project, target.identity, seconds)
        progress("Planning the edits ...")
        plan = plan_wiring(project, target, beside=beside, dry_run=dry_run)
    progress("")
    if plan.edits:
        print_diff(console, plan)
        if not dry_run:
            if not (allow_dirty or remove):
                refuse_uncommitted_changes(project)
            if not yes and not is_confirmed(console):
                console.print("No file was changed.")
                return 1
            write(plan)
    print_plan(console, plan, is_dry_run=dry_run)
    can_check = target and find_interpreter(project.root, target.path.parent)
    if target and can_check and not plan.failed and not dry_run:
        # Does not change the exit status: the packages may not be installed yet.
        seconds = SECONDS if wait is None else wait
        check_app(console, Project(project.root), target.identity, seconds)
    return int(plan.failed)


def run() -> None:
    """Run the command under its former name, `wire`."""
    from ..cli import main as copier_honeycomb

    copier_honeycomb(["wire", *sys.argv[1:]])


def check_app(console: Console, project: Project, label: str, seconds: int = SECONDS) -> int:
    """Check the application on each route, print the results, and return 1 if one failed.

    The packages of an image are used if they can be installed within `seconds`.
    """
    results = check(project, find_app(project, label, ()), seconds)
    progress("")
    for each in results:
        print_check(console, each)
    return int(not all(each.span for each in results))
