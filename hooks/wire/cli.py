"""The `wire` command."""

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.prompt import Confirm, Prompt
from rich.syntax import Syntax

from ..interpreter import find_interpreter
from .check import check
from .declared import declared_in, lets_in_old_python, newest_version
from .dependencies import OLDEST, SDK, needed, too_old, unwire_dependencies, wire_dependencies
from .find import Creation, find_app
from .imports import module_for
from .llm import llm_uses, sdks
from .modal_app import EXAMPLE, served, served_apps, serves, unwire_modal_file, wire_modal_file
from .plan import Plan
from .present import present
from .project import Project
from .server import has_call, snippet, unwire_server, wire_server
from .source import Refused

_SHOWN_CALLS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """0: requests are traced. 1: something is left to do for that. 2: nothing could be done."""
    parser = argparse.ArgumentParser(
        prog="wire",
        description="Makes the edits that an existing repository's own files need to be traced to"
        " Honeycomb, after `copier copy` has put the module in. Shows them first.",
    )
    parser.add_argument(
        "path", nargs="?", default=".", help="the repository (default: this folder)"
    )
    parser.add_argument(
        "--app", metavar="MODULE:NAME", help="the application, where there are several"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before the edits are made")
    parser.add_argument("--dry-run", action="store_true", help="show the edits, and make none")
    parser.add_argument(
        "--check", action="store_true", help="only ask the application once and show its span"
    )
    parser.add_argument("--remove", action="store_true", help="take out what was put in")
    parser.add_argument(
        "--beside", action="store_true", help="go on beside telemetry that is there already"
    )
    parser.add_argument(
        "--allow-dirty", action="store_true", help="edit files whose changes are not committed"
    )
    options = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    try:
        project = Project(Path(options.path).resolve())
        project.answers  # noqa: B018 - stops here without the module
        if options.remove:
            return _finish(console, project, _removal(project, options.app), options)
        app = _app(console, project, options)
        if options.check:
            return _show_check(console, project, app)
        plan = _plan(project, app, beside=options.beside)
        code = _finish(console, project, plan, options)
        if not options.dry_run and code == 0 and find_interpreter(project.root, app.path.parent):
            _show_check(console, project, app)
        return code
    except Refused as refused:
        console.print(escape(str(refused)))
        if refused.snippet:
            console.print(escape(_indented(refused.snippet)))
        return 2
    except (EOFError, KeyboardInterrupt):  # Ctrl+D and Ctrl+C, where it asks
        console.print("\nStopped.")
        return 1


def _app(console: Console, project: Project, options: argparse.Namespace) -> Creation:
    try:
        return find_app(project, options.app, served_apps(project))
    except Refused as refused:
        choices = [
            line.split()[1] for line in refused.snippet.splitlines() if line.startswith("--app ")
        ]
        if options.app or not choices or options.yes or not sys.stdin.isatty():
            raise
        console.print(escape(str(refused)))
        wanted = Prompt.ask("Which one", choices=choices, console=console)
        return find_app(project, wanted, ())


def _plan(project: Project, app: Creation, *, beside: bool) -> Plan:
    plan = Plan(project)
    module = module_for(project, project.source(app.path), app.path)
    declared = None
    with contextlib.suppress(Refused):
        declared = declared_in(project, app.path)
    version = newest_version(project, declared, "fastapi") if declared else None
    if version is not None and version < OLDEST:
        raise Refused(
            f"FastAPI {version} is too old: the module needs {OLDEST} or later. Raise it, and run this again."
        )
    stops = False
    for each in present(project, app, module):
        text = f"{each.path}:{each.line} sets {each.what} up: {each.advice}"
        if each.stops and not beside and not has_call(project.source(app.path)):
            stops = True
            plan.todo.append((text, snippet(module, app.name or "app")))
        elif each.what == "FastAPIInstrumentor":
            plan.todo.append((text, ""))
        else:
            plan.right.append(text)
    if stops:
        plan.failed = True
        return plan

    def server() -> None:
        lines = wire_server(project, app)
        where = f"{lines.path}:{app.line}"
        if lines.is_there:
            plan.right.append(f"{where} is traced already.")
        else:
            plan.edit(lines.path, lines.content, f"{where} traces its requests.")

    if not plan.attempt(server):
        plan.failed = True
    used = sdks(project, declared.names if declared else frozenset())
    requirements = needed(project, declared, used) if declared else []

    def dependencies() -> None:
        found = declared or declared_in(project, app.path)
        if lets_in_old_python(found):
            plan.todo.append(
                (f"{found.path} lets in Python before 3.11, which the module does not run on.", "")
            )
        older = too_old(project, found, requirements)
        plan.todo += older
        edit = wire_dependencies(project, found, requirements)
        if edit.content is None:
            if not older:
                plan.right.append(f"{found.path} has the packages.")
            return
        plan.edit(found.path, edit.content, f"{found.path} has {', '.join(edit.missing)}.")
        plan.todo.append(("Install the packages.", "\n".join(edit.after)))

    if not plan.attempt(dependencies) and not declared:
        plan.todo[-1] = (plan.todo[-1][0], f'pip install "{SDK}"')
    plan.attempt(lambda: _plan_modal(project, app, plan, requirements))
    for use in list(llm_uses(project, used))[:_SHOWN_CALLS]:
        try:
            inside = module_for(project, project.source(use.path), use.path)
        except Refused:  # a script that does not reach the module
            continue
        text = f"{use.path}:{use.line} is a span"
        if use.is_streamed:
            plan.shown.append((f"{text} by itself.", ""))
        else:
            text += " with tokens and cost by itself. A span of your own instead:"
            plan.shown.append((text, use.snippet(inside)))
    return plan


def _plan_modal(project: Project, app: Creation, plan: Plan, requirements: Sequence[str]) -> None:
    functions = served(project)
    if not functions and not project.containing(b"import modal", b"from modal"):
        return
    for path in project.containing(b"Stub("):
        plan.todo.append(
            (
                f"{path} is written for a Modal before 1.0 and is not edited: add the secret to it.",
                f'secrets=[modal.Secret.from_name("{project.secret}")]',
            )
        )
        return
    serving = [each for each in functions if serves(project, each, app)]
    if not serving:
        plan.todo.append(
            (
                f"No function of Modal serves {app.label}. One that does looks like this:",
                EXAMPLE.format(
                    secret=project.secret,
                    module=".".join(app.path.with_suffix("").parts),
                    name=app.name or "app",
                ),
            )
        )
        return
    is_edited = False
    for path in dict.fromkeys(each.path for each in serving):
        edits = wire_modal_file(plan.project, path, app, requirements)
        plan.todo += edits.todo
        if edits.content != plan.project.source(path).content:
            is_edited = True
            plan.edit(
                path, edits.content, f"{path} gives Modal the secret and what the module needs."
            )
        elif not edits.todo:
            plan.right.append(f"{path} gives Modal what the module needs.")
    if is_edited:
        plan.todo.insert(
            0,
            (
                "Make Modal's secret before the next deploy, unless it is there (`-` opens an editor for the key):",
                f"modal secret create {project.secret} HONEYCOMB_API_KEY=-",
            ),
        )


def _removal(project: Project, wanted: str | None) -> Plan:
    plan = Plan(project)
    app: Creation | None = None
    everything: list[str] = []
    with contextlib.suppress(Refused):
        app = find_app(project, wanted, served_apps(project))
    for path in project.containing(b"instrument_app"):

        def server(path: Path = path) -> None:
            content = unwire_server(project, path)
            if content is not None:
                plan.edit(path, content, f"{path} is not traced any more.")

        plan.attempt(server)
    if app is not None:
        declared = None
        with contextlib.suppress(Refused):
            declared = declared_in(project, app.path)
        if declared is not None:
            used = sdks(project, declared.names)
            everything = needed(project, declared, used)
            content = unwire_dependencies(project, declared, everything)
            if content is not None:
                plan.edit(declared.path, content, f"{declared.path} is without the packages.")
    for path in project.containing(b"asgi_app"):

        def modal(path: Path = path) -> None:
            if app is None:
                return
            content = unwire_modal_file(plan.project, path, app, everything)
            if content is not None:
                plan.edit(path, content, f"{path} is without the secret.")

        plan.attempt(modal)
    return plan


def _finish(console: Console, project: Project, plan: Plan, options: argparse.Namespace) -> int:
    if plan.contents:
        console.print(Syntax(plan.diff().rstrip("\n"), "diff", background_color="default"))
        console.print()
        if not options.dry_run:
            if not options.allow_dirty and not options.remove:
                _refuse_dirty(project)
            if (
                not options.yes
                and sys.stdin.isatty()
                and not Confirm.ask("Make these edits", default=True)
            ):
                console.print("Nothing was changed.")
                return 1
            try:
                plan.write()
            except OSError as error:
                raise Refused(
                    f"Nothing was changed, as a file cannot be written: {error}."
                ) from None
    verb = "Would change" if options.dry_run else "Changed"
    for title, lines in ((verb, plan.changed), ("Already right", plan.right)):
        if lines:
            console.print(f"[bold]{title}[/]")
            for line in lines:
                console.print(f"  {escape(line)}")
    for title, pairs in (("You", plan.todo), ("LLM calls", plan.shown)):
        if pairs:
            console.print(f"[bold]{title}[/]")
        for line, paste in pairs:
            console.print(f"  {escape(line)}")
            if paste:
                console.print(f"[dim]{escape(_indented(paste, 6))}[/]")
    if not plan.contents:
        console.print("Nothing was changed.")
    return int(plan.failed)


def _refuse_dirty(project: Project) -> None:
    done = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no", "--", "."],
        cwd=project.root,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode == 0 and done.stdout.strip():
        names = ", ".join(line[3:] for line in done.stdout.splitlines()[:3])
        raise Refused(
            f"Changes to {names} are not committed: commit them first, or say --allow-dirty."
        )


def _show_check(console: Console, project: Project, app: Creation) -> int:
    module = module_for(project, project.source(app.path), app.path)
    result = check(project, app, module)
    if result.span:
        console.print(
            f"[bold]Checked[/]\n  One request gave the span [green]{escape(result.span)}[/]"
        )
        for name, value in (result.attributes or {}).items():
            console.print(f"      {escape(name)} = {escape(value)}")
        return 0
    console.print(f"[bold]Not checked[/]\n  {escape(app.label)}: {escape(result.why_not)}.")
    return 1


def _indented(text: str, by: int = 4) -> str:
    return "\n".join(f"{' ' * by}{line}".rstrip() for line in text.splitlines())


def run() -> None:
    sys.exit(main())
