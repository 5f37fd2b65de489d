"""Plan the removal of the edits that `wire` made."""

import contextlib
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from .app_calls import AppCall
from .dependency_edits import without_packages
from .dependency_file import DependencyFile
from .modal_edits import unwire_modal
from .modal_functions import served_apps
from .owner_checks import without_optional_imports, without_packages_named
from .plan import Plan
from .project import Project
from .requirements import required_packages
from .routes.find import find_routes
from .served_app import find_app
from .server import FUNCTION, imported_module, unwire_server
from .source import EditRefused
from .wiring import dependency_files_of, module_name, service_of, used_sdks


def plan_removal(project: Project, wanted: str | None) -> Plan:
    """Return the edits that restore the files from before `wire`. `wanted` is the value of `--app`."""
    plan = Plan(project)
    app: AppCall | None = None
    module = ""
    with contextlib.suppress(EditRefused):
        app = find_app(project, wanted, served_apps(project))
        module = imported_module(project, app.path) or module_name(project, app, [])
    for path in project.containing(FUNCTION.encode()):
        plan.attempt(partial(_unwire_server, plan, path))
    if app is None:
        return plan
    routes = [route for route in find_routes(project)[0] if route.app == app]
    files = dependency_files_of(project, app, routes)
    used = used_sdks(service_of(project, routes), files)
    for file in files:
        if file.kind != "inline":
            plan.attempt(
                partial(_remove_packages, plan, file, required_packages(project, file, used))
            )

    def requirements(file: DependencyFile) -> list[str]:
        return required_packages(project, file, used)

    for path in dict.fromkeys(
        route.place.path for route in routes if route.container.context is not None
    ):
        inline = [file for file in files if file.kind == "inline" and file.path == path]
        plan.attempt(
            partial(
                _unwire_dockerfile,
                plan,
                path,
                [need for file in inline for need in requirements(file)],
            )
        )
    for path, content in unwire_modal(plan.project, app, module, requirements).items():
        plan.edit(path, content, "remove", f"secret {plan.project.secret} and packages")
    return plan


def _remove_packages(plan: Plan, file: DependencyFile, requirements: Sequence[str]) -> None:
    content = without_packages_named(plan.project, file.path)
    if content is not None:
        plan.edit(file.path, content, "remove", "the packages of the distribution")
    optional = without_optional_imports(plan.project, file.path, requirements)
    if optional is not None:
        plan.edit(*optional, "remove", "the module's optional imports")
    content = without_packages(plan.project, file, requirements)
    if content is not None:
        plan.edit(file.path, content, "remove", "packages")


def _unwire_server(plan: Plan, path: Path) -> None:
    content = unwire_server(plan.project, path)
    if content is not None:
        plan.edit(path, content, "remove", FUNCTION)


def _unwire_dockerfile(plan: Plan, path: Path, requirements: Sequence[str]) -> None:
    before = plan.project.text(path)
    folder = re.escape(plan.project.module_dir.as_posix())
    text = re.sub(
        rf"(?m)^COPY (?:\S+/)?{folder} \S+/{plan.project.module_name}(?:\r?\n|\Z)", "", before
    )
    packages = "|".join(re.escape(f'"{each}"') for each in requirements)
    if packages:
        text = re.sub(rf"(?:(?:{packages}) )+", "", text)
    if text != before:
        plan.edit(path, text.encode(), "remove", "the module and packages")
