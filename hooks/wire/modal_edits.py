"""Give the Modal functions of an application the secret, the packages and the module."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import libcst as cst

from .app_calls import AppCall, all_app_calls, imported_names
from .dependency_file import inline_dependencies
from .line_length import is_too_long, joined, limit, one_per_line
from .modal_functions import (
    ModalFunction,
    app_name,
    called_apps,
    decorator,
    modal_app,
    modal_functions,
    serves,
    workers,
)
from .modal_image import (
    Requirements,
    add_argument,
    add_module,
    add_packages,
    keyword_argument,
)
from .plan import Step
from .project import Project
from .routes.container import Place
from .routes.find import Route
from .routes.modal import HOME, modal_container
from .routes.modal_image import image_calls
from .routes.shell import Start
from .shipping import imports
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
    """The edited files, and steps left to the user."""

    project: Project
    """The repository with the edits so far."""
    contents: dict[Path, bytes] = field(default_factory=dict)
    added: dict[Path, list[str]] = field(default_factory=dict)
    """Descriptions of the parts added to each file, in order."""
    todo: list[Step] = field(default_factory=list)
    wired: list[Path] = field(default_factory=list)
    """The files whose functions serve the application."""

    def insert(self, path: Path, insertions: Sequence[Insertion], part: str) -> None:
        content = self.project.source(path).with_insertions(insertions)
        self.project = self.project.having(path, content)
        self.contents[path] = content
        parts = self.added.setdefault(path, [])
        if part not in parts:
            parts.append(part)


def secret_argument(project: Project) -> str:
    return f'secrets=[modal.Secret.from_name("{project.secret}")]'


def wire_modal(
    project: Project, app: AppCall, module: str, requirements: Requirements
) -> ModalEdits:
    """Return the edits of each function that serves `app`, whose file imports the package `module`."""
    edits = ModalEdits(project)
    for path in dict.fromkeys(each.path for each in modal_functions(project)):
        index = 0
        while True:
            # Each function is edited in the result of the edits before.
            functions = [each for each in modal_functions(edits.project) if each.path == path]
            if index >= len(functions):
                break
            if serves(edits.project, functions[index], _current(edits.project, app)):
                edits.wired.append(path)
                _wire_function(functions[index], app, module, requirements, edits)
            index += 1
    apps = {
        modal_app(project, each) for each in modal_functions(project) if each.path in edits.wired
    }
    called = called_apps(project)
    for worker in workers(project):
        owner = modal_app(project, worker)
        if owner and (owner in apps or app_name(project, *owner) in called):
            _wire_function(
                _function(edits.project, worker.path, worker.node.name.value),
                None,
                module,
                requirements,
                edits,
            )
    return edits


def unwire_modal(
    project: Project, app: AppCall, module: str, requirements: Requirements
) -> dict[Path, bytes]:
    """Return the files without the edits of `wire_modal`."""
    contents: dict[Path, bytes] = {}
    for path in project.containing(b"modal"):
        source = project.source(path)
        packages = requirements(
            inline_dependencies(path, re.findall(r"[\"']([^\"'\n]+)[\"']", source.text))
        )
        for text in _candidates(
            source.text, project.secret, packages, project.module.split(".")[0]
        ):
            bom = source.content[: len(source.content) - len(source.text.encode(source.encoding))]
            content = bom + text.encode(source.encoding)
            try:
                again = wire_modal(project.having(path, content), app, module, requirements)
            except EditRefused:
                continue
            if again.contents.get(path) == source.content:
                contents[path] = content
                project = project.having(path, content)
                break
    return contents


def _candidates(text: str, secret: str, packages: Sequence[str], package: str) -> list[str]:
    """Return the texts that the file may have had before it was wired, the likeliest first."""
    named = rf"[\w.]+\.from_name\(\"{re.escape(secret)}\"\)"
    keyword = rf"secrets=\[{named}\]"
    each = "|".join(re.escape(f'"{package}"') for package in packages) or "(?!)"
    list_patterns = [
        (rf"(?m)^[ \t]*(?:{each}),\r?\n", ""),
        (rf",\s*(?:{each})", ""),
        (rf"(?:{each}), ", ""),
        (each, ""),
    ]
    removals = [
        [
            (rf"(?m)^[ \t]*(?:{keyword}|{named}),\r?\n", ""),
            (rf"(?:{keyword}|{named}), ", ""),
            (rf", ?{keyword}| {keyword}", ""),
            (rf", {named}", ""),
            (rf"\[\s+\*\((.*?)\),\s+{named},\s+\]", r"\1"),
            (rf"{keyword}|{named}", ""),
        ],
        [*list_patterns, (rf"\[(?:(?:{each}), )+\*(\w+)\]", r"\1")],
        [(rf'"{re.escape(package)}", ', "")],
    ]
    texts = {text}
    for patterns in removals:
        for before in list(texts):
            texts |= {re.sub(pattern, less, before) for pattern, less in patterns}
    for before in list(texts):
        for pattern, less in list_patterns[:3]:
            before = re.sub(pattern, less, before)
        texts.add(before)
    for methods in (["pip_install", "uv_pip_install"], ["function", "cls"]):
        texts |= {joined(before, *methods) for before in texts}
    # The secret turns an expression into a list that unpacks it, which few files contain before.
    return sorted(texts - {text}, key=lambda each: (len(re.findall(r"\[\s*\*\(", each)), len(each)))


def _current(project: Project, app: AppCall) -> AppCall:
    """Return `app` in the current content of its file."""
    names = (app.path, app.name, app.function)
    return next(
        (each for each in all_app_calls(project) if (each.path, each.name, each.function) == names),
        app,
    )


def _wire_function(
    function: ModalFunction,
    app: AppCall | None,
    module: str,
    requirements: Requirements,
    edits: ModalEdits,
) -> None:
    """Edit a function that serves `app`, or is called by one that does."""
    project, path, name = edits.project, function.path, function.node.name.value
    place = f"{path}:{project.source(path).line(function.node.name)}"

    def attempt(part: str, add: Callable[[cst.Call], tuple[Path, list[Insertion]] | None]) -> None:
        # Found again, because the part before may have changed the file.
        call = decorator(edits.project.source(path), _function(edits.project, path, name).node)
        if call is None:
            return
        try:
            added = add(call)
            if added and added[1]:
                edits.insert(*added, part)
        except EditRefused as refused:
            edits.todo.append(Step(str(refused), refused.snippet))

    if decorator(project.source(path), function.node) is None:
        text = f"{place} serves the application but cannot be edited. Add the secret to it:"
        edits.todo.append(Step(text, secret_argument(project)))
        return
    attempt(
        f"secret {project.secret}",
        lambda call: (path, _add_secret(edits.project, edits.project.source(path), call, place)),
    )
    attempt(
        "packages",
        lambda call: add_packages(
            edits.project,
            image_calls(edits.project, edits.project.source(path), call),
            requirements,
            place,
        ),
    )
    if app is not None:
        attempt(
            "the module",
            lambda call: _add_module(edits.project, path, name, call, app, module, place),
        )


def _function(project: Project, path: Path, name: str) -> ModalFunction:
    return next(
        each
        for each in [*modal_functions(project), *workers(project)]
        if (each.path, each.node.name.value) == (path, name)
    )


def _add_module(
    project: Project, path: Path, name: str, call: cst.Call, app: AppCall, module: str, place: str
) -> tuple[Path, list[Insertion]] | None:
    source = project.source(path)
    container = modal_container(project, _function(project, path, name), call)
    start = Start(container.folder)
    route = Route(container, Place(path, 1), start, app)
    if imports(project, route, project.source(app.path), module) or container.unknown:
        return None
    absolute = project.module if module.startswith(".") else module
    target = HOME.joinpath(*absolute.split("."))
    calls = image_calls(project, source, call)
    return add_module(project, calls, absolute.split(".")[0], str(target), place)


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
        text = f"secrets=[{secret}]"
        if call.args and is_too_long(project, source, call, f"{text}, "):
            # Last, unlike in a call that has a line for each argument: the removal tells them apart.
            return one_per_line(source, call, [], [text], source.indentation(source.start(call)))
        return [add_argument(source, call, keyword, text)]
    value = argument.value
    if not isinstance(value, cst.List):
        line = source.newline + source.indentation(source.start(value))
        return [
            Insertion(source.start(value), f"[{line}    *("),
            Insertion(source.end(value), f"),{line}    {secret},{line}]"),
        ]
    if not value.elements:
        return [Insertion(source.end(value) - 1, secret)]
    if is_too_long(project, source, call, f"{secret}, "):
        indentation = source.indentation(source.start(call))
        lines = one_per_line(source, call, [], [], indentation)
        items = source.code(value)
        if len(indentation) + len(f"    secrets={items}, {secret},") > limit(project, source):
            return [*lines, *one_per_line(source, value, [], [secret], f"{indentation}    ")]
        return [*lines, Insertion(source.end(value.elements[-1]), f", {secret}")]
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
