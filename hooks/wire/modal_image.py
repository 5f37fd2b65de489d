"""Add the module's packages and source to the image of a Modal function."""

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import libcst as cst

from .dependency_file import DependencyFile, inline_dependencies
from .line_length import is_too_long, one_per_line
from .project import Project
from .requirements import package_name
from .routes.installs import find_installs
from .routes.modal_image import ImageCall
from .routes.shell import commands
from .source import EditRefused, Insertion, Source

Requirements = Callable[[DependencyFile], list[str]]
"""The requirements of the module beside the packages of a dependency file."""

# Methods that install what files of the repository declare.
_INSTALLS_DECLARED = ("uv_sync", "pip_install_from_pyproject", "pip_install_from_requirements",
                      "poetry_install_from_file", "from_dockerfile")  # fmt: skip
_INSTALLS_ARGUMENTS = ("uv_pip_install", "pip_install")


def add_packages(
    project: Project, calls: Sequence[ImageCall], requirements: Requirements, place: str
) -> tuple[Path, list[Insertion]] | None:
    """Return the file that installs the packages of an image, with the missing ones inserted.

    `calls` build the image, and `place` is the file and line of its function. Returns None if
    nothing is missing. Raises EditRefused if the image installs its packages in another way.
    """
    installing = [each for each in calls if each.method in _INSTALLS_ARGUMENTS]
    texts = [text for each in installing for text in each.strings("packages")]
    declared = inline_dependencies(Path(), texts)
    installs_declared = any(
        each.method in _INSTALLS_DECLARED or each.named("requirements") or _reads_declared(each)
        for each in calls
    )
    if installs_declared and not declared.has_fastapi:
        return None
    if not installs_declared and _runs_installer(calls) and not declared.has_fastapi:
        raise EditRefused(
            f"{place} installs packages by a command. Add these to it:",
            "\n".join(requirements(declared)),
        )
    missing = [each for each in requirements(declared) if package_name(each) not in declared.names]
    if not missing:
        return None
    items = [f'"{each}"' for each in missing]
    with_fastapi = [
        each for each in installing if inline_dependencies(Path(), each.strings()).has_fastapi
    ]
    chosen = next(iter([*with_fastapi, *installing]), None)
    if chosen is None:
        raise EditRefused(
            f"{place} uses an image whose packages were not found. Add these to it:",
            f".pip_install({', '.join(items)})",
        )
    return chosen.source.path, _insert_packages(project, chosen, items)


def _reads_declared(each: ImageCall) -> bool:
    """Return True if the call runs a command that installs what files of the repository declare."""
    if each.method not in ("run_commands", "dockerfile_commands"):
        return False
    texts = [text.removeprefix("RUN ") for text in each.strings()]
    found = [command for text in texts for command in commands(text, PurePosixPath("/"), {})]
    return any(
        install.files or install.projects for each in found for install in find_installs(each)
    )


def _runs_installer(calls: Sequence[ImageCall]) -> bool:
    return any(
        "install" in text or "sync" in text
        for each in calls
        if each.method in ("run_commands", "dockerfile_commands")
        for text in each.strings()
    )


def _insert_packages(project: Project, each: ImageCall, items: list[str]) -> list[Insertion]:
    source, call = each.source, each.call
    arguments = [
        argument
        for argument in call.args
        if not argument.keyword or argument.keyword.value == "packages"
    ]
    if not arguments:
        return [add_argument(source, call, next(iter(call.args), None), ", ".join(items))]
    value = arguments[0].value
    if isinstance(value, cst.List):
        if not value.elements:
            return [Insertion(source.end(value) - 1, ", ".join(items))]
        return _insert_sorted(source, [element.value for element in value.elements], items)
    if arguments[0].star or not isinstance(value, cst.SimpleString):
        # A list by name: the packages go in front of it.
        if arguments[0].star:
            return [Insertion(source.start(arguments[0]), f"{', '.join(items)}, ")]
        return [
            Insertion(source.start(value), f"[{', '.join(items)}, *"),
            Insertion(source.end(value), "]"),
        ]
    nodes = [argument.value for argument in arguments if not argument.star]
    names = [source.code(node).strip("\"'").lower() for node in nodes]
    if is_too_long(project, source, call, ", ".join(["", *items])):
        name = call.func.attr if isinstance(call.func, cst.Attribute) else call
        indentation = source.indentation(source.start(name))
        # At the other end than in a call that already has a line for each argument: the removal
        # distinguishes the two by that.
        are_first = names == sorted(names) and max(items).strip('"') < names[0]
        added = ([], items) if are_first and len(call.args) == len(names) > 1 else (items, [])
        return one_per_line(source, call, *added, indentation)
    return _insert_sorted(source, nodes, items)


def _insert_sorted(
    source: Source, nodes: Sequence[cst.BaseExpression], items: list[str]
) -> list[Insertion]:
    """Insert `items` at their places if the strings `nodes` are sorted, else below the last one."""
    names = [source.code(node).strip("\"'").lower() for node in nodes]
    if len(names) < 2 or names != sorted(names):
        return [_after(source, nodes[-1], items)]
    insertions: list[Insertion] = []
    for item in items:
        later = [node for node, name in zip(nodes, names, strict=True) if name > item.strip('"')]
        insertions.append(
            source.item_before(later[0], [item]) if later else _after(source, nodes[-1], [item])
        )
    return insertions


def _after(source: Source, node: cst.BaseExpression, items: list[str]) -> Insertion:
    """Insert `items` after `node`: on new lines if `node` starts a line."""
    if source.starts_line(node):
        indentation = source.indentation(source.start(node))
        return Insertion(
            source.end(node), "".join(f",{source.newline}{indentation}{item}" for item in items)
        )
    return Insertion(source.end(node), "".join(f", {item}" for item in items))


def add_module(
    project: Project, calls: Sequence[ImageCall], package: str, target: str, place: str
) -> tuple[Path, list[Insertion]]:
    """Return the file that builds an image, with the module inserted, whose top-level package is
    `package` and whose folder in the image is `target`. Raises EditRefused if that is not safe."""
    for each in calls:
        if each.method == "add_local_python_source" and each.call.args:
            inserted = add_argument(each.source, each.call, each.call.args[0], f'"{package}"')
            return each.source.path, [inserted]
    raise EditRefused(
        f"{place} needs the folder {project.module_dir} in its image. Add it as the last step:",
        f'.add_local_dir("{project.module_dir.as_posix()}", remote_path="{target}")',
    )


def add_argument(source: Source, call: cst.Call, before: cst.Arg | None, text: str) -> Insertion:
    """Insert an argument before the argument `before`, or as the last one if it is None."""
    if before is not None:
        return source.item_before(before, [text])
    if not call.args:
        return Insertion(source.end(call) - 1, text)
    last = call.args[-1]
    has_comma = isinstance(last.comma, cst.Comma)
    return Insertion(source.end(last), f" {text}" if has_comma else f", {text}")


def keyword_argument(call: cst.Call, name: str) -> cst.Arg | None:
    return next((each for each in call.args if each.keyword and each.keyword.value == name), None)
