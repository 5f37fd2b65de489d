"""Plan the edits that trace an application."""

import contextlib
from collections.abc import Sequence

from .app_calls import AppCall
from .dependency_edits import install_commands, with_packages
from .dependency_file import (
    DependencyFile,
    allows_old_python,
    find_dependency_file,
    newest_version,
)
from .existing_telemetry import existing_telemetry
from .imports import module_for
from .llm_calls import sdk_calls, sdks
from .modal_edits import EXAMPLE, secret_argument, wire_modal_file
from .modal_functions import modal_functions, serves
from .plan import Plan, Step
from .project import Project
from .requirements import OLDEST_FASTAPI, SDK, outdated, package_name, required_packages
from .server import FUNCTION, has_call, snippet, wire_server
from .source import EditRefused

_MAX_EXAMPLES = 3


def plan_wiring(project: Project, app: AppCall, *, beside: bool, dry_run: bool) -> Plan:
    """Return the edits and steps that trace `app`.

    With `beside`, conflicts with existing telemetry are ignored. With `dry_run`, line numbers refer
    to the files without the edits. Raises EditRefused if the application cannot be traced at all.
    """
    plan = Plan(project)
    module = module_for(project, project.source(app.path))
    file = None
    with contextlib.suppress(EditRefused):
        file = find_dependency_file(project, app.path)
    version = newest_version(project, file, "fastapi") if file else None
    if version is not None and version < OLDEST_FASTAPI:
        raise EditRefused(
            f"FastAPI {version} is too old; the module requires {OLDEST_FASTAPI} or later. Upgrade"
            " FastAPI, then run this again."
        )
    if _has_conflict(plan, app, module, beside=beside):
        plan.failed = True
        return plan
    if not plan.attempt(lambda: _wire_server(plan, app)):
        plan.failed = True
    used = sdks(project, file.names if file else frozenset())
    requirements = required_packages(project, file, used) if file else []
    if not plan.attempt(lambda: _wire_dependencies(plan, app, file, requirements)) and not file:
        plan.todo[-1] = Step(plan.todo[-1].text, f'pip install "{SDK}"')
    plan.attempt(lambda: _wire_modal(plan, project, app, requirements))
    plan.examples = _examples(project if dry_run else plan.project, used)
    return plan


def _has_conflict(plan: Plan, app: AppCall, module: str, *, beside: bool) -> bool:
    """Add notes about existing telemetry; return True if it conflicts with the module."""
    is_wired = has_call(plan.project, plan.project.source(app.path))
    has_conflict = False
    for each in existing_telemetry(plan.project, app, module):
        text = f"{each.path}:{each.line} configures {each.product}. {each.advice}"
        if each.conflicts and not beside and not is_wired:
            has_conflict = True
            plan.todo.append(Step(text, snippet(module, app.name or "app")))
        elif each.product == "FastAPIInstrumentor":
            plan.todo.append(Step(text))
        else:
            plan.notes.append(text)
    return has_conflict


def _wire_server(plan: Plan, app: AppCall) -> None:
    server = wire_server(plan.project, app)
    call = f"{FUNCTION}({app.name})"
    if server.is_unchanged:
        plan.done.append(f"{server.path}: {call}")
    else:
        plan.edit(server.path, server.content, "add", call)


def _wire_dependencies(
    plan: Plan, app: AppCall, file: DependencyFile | None, requirements: Sequence[str]
) -> None:
    file = file or find_dependency_file(plan.project, app.path)
    if allows_old_python(file):
        plan.todo.append(
            Step(f"{file.path} allows Python 3.10 and earlier; the module requires 3.11 or later.")
        )
    too_old = outdated(plan.project, file, requirements)
    plan.todo += too_old
    missing = [each for each in requirements if package_name(each) not in file.names]
    if missing:
        content = with_packages(plan.project, file, missing)
        plan.edit(file.path, content, "add", ", ".join(missing))
        commands = "\n".join(install_commands(plan.project, file))
        plan.todo.append(Step("Install the packages:", commands))
    elif not too_old:
        plan.done.append(f"{file.path}: packages")


def _wire_modal(plan: Plan, project: Project, app: AppCall, requirements: Sequence[str]) -> None:
    """Wire the functions that serve `app`, which is a call in `project`, without the edits so far."""
    functions = modal_functions(project)
    if not functions and not project.containing(b"import modal", b"from modal"):
        return
    for path in project.containing(b"Stub("):
        plan.todo.append(
            Step(
                f"{path} uses modal.Stub, from before Modal 1.0, and is not edited. Add the secret:",
                secret_argument(project),
            )
        )
        return
    serving = [each for each in functions if serves(project, each, app)]
    if not serving:
        module = ".".join(app.path.with_suffix("").parts)
        example = EXAMPLE.format(secret=project.secret, module=module, name=app.name or "app")
        plan.todo.append(Step(f"No Modal function serves {app.label}. For example:", example))
        return
    is_edited = False
    for path in dict.fromkeys(each.path for each in serving):
        edits = wire_modal_file(plan.project, path, app, requirements)
        plan.todo += edits.todo
        if edits.added:
            is_edited = True
            plan.edit(path, edits.content, "add", ", ".join(edits.added))
        elif not edits.todo:
            plan.done.append(f"{path}: secret, packages and module")
    if is_edited:
        plan.todo.insert(
            0,
            Step(
                "Create the Modal secret before the next deployment, unless it exists (`-` opens an"
                " editor for the key):",
                f"modal secret create {project.secret} HONEYCOMB_API_KEY=-",
            ),
        )


def _examples(project: Project, used: frozenset[str]) -> list[Step]:
    examples = []
    for call in list(sdk_calls(project, used))[:_MAX_EXAMPLES]:
        try:
            module = module_for(project, project.source(call.path))
        except EditRefused:  # a script that cannot import the module
            continue
        text = f"{call.path}:{call.line} is traced automatically"
        if call.is_streamed:
            examples.append(Step(f"{text}."))
        else:
            text += ", with tokens and cost. To create the span yourself:"
            examples.append(Step(text, call.snippet(module)))
    return examples
