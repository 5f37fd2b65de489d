"""Add the two lines that trace an application's requests: an import, and a call of instrument_app."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
import libcst.matchers as m

from .app_calls import AppCall, app_calls, enclosing, fastapi_subclasses
from .import_block import import_line
from .imports import module_for
from .project import Project
from .source import BOM, EditRefused, Insertion, Source

FUNCTION = "instrument_app"
_ALIAS = "instrument_honeycomb_app"


@dataclass(frozen=True)
class WiredServer:
    """The server's file with both lines."""

    path: Path
    app: AppCall
    content: bytes
    is_unchanged: bool
    """True if both lines were there before."""


def wire_server(project: Project, app: AppCall, module: str | None = None) -> WiredServer:
    """Return the server's file with both lines, which imports the observability package as `module`.

    Raises EditRefused, with a snippet to paste, if the edit would not be safe.
    """
    source = project.source(app.path)
    module = module or module_for(project, source)
    if app.obstacle:
        raise EditRefused(
            f"{app.path}:{app.line} creates the application, but {app.obstacle}. Add these lines:",
            snippet(module, app.name or "app", in_expression=not app.name),
        )
    if has_call(project, source):
        return WiredServer(app.path, app, source.content, is_unchanged=True)
    try:
        content = _with_lines(project, source, app, module)
    except EditRefused as refused:
        raise EditRefused(str(refused), refused.snippet or snippet(module, app.name)) from None
    return WiredServer(app.path, app, content, is_unchanged=False)


def snippet(module: str, name: str, *, in_expression: bool = False) -> str:
    """Return both lines, to paste."""
    lines = [f"from {module} import {FUNCTION}", ""]
    if in_expression:
        lines += ["app = FastAPI(...)", f"{FUNCTION}(app)  # before any other use"]
    else:
        lines += [f"{FUNCTION}({name})  # right after {name} = FastAPI(...)"]
    return "\n".join(lines)


def has_call(project: Project, source: Source) -> bool:
    """Return True if the file calls the module's `instrument_app`."""
    local = _imported_as(project, source)
    return local is not None and any(
        m.matches(call.func, m.Name(local)) for call in source.nodes(cst.Call)
    )


def _imported_as(project: Project, source: Source) -> str | None:
    found = _module_import(project, source)
    if found is None:
        return None
    node = found.body[0]
    assert isinstance(node, cst.ImportFrom) and not isinstance(node.names, cst.ImportStar)
    for alias in node.names:
        if source.code(alias.name) == FUNCTION:
            return source.code(alias.asname.name) if alias.asname else FUNCTION
    return None


def imported_module(project: Project, path: Path) -> str | None:
    """Return the name by which a wired file imports the observability package."""
    statement = _module_import(project, project.source(path))
    if statement is None:
        return None
    node = statement.body[0]
    assert isinstance(node, cst.ImportFrom)
    name = project.source(path).code(node.module) if node.module else ""
    return "." * len(node.relative) + name


def _module_import(project: Project, source: Source) -> cst.SimpleStatementLine | None:
    """Return the statement that imports `instrument_app` from the module."""
    for statement in source.nodes(cst.SimpleStatementLine):
        node = statement.body[0]
        if not isinstance(node, cst.ImportFrom) or isinstance(node.names, cst.ImportStar):
            continue
        module = source.code(node.module) if node.module else ""
        if module.split(".")[-1] == project.module_name and any(
            source.code(alias.name) == FUNCTION for alias in node.names
        ):
            return statement
    return None


def _with_lines(project: Project, source: Source, app: AppCall, module: str) -> bytes:
    used_names = {
        node.value for node in source.nodes(cst.Name) if not _is_attribute_or_keyword(source, node)
    }
    imported, local = FUNCTION, FUNCTION
    if FUNCTION in used_names:
        if _ALIAS in used_names:
            raise EditRefused(
                f"{app.path} already uses the names {FUNCTION} and {_ALIAS}. Add these lines with"
                " another name:",
                snippet(module, app.name),
            )
        imported, local = f"{FUNCTION} as {_ALIAS}", _ALIAS
    insertions = [
        import_line(project, source, app, module, imported),
        *_calls(project, source, app, local, module),
    ]
    return source.with_insertions(insertions)


