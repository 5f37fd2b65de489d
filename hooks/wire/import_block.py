"""Insert an import where it keeps the imports of a file sorted."""

import re
import sys
import tomllib
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import libcst as cst
import libcst.matchers as m

from .app_calls import AppCall, enclosing
from .project import Project
from .source import Insertion, Source

Statement = cst.SimpleStatementLine
_IMPORT = m.SimpleStatementLine(body=[m.Import() | m.ImportFrom()])


def import_line(
    project: Project, source: Source, app: AppCall, module: str, imported: str
) -> Insertion:
    """Insert `from module import imported`, for the call that creates `app`.

    It goes into the function that creates `app` if that function imports FastAPI or runs on Modal,
    where the container of another function of the file may lack the module; else to module level.
    """
    text = f"from {module} import {imported}"
    function = _function_with_imports(source, app)
    body = source.module.body if function is None else _statements(function)
    near = source.code(app.call.func).split(".")[0]
    above = [each for each in body if source.end(each) < source.start(app.call)]
    block = _import_block(source, above, near)
    if function is None:
        block = _below_path_changes(source, app, block)
    if not block:
        return _first_import(source, body, text, in_function=function is not None)
    if all(re.search(r"#.*noqa.*E402", _line(source, each)) for each in block):
        text += "  # noqa: E402"
    text = source.indentation(source.start(block[0])) + text
    sections = _sections(source, block)
    top = module.split(".")[0]
    for section in sections:
        if _is_section_of(source, section, top) and not _is_future(source, section[-1]):
            return _sorted_into(source, section, module, text)
    if top and not is_first_party(project, source.path, top):
        for section in sections[::-1]:
            if _is_third_party(project, source, section):
                return _sorted_into(source, section, module, text)
    first_party = [each for each in sections if top and _is_own(project, source, each)]
    if first_party:
        return _sorted_into(source, first_party[-1], module, text)
    # A new section: first-party imports go before relative ones.
    last = sections[-1]
    if top and _is_relative(source, last[0]) and len(sections) > 1:
        last = sections[-2]
    insertion = source.line_after(source.end(last[-1]) - 1, text)
    return Insertion(insertion.offset, source.newline + insertion.text)


def is_first_party(project: Project, file: Path, top: str) -> bool:
    """Return True if a linter regards the package `top` as part of the project of `file`.

    Ruff and isort look for it in the folder of their settings and in src below that. Ruff also
    recognizes the outermost package that contains the file.
    """
    files = set(project.files)
    containing = [*takewhile(lambda each: each / "__init__.py" in files, file.parents)]
    if containing and containing[-1].name == top:
        return True
    folder, sources = Path(), [Path(), Path("src")]
    for each in file.parents:
        settings = each / "pyproject.toml"
        if each / "ruff.toml" in files or each / ".ruff.toml" in files:
            folder = each
            break
        if settings in files and "[tool.ruff" in project.text(settings):
            folder = each
            try:
                ruff = tomllib.loads(project.text(settings))["tool"]["ruff"]
            except (tomllib.TOMLDecodeError, KeyError):
                break
            if top in ruff.get("lint", ruff).get("isort", {}).get("known-first-party", []):
                return True
            sources = [Path(name) for name in ruff.get("src", [".", "src"])]
            break
    packages = {parent for path in project.files for parent in path.parents}
    return any(
        (path := folder / each / top) in packages or path.with_suffix(".py") in files
        for each in sources
    )


def _function_with_imports(source: Source, app: AppCall) -> cst.FunctionDef | None:
    """Return the function around `app` that has to import the module itself, if there is one."""
    function = enclosing(source, app.call, cst.FunctionDef)
    while isinstance(function, cst.FunctionDef):
        parent = enclosing(source, function, (cst.FunctionDef, cst.ClassDef))
        decorators = [*function.decorators]
        if isinstance(parent, cst.ClassDef):
            decorators += parent.decorators
        on_modal = any(
            re.search(r"\.(?:function|cls|asgi_app|enter)\b|^asgi_app", source.code(each.decorator))
            for each in decorators
        ) and re.search(r"(?m)^\s*(?:import|from) modal\b", source.text)
        if on_modal or any(
            re.search(r"\bfastapi\b", source.code(each))
            and source.start(each) < source.start(app.call)
            and enclosing(source, each, cst.FunctionDef) is function
            for each in [
                *source.nodes(cst.Import, function),
                *source.nodes(cst.ImportFrom, function),
            ]
        ):
            return function
        function = enclosing(source, function, cst.FunctionDef)
    return None


def _statements(function: cst.FunctionDef) -> Sequence[cst.BaseStatement]:
    return function.body.body if isinstance(function.body, cst.IndentedBlock) else ()


