"""Plan the edits that trace an application."""

import contextlib
from collections.abc import Sequence
from functools import partial
from itertools import islice

from ..llm_sdks import LLM_SDKS
from .app_calls import AppCall
from .dependency_edits import install_commands, with_packages
from .dependency_file import (
    NO_FILE,
    DependencyFile,
    allows_old_python,
    find_dependency_file,
    locked_names,
    newest_version,
)
from .existing_telemetry import existing_telemetry
from .imports import module_for
from .llm_calls import sdk_calls, sdk_notes, sdk_summary, sdks
from .modal_edits import EXAMPLE, secret_argument, wire_modal
from .modal_functions import legacy_file, modal_functions, serves
from .modal_image import Requirements
from .owner_checks import allow_optional_imports, name_packages
from .plan import Plan, Step
from .project import Project
from .requirements import (
    OLDEST_FASTAPI,
    SDK,
    excludes_prices,
    outdated,
    package_name,
    required_packages,
)
from .routes.find import Route, find_routes, unread_starts
from .server import FUNCTION, has_call, snippet, wire_server
from .shipping import (
    dependency_files,
    describe,
    importable_name,
    imports,
    refuse_old_python,
    ship_module,
    ship_packages,
    unshipped,
)
from .source import EditRefused

_MAX_EXAMPLES = 3


def plan_wiring(project: Project, app: AppCall, *, beside: bool, dry_run: bool) -> Plan:
    """Return the edits and steps that trace `app`.

    With `beside`, conflicts with existing telemetry are ignored. With `dry_run`, line numbers refer
    to the files without the edits. Raises EditRefused if the application cannot be traced at all.
    """
    plan = Plan(project)
    routes, unknown = find_routes(project)
    routes = [route for route in routes if route.app == app]
    plan.todo += refuse_old_python(routes)
    module = module_name(project, app, routes)
    files = dependency_files_of(project, app, routes)
    for file in files:
        version = newest_version(project, file, "fastapi")
        if version is not None and version < OLDEST_FASTAPI:
            raise EditRefused(
                f"FastAPI {version} is too old; the module requires {OLDEST_FASTAPI} or later. Upgrade"
                " FastAPI, then run this again."
            )
    service = service_of(project, routes)
    if _has_conflict(plan, service, app, module, beside=beside):
        plan.failed = True
        return plan
    if not plan.attempt(lambda: _wire_server(plan, app, module)):
        plan.failed = True
    used = used_sdks(service, files)
    commands: list[str] = []
    for file in [each for each in files if each.kind != "inline"]:
        plan.attempt(partial(_wire_dependencies, plan, file, used, commands))
    if not files:
        plan.todo.append(Step(NO_FILE, f'pip install "{SDK}"'))
    if commands:
        text = "Install the packages, then run `copier-honeycomb wire --check`:"
        # Files are compiled before they are installed.
        commands.sort(key=lambda command: " compile" not in command and "-compile" not in command)
        plan.todo.append(Step(text, "\n".join(dict.fromkeys(commands))))
    requirements = partial(_requirements, project, used)
    for route in routes:
        plan.attempt(partial(ship_packages, plan, route, requirements))
        plan.attempt(partial(ship_module, plan, route, app.path, module))
    plan.attempt(lambda: _wire_modal(plan, project, app, module, requirements))
    # Once more, in the edited files.
    shipped = [
        route for route in find_routes(plan.project)[0] if route.app.identity == app.identity
    ]
    texts = [describe(plan.project, route, module) for route in shipped]
    plan.routes = list(dict.fromkeys(texts))
    if not routes:
        plan.notes.append(unshipped(project, app.label, unknown))
    plan.notes += [
        f"{place} starts a server too, and was not checked. It must find the packages and"
        f" {project.module_dir}."
        for place in unread_starts(project)
    ]
    plan.notes += sdk_notes(used)
    plan.notes += [
        f"{file.path} allows no pydantic that genai-prices supports (2.10 or later). LLM calls have no"
        " cost until you upgrade it and add genai-prices."
        for file in files
        if used and excludes_prices(file)
    ]
    plan.sdks = sdk_summary(used)
    plan.examples = _examples(service_of(project if dry_run else plan.project, routes), used)
    return plan


def service_of(project: Project, routes: Sequence[Route]) -> Project:
    """Return the repository with only those modules that the routes contain, if there are routes."""
    shipped = {path for route in routes for path in route.container.files.values()}
    return project.limited_to(shipped) if routes else project


def used_sdks(project: Project, files: Sequence[DependencyFile]) -> frozenset[str]:
    """Return the LLM SDKs that the repository imports, declares or, through another package, locks."""
    declared = frozenset[str]().union(*(file.names for file in files))
    locked = frozenset[str]().union(*(locked_names(project, file) for file in files))
    traced = {name for sdk in LLM_SDKS if sdk.is_covered for name in sdk.all_packages}
    return sdks(project, declared | locked & traced)


