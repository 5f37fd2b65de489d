"""The name by which a file imports the observability package."""

import sys
from pathlib import Path

import libcst as cst

from .app_calls import is_module
from .dependency_file import find_dependency_file
from .project import Project
from .served_app import Hint, hints
from .source import EditRefused, Source


def module_for(project: Project, source: Source) -> str:
    """Return the observability package as `source` imports it.

    Relative if the file uses relative imports, else relative to the root of its other imports.
    Raises EditRefused if the package is not below that root.
    """
    name = source.path
    froms = source.nodes(cst.ImportFrom)
    depth = len(project.package_dir.parts)
    is_inside = name.parent.parts[:depth] == project.package_dir.parts
    if any(node.relative for node in froms) and is_inside and project.import_name:
        return "." * (len(name.parent.parts) - depth + 1) + project.module_name
    roots = import_roots(project, source)
    for root in roots:
        if project.module_dir.is_relative_to(root):
            return ".".join(project.module_dir.relative_to(root).parts)
    if roots:
        raise EditRefused(
            f"{name} imports from {roots[0]}, but {project.module_dir} is not in that folder. Move the"
            " module beside the application:",
            f"copier-honeycomb adopt --app {'.'.join(name.with_suffix('').parts)} {project.root}",
        )
    return project.module


def module_reached_by(project: Project, source: Source) -> str:
    """Return the absolute name of the observability package that `source` imports."""
    module = module_for(project, source)
    return project.module if module.startswith(".") else module


def import_roots(project: Project, source: Source) -> list[Path]:
    """Return the folders that the absolute imports of the file are relative to, the surest first."""
    name = source.path
    froms = source.nodes(cst.ImportFrom)
    roots: list[Path] = []
    folders = [name.parent, *name.parent.parents]
    modules = [source.code(node.module) for node in froms if node.module and not node.relative]
    for node in source.nodes(cst.Import):
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
