"""Import lines: the module's name as a file imports it, and the place that keeps imports sorted."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import libcst as cst
import libcst.matchers as m

from .dependency_file import find_dependency_file
from .project import Project
from .served_app import Hint, hints, is_module
from .source import EditRefused, Insertion, Source

Statement = cst.SimpleStatementLine


def module_for(project: Project, source: Source) -> str:
    """Return the observability package as `source` imports it.

    Relative if the file uses relative imports, else relative to the root of its other imports.
    Raises EditRefused if the package is not below that root.
    """
    name = source.path
    froms = [
        node
        for node in m.findall(source.module, m.ImportFrom())
        if isinstance(node, cst.ImportFrom)
    ]
    depth = len(project.package_dir.parts)
    is_inside = name.parent.parts[:depth] == project.package_dir.parts
    if any(node.relative for node in froms) and is_inside and project.import_name:
        return "." * (len(name.parent.parts) - depth + 1) + project.module_name
    roots = _import_roots(project, source, froms)
    for root in roots:
        if project.module_dir.is_relative_to(root):
            return ".".join(project.module_dir.relative_to(root).parts)
    if roots:
        raise EditRefused(
            f"{name} imports from {roots[0]}, but {project.module_dir} is not in that folder. Delete"
            " the new files and copy the template again into the folder of the server:",
            f"copier copy --data package_dir={name.parent.as_posix()} ...",
        )
    return project.module


def module_reached_by(project: Project, source: Source) -> str:
    """Return the absolute name of the observability package that `source` imports."""
    module = module_for(project, source)
    return project.module if module.startswith(".") else module


def _import_roots(project: Project, source: Source, froms: Sequence[cst.ImportFrom]) -> list[Path]:
    """Return the folders that the absolute imports of the file are relative to, the surest first."""
    name = source.path
    roots: list[Path] = []
    folders = [name.parent, *name.parent.parents]
    modules = [source.code(node.module) for node in froms if node.module and not node.relative]
    for node in m.findall(source.module, m.Import()):
        if isinstance(node, cst.Import):
            modules += [source.code(alias.name) for alias in node.names]
    files = set(project.files)
    packages = {parent for path in files if path.suffix == ".py" for parent in path.parents}
    third_party = {*sys.stdlib_module_names, *_installed(project, name)}
    for module in modules:
        parts = module.split(".")
        if parts[0] in third_party:
            continue
        for root in folders:
            path = root.joinpath(*parts)
            if path.with_suffix(".py") in files or path in packages:
                # An import of the package that contains the file is the surest sign.
                roots.insert(0 if name.is_relative_to(root / parts[0]) else len(roots), root)
                break
    if not roots:
        roots = [_root_of(name, hint) for hint in hints(project) if is_module(name, hint.module)]
    if not roots and not name.is_relative_to(project.package_dir):
        # The nearest folder above that is a project.
        marks = ("pyproject.toml", "requirements.txt", "setup.py")
        roots = [each for each in folders if any(each / mark in files for mark in marks)][:1]
    return roots


def _installed(project: Project, name: Path) -> set[str]:
    """Return the import names of declared packages, which hide modules of the same name."""
    try:
        file = find_dependency_file(project, name)
    except EditRefused:
        return set()
    return {package.replace("-", "_") for package in file.versions}


def _root_of(name: Path, hint: Hint) -> Path:
    stem = name.with_suffix("").parts
    return Path(*stem[: len(stem) - len(hint.module.split("."))])


def import_line(
    source: Source, anchor: cst.CSTNode | None, near: str, module: str, imported: str
) -> Insertion:
    """Insert `from module import imported`: below `anchor` if given, else in the block of imports at
    module level that contains the name `near`."""
    text = f"from {module} import {imported}"
    if anchor is not None:
        return source.line_after(
            source.end(anchor) - 1, source.indentation(source.start(anchor)) + text
        )
    block = _import_block(source, near)
    if not block:
        return _first_import(source, text)
    sections = _sections(source, block)
    top = module.split(".")[0] if not module.startswith(".") else ""
    for section in sections:
        if _is_section_of(source, section, top) and not _is_future(source, section[-1]):
            return _sorted_into(source, section, module, text)
    # A new section: first-party imports go before relative ones.
    last = sections[-1]
    if not module.startswith(".") and _is_relative(source, last[0]) and len(sections) > 1:
        last = sections[-2]
    insertion = source.line_after(source.end(last[-1]) - 1, text)
    return Insertion(insertion.offset, source.newline + insertion.text)


def _import_block(source: Source, near: str) -> list[Statement]:
    """Return the run of imports at module level that contains the name `near`, or the first run."""
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


def _first_import(source: Source, text: str) -> Insertion:
    for statement in source.module.body:
        if m.matches(statement, m.SimpleStatementLine(body=[m.Expr(m.SimpleString())])):
            return source.line_after(source.end(statement) - 1, text)
        return source.line_before(source.start(statement), text)
    return Insertion(0, text + source.newline)
