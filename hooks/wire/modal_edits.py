"""Give the Modal functions that serve an application the secret, the packages and the module."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import libcst as cst
import libcst.matchers as m

from .app_calls import AppCall, all_app_calls, enclosing, imported_names
from .imports import module_reached_by
from .modal_functions import ModalFunction, modal_functions, serves
from .modal_image import add_argument, add_module, add_packages, keyword_argument
from .plan import Step
from .project import Project
from .source import EditRefused, Insertion, Source

EXAMPLE = """\
@app.function(
    image=image,  # with the packages above
    secrets=[modal.Secret.from_name("{secret}")],
)
@modal.concurrent(max_inputs=100)
@modal.asgi_app()
def serve():
    from {module} import {name}

    return {name}
"""


@dataclass
class ModalEdits:
    """The edited content of one file, and steps left to the user."""

    path: Path
    content: bytes
    package: str
    """The top-level package that contains the module."""
    added: dict[str, None] = field(default_factory=dict)
    """Descriptions of the added parts, in order."""
    todo: list[Step] = field(default_factory=list)


def secret_argument(project: Project) -> str:
    return f'secrets=[modal.Secret.from_name("{project.secret}")]'


def wire_modal_file(
    project: Project, path: Path, app: AppCall, requirements: Sequence[str]
) -> ModalEdits:
    """Return a file with the edits of each function in it that serves `app`."""
    edits = ModalEdits(path, project.source(path).content, _package(project, app))
    index = 0
    while True:
        # Each function is edited in the result of the edits before.
        functions = [each for each in modal_functions(project) if each.path == path]
        if index >= len(functions):
            return edits
        function = functions[index]
        index += 1
        if not serves(project, function, _current(project, app)):
            continue
        _wire_function(project, function, requirements, edits)
        project = project.having(path, edits.content)


def unwire_modal_file(
    project: Project, path: Path, app: AppCall, requirements: Sequence[str]
) -> bytes | None:
    """Return the file without the edits of `wire_modal_file`, or None if it has none."""
    source = project.source(path)
    secret = rf"[\w.]+\.from_name\(\"{re.escape(project.secret)}\"\)"
    keyword = rf"secrets=\[{secret}\]"
    packages = "|".join(re.escape(f'"{each}"') for each in requirements) or "(?!)"
    package = re.escape(f'"{_package(project, app)}"')
    removals = [
        [
            (rf"(?m)^[ \t]*(?:{keyword}|{secret}),\r?\n", ""),
            (rf"(?:{keyword}|{secret}), ", ""),
            (rf", ?{keyword}| {keyword}", ""),
            (rf"\[\*\((.*?)\), {secret}\]", r"\1"),
            (rf"{keyword}|{secret}", ""),
        ],
        [(rf"(?m)^[ \t]*(?:{packages}),\r?\n", ""), (rf"(?:{packages}), ", ""), (packages, "")],
        [(rf"{package}, ", "")],
    ]
    # Every combination of removals is a candidate; the right one is wired to the same file again.
    texts = {source.text}
    for patterns in removals:
        for text in list(texts):
            texts |= {re.sub(pattern, less, text) for pattern, less in patterns}
    bom = source.content[: len(source.content) - len(source.text.encode(source.encoding))]
    for text in sorted(texts - {source.text}, key=len):
        content = bom + text.encode(source.encoding)
        try:
            again = wire_modal_file(project.having(path, content), path, app, requirements)
        except EditRefused:
            continue
        if again.content == source.content:
            return content
    return None


def _package(project: Project, app: AppCall) -> str:
    """Return the top-level package that the application imports the module from."""
    return module_reached_by(project, project.source(app.path)).split(".")[0]


def _current(project: Project, app: AppCall) -> AppCall:
    """Return `app` in the current content of its file."""
    names = (app.path, app.name, app.function)
    return next(
        (each for each in all_app_calls(project) if (each.path, each.name, each.function) == names),
        app,
    )


def _wire_function(
    project: Project, function: ModalFunction, requirements: Sequence[str], edits: ModalEdits
) -> None:
    source = project.source(function.path)
    call = _decorator(source, function.node)
    place = f"{function.path}:{source.line(function.node.name)}"
    if call is None:
        edits.todo.append(
            Step(
                f"{place} serves the application but cannot be edited. Add the secret to it:",
                secret_argument(project),
            )
        )
        return
    insertions: list[Insertion] = []

    def attempt(part: str, add: Callable[[], list[Insertion]]) -> None:
        try:
            added = add()
        except EditRefused as refused:
            edits.todo.append(Step(str(refused), refused.snippet))
            return
        if added:
            insertions.extend(added)
            edits.added[part] = None

    def module() -> list[Insertion]:
        added, steps = add_module(project, source, call, edits.package, place)
        edits.todo += steps
        return added

    attempt(f"secret {project.secret}", lambda: _add_secret(project, source, call, place))
    attempt("packages", lambda: add_packages(source, call, requirements, place))
    attempt("the module", module)
    if insertions:
        edits.content = source.with_insertions(insertions)


def _decorator(source: Source, function: cst.FunctionDef) -> cst.Call | None:
    """Return `@app.function(...)` of the function, or `@app.cls(...)` of its class."""
    kind = "function"
    decorators = function.decorators
    parent = enclosing(source, function, (cst.ClassDef, cst.FunctionDef))
    if isinstance(parent, cst.ClassDef):
        kind, decorators = "cls", parent.decorators
    for each in decorators:
        call = each.decorator
        if isinstance(call, cst.Call) and m.matches(call.func, m.Attribute(attr=m.Name(kind))):
            assert isinstance(call.func, cst.Attribute)
            name = source.code(call.func.value)
            if re.search(rf"\b{re.escape(name)}\s*=\s*(?:modal\.)?Stub\(", source.text):
                return None
            return call
    return None


def _add_secret(project: Project, source: Source, call: cst.Call, place: str) -> list[Insertion]:
    """Insert the secret into the decorator `call`, unless the function or its App has it."""
    argument = keyword_argument(call, "secrets")
    if _has_secret(project, source, call, argument):
        return []
    class_name = _local_name_of_secret(source)
    if class_name is None:
        raise EditRefused(
            f"{place} needs the secret {project.secret}, but the file does not import modal. Add it"
            " to the function:",
            secret_argument(project),
        )
    secret = f'{class_name}.from_name("{project.secret}")'
    if argument is None:
        keyword = next((each for each in call.args if each.keyword), None)
        return [add_argument(source, call, keyword, f"secrets=[{secret}]")]
    value = argument.value
    if not isinstance(value, cst.List):
        return [
            Insertion(source.start(value), "[*("),
            Insertion(source.end(value), f"), {secret}]"),
        ]
    if not value.elements:
        return [Insertion(source.end(value) - 1, secret)]
    return [source.item_before(value.elements[0], [secret])]


def _has_secret(project: Project, source: Source, call: cst.Call, argument: cst.Arg | None) -> bool:
    code = source.code(call)
    if argument is not None and isinstance(argument.value, cst.Name):
        match = re.search(
            rf"(?m)^{argument.value.value}\b[^\n=]*=(.*(?:\n[ \t)\]].*)*)", source.text
        )
        code += match[1] if match else ""
    code += "".join(re.findall(r"(?:modal\.)?App\((?:[^()]|\([^()]*\))*\)", source.text))
    if any(quoted in code for quoted in (f'"{project.secret}"', f"'{project.secret}'")):
        return True
    variables = re.findall(
        rf"(?m)^(\w+)\s*=\s*(?:modal\.)?Secret\.from_name\(\s*[\"']{re.escape(project.secret)}",
        source.text,
    )
    return any(re.search(rf"\b{name}\b", code) for name in variables)


def _local_name_of_secret(source: Source) -> str | None:
    """Return the expression for `modal.Secret` in this file."""
    if re.search(r"(?m)^from modal import \*", source.text):
        return "Secret"
    module = None
    for imported, name, local in imported_names(source):
        if imported == "modal" and name == "Secret":
            return local
        if imported == "modal" and not name:
            module = local
    return f"{module}.Secret" if module else None
