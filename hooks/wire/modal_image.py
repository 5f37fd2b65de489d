"""Add the module's packages and source to the image of a Modal function."""

import re
from collections.abc import Sequence
from pathlib import Path

import libcst as cst
import libcst.matchers as m

from .plan import Step
from .project import Project
from .requirements import package_name
from .source import EditRefused, Insertion, Source

# Methods that install the repository's declared dependencies.
_INSTALLS_DECLARED = ("uv_sync", "pip_install_from_pyproject", "pip_install_from_requirements",
                      "poetry_install_from_file", "from_dockerfile")  # fmt: skip
_INSTALLS_ARGUMENTS = ("uv_pip_install", "pip_install")
_INSTALL_COMMANDS = re.compile(
    r"run_commands\([^)]*\b(?:uv sync|uv pip install|pip install|poetry install|pdm)\b"
)


def add_packages(
    source: Source, call: cst.Call, requirements: Sequence[str], place: str
) -> list[Insertion]:
    """Insert the missing `requirements` into the image of the function decorated by `call`.

    `place` is the file and line of the function. Raises EditRefused if the image is built in another
    file.
    """
    methods = _method_calls(source, _image(source, call))
    code = "\n".join(source.code(each) for each in methods)
    missing = [each for each in requirements if not re.search(rf"\b{package_name(each)}\b", code)]
    installs_declared = any(
        _method(each) in _INSTALLS_DECLARED for each in methods
    ) or _INSTALL_COMMANDS.search(code)
    if not missing or installs_declared:
        return []
    quoted = [f'"{each}"' for each in missing]
    items = ", ".join(quoted)
    installing = next((each for each in methods if _method(each) in _INSTALLS_ARGUMENTS), None)
    if installing is None:
        raise EditRefused(
            f"{place} uses an image that is not built in this file. Add the packages to it:",
            f".pip_install({items})",
        )
    first = next((each for each in installing.args if not each.keyword), None)
    if first is None:
        return [add_argument(source, installing, next(iter(installing.args), None), items)]
    if isinstance(first.value, cst.List):
        if not first.value.elements:
            return [Insertion(source.end(first.value) - 1, items)]
        return [source.item_before(first.value.elements[0].value, quoted)]
    if first.star:
        return [Insertion(source.start(first), f"{items}, ")]
    return [source.item_before(first, quoted)]


def add_module(
    project: Project, source: Source, call: cst.Call, package: str, place: str
) -> tuple[list[Insertion], list[Step]]:
    """Insert the top-level `package` of the module into the function's image.

    Returns the insertions, and a step for the user if the image may lack the package.
    """
    folder = source.path.parent
    methods = _method_calls(source, _image(source, call))
    if any(_includes(project, source, each, package) for each in methods):
        return [], []
    # Modal adds the package that contains the function's module.
    if package != project.module_name and project.package_dir in (folder, *folder.parents):
        return [], []
    for each in methods:
        if _method(each) == "add_local_python_source" and each.args:
            return [add_argument(source, each, each.args[0], f'"{package}"')], []
    step = Step(
        f"{place} needs the folder {project.module_dir} in its image. Add it if it is missing:",
        f'.add_local_python_source("{package}")',
    )
    return [], [step]


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


def _includes(project: Project, source: Source, call: cst.Call, package: str) -> bool:
    """Return True if the method `call` of an image includes the module."""
    method = _method(call)
    arguments = source.code(call)[len(source.code(call.func)) :]
    if method == "from_dockerfile":
        return True
    if method in ("add_local_python_source", "copy_local_python_source"):
        return re.search(rf"[\"']{re.escape(package)}[\"']", arguments) is not None
    if method in ("add_local_dir", "copy_local_dir", "copy_mount"):
        match = re.search(r"[\"']([^\"']*)[\"']", arguments)
        return match is None or any(
            project.module_dir.is_relative_to(base / match[1])
            for base in (Path(), source.path.parent)
        )
    return False


def _image(source: Source, call: cst.Call) -> cst.BaseExpression | None:
    """Return the expression that builds the function's image, if it is in this file."""
    argument = keyword_argument(call, "image")
    value = argument.value if argument else None
    if (
        value is None
        and isinstance(call.func, cst.Attribute)
        and isinstance(call.func.value, cst.Name)
    ):
        app = _assigned(source, call.func.value.value)
        if isinstance(app, cst.Call) and (argument := keyword_argument(app, "image")):
            value = argument.value
    depth = 0
    while isinstance(value, cst.Name) and depth < 5:
        value, depth = _assigned(source, value.value), depth + 1
    return value


def _assigned(
    source: Source, name: str, before: cst.CSTNode | None = None
) -> cst.BaseExpression | None:
    """Return the value of the last assignment to `name` above `before`."""
    values = [
        node.value
        for node in m.findall(
            source.module, m.Assign(targets=[m.AssignTarget(target=m.Name(name))])
        )
        if isinstance(node, cst.Assign)
        and (before is None or source.end(node) < source.start(before))
    ]
    return max(values, key=source.start) if values else None


def _method_calls(source: Source, image: cst.BaseExpression | None) -> list[cst.Call]:
    """Return the calls that build an image, the last one first."""
    calls: list[cst.Call] = []
    node = image
    depth = 0
    while node is not None and depth < 100:
        depth += 1
        if isinstance(node, cst.Call):
            calls.append(node)
            node = node.func
        elif isinstance(node, cst.Attribute):
            node = node.value
        elif isinstance(node, cst.Name):
            node = _assigned(source, node.value, node)
        else:
            break
    return calls


def _method(call: cst.Call) -> str:
    return call.func.attr.value if isinstance(call.func, cst.Attribute) else ""