def _is_attribute_or_keyword(source: Source, node: cst.Name) -> bool:
    """Return True if `node` names an attribute or a keyword argument, not a variable."""
    parent = source.parents.get(node)
    return (isinstance(parent, cst.Attribute) and parent.attr is node) or (
        isinstance(parent, cst.Arg) and parent.keyword is node
    )


def _calls(
    project: Project, source: Source, app: AppCall, local: str, module: str
) -> list[Insertion]:
    """Insert a call below each statement that creates the application."""
    same = [
        each
        for each in app_calls(source, fastapi_subclasses(project))
        if (each.name, each.function) == (app.name, app.function)
    ]
    for each in same:
        if each.obstacle:
            raise EditRefused(
                f"{each.path}:{each.line} also creates the application, but {each.obstacle}. Add"
                " these lines:",
                snippet(module, app.name),
            )
    block = _exhaustive_if(source, same)
    if block is not None:
        return [_line_below(source, block, f"{local}({app.name})")]
    return [
        _line_below(source, statement, f"{local}({app.name})")
        for statement in (enclosing(source, each.call, cst.SimpleStatementLine) for each in same)
        if statement is not None
    ]


def _exhaustive_if(source: Source, same: Sequence[AppCall]) -> cst.If | None:
    """Return the `if` statement in which every branch creates the application, if there is one."""
    if len(same) < 2:
        return None
    node = enclosing(source, same[0].call, cst.If)
    while isinstance(node, cst.If) and isinstance(source.parents.get(node), cst.If):
        node = source.parents[node]
    if not isinstance(node, cst.If):
        return None
    bodies: list[cst.BaseSuite] = []
    branch: cst.If | cst.Else | None = node
    while isinstance(branch, cst.If):
        bodies.append(branch.body)
        branch = branch.orelse
    if branch is None or len(same) != len(bodies) + 1:
        return None
    bodies.append(branch.body)
    creates = [
        any(source.start(body) <= source.start(each.call) < source.end(body) for each in same)
        for body in bodies
    ]
    return node if all(creates) else None


def _line_below(source: Source, statement: cst.CSTNode, text: str) -> Insertion:
    indentation = source.indentation(source.start(statement))
    return source.line_after(source.end(statement) - 1, indentation + text)


def unwire_server(project: Project, path: Path) -> bytes | None:
    """Return the file without the lines that `wire_server` adds, or None if it has none.

    Raises EditRefused if `wire_server` would not restore the file exactly.
    """
    source = project.source(path)
    local = _imported_as(project, source)
    statement = _module_import(project, source)
    if local is None or statement is None:
        return None
    calls = [
        _whole_line(source, line)
        for line in source.nodes(cst.SimpleStatementLine)
        if m.matches(line, m.SimpleStatementLine(body=[m.Expr(m.Call(func=m.Name(local)))]))
    ]
    import_span = _whole_line(source, statement)
    for blank in ("", "before", "after"):
        content = _without(source, calls, import_span, blank)
        without = project.having(path, content)
        for app in app_calls(without.source(path), fastapi_subclasses(project)):
            if app.obstacle:
                continue
            try:
                again = wire_server(without, app, imported_module(project, path)).content
            except EditRefused:
                continue
            if again == source.content:
                return content
    raise EditRefused(
        f"{path}:{source.line(statement)} was edited after it was wired. Remove these lines:",
        f"{source.code(statement)}\n{local}(...)",
    )


def _whole_line(source: Source, node: cst.CSTNode) -> tuple[int, int]:
    start, end = source.line_start(source.start(node)), source.line_end(source.end(node) - 1)
    if not source.utf8[:end].endswith(b"\n"):
        start -= len(source.newline)
    return start, end


def _without(
    source: Source,
    calls: Sequence[tuple[int, int]],
    import_span: tuple[int, int],
    blank: str,
) -> bytes:
    """Return the file without these spans, and without the blank line before or after the import."""
    start, end = import_span
    newline = source.newline.encode()
    if blank == "before" and source.utf8[:start].endswith(newline * 2):
        start -= len(newline)
    if blank == "after" and source.utf8[end:].startswith(newline):
        end += len(newline)
    result = source.utf8
    for first, last in sorted([*calls, (start, end)], reverse=True):
        result = result[:first] + result[last:]
    return (BOM if source.has_bom else b"") + result.decode().encode(source.encoding)
