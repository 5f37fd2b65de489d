"""The `copier-honeycomb adopt` command."""

from pathlib import Path
from typing import Final

import click
from rich.console import Console

from ..interpreter import find_interpreter
from ..terminal import progress
from ..wire.cli import check_app
from ..wire.plan import Plan
from ..wire.project import Project
from ..wire.prompts import (
    choose_app,
    is_confirmed,
    prints_refusals,
    refuse_uncommitted_changes,
    write,
)
from ..wire.report import new_console, print_diff, print_line, print_plan
from ..wire.routes.find import find_routes
from ..wire.served_app import find_app
from ..wire.source import EditRefused
from ..wire.wiring import module_name, plan_wiring
from .answers import answers_for
from .copying import answers_file, copy_template, move_module

_NO_MODULE: Final = {"package_dir": ".", "import_name": "", "module_name": ".none"}


@click.command("adopt", short_help="Add observability to an existing repository.")
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option("--app", metavar="MODULE:NAME", help="The application, if there are several.")
@click.option("--data", multiple=True, metavar="NAME=ANSWER", help="An answer for the template.")
@click.option("--skip", multiple=True, metavar="FILE", help="Keep an existing document.")
@click.option("--dry-run", is_flag=True, help="Show the edits; change no file.")
@click.option("--yes", is_flag=True, help="Copy and edit without confirmation.")
@click.option("--beside", is_flag=True, help="Edit even if other telemetry is configured.")
@click.option("--allow-dirty", is_flag=True, help="Edit even if there are uncommitted changes.")
@prints_refusals
def adopt(
    path: Path,
    app: str | None,
    data: tuple[str, ...],
    skip: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    beside: bool,
    allow_dirty: bool,
) -> int:
    """Trace the FastAPI service in PATH (default: the current folder).

    It finds the application and how it is deployed, copies the template with the matching answers,
    edits the files that need it, and checks that a request is traced. Nothing is changed before the
    edits are shown and confirmed, and nothing at all if the application cannot be traced. If the
    template was copied beside another application, the module is moved.

    Exit status: 0 if the edits are complete, 1 if a step is left to you, 2 if nothing could be done.
    """
    console = new_console()
    root = path.resolve()
    if not root.is_dir():
        raise EditRefused(f"{root} is not a folder.")
    recorded = answers_file(root)
    bare = _without_module(root, recorded)
    target = choose_app(console, bare, app, can_ask=not yes)
    if recorded is not None and _reaches_module(root, target.identity):
        recorded = None
        planned, answers = Project(root), {}
        target = choose_app(console, planned, target.identity, can_ask=False)
    else:
        routes = [route for route in find_routes(bare)[0] if route.app == target]
        answers = answers_for(bare, target, routes) | _given(data)
        planned = bare.with_answers(answers)
    progress("Planning the edits ...")
    plan = plan_wiring(planned, target, beside=beside, dry_run=True)
    progress("")
    if plan.failed and not plan.edits:
        print_plan(console, plan, is_dry_run=True)
        return 2
    if answers:
        text = f"the template adds {planned.module_dir.as_posix()}, its tests, honeycomb and docs"
        print_line(console, "Move" if recorded else "Copy", text)
    if plan.edits:
        print_diff(console, plan)
    if dry_run:
        print_plan(console, plan, is_dry_run=True)
        return int(plan.failed)
    if not allow_dirty:
        refuse_uncommitted_changes(bare)
    if not yes and not is_confirmed(console, "Add and edit these files?"):
        console.print("No file was changed.")
        return 1
    progress("Copying the template ...")
    if answers and recorded:
        move_module(root, recorded, answers)
    elif answers:
        copy_template(root, answers, skip)
    return _wire(console, root, target.identity, beside=beside)


def _without_module(root: Path, recorded: Path | None) -> Project:
    """Return the repository without the module and its tests, if they were copied before."""
    project = Project(root)
    if recorded is not None:
        added = (
            project.module_dir,
            *(Path("tests") / each for each in (project.module_name, "telemetry")),
        )
        project.__dict__["files"] = [
            each
            for each in project.files
            if not any(each.is_relative_to(folder) for folder in added)
        ]
    return project.with_answers(_NO_MODULE)


def _reaches_module(root: Path, label: str) -> bool:
    """Return True if the application can import the module where it is."""
    project = Project(root)
    target = find_app(project, label, ())
    routes = [route for route in find_routes(project)[0] if route.app == target]
    try:
        module_name(project, target, routes)
    except EditRefused:
        return False
    return target.path.is_relative_to(project.package_dir)


def _given(data: tuple[str, ...]) -> dict[str, str]:
    for each in data:
        if "=" not in each:
            raise EditRefused(
                f"--data {each} has no value. Use NAME=ANSWER, as honeycomb_region=eu."
            )
    return dict(each.split("=", 1) for each in data)


def _wire(console: Console, root: Path, label: str, *, beside: bool) -> int:
    """Make the edits in the repository that now contains the module, and check the application."""
    project = Project(root)
    target = choose_app(console, project, label, can_ask=False)
    plan: Plan = plan_wiring(project, target, beside=beside, dry_run=False)
    progress("")
    if plan.edits:
        write(plan)
    print_plan(console, plan, is_dry_run=False)
    if find_interpreter(root, target.path.parent) and not plan.failed:
        check_app(console, Project(root), target.identity)
    return int(plan.failed)
