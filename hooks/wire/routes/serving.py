"""The application that a start command serves."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

import libcst as cst
import libcst.matchers as m

from ..app_calls import AppCall, imported_names
from ..project import Project
from ..source import EditRefused, Source
from .container import Container
from .shell import Start

_RUN: Final = re.compile(
    r"uvicorn\.(?:run|Config)\(\s*(?:app\s*=\s*)?(?:f?[\"']([^\"':]+):(\w+)[\"']|([A-Za-z_][\w.]*))"
    r"|(?<![\w.])run\(\s*[\"']([\w.]+):(\w+)[\"']"
)
_MAX_DEPTH: Final = 6


def served_app(
    project: Project, container: Container, start: Start, apps: Sequence[AppCall]
) -> tuple[AppCall, str] | None:
    """Return the one of `apps` that `start` serves in `container`, or None if that is not known.

    With it, return `module:name` of the served object; empty if importing it could run the server.
    """
    roots = container.import_path(start)
    for path, attribute, module in _targets(project, container, start, roots):
        found = follow(project, container, roots, path, attribute, apps)
        if found is not None:
            return found, f"{module}:{attribute}" if module else ""
    return None


def _targets(
    project: Project, container: Container, start: Start, roots: list[PurePosixPath]
) -> Iterator[tuple[PurePosixPath, str, str]]:
    """Yield the file and the variable or factory that `start` serves, and the name of its module."""
    if start.script:
        for name in _console_script(project, container, start.script):
            path = container.module(name, roots)
            if path is not None:
                yield from _run_in(project, container, path, roots)
    elif start.attribute == "*":
        path = container.served_file(start)
        if path in container.files:
            yield from ((path, each, "") for each in ("app", "api", "*"))
    elif start.file:
        path = container.find(start.file, start.folder)
        if path in container.files:
            yield from _run_in(project, container, path, roots)
    elif start.attribute:
        path = container.module(start.module, roots)
        if path is not None:
            is_handler = "LAMBDA_TASK_ROOT" in container.variables  # which may not be ASGI
            yield path, start.attribute, "" if is_handler else start.module
    else:
        for name in (f"{start.module}.__main__", start.module):
            path = container.module(name, roots)
            if path is not None:
                yield from _run_in(project, container, path, roots, name)


def _console_script(project: Project, container: Container, script: str) -> Iterator[str]:
    """Yield the module of the console script `script`."""
    for path, source in container.files.items():
        if path.name != "pyproject.toml":
            continue
        try:
            data = tomllib.loads(project.text(source))
        except tomllib.TOMLDecodeError:
            continue
        poetry = data.get("tool", {}).get("poetry", {}).get("scripts", {})
        target = {**poetry, **data.get("project", {}).get("scripts", {})}.get(script)
        if isinstance(target, str):
            yield target.partition(":")[0]


def _run_in(
    project: Project,
    container: Container,
    path: PurePosixPath,
    roots: list[PurePosixPath],
    name: str = "",
    *,
    is_imported: bool = False,
) -> Iterator[tuple[PurePosixPath, str, str]]:
    """Yield the applications that the file `path`, imported as `name`, runs with uvicorn: itself, or
    in a file that it imports."""
    text = project.text(container.files[path])
    matches = list(_RUN.finditer(text))
    if not matches and not is_imported:
        for other in _imported_files(project, container, path, roots):
            yield from _run_in(project, container, other, roots, is_imported=True)
    for match in matches:
        module, attribute = match[1] or match[4], match[2] or match[5]
        if match[3]:
            module, _, attribute = match[3].rpartition(".")
        found = container.module(module, roots) if module and "{" not in module else path
        if match[3] and module:
            found = path
            attribute = match[3]
        if found is None:
            continue
        # A file that runs the server while it is imported cannot be imported for a check.
        is_safe = found != path or ("__name__" in text and "." not in attribute)
        yield found, attribute, (module or name) if is_safe else ""


def _imported_files(
    project: Project, container: Container, path: PurePosixPath, roots: list[PurePosixPath]
) -> Iterator[PurePosixPath]:
    """Yield the files of the repository that the file `path` imports names from."""
    try:
        source = project.source(container.files[path])
    except EditRefused:
        return
    for module, imported, _ in imported_names(source):
        dots = len(module) - len(module.lstrip("."))
        folders = [path.parents[dots - 1]] if 0 < dots <= len(path.parents) else roots
        for target in (f"{module}.{imported}", module):
            file = container.module(target.strip("."), folders) if target.strip(".") else None
            if file is not None:
                yield file
                break


def follow(
    project: Project,
    container: Container,
    roots: list[PurePosixPath],
    path: PurePosixPath,
    attribute: str,
    apps: Sequence[AppCall],
    depth: int = 0,
) -> AppCall | None:
    """Return the application that `attribute` of the file `path` is, through imports and factories."""
    file = container.files.get(path)
    if file is None or depth > _MAX_DEPTH:
        return None
    here = [each for each in apps if each.path == file]
    for each in here:
        if (each.name == attribute and not each.function) or each.function == attribute:
            return each
    if attribute == "*":
        return next((each for each in here if not each.function), None)
    try:
        source = project.source(file)
    except EditRefused:
        return None
    for name in _values(source, attribute):
        found = _imported(project, container, roots, path, source, name, apps, depth)
        if found is None and name != attribute:
            found = follow(project, container, roots, path, name, apps, depth + 1)
        if found is not None:
            return found
    return None


def _values(source: Source, attribute: str) -> Iterator[str]:
    """Yield `attribute`, and the names in the expressions that are assigned to it or returned by it."""
    yield attribute
    assignments: list[cst.Assign | cst.AnnAssign] = [
        *source.nodes(cst.Assign),
        *source.nodes(cst.AnnAssign),
    ]
    for node in assignments:
        targets = (
            [each.target for each in node.targets]
            if isinstance(node, cst.Assign)
            else [node.target]
        )
        if node.value is not None and any(m.matches(each, m.Name(attribute)) for each in targets):
            yield from _names(source, node.value)
    for function in source.nodes(cst.FunctionDef):
        if function.name.value == attribute:
            for each in source.nodes(cst.Return, function):
                if each.value is not None:
                    yield from _names(source, each.value)


def _names(source: Source, value: cst.BaseExpression) -> Iterator[str]:
    if isinstance(value, cst.Call):
        yield source.code(value.func)
        for argument in value.args:
            yield from _names(source, argument.value)
    elif isinstance(value, cst.Name | cst.Attribute):
        yield source.code(value)


def _imported(
    project: Project,
    container: Container,
    roots: list[PurePosixPath],
    path: PurePosixPath,
    source: Source,
    name: str,
    apps: Sequence[AppCall],
    depth: int,
) -> AppCall | None:
    """Return the application that `name` is, if the file imports it."""
    head, _, rest = name.partition(".")
    for module, imported, local in imported_names(source):
        if local not in (head, name.rpartition(".")[0]):
            continue
        dots = len(module) - len(module.lstrip("."))
        folders = [path.parents[dots - 1]] if 0 < dots <= len(path.parents) else roots
        module = module.lstrip(".")
        # The name is in the module, or it is itself a module.
        candidates = [
            (module, imported or name.rpartition(".")[2]),
            (f"{module}.{imported}".strip("."), rest),
        ]
        for target, attribute in candidates:
            if not attribute:
                continue
            file = (
                container.module(target, folders)
                if target
                else next((f for f in (folders[0] / "__init__.py",) if f in container.files), None)
            )
            if file is not None:
                found = follow(project, container, roots, file, attribute, apps, depth + 1)
                if found is not None:
                    return found
    return None
