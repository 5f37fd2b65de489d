"""Find the Modal functions that serve an application."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
import libcst.matchers as m

from .app_calls import AppCall, enclosing, imported_names, is_module
from .project import Project
from .source import Source

_SERVING_NAME = m.Name(m.MatchRegex(r"(?:asgi_app|web_server)\Z"))
_SERVING = _SERVING_NAME | m.Attribute(attr=_SERVING_NAME)
_SERVER = re.compile(
    r"\b(?:uvicorn|gunicorn|hypercorn|granian)\b.*?(?<![\w.])([A-Za-z_][\w.]*):([A-Za-z_]\w*)",
    re.DOTALL,
)
"""The command of a server, in a string or a list, and the application that it serves."""
_CALLED = m.Attribute(attr=m.Name("function")) | m.Attribute(attr=m.Name("method"))
_WEB = ("asgi_app", "wsgi_app", "fastapi_endpoint", "web_endpoint", "web_server")


@dataclass(frozen=True)
class ModalFunction:
    """A function with Modal's `asgi_app` decorator, or with `web_server`, which starts a server."""

    path: Path
    node: cst.FunctionDef
    returned: frozenset[tuple[str, str]]
    """The returned or served objects: the module of each, or empty, and its name there."""


def modal_functions(project: Project) -> list[ModalFunction]:
    """Return each function of the repository that serves an application."""
    if "modal_functions" not in project.results:
        project.results["modal_functions"] = [
            ModalFunction(source.path, function, frozenset(_returned(source, function)))
            for source in project.sources_containing(b"asgi_app", b"web_server")
            for function in source.nodes(cst.FunctionDef)
            if any(m.matches(_callee(each.decorator), _SERVING) for each in function.decorators)
        ]
    found: list[ModalFunction] = project.results["modal_functions"]
    return found


def workers(project: Project) -> list[ModalFunction]:
    """Return each function and method that other functions or a schedule call, and no request."""
    return [
        ModalFunction(source.path, function, frozenset())
        for source in project.sources_containing(b".function(", b".method(")
        for function in source.nodes(cst.FunctionDef)
        if any(m.matches(_callee(each.decorator), _CALLED) for each in function.decorators)
        and not any(
            source.code(_callee(each.decorator)).rpartition(".")[2] in _WEB
            for each in function.decorators
        )
    ]


def modal_app(project: Project, function: ModalFunction) -> tuple[Path, str] | None:
    """Return the file and the name of the `modal.App` that the function belongs to."""
    source = project.source(function.path)
    call = decorator(source, function.node)
    if call is None:
        return None
    owner, _, name = source.code(call.func).rpartition(".")[0].rpartition(".")
    for module, imported, local in imported_names(source):
        if local == (owner or name):
            # The name of the App, or the module that has it.
            modules = [module, f"{module}.{imported}"] if owner else [module]
            for path in project.modules:
                if any(is_module(path, each.strip(".")) for each in modules if each.strip(".")):
                    return path, name if owner else imported
    return source.path, name


def called_apps(project: Project) -> set[str]:
    """Return the names of the Apps whose functions the code looks up with `from_name`."""
    return {
        text
        for source in project.sources_containing(b".from_name(")
        for call in source.nodes(cst.Call)
        if re.search(r"\b(?:Function|Cls)\.from_name$", source.code(call.func))
        for text in _first_string(call)
    }


def app_name(project: Project, path: Path, name: str) -> str:
    """Return the name in Modal of the `modal.App` that the variable `name` of the file is."""
    for node in project.source(path).nodes(cst.Assign):
        if any(m.matches(each.target, m.Name(name)) for each in node.targets) and isinstance(
            node.value, cst.Call
        ):
            return "".join(_first_string(node.value))
    return ""


def _first_string(call: cst.Call) -> list[str]:
    values = [each.value for each in call.args[:1] if isinstance(each.value, cst.SimpleString)]
    return [str(value.evaluated_value) for value in values]


def legacy_file(project: Project) -> Path | None:
    """Return a file that uses `modal.Stub`, from before Modal 1.0, if there is one."""
    for source in project.sources_containing(b"Stub("):
        names = {
            (f"{local}.Stub" if not name else local)
            for module, name, local in imported_names(source)
            if module == "modal" and name in ("", "Stub")
        }
        if re.search(r"(?m)^from modal import \*", source.text):
            names.add("Stub")
        if any(source.code(call.func) in names for call in source.nodes(cst.Call)):
            return source.path
    return None


def served_apps(project: Project) -> list[tuple[Path, str]]:
    """Return the file and the variable or factory of each application that Modal serves."""
    apps: list[tuple[Path, str]] = []
    for function in modal_functions(project):
        for module, name in function.returned:
            if not module:
                apps.append((function.path, name))
            apps += [(path, name) for path in project.modules if module and is_module(path, module)]
    return apps


def serves(project: Project, function: ModalFunction, app: AppCall) -> bool:
    """Return True if `function` serves `app`."""
    source = project.source(function.path)
    if function.path == app.path:
        start, end = source.start(function.node), source.end(function.node)
        if start <= project.source(app.path).start(app.call) < end:
            return True
        if any(
            not module and name in (app.name, app.function) for module, name in function.returned
        ):
            return True
    return any(module and is_module(app.path, module) for module, _ in function.returned)


def decorator(source: Source, function: cst.FunctionDef) -> cst.Call | None:
    """Return `@app.function(...)` of the function, or `@app.cls(...)` of its class."""
    kind = "function"
    decorators = function.decorators
    parent = enclosing(source, function, (cst.ClassDef, cst.FunctionDef))
    if isinstance(parent, cst.ClassDef):
        kind, decorators = "cls", parent.decorators
    for each in decorators:
        call = each.decorator
        if isinstance(call, cst.Call) and m.matches(call.func, m.Attribute(attr=m.Name(kind))):
            return call
    return None


def _callee(node: cst.BaseExpression) -> cst.BaseExpression:
    return node.func if isinstance(node, cst.Call) else node


def _returned(source: Source, function: cst.FunctionDef) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of the objects that `function` returns, calls and returns, or starts a
    server for."""
    for match in _SERVER.finditer(source.code(function.body)):
        yield match[1], match[2]
    imported: dict[str, tuple[str, str]] = {}
    for module, name, local in imported_names(source):
        module = module.lstrip(".")
        if name and module:
            imported[local] = (module, name)
        else:
            # A module, imported by `import module` or `from . import module`.
            imported[local] = (name or module, "app")
    for node in source.nodes(cst.Return, function):
        if node.value is None:
            continue
        value = _callee(node.value)
        if isinstance(value, cst.Attribute) and isinstance(value.value, cst.Name):
            if value.value.value in imported:
                module, name = imported[value.value.value]
                yield f"{module}.{name}" if name != "app" else module, value.attr.value
                yield module, value.attr.value
        elif isinstance(value, cst.Name):
            yield imported.get(value.value, ("", value.value))
