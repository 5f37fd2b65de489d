"""The `copier-honeycomb wire` command."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.prompt import Confirm, Prompt

from ..interpreter import find_interpreter
from .app_calls import AppCall
from .check import check
from .modal_functions import served_apps
from .plan import Plan, Step
from .project import Project
from .removal import plan_removal
from .report import print_check, print_diff, print_plan, print_step
from .served_app import SeveralApps, find_app
from .source import EditRefused
from .wiring import plan_wiring


@click.command("wire", short_help="Trace an existing service: edit its files.")
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option("--app", metavar="MODULE:NAME", help="The application, if there are several.")
@click.option("--dry-run", is_flag=True, help="Show the edits; change no file.")
@click.option("--yes", is_flag=True, help="Edit without confirmation.")
@click.option("--check", "only_check", is_flag=True, help="Only check that a request is traced.")
@click.option("--remove", is_flag=True, help="Remove the edits of an earlier run.")
@click.option("--beside", is_flag=True, help="Edit even if other telemetry is configured.")
@click.option("--allow-dirty", is_flag=True, help="Edit even if there are uncommitted changes.")
def main(
    path: Path,
    app: str | None,
    dry_run: bool,
    yes: bool,
    only_check: bool,
    remove: bool,
    beside: bool,
    allow_dirty: bool,
) -> int:
    """Trace the FastAPI service in PATH (default: the current folder).

    Run it after `copier copy` has added the observability module. It adds instrument_app to the file
    that creates the application, the required packages to pyproject.toml or requirements.txt, and
    the secret and packages to Modal functions. It shows the edits, asks for confirmation, and sends
    one request to the application in the project's virtual environment to check that it is traced.
    Edits that would not be safe are left to you, with a snippet to paste. A second run changes
    nothing.

    Exit status: 0 if the edits are complete (with --check, if the request is traced), 1 if requests
    are not traced, 2 if nothing could be done.
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        project = Project(path.resolve())
        project.answers  # noqa: B018 - raises EditRefused without the module
        if remove:
            plan, target = plan_removal(project, app), None
        else:
            target = _choose_app(console, project, app, can_ask=not yes)
            if only_check:
                return _check(console, project, target)
            plan = plan_wiring(project, target, beside=beside, dry_run=dry_run)
        if plan.edits:
            print_diff(console, plan)
            if not dry_run:
                if not (allow_dirty or remove):
                    _refuse_uncommitted_changes(project)
                if not yes and not _is_confirmed(console):
                    console.print("No file was changed.")
                    return 1
                _write(plan)
        print_plan(console, plan, is_dry_run=dry_run)
        can_check = target and find_interpreter(project.root, target.path.parent)
        if target and can_check and not plan.failed and not dry_run:
            # Does not change the exit status: the packages may not be installed yet.
            _check(console, project, target)
        return int(plan.failed)
    except EditRefused as refused:
        print_step(console, "Error", Step(str(refused), refused.snippet))
        return 2
    except _Stopped:
        console.print("\nStopped. No file was changed.")
        return 1


def run() -> None:
    """Run the command under its former name, `wire`."""
    from ..cli import main as copier_honeycomb

    copier_honeycomb(["wire", *sys.argv[1:]])


class _Stopped(Exception):
    """The user stopped the command at a prompt."""


@contextmanager
def _stoppable() -> Iterator[None]:
    try:
        yield
    except (EOFError, KeyboardInterrupt):  # Ctrl+D, Ctrl+C
        raise _Stopped from None


def _choose_app(
    console: Console, project: Project, wanted: str | None, *, can_ask: bool
) -> AppCall:
    try:
        return find_app(project, wanted, served_apps(project))
    except SeveralApps as several:
        if not can_ask or not sys.stdin.isatty():
            raise
        print_step(console, "Note", Step(str(several), several.snippet))
        with _stoppable():
            chosen = Prompt.ask("Application", choices=several.labels, console=console)
        return find_app(project, chosen, ())


def _is_confirmed(console: Console) -> bool:
    """Ask for confirmation; without a terminal, return True."""
    if not sys.stdin.isatty():
        return True
    with _stoppable():
        return Confirm.ask("Edit these files?", default=True, console=console)


def _write(plan: Plan) -> None:
    try:
        plan.write()
    except OSError as error:
        raise EditRefused(f"No file was changed, because one cannot be written: {error}.") from None


def _refuse_uncommitted_changes(project: Project) -> None:
    done = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no", "--", "."],
        cwd=project.root,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode == 0 and done.stdout.strip():
        names = ", ".join(line[3:] for line in done.stdout.splitlines()[:3])
        raise EditRefused(
            f"There are uncommitted changes ({names}). Commit them first, or use --allow-dirty."
        )


def _check(console: Console, project: Project, app: AppCall) -> int:
    result = check(project, app)
    print_check(console, result)
    return 0 if result.span else 1
