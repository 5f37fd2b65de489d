"""Plan the removal of the edits that `wire` made."""

import contextlib
from functools import partial
from pathlib import Path

from .app_calls import AppCall
from .dependency_edits import without_packages
from .dependency_file import find_dependency_file
from .llm_calls import sdks
from .modal_edits import unwire_modal_file
from .modal_functions import served_apps
from .plan import Plan
from .project import Project
from .requirements import required_packages
from .served_app import find_app
from .server import FUNCTION, unwire_server
from .source import EditRefused


def plan_removal(project: Project, wanted: str | None) -> Plan:
    """Return the edits that restore the files from before `wire`. `wanted` is the value of `--app`."""
    plan = Plan(project)
    app: AppCall | None = None
    requirements: list[str] = []
    with contextlib.suppress(EditRefused):
        app = find_app(project, wanted, served_apps(project))
    for path in project.containing(FUNCTION.encode()):
        plan.attempt(partial(_unwire_server, plan, path))
    if app is None:
        return plan
    with contextlib.suppress(EditRefused):
        file = find_dependency_file(project, app.path)
        requirements = required_packages(project, file, sdks(project, file.names))
        content = without_packages(project, file, requirements)
        if content is not None:
            plan.edit(file.path, content, "remove", "packages")
    for path in project.containing(b"asgi_app"):
        plan.attempt(partial(_unwire_modal, plan, path, app, requirements))
    return plan


def _unwire_server(plan: Plan, path: Path) -> None:
    content = unwire_server(plan.project, path)
    if content is not None:
        plan.edit(path, content, "remove", FUNCTION)


def _unwire_modal(plan: Plan, path: Path, app: AppCall, requirements: list[str]) -> None:
    content = unwire_modal_file(plan.project, path, app, requirements)
    if content is not None:
        plan.edit(path, content, "remove", f"secret {plan.project.secret} and packages")
