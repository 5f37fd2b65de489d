"""The two lines that trace the requests of an application: an import, and a call after it is made."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
import libcst.matchers as m

from .find import Creation, creations, enclosing, subclasses_of
from .imports import import_line, module_for
from .project import Project
from .source import Insertion, Refused, Source

FUNCTION = "instrument_app"
_ALIAS = "instrument_honeycomb_app"


@dataclass(frozen=True)
class ServerLines:
    """What is there, or goes there."""

    path: Path
    app: Creation
    content: bytes
    """The file with both lines in it; as it is where they are there already."""
    is_there: bool


def wire_server(project: Project, app: Creation) -> ServerLines:
    """The server's file with both lines. Raises Refused, with what to paste, where it dares not."""
    source = project.source(app.path)
    module = module_for(project, source, app.path)
    if app.why_not:
        raise Refused(
            f"{app.path}:{app.line} makes the application, but {app.why_not}: put these lines in yourself.",
            snippet(module, app.name or "app", in_expression=not app.name),
        )
    if has_call(source):
        return ServerLines(app.path, app, source.content, is_there=True)
    try:
        return ServerLines(app.path, app, _with_lines(project, source, app, module), is_there=False)
    except Refused as refused:
        raise Refused(str(refused), refused.snippet or snippet(module, app.name)) from None


def snippet(module: str, name: str, *, in_expression: bool = False) -> str:
    """Both lines, for a user to paste."""
    lines = [f"from {module} import {FUNCTION}", ""]
    if in_expression:
        lines += ["app = FastAPI(...)", f"{FUNCTION}(app)  # before anything else is done with it"]
    else:
        lines += [f"{FUNCTION}({name})  # right after {name} = FastAPI(...)"]
    return "\n".join(lines)


def has_call(source: Source) -> bool:
    """Whether the file traces an application with the module already."""
    local = _imported_as(source)
    return local is not None and bool(m.findall(source.module, m.Call(func=m.Name(local))))


def _imported_as(source: Source) -> str | None:
    found = _our_import(source)
    if found is None:
        return None
    node = found.body[0]
    assert isinstance(node, cst.ImportFrom) and not isinstance(node.names, cst.ImportStar)
    for alias in node.names:
        if source.code(alias.name) == FUNCTION:
            return source.code(alias.asname.name) if alias.asname else FUNCTION
    return None


def _our_import(source: Source) -> cst.SimpleStatementLine | None:
    for statement in m.findall(source.module, m.SimpleStatementLine(body=[m.ImportFrom()])):
        assert isinstance(statement, cst.SimpleStatementLine)
        node = statement.body[0]
        if not isinstance(node, cst.ImportFrom) or isinstance(node.names, cst.ImportStar):
            continue
        module = source.code(node.module) if node.module else ""
        if module.split(".")[-1] == "observability" and any(
            source.code(alias.name) == FUNCTION for alias in node.names
        ):
            return statement
    return None


def _with_lines(project: Project, source: Source, app: Creation, module: str) -> bytes:
    taken = {
        node.value
        for node in m.findall(source.module, m.Name())
        if isinstance(node, cst.Name) and not _is_part_of_another(source, node)
    }
    imported, local = FUNCTION, FUNCTION
    if FUNCTION in taken:
        if _ALIAS in taken:
            raise Refused(
                f"{app.path} uses the names {FUNCTION} and {_ALIAS} for something else: put these lines"
                " in yourself, with another name.",
                snippet(module, app.name),
            )
        imported, local = f"{FUNCTION} as {_ALIAS}", _ALIAS
    insertions = [
        import_line(
            source,
            _local_import(source, app),
            source.code(app.call.func).split(".")[0],
            module,
            imported,
        ),
        *_calls(project, source, app, local),
    ]
    return source.with_insertions(insertions)


def _is_part_of_another(source: Source, node: cst.Name) -> bool:
    """Whether it is no name of this scope, but that of an attribute or of an argument."""
    parent = source.parents.get(node)
    return (isinstance(parent, cst.Attribute) and parent.attr is node) or (
        isinstance(parent, cst.Arg) and parent.keyword is node
    )