def module_name(project: Project, app: AppCall, routes: Sequence[Route]) -> str:
    """Return the name by which the file of `app` imports the module: one that works on the routes.

    Raises EditRefused if it cannot import it.
    """
    source = project.source(app.path)
    try:
        preferred = module_for(project, source)
    except EditRefused:
        module = importable_name(project, source, project.module, routes)
        if any(imports(project, route, source, module) for route in routes):
            return module
        raise
    return importable_name(project, source, preferred, routes)


def dependency_files_of(
    project: Project, app: AppCall, routes: Sequence[Route]
) -> list[DependencyFile]:
    """Return the lists of packages that the routes install, and the one nearest to the application."""
    files = {file.path: file for route in routes for _, file in dependency_files(project, route)}
    with contextlib.suppress(EditRefused):
        nearest = find_dependency_file(project, app.path, prefer_installed=not routes)
        if nearest.has_fastapi or not any(file.kind != "inline" for file in files.values()):
            files.setdefault(nearest.path, nearest)
    return list(files.values())


def _requirements(project: Project, used: frozenset[str], file: DependencyFile) -> list[str]:
    return required_packages(project, file, used)


def _has_conflict(plan: Plan, service: Project, app: AppCall, module: str, *, beside: bool) -> bool:
    """Add notes about existing telemetry; return True if it conflicts with the module."""
    is_wired = has_call(plan.project, plan.project.source(app.path))
    has_conflict = False
    for each in existing_telemetry(service, app):
        text = f"{each.path}:{each.line} configures {each.product}. {each.advice}"
        if each.conflicts and not beside and not is_wired:
            has_conflict = True
            if each.product in ("OpenTelemetry", "Logfire"):
                text += " To edit the files first, use --beside."
            plan.todo.append(Step(text, snippet(module, app.name or "app")))
        elif each.product == "FastAPIInstrumentor":
            plan.todo.append(Step(text))
        else:
            plan.notes.append(text)
    return has_conflict


def _wire_server(plan: Plan, app: AppCall, module: str) -> None:
    server = wire_server(plan.project, app, module)
    call = f"{FUNCTION}({app.name})"
    if server.is_unchanged:
        plan.done.append(f"{server.path}: {call}")
    else:
        plan.edit(server.path, server.content, "add", call)


def _wire_dependencies(
    plan: Plan, file: DependencyFile, used: frozenset[str], commands: list[str]
) -> None:
    """Add the missing packages to `file`, and the commands that install them to `commands`."""
    requirements = required_packages(plan.project, file, used)
    if allows_old_python(file):
        plan.todo.append(
            Step(
                f"{file.path} allows Python 3.10 and earlier; the module requires 3.11 or later. Raise"
                " the lower bound, unless the service never runs on these."
            )
        )
    too_old = outdated(plan.project, file, requirements)
    plan.todo += too_old
    missing = [each for each in requirements if package_name(each) not in file.names]
    if missing:
        content = with_packages(plan.project, file, missing)
        plan.edit(file.path, content, "add", ", ".join(missing))
        commands += install_commands(plan.project, file)
    elif not too_old:
        plan.done.append(f"{file.path}: packages")
    allow_optional_imports(plan, file.path, requirements)
    name_packages(plan, file.path)


def _wire_modal(
    plan: Plan, project: Project, app: AppCall, module: str, requirements: Requirements
) -> None:
    """Wire the functions that serve `app`, which is a call in `project`, without the edits so far."""
    functions = modal_functions(project)
    if not functions and not project.containing(b"import modal", b"from modal"):
        return
    if (path := legacy_file(project)) is not None:
        text = f"{path} uses modal.Stub, from before Modal 1.0, and is not edited. Add the secret:"
        plan.todo.append(Step(text, secret_argument(project)))
        return
    if not any(serves(project, each, app) for each in functions):
        if functions or not find_routes(project)[0]:
            name = ".".join(app.path.with_suffix("").parts)
            example = EXAMPLE.format(secret=project.secret, module=name, name=app.name or "app")
            plan.todo.append(Step(f"No Modal function serves {app.label}. For example:", example))
        return
    edits = wire_modal(plan.project, app, module, requirements)
    plan.todo += edits.todo
    for path, content in edits.contents.items():
        plan.edit(path, content, "add", ", ".join(edits.added[path]))
    for path in dict.fromkeys(edits.wired):
        if path not in edits.contents and not edits.todo:
            plan.done.append(f"{path}: secret, packages and module")
    if edits.contents:
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
    for call in islice(sdk_calls(project, used), _MAX_EXAMPLES):
        try:
            module = module_for(project, project.source(call.path))
        except EditRefused:  # a script that cannot import the module
            continue
        text = f"{call.path}:{call.line} is traced automatically"
        if not call.reports_usage:
            option = 'stream_options={"include_usage": True}'
            examples.append(Step(f"{text}, but without tokens and cost. Add {option} to the call."))
        elif call.is_streamed:
            examples.append(Step(f"{text}."))
        else:
            text += ", with tokens and cost. To create the span yourself:"
            examples.append(Step(text, call.snippet(module)))
    return examples
