"""Lay out the files of a container in a folder, as the application is imported there."""

import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from .app_calls import AppCall
from .project import Project
from .routes.container import ROOT, Container
from .routes.find import Route
from .server import imported_module
from .wiring import module_name

_MAX_FILE: Final = 5_000_000


class Layout(NamedTuple):
    """The files of a container."""

    folder: Path
    """The working directory."""
    paths: list[str]
    """The folders on the import path, besides those of the packages."""
    served: str
    """`module:name` that the start command serves; empty if that is not known."""
    module: str
    """The name of the application's module."""
    observability: str
    """The name of the observability module."""
    variables: dict[str, str]
    top: Path
    """The root of the file system."""
    """The environment variables of the image."""


@contextmanager
def laid_out(project: Project, app: AppCall, route: Route | None) -> Iterator[Layout]:
    """Yield the files of the container of `route`, in a temporary folder, or of the repository."""
    if route is None:
        root, name = _root_and_name(project, app)
        folder = root if (root / ".env").exists() else project.root
        yield Layout(folder, [str(root)], "", name, _absolute_module(project, app, name), {}, root)
        return
    container = route.container
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        for path, source in container.files.items():
            original = project.root / source
            if original.stat().st_size < _MAX_FILE:
                target = top / path.relative_to("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(original, target)
        folder = top / route.start.folder.relative_to("/")
        folder.mkdir(parents=True, exist_ok=True)
        _copy_settings(project, app, container, top, folder)
        roots = container.import_path(route.start)
        paths = [str(top / root.relative_to("/")) for root in roots]
        paths.append(str(_metadata(project, container, top)))
        name = _name_on(route, app)
        module = _absolute_module(project, app, name)
        variables = _variables(container, top)
        yield Layout(folder, paths, route.served, name, module, variables, top)


def _metadata(project: Project, container: Container, top: Path) -> Path:
    """Write the metadata of the repository's projects that are installed, and return their folder."""
    folder = top / ".metadata"
    for path in container.projects:
        data = tomllib.loads(project.text(path))
        table = {**data.get("tool", {}).get("poetry", {}), **data.get("project", {})}
        name, version = str(table.get("name", "")), str(table.get("version", "0"))
        file = folder / f"{re.sub(r'[-_.]+', '_', name)}-{version}.dist-info/METADATA"
        if name and not file.exists():
            file.parent.mkdir(parents=True)
            file.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


def _copy_settings(
    project: Project, app: AppCall, container: Container, top: Path, folder: Path
) -> None:
    """Copy the .env files, which git ignores: each beside the files of its folder, and one into the
    working directory."""
    places = {(path.parent, source.parent) for path, source in container.files.items()}
    copies = [(top / to.relative_to("/"), project.root / source) for to, source in sorted(places)]
    copies += [(folder, project.root / app.path.parent), (folder, project.root)]
    for to, source in copies:
        if (source / ".env").is_file() and not (to / ".env").exists():
            shutil.copy(source / ".env", to)


def _variables(container: Container, top: Path) -> dict[str, str]:
    """Return the variables of an image, with its folders as they are in `top`."""
    found = {}
    for name, text in container.variables.items():
        if "$" in text or name in ("PATH", "PYTHONPATH", "HOME"):
            continue
        is_path = PurePosixPath(text) in container.paths - {ROOT}
        found[name] = str(top / text.lstrip("/")) if is_path else text
    return found


def _name_on(route: Route, app: AppCall) -> str:
    """Return the name by which the application's file is imported in the container."""
    for path in route.paths_of(app.path):
        root = route.root_of(path)
        if root is not None:
            return _dotted(path.relative_to(root))
    return _dotted(app.path)


def _absolute_module(project: Project, app: AppCall, name: str) -> str:
    """Return the absolute name of the module that the application's file, imported as `name`, uses."""
    imported = imported_module(project, app.path) or module_name(project, app, [])
    if not imported.startswith("."):
        return imported
    dots = len(imported) - len(imported.lstrip("."))
    is_package = app.path.name == "__init__.py"
    parts = name.split(".")
    parts = parts[: len(parts) - dots + int(is_package)]
    return ".".join([*parts, imported.lstrip(".")])


def _root_and_name(project: Project, app: AppCall) -> tuple[Path, str]:
    """Return the folder that the application's file is imported from, and its name there."""
    imported = imported_module(project, app.path) or module_name(project, app, [])
    folder = project.module_dir.parts
    depth = (
        len(imported.split("."))
        if not imported.startswith(".")
        else 1 + len(project.import_name.split(".") if project.import_name else [])
    )
    base = Path(*folder[: len(folder) - depth])
    if app.path.is_relative_to(base):
        return project.root / base, _dotted(app.path.relative_to(base))
    return project.root, _dotted(app.path)


def _dotted(path: Path | PurePosixPath) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
