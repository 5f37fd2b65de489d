"""Where an import goes, so that an order that was clean stays so."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import libcst as cst
import libcst.matchers as m

from .declared import declared_in
from .find import Hint, hints, is_module
from .project import Project
from .source import Insertion, Refused, Source

Statement = cst.SimpleStatementLine


def module_for(project: Project, source: Source, name: Path) -> str:
    """The observability package as the file `name` imports it: relative, or from the root that its
    other imports count from."""
    inside = name.parent
    froms = [
        node
        for node in m.findall(source.module, m.ImportFrom())
        if isinstance(node, cst.ImportFrom)
    ]
    within = inside.parts[: len(project.package_dir.parts)] == project.package_dir.parts
    if any(node.relative for node in froms) and within and project.import_name:
        up = len(inside.parts) - len(project.package_dir.parts)
        return "." * (up + 1) + "observability"
    roots = _roots(project, source, name, froms)
    for root in roots:
        if project.module_dir.is_relative_to(root):
            return ".".join(project.module_dir.relative_to(root).parts)
    if roots:
        raise Refused(
            f"{name} imports from {roots[0]}, and {project.module_dir} is not in there: move the new"
            " files away, and copy the template again with the folder that holds the server.",
            f"copier copy --data package_dir={name.parent.as_posix()} ...",
        )
    return project.module


def _roots(
    project: Project, source: Source, name: Path, froms: Sequence[cst.ImportFrom]
) -> list[Path]:
    """Folders that the file's own absolute imports are found in, and that its server is started from."""
    roots: list[Path] = []
    above = [name.parent, *name.parent.parents]
    modules = [source.code(node.module) for node in froms if node.module and not node.relative]
    for node in m.findall(source.module, m.Import()):
        if isinstance(node, cst.Import):
            modules += [source.code(alias.name) for alias in node.names]
    files = set(project.files)
    packages = {parent for path in files if path.suffix == ".py" for parent in path.parents}
    foreign = {*sys.stdlib_module_names, *_installed(project, name)}
    for module in modules:
        parts = module.split(".")
        if parts[0] in foreign:
            continue
        for root in above:
            path = root.joinpath(*parts)
            if path.with_suffix(".py") in files or path in packages:
                # What names a package that the file itself is in is the surest.
                roots.insert(0 if name.is_relative_to(root / parts[0]) else len(roots), root)
                break
    if not roots:
        roots = [_root_of(name, hint) for hint in hints(project) if is_module(name, hint.module)]
    if not roots and not name.is_relative_to(project.package_dir):
        # The nearest folder above that is a project of its own.
        marks = ("pyproject.toml", "requirements.txt", "setup.py")
        roots = [each for each in above if any(each / mark in files for mark in marks)][:1]
    return roots


def _installed(project: Project, name: Path) -> set[str]:
    """Packages that are installed: a module of the same name beside the file is not what is meant."""
    try:
        declared = declared_in(project, name)
    except Refused:
        return set()
    return {package.replace("-", "_") for package in declared.versions}


def _root_of(name: Path, hint: Hint) -> Path:
    stem = name.with_suffix("").parts
    return Path(*stem[: len(stem) - len(hint.module.split("."))])


def import_line(
    source: Source, anchor: cst.CSTNode | None, near: str, module: str, what: str
) -> Insertion:
    """`from module import what` below `anchor`, or without one at module level, with the import of
    the name `near`."""
    text = f"from {module} import {what}"
    if anchor is not None:
        return source.line_after(
            source.end(anchor) - 1, source.indentation(source.start(anchor)) + text
        )
    block = _import_block(source, near)
    if not block:
        return _without_imports(source, text)
    sections = _sections(source, block)
    top = module.split(".")[0] if not module.startswith(".") else ""
    for section in sections:
        if _kind(source, section, top) and not _is_future(source, section[-1]):
            return _into(source, section, module, text)
    # A section of its own: relative imports last, one's own packages before them.
    last = sections[-1]
    if not module.startswith(".") and _is_relative(source, last[0]) and len(sections) > 1:
        last = sections[-2]
    insertion = source.line_after(source.end(last[-1]) - 1, text)
    return Insertion(insertion.offset, source.newline + insertion.text)


def _import_block(source: Source, near: str) -> list[Statement]:
    """The run of imports at module level in which the name `near` is imported, or the first run."""
    runs: list[list[Statement]] = [[]]
    for statement in source.module.body:
        if m.matches(statement, m.SimpleStatementLine(body=[m.Import() | m.ImportFrom()])):
            assert isinstance(statement, Statement)
            runs[-1].append(statement)
        elif runs[-1]:
            runs.append([])
    for run in runs:
        if any(re.search(rf"\b{near}\b", source.code(each)) for each in run):
            return run
    return next(
        (run for run in runs if run and not all(_is_future(source, each) for each in run)), runs[0]
    )


def _sections(source: Source, block: Sequence[Statement]) -> list[list[Statement]]:
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


def _kind(source: Source, section: Sequence[Statement], top: str) -> bool:
    """Whether `section` holds imports like that of the package `top`, or relative ones."""
    return any(
        (_is_relative(source, each) if not top else _module_of(source, each).split(".")[0] == top)
        for each in section
    )


def _into(source: Source, section: Sequence[Statement], module: str, text: str) -> Insertion:
    """A line among those of `section`, where the order of names wants it."""

    def key(name: str) -> tuple[int, int, str]:
        dots = len(name) - len(name.lstrip("."))
        return (1 if dots else 0, -dots, name.lstrip(".").lower())

    froms = [each for each in section if isinstance(each.body[0], cst.ImportFrom)]
    before = [each for each in froms if key(_module_of(source, each)) <= key(module)]
    if before:
        return source.line_after(source.end(before[-1]) - 1, text)
    # Comments above an import stay with it, and so does a byte order mark in front of it.
    is_free = froms and not any(line.comment for line in froms[0].leading_lines)
    if is_free and not (source.has_bom and source.start(froms[0]) == 0):
        return source.line_before(source.start(froms[0]), text)
    return source.line_after(source.end(section[-1]) - 1, text)


def _without_imports(source: Source, text: str) -> Insertion:
    for statement in source.module.body:
        if m.matches(statement, m.SimpleStatementLine(body=[m.Expr(m.SimpleString())])):
            return source.line_after(source.end(statement) - 1, text)
        return source.line_before(source.start(statement), text)
    return Insertion(0, text + source.newline)
