"""Answers to the template's questions, read from the repository."""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..wire.app_calls import AppCall
from ..wire.imports import import_roots
from ..wire.project import Project, tests_dir
from ..wire.routes.find import Route
from ..wire.source import EditRefused

_NAMES: Final = ("observability", "telemetry", "tracing", "honeycomb_tracing")
_MAX_NAME: Final = 40


def answers_for(project: Project, app: AppCall, routes: Sequence[Route]) -> dict[str, str]:
    """Return the answers that put the module into the package of `app`."""
    package, name = package_of(project, app, routes)
    return {
        "layout": "existing",
        "project_name": service_name(project),
        "package_dir": package.as_posix(),
        "import_name": name,
        "module_name": module_name(project, package, name),
    }


def package_of(project: Project, app: AppCall, routes: Sequence[Route]) -> tuple[Path, str]:
    """Return the top-level package that contains the application, and its import name.

    The name is empty, and the package a folder on the import path, if the application's file is not
    in a package.
    """
    folder = app.path.parent
    root = _import_root(project, app, routes)
    parts = folder.relative_to(root).parts if folder.is_relative_to(root) else ()
    if not parts or not all(part.isidentifier() for part in parts):
        return folder, ""
    return root / parts[0], parts[0]


def _import_root(project: Project, app: AppCall, routes: Sequence[Route]) -> Path:
    """Return the folder of the repository that imports are relative to."""
    for route in routes:
        for path in route.paths_of(app.path):
            above = route.root_of(path)
            parts = path.relative_to(above).parts if above is not None else ()
            if parts and app.path.parts[-len(parts) :] == parts:
                return Path(*app.path.parts[: -len(parts)])
    with contextlib.suppress(EditRefused):
        for root in import_roots(project, project.source(app.path)):
            return root
    folder, files = app.path.parent, set(project.files)
    while folder != Path() and folder / "__init__.py" in files:
        folder = folder.parent
    if folder != app.path.parent:
        return folder
    # A namespace package, unless the folder looks like one that is itself on the import path.
    marks = ("requirements.txt", "pyproject.toml", "Dockerfile", "Pipfile")
    is_root = (
        folder == Path() or folder.name == "src" or any(folder / each in files for each in marks)
    )
    return folder if is_root or not folder.name.isidentifier() else folder.parent


def module_name(project: Project, package: Path, import_name: str) -> str:
    """Return the first name that is free beside the application and in its tests."""
    files = set(project.files)
    folders = {parent for path in files for parent in path.parents}
    for name in _NAMES:
        path = package / name
        used = {path, tests_dir(import_name, name)} & folders
        if path.with_suffix(".py") not in files and not used:
            return name
    return _NAMES[0]


def service_name(project: Project) -> str:
    """Return the names of the repository and of the project's folder in it, as a service's name."""
    repository, folder = project.repository.name, project.root.name
    name = folder if project.repository == project.root else f"{repository}-{folder}"
    if folder.lower().startswith(repository.lower()):
        name = folder
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower())
    slug = re.sub(r"\A[^a-z]+", "", slug)
    return slug[-_MAX_NAME:].strip("-0123456789") if len(slug) > _MAX_NAME else slug.strip("-")