def _import_block(source: Source, body: Sequence[cst.BaseStatement], near: str) -> list[Statement]:
    """Return the run of imports in `body` that contains the name `near`, or the first run."""
    runs = _runs(body)
    for run in runs:
        if any(re.search(rf"\b{near}\b", source.code(each)) for each in run):
            return run
    return next(
        (run for run in runs if run and not all(_is_future(source, each) for each in run)), runs[0]
    )


def _runs(body: Sequence[cst.BaseStatement]) -> list[list[Statement]]:
    """Return the runs of imports; the first one may be empty."""
    runs: list[list[Statement]] = [[]]
    for statement in body:
        if isinstance(statement, Statement) and m.matches(statement, _IMPORT):
            runs[-1].append(statement)
        elif runs[-1]:
            runs.append([])
    return runs


def _below_path_changes(source: Source, app: AppCall, block: list[Statement]) -> list[Statement]:
    """Return the first run of imports below the file's own changes of sys.path, else `block`."""
    changes = [
        source.end(each)
        for each in source.module.body
        if source.end(each) < source.start(app.call)
        and re.search(r"\bsys\.path\.(?:append|insert|extend)\(", source.code(each))
    ]
    below = [
        run
        for run in _runs(source.module.body)
        if run and changes and changes[-1] < source.start(run[0]) < source.start(app.call)
    ]
    return below[0] if below else block


def _line(source: Source, statement: Statement) -> str:
    end = source.line_end(source.end(statement) - 1)
    return source.utf8[source.start(statement) : end].decode()


def _sections(source: Source, block: Sequence[Statement]) -> list[list[Statement]]:
    """Split imports at blank lines."""
    sections: list[list[Statement]] = [[block[0]]]
    for statement in block[1:]:
        if any(line.comment is None for line in statement.leading_lines):
            sections.append([])
        sections[-1].append(statement)
    return sections


def _module_of(source: Source, statement: Statement) -> str:
    node = statement.body[0]
    if isinstance(node, cst.Import):
        return source.code(node.names[0].name)
    assert isinstance(node, cst.ImportFrom)
    return "." * len(node.relative) + (source.code(node.module) if node.module else "")


def _is_relative(source: Source, statement: Statement) -> bool:
    return _module_of(source, statement).startswith(".")


def _is_future(source: Source, statement: Statement) -> bool:
    return _module_of(source, statement) == "__future__"


def _is_section_of(source: Source, section: Sequence[Statement], top: str) -> bool:
    """Return True if `section` imports from the package `top`, or relatively if `top` is empty."""
    return any(
        (_is_relative(source, each) if not top else _module_of(source, each).split(".")[0] == top)
        for each in section
    )


def _is_third_party(project: Project, source: Source, section: Sequence[Statement]) -> bool:
    """Return True if `section` imports installed packages."""
    tops = [_module_of(source, each).split(".")[0] for each in section]
    return any(
        top and top not in sys.stdlib_module_names and not is_first_party(project, source.path, top)
        for top in tops
    )


def _is_own(project: Project, source: Source, section: Sequence[Statement]) -> bool:
    """Return True if `section` imports first-party packages."""
    tops = [_module_of(source, each).split(".")[0] for each in section]
    return any(top and is_first_party(project, source.path, top) for top in tops)


def _sorted_into(source: Source, section: Sequence[Statement], module: str, text: str) -> Insertion:
    """Insert a line into `section` so that it stays sorted by module."""

    def key(name: str) -> tuple[int, int, str]:
        dots = len(name) - len(name.lstrip("."))
        return (1 if dots else 0, -dots, name.lstrip(".").lower())

    froms = [each for each in section if isinstance(each.body[0], cst.ImportFrom)]
    before = [each for each in froms if key(_module_of(source, each)) <= key(module)]
    if before:
        return source.line_after(source.end(before[-1]) - 1, text)
    # A comment above an import belongs to it, and a byte order mark comes first.
    is_free = froms and not any(line.comment for line in froms[0].leading_lines)
    if is_free and not (source.has_bom and source.start(froms[0]) == 0):
        return source.line_before(source.start(froms[0]), text)
    return source.line_after(source.end(section[-1]) - 1, text)


def _first_import(
    source: Source, body: Sequence[cst.BaseStatement], text: str, *, in_function: bool
) -> Insertion:
    for statement in body:
        if in_function:
            text = source.indentation(source.start(statement)) + text
        if m.matches(statement, m.SimpleStatementLine(body=[m.Expr(m.SimpleString())])):
            return source.line_after(source.end(statement) - 1, text)
        insertion = source.line_before(_first_line(source, statement), text)
        return (
            Insertion(insertion.offset, insertion.text + source.newline)
            if in_function
            else insertion
        )
    return Insertion(0, text + source.newline)


def _first_line(source: Source, statement: cst.BaseStatement) -> int:
    """Return the start of `statement`, with its decorators."""
    if isinstance(statement, cst.FunctionDef | cst.ClassDef) and statement.decorators:
        return source.start(statement.decorators[0])
    return source.start(statement)