def _local_import(source: Source, app: Creation) -> cst.CSTNode | None:
    """The import of FastAPI in the function that `app` is made in, where it is there."""
    function = enclosing(source, app.call, cst.FunctionDef)
    while function is not None:
        for node in m.findall(function, m.ImportFrom() | m.Import()):
            names = source.code(node)
            if re.search(r"\bfastapi\b", names):
                return enclosing(source, node, cst.SimpleStatementLine)
        function = enclosing(source, function, cst.FunctionDef)
    return None


def _calls(project: Project, source: Source, app: Creation, local: str) -> list[Insertion]:
    same = [
        each
        for each in creations(source, _subclasses(project))
        if (each.name, each.function) == (app.name, app.function)
    ]
    for each in same:
        if each.why_not:
            raise Refused(
                f"{each.path}:{each.line} makes the application too, but {each.why_not}: put these"
                " lines in yourself.",
                snippet(module_for(project, source, app.path), app.name),
            )
    block = _block_of_all(source, same)
    if block is not None:
        return [_line_below(source, block, f"{local}({app.name})")]
    return [
        _line_below(source, statement, f"{local}({app.name})")
        for statement in (enclosing(source, each.call, cst.SimpleStatementLine) for each in same)
        if statement is not None
    ]


def _block_of_all(source: Source, same: Sequence[Creation]) -> cst.If | None:
    """The `if` of which every branch makes the application, where there is one."""
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
    makes = [
        any(source.start(body) <= source.start(each.call) < source.end(body) for each in same)
        for body in bodies
    ]
    return node if all(makes) else None


def _line_below(source: Source, statement: cst.CSTNode, text: str) -> Insertion:
    indentation = source.indentation(source.start(statement))
    return source.line_after(source.end(statement) - 1, indentation + text)


def unwire_server(project: Project, path: Path) -> bytes | None:
    """The file without the lines that `wire` puts in; None where they are not there.

    Raises Refused where what is left is not what `wire` would make those lines from.
    """
    source = project.source(path)
    local = _imported_as(source)
    statement = _our_import(source)
    if local is None or statement is None:
        return None
    spans = [
        _whole_line(source, line)
        for line in m.findall(
            source.module, m.SimpleStatementLine(body=[m.Expr(m.Call(func=m.Name(local)))])
        )
    ]
    spans.append(_whole_line(source, statement))
    for blank_before in (False, True):
        content = _less(source, spans, blank_before)
        without = project.having(path, content)
        for app in creations(without.source(path), _subclasses(project)):
            if app.why_not:
                continue
            try:
                again = wire_server(without, app).content
            except Refused:
                continue
            if again == source.content:
                return content
    raise Refused(
        f"{path}:{source.line(statement)} is not as it was put in: take these lines out yourself.",
        f"{source.code(statement)}\n{local}(...)",
    )


def _subclasses(project: Project) -> frozenset[str]:
    found: set[str] = set()
    for path in project.containing(b"(FastAPI)", b".FastAPI)"):
        try:
            found |= subclasses_of(project.source(path))
        except Refused:
            continue
    return frozenset(found)


def _whole_line(source: Source, node: cst.CSTNode) -> tuple[int, int]:
    start, end = source.line_start(source.start(node)), source.line_end(source.end(node) - 1)
    if not source.utf8[:end].endswith(b"\n"):
        start -= len(source.newline)
    return start, end


def _less(source: Source, spans: Sequence[tuple[int, int]], blank_before: bool) -> bytes:
    *calls, (start, end) = spans
    if blank_before and source.utf8[:start].endswith(source.newline.encode() * 2):
        start -= len(source.newline)
    result = source.utf8
    for first, last in sorted([*calls, (start, end)], reverse=True):
        result = result[:first] + result[last:]
    text = result.decode()
    bom = source.content[:3] if source.content.startswith(b"\xef\xbb\xbf") else b""
    return bom + text.encode(source.encoding)
