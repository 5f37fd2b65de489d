"""Make the module and its packages part of each route to production, or name what is missing."""

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .dependency_file import DependencyFile, inline_dependencies, read_dependency_file
from .modal_image import Requirements
from .plan import Plan, Step
from .project import Project
from .routes.build_context import not_ignored
from .routes.container import Container, Installed, normal
from .routes.find import Route
from .source import EditRefused, Source

_OLDEST_PYTHON: Final = (3, 11)


def refuse_old_python(routes: Sequence[Route]) -> list[Step]:
    """Return a step for each route on a Python that the module does not support.

    Raises EditRefused if that is true of all routes whose Python is known.
    """
    known = [route.container for route in routes if route.container.python is not None]
    old = [each for each in known if each.python and each.python < _OLDEST_PYTHON]
    texts = [
        f"{each.python_place} runs Python {'.'.join(map(str, each.python or ()))}; the module requires"
        " 3.11 or later."
        for each in old
    ]
    if old and len(old) == len(known):
        raise EditRefused(f"{texts[0]} Upgrade Python there, then run this again.")
    return [Step(f"{text} Upgrade Python there.") for text in dict.fromkeys(texts)]


def importable_name(
    project: Project, source: Source, preferred: str, routes: Sequence[Route]
) -> str:
    """Return the name by which `source` imports the module on most routes: `preferred`, if it does."""
    depth = len(source.path.parent.parts) - len(project.package_dir.parts)
    names = [preferred, project.module]
    if source.path.parent.is_relative_to(project.package_dir):
        names.append("." * (depth + 1) + project.module_name)
    parts = project.module_dir.parts
    names += [".".join(parts[index:]) for index in range(len(parts))]
    names = [each for each in dict.fromkeys(names) if re.fullmatch(r"\.*[A-Za-z_][\w.]*", each)]
    return max(
        names, key=lambda name: sum(imports(project, route, source, name) for route in routes)
    )


def imports(project: Project, route: Route, source: Source, name: str) -> bool:
    """Return True if `from name import ...` in `source` imports the module on `route`."""
    container = route.container
    return any(
        container.files.get(path) == project.module_dir / "__init__.py"
        for path in _module_paths(container, route, source.path, name)
    )


def _module_paths(
    container: Container, route: Route, file: Path, name: str
) -> Iterator[PurePosixPath]:
    """Yield the paths that `from name import ...` in `file` looks at."""
    roots = container.import_path(route.start)
    if not name.startswith("."):
        for root in roots:
            yield root.joinpath(*name.split("."), "__init__.py")
        return
    dots = len(name) - len(name.lstrip("."))
    for path in route.paths_of(file):
        # The package that contains both has to be below the import path.
        if (
            dots < len(path.parents)
            and path.parents[dots - 1] not in roots
            and any(path.is_relative_to(root) for root in roots)
        ):
            yield path.parents[dots - 1].joinpath(*name.lstrip(".").split("."), "__init__.py")


def ship_module(plan: Plan, route: Route, file: Path, name: str) -> None:
    """Add the module to the image of `route`, whose `file` imports it as `name`."""
    project, container = plan.project, route.container
    source = project.source(file)
    if imports(project, route, source, name) or container.unknown:
        return
    if container.context is None:
        raise EditRefused(
            f"{route.place} does not find the module, {project.module_dir}, as {name}."
        )
    path = project.relative(project.module_dir, container.context)
    copied = next(
        (container.copies[each] for each in route.paths_of(file) if each in container.copies),
        None,
    )
    targets = [each.parent for each in _module_paths(container, route, file, name)]
    target = next((each for each in targets if each.parent in container.folders), None)
    if container.ignore and path and _ignores(project, container.ignore, path):
        raise EditRefused(
            f"{container.ignore} excludes {project.module_dir} from the image. Add this line at its end:",
            f"!{path}",
        )
    if path is None or copied is None or target is None or not copied.last_line:
        where = copied.place if copied else route.place
        raise EditRefused(
            f"{where} does not copy {project.module_dir} into the image, and {file} imports it as"
            f" {name}. Copy it beside the files that it needs.",
        )
    shown = (
        target.relative_to(container.folder) if target.is_relative_to(container.folder) else target
    )
    line = f"COPY {path} {'./' if not shown.is_absolute() else ''}{shown}"
    dockerfile = copied.place.path
    content = project.content(dockerfile)
    if line.encode() in content:
        return
    lines = content.decode().splitlines(keepends=True)
    newline = "\r\n" if "\r\n" in content.decode() else "\n"
    if not lines[copied.last_line - 1].endswith("\n"):
        line = f"{newline}{line}".removesuffix(newline)
    if not re.match(r"\s*(?:COPY|ADD)\b", lines[copied.place.line - 1], re.IGNORECASE):
        raise EditRefused(
            f"{dockerfile} lacks the module. Add this below the line that copies {file}:", line
        )
    lines.insert(copied.last_line, line + newline)
    plan.edit(dockerfile, "".join(lines).encode(), "add", line.strip())


def ship_packages(plan: Plan, route: Route, requirements: Requirements) -> None:
    """Add the packages to a Dockerfile that installs FastAPI by name.

    Raises EditRefused if the route's packages are not found, or installed in another way.
    """
    if route.container.context is None:
        return
    found = dependency_files(plan.project, route)
    for each, file in found:
        if file.kind != "inline" or not file.has_fastapi:
            continue
        missing = [
            need
            for need in requirements(file)
            if canonicalize_name(Requirement(need).name) not in file.names
        ]
        if missing:
            _install_inline(plan, each, missing)
    if not found:
        raise EditRefused(
            f"{route.name} installs packages in a way that is not understood. Install these too:",
            "\n".join(requirements(inline_dependencies(route.place.path, ()))),
        )


