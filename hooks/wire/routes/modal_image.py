"""The calls that build the image of a Modal function, in any file of the repository."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import libcst as cst
import libcst.matchers as m

from ..app_calls import imported_names
from ..project import Project
from ..source import Source
from .container import Place

_MAX_DEPTH: Final = 8


@dataclass(frozen=True)
class ImageCall:
    """A method call that builds an image, such as `.pip_install("fastapi")`."""

    source: Source
    call: cst.Call

    @property
    def method(self) -> str:
        return self.call.func.attr.value if isinstance(self.call.func, cst.Attribute) else ""

    @property
    def place(self) -> Place:
        name = self.call.func.attr if isinstance(self.call.func, cst.Attribute) else self.call
        return Place(self.source.path, self.source.line(name))

    def strings(self, *keywords: str) -> list[str]:
        """Return the strings of the positional arguments and of the arguments `keywords`."""
        return [
            text
            for argument in self.call.args
            if argument.keyword is None or argument.keyword.value in keywords
            for text in strings(self.source, argument.value)
        ]

    def named(self, keyword: str) -> list[str]:
        """Return the strings of the argument `keyword`."""
        return [
            text
            for argument in self.call.args
            if argument.keyword and argument.keyword.value == keyword
            for text in strings(self.source, argument.value)
        ]


def strings(source: Source, node: cst.BaseExpression, depth: int = 0) -> Iterator[str]:
    """Yield the string constants in an expression; a name stands for its last assignment."""
    if isinstance(node, cst.SimpleString):
        value = node.evaluated_value
        yield value if isinstance(value, str) else value.decode(errors="replace")
    elif isinstance(node, cst.Name) and depth < _MAX_DEPTH:
        assigned = last_assigned(source, node.value)
        if assigned is not None:
            yield from strings(source, assigned, depth + 1)
    else:
        for child in node.children:
            if isinstance(child, cst.BaseExpression):
                yield from strings(source, child, depth)
            elif isinstance(child, cst.BaseElement | cst.Arg):
                yield from strings(source, child.value, depth)


def last_assigned(
    source: Source, name: str, before: cst.CSTNode | None = None
) -> cst.BaseExpression | None:
    """Return the value of the last assignment to `name` above `before`."""
    assigned: list[cst.Assign | cst.AnnAssign] = [
        node
        for node in source.nodes(cst.Assign)
        if len(node.targets) == 1 and m.matches(node.targets[0].target, m.Name(name))
    ]
    assigned += [
        node for node in source.nodes(cst.AnnAssign) if m.matches(node.target, m.Name(name))
    ]
    values = [
        node.value
        for node in assigned
        if node.value is not None and (before is None or source.end(node) < source.start(before))
    ]
    return max(values, key=source.start) if values else None


def image_calls(project: Project, source: Source, decorator: cst.Call) -> list[ImageCall]:
    """Return the calls that build the image of a function, the first one first.

    Images that the file imports from other files of the repository are followed.
    """
    argument = _argument(decorator, "image")
    value = argument
    if value is None and isinstance(decorator.func, cst.Attribute):
        app = decorator.func.value
        while isinstance(app, cst.Name):
            found = _definition(project, source, app.value)
            if found is None:
                return []
            source, app = found
        if isinstance(app, cst.Call):
            value = _argument(app, "image")
    calls: list[ImageCall] = []
    node: cst.BaseExpression | None = value
    before: cst.CSTNode | None = None
    for _ in range(100):
        if isinstance(node, cst.Call):
            calls.insert(0, ImageCall(source, node))
            node = node.func
        elif isinstance(node, cst.Attribute):
            node = node.value
        elif isinstance(node, cst.Name):
            found = _definition(project, source, node.value, node if before else None)
            before = node
            if found is None:
                break
            if found[0] is not source:
                before = None
            source, node = found
        else:
            break
    return calls


def _argument(call: cst.Call, name: str) -> cst.BaseExpression | None:
    return next(
        (each.value for each in call.args if each.keyword and each.keyword.value == name), None
    )


def _definition(
    project: Project, source: Source, name: str, before: cst.CSTNode | None = None
) -> tuple[Source, cst.BaseExpression] | None:
    """Return the value of `name`, and the file that assigns it."""
    value = last_assigned(source, name, before)
    if value is not None:
        return source, value
    for module, imported, local in imported_names(source):
        if local == name and imported:
            path = own_module(project, source.path, module)
            if path is not None:
                other = project.source(path)
                value = last_assigned(other, imported)
                return (other, value) if value is not None else None
    return None


def own_module(project: Project, importer: Path, module: str) -> Path | None:
    """Return the file of the repository that `importer` imports as `module`, the nearest if several."""
    dots = len(module) - len(module.lstrip("."))
    parts = module.lstrip(".").split(".")
    folders = [importer.parents[dots - 1]] if dots else [*importer.parents]
    files = set(project.files)
    for folder in folders:
        path = folder.joinpath(*parts) if parts != [""] else folder
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate in files:
                return candidate
    return None
