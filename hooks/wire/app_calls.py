"""Find the calls that create FastAPI applications."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import libcst as cst

from .project import Project
from .source import Source

_SUBCLASS = re.compile(rb"\bclass\s+\w+\s*\([^)]*\bFastAPI\b")
_FASTAPI_MODULES = ("fastapi", "fastapi.applications")


@dataclass(frozen=True)
class AppCall:
    """A call that creates a FastAPI application, such as `app = FastAPI()`."""

    path: Path
    line: int
    call: cst.Call
    name: str
    """The variable that it is assigned to; empty if there is none."""
    function: str
    """The enclosing function; empty at module level."""
    obstacle: str = ""
    """The reason why no line can be inserted after it; empty if one can."""

    @property
    def label(self) -> str:
        file = self.path.parent if self.path.stem == "__init__" else self.path.with_suffix("")
        return f"{'.'.join(file.parts)}:{self.name or self.function}"

    @property
    def identity(self) -> str:
        """A value of `--app` that no other application has, unlike `label`."""
        if not (self.name and self.function):
            return self.label
        return f"{self.label.removesuffix(self.name)}{self.function}.{self.name}"


def app_calls(source: Source, subclasses: frozenset[str] = frozenset()) -> list[AppCall]:
    """Return each call of FastAPI, or of one of its `subclasses`, in source order."""
    names, modules = _fastapi_names(source, subclasses)
    found = [
        _app_call(source, call)
        for call in source.nodes(cst.Call)
        if _is_fastapi(call.func, names, modules)
    ]
    return sorted(found, key=lambda each: source.start(each.call))


def all_app_calls(project: Project) -> list[AppCall]:
    """Return every call in the repository, including those that cannot be wired."""
    if "app_calls" not in project.results:
        subclasses = fastapi_subclasses(project)
        # Many files import FastAPI without creating an application.
        names = "|".join([r"\bFastAPI(?:\s*\(|\s+as\b)", *map(re.escape, subclasses)])
        project.results["app_calls"] = [
            call
            for source in project.sources_matching(re.compile(names.encode()))
            for call in app_calls(source, subclasses)
        ]
    found: list[AppCall] = project.results["app_calls"]
    return found


def fastapi_subclasses(project: Project) -> frozenset[str]:
    """Return the names of FastAPI's subclasses in the repository."""
    found: set[str] = set()
    for source in project.sources_matching(_SUBCLASS):
        names, modules = _fastapi_names(source, frozenset())
        found |= {
            node.name.value
            for node in source.nodes(cst.ClassDef)
            if any(_is_fastapi(base.value, names, modules) for base in node.bases)
        }
    return frozenset(found)


def is_module(path: Path, module: str) -> bool:
    """Return True if `import module` may import the file `path`."""
    parts = module.split(".")
    stem = path.with_suffix("").parts
    if stem[-1] == "__init__":
        stem = stem[:-1]
    return len(parts) <= len(stem) and list(stem[-len(parts) :]) == parts


@cache
def imported_names(source: Source) -> tuple[tuple[str, str, str], ...]:
    """Return (module, name, local name) of each import; the name is empty for `import module`.

    The module is empty for `from . import name`. Star imports are left out.
    """
    return tuple(_imported_names(source))


def _imported_names(source: Source) -> Iterator[tuple[str, str, str]]:
    nodes: list[cst.Import | cst.ImportFrom] = [
        *source.nodes(cst.Import),
        *source.nodes(cst.ImportFrom),
    ]
    for node in nodes:
        if isinstance(node.names, cst.ImportStar):
            continue
        for alias in node.names:
            name = source.code(alias.name)
            local = source.code(alias.asname.name) if alias.asname else name
            if isinstance(node, cst.Import):
                yield name, "", local
            else:
                module = source.code(node.module) if node.module else ""
                yield "." * len(node.relative) + module, name, local


def enclosing(
    source: Source, node: cst.CSTNode, kinds: type | tuple[type, ...]
) -> cst.CSTNode | None:
    """Return the innermost parent of `node` that is one of `kinds`."""
    parent = source.parents.get(node)
    while parent is not None and not isinstance(parent, kinds):
        parent = source.parents.get(parent)
    return parent


def _fastapi_names(source: Source, subclasses: frozenset[str]) -> tuple[set[str], set[str]]:
    """Return the local names of FastAPI and its subclasses, and of the module fastapi."""
    names: set[str] = set()
    modules: set[str] = set()
    for module, name, local in imported_names(source):
        if not name:
            if module in _FASTAPI_MODULES:
                modules.add(local)
        elif (module in _FASTAPI_MODULES and name == "FastAPI") or (
            name in subclasses and module != "fastapi"
        ):
            names.add(local)
    classes = source.nodes(cst.ClassDef)
    before = -1
    while len(names) > before:
        before = len(names)
        for node in classes:
            if any(_is_fastapi(base.value, names, modules) for base in node.bases):
                names.add(node.name.value)
    return names, modules


def _is_fastapi(node: cst.BaseExpression, names: set[str], modules: set[str]) -> bool:
    if isinstance(node, cst.Name):
        return node.value in names
    return (
        isinstance(node, cst.Attribute)
        and node.attr.value == "FastAPI"
        and cst.Module([]).code_for_node(node.value) in modules
    )


def _app_call(source: Source, call: cst.Call) -> AppCall:
    function = enclosing(source, call, (cst.FunctionDef, cst.ClassDef))
    name, obstacle = _assigned_to(source, call)
    if isinstance(function, cst.ClassDef) and not obstacle:
        obstacle = "it is created in a class body"
    return AppCall(
        path=source.path,
        line=source.line(call),
        call=call,
        name=name,
        function=function.name.value if isinstance(function, cst.FunctionDef) else "",
        obstacle=obstacle,
    )


def _assigned_to(source: Source, call: cst.Call) -> tuple[str, str]:
    """Return the variable that `call` is assigned to, and the obstacle to a line after it."""
    statement = source.parents[call]
    if isinstance(statement, cst.Assign) and len(statement.targets) >= 1:
        target: cst.BaseExpression = statement.targets[0].target
    elif isinstance(statement, cst.AnnAssign):
        target = statement.target
    elif isinstance(statement, cst.Return):
        return "", "it is returned directly"
    elif isinstance(statement, cst.IfExp):
        return "", "it is created in a conditional expression"
    elif isinstance(statement, cst.Arg):
        return "", "it is passed directly to another call"
    else:
        return "", "it is created within an expression"
    if not isinstance(target, cst.Name):
        return source.code(target), "it is not assigned to a plain variable"
    line = source.parents[statement]
    if not isinstance(line, cst.SimpleStatementLine):
        return target.value, "it is on the same line as its `if` or `with`"
    return target.value, ""