def _install_inline(plan: Plan, installed: Installed, missing: Sequence[str]) -> None:
    path, line = installed.place.path, installed.place.line
    lines = plan.project.content(path).decode().splitlines(keepends=True)
    package = next(each for each in installed.command.packages if _is_fastapi(each))
    added = " ".join(f'"{each}"' for each in missing)
    for number in range(line - 1, min(line + 40, len(lines))):
        text = lines[number]
        if added in text:
            return
        match = re.search(rf"(?<=\s)[\"']?{re.escape(package)}", text)
        if (
            match
            and not text.lstrip().startswith("#")
            and not re.search(r"-c\s+[\"']|\[\s*\"", text)
        ):
            lines[number] = f"{text[: match.start()]}{added} {text[match.start() :]}"
            plan.edit(path, "".join(lines).encode(), "add", ", ".join(missing))
            return
    raise EditRefused(f"{installed.place} installs packages. Add these to it:", added)


def _is_fastapi(requirement: str) -> bool:
    return inline_dependencies(Path(), [requirement]).has_fastapi


def _ignores(project: Project, ignore: Path, path: str) -> bool:
    name = PurePosixPath(path) / "__init__.py"
    return not not_ignored({name: Path(path)}, project.text(ignore))


def dependency_files(project: Project, route: Route) -> list[tuple[Installed, DependencyFile]]:
    """Return the lists of packages that `route` installs and that contain FastAPI.

    If none does, return all of them.
    """
    found: list[tuple[Installed, DependencyFile]] = []
    for each in route.container.installed:
        for path in [*each.files, *_workspace_members(project, each)]:
            for file in _with_included(project, path, set()):
                found.append((each, file))
        if each.command.packages:
            found.append((each, inline_dependencies(each.place.path, each.command.packages)))
    with_fastapi = [(each, file) for each, file in found if file.has_fastapi]
    return with_fastapi or [(each, file) for each, file in found if not each.command.packages]


def _workspace_members(project: Project, installed: Installed) -> list[Path]:
    """Return the pyproject.toml files of the members of uv workspaces that a command installs."""
    found: list[Path] = []
    for path in installed.files:
        if path.name != "pyproject.toml" or "[tool.uv.workspace]" not in project.text(path):
            continue
        uv = tomllib.loads(project.text(path))["tool"]["uv"]
        for pattern in uv["workspace"].get("members", []):
            members = path.parent / pattern / "pyproject.toml"
            found += [each for each in project.repository_files if each.match(str(members))]
    return _required_members(project, found, installed.command.members)


def _required_members(
    project: Project, members: Sequence[Path], chosen: Collection[str]
) -> list[Path]:
    """Return the chosen `members` of a workspace, and those that they depend on; all by default."""
    tables = {path: tomllib.loads(project.text(path)).get("project", {}) for path in members}
    named = {canonicalize_name(str(table.get("name", ""))): path for path, table in tables.items()}
    wanted = [canonicalize_name(name) for name in chosen]
    for name in wanted:
        for line in tables[named[name]].get("dependencies", []) if name in named else ():
            required = canonicalize_name(Requirement(line).name)
            if required not in wanted:
                wanted.append(required)
    return [path for name, path in named.items() if name in wanted or not wanted]


def _with_included(project: Project, path: Path, seen: set[Path]) -> Iterator[DependencyFile]:
    """Yield a dependency file, and the requirements files that it includes."""
    if path.name == "pyproject.toml":
        setuptools = tomllib.loads(project.text(path)).get("tool", {}).get("setuptools", {})
        dynamic = setuptools.get("dynamic", {}).get("dependencies", {}).get("file", [])
        for name in [dynamic] if isinstance(dynamic, str) else dynamic:
            yield from _with_included(project, path.parent / name, seen)
    file = read_dependency_file(project, path)
    if file is None or path in seen:
        return
    seen.add(path)
    yield file
    if file.kind == "requirements":
        for name in re.findall(r"(?m)^(?:-r|--requirement)[ =]*(\S+)", project.text(path)):
            yield from _with_included(project, Path(os.path.normpath(path.parent / name)), seen)


def describe(project: Project, route: Route, name: str) -> str:
    """Return a sentence about the route: what starts, with which Python, module and packages."""
    container = route.container
    python = f" with Python {'.'.join(map(str, container.python))}" if container.python else ""
    text = f"{route.place} starts {route.app.label}{python}"
    source = project.source(route.app.path)
    place = next(
        (path.parent for path in _module_paths(container, route, source.path, name)
         if container.files.get(normal(path)) == project.module_dir / "__init__.py"),
        None,
    )  # fmt: skip
    if place is not None:
        text += f"; the module is at {place}"
    files = [
        str(file.path) for _, file in dependency_files(project, route) if file.kind != "inline"
    ]
    if files:
        text += f"; packages from {', '.join(dict.fromkeys(files))}"
    return text


def unshipped(project: Project, app: str, unknown: Sequence[object]) -> str:
    """Return the note for the user if no route serves the application."""
    commands = ", ".join(str(each) for each in unknown[:3])
    reason = (
        f"The start command at {commands} is not understood"
        if unknown
        else f"No Dockerfile, compose file, Procfile or Modal function that starts {app} was found"
    )
    return (
        f"{reason}, so the deployment was not checked. It must install the packages and contain"
        f" {project.module_dir}."
    )
