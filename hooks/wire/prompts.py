"""Questions to the user, and checks before files are changed."""

import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec

from rich.console import Console
from rich.prompt import Confirm, Prompt

from ..terminal import progress
from .app_calls import AppCall
from .modal_functions import served_apps
from .plan import Plan, Step
from .project import Project
from .report import new_console, print_step
from .served_app import SeveralApps, find_app
from .source import EditRefused

_P = ParamSpec("_P")


class Stopped(Exception):
    """The user stopped the command at a prompt."""


def prints_refusals(command: Callable[_P, int]) -> Callable[_P, int]:
    """Print the sentence of EditRefused (status 2), or that the user stopped `command` (status 1)."""

    @functools.wraps(command)
    def run(*arguments: _P.args, **options: _P.kwargs) -> int:
        try:
            return command(*arguments, **options)
        except EditRefused as refused:
            progress("")
            print_step(new_console(), "Error", Step(str(refused), refused.snippet))
            return 2
        except Stopped:
            new_console().print("\nStopped. No file was changed.")
            return 1

    return run


@contextmanager
def stoppable() -> Iterator[None]:
    try:
        yield
    except (EOFError, KeyboardInterrupt):  # Ctrl+D, Ctrl+C
        raise Stopped from None


def choose_app(console: Console, project: Project, wanted: str | None, *, can_ask: bool) -> AppCall:
    """Return the application that is served; if there are several, ask on a terminal."""
    progress("Reading the repository ...")
    try:
        return find_app(project, wanted, served_apps(project))
    except SeveralApps as several:
        if not can_ask or not sys.stdin.isatty():
            raise
        progress("")
        print_step(console, "Note", Step(str(several), several.snippet))
        with stoppable():
            chosen = Prompt.ask("Application", choices=several.labels, console=console)
        return find_app(project, chosen, ())


def is_confirmed(console: Console, question: str = "Edit these files?") -> bool:
    """Ask for confirmation; without a terminal, return True."""
    if not sys.stdin.isatty():
        return True
    with stoppable():
        return Confirm.ask(question, default=True, console=console)


def write(plan: Plan) -> None:
    """Write the edited files. Raises EditRefused if that fails; no file is changed then."""
    try:
        plan.write()
    except OSError as error:
        raise EditRefused(f"No file was changed, because one cannot be written: {error}.") from None


def refuse_uncommitted_changes(project: Project) -> None:
    """Raise EditRefused if a tracked file has uncommitted changes."""
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
