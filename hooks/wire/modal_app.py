"""What Modal needs: the secret, the packages in the image, and the module's source in it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import libcst as cst
import libcst.matchers as m

from .find import Creation, candidates, enclosing, is_module
from .imports import module_for
from .project import Project
from .source import Insertion, Refused, Source

_ASGI = m.Name("asgi_app") | m.Attribute(attr=m.Name("asgi_app"))
# What installs the packages that the repository declares.
_FOLLOWS = ("uv_sync", "pip_install_from_pyproject", "pip_install_from_requirements",
            "poetry_install_from_file", "from_dockerfile")  # fmt: skip
_INLINE = ("uv_pip_install", "pip_install")


@dataclass(frozen=True)
class Served:
    """A function of Modal's that serves an application."""

    path: Path
    function: cst.FunctionDef
    names: frozenset[tuple[str, str]]
    """What it returns: the module that it is imported from, or empty, and its name there."""


@dataclass
class ModalEdits:
    """The edits of one file, and what is left to the user."""

    path: Path
    content: bytes
    top: str
    """What Modal's functions import first to reach the module."""
    todo: list[tuple[str, str]] = field(default_factory=list)


def served(project: Project) -> list[Served]:
    """Each function with Modal's `asgi_app`."""
    found: list[Served] = []
    for path in project.containing(b"asgi_app"):
        try:
            source = project.source(path)
        except Refused:
            continue
        for function in m.findall(source.module, m.FunctionDef()):
            assert isinstance(function, cst.FunctionDef)
            if any(m.matches(_called(each.decorator), _ASGI) for each in function.decorators):
                found.append(Served(path, function, frozenset(_returned(source, function))))
    return found


def served_apps(project: Project) -> list[tuple[Path, str]]:
    """Files and variables, or functions, whose application Modal serves."""
    apps: list[tuple[Path, str]] = []
    for each in served(project):
        for module, name in each.names:
            if not module:
                apps.append((each.path, name))
            apps += [(path, name) for path in project.modules if module and is_module(path, module)]
    return apps


def serves(project: Project, each: Served, app: Creation) -> bool:
    """Whether `each` serves the application that is wired."""
    source = project.source(each.path)
    if each.path == app.path:
        start, end = source.start(each.function), source.end(each.function)
        if start <= project.source(app.path).start(app.call) < end:
            return True
        if any(not module and name in (app.name, app.function) for module, name in each.names):
            return True
    return any(module and is_module(app.path, module) for module, _ in each.names)


def _called(node: cst.BaseExpression) -> cst.BaseExpression:
    return node.func if isinstance(node, cst.Call) else node


def _returned(source: Source, function: cst.FunctionDef) -> Iterator[tuple[str, str]]:
    imported: dict[str, tuple[str, str]] = {}
    for node in m.findall(source.module, m.ImportFrom()):
        if isinstance(node, cst.ImportFrom) and not isinstance(node.names, cst.ImportStar):
            module = source.code(node.module) if node.module else ""
            for alias in node.names:
                name = source.code(alias.name)
                local = source.code(alias.asname.name) if alias.asname else name
                if not node.module:
                    imported[local] = (name, "app")
                else:
                    imported[local] = (module, name)
    for node in m.findall(source.module, m.Import()):
        if isinstance(node, cst.Import):
            for alias in node.names:
                name = source.code(alias.name)
                imported[source.code(alias.asname.name) if alias.asname else name] = (name, "app")
    for node in m.findall(function, m.Return()):
        assert isinstance(node, cst.Return)
        value = node.value
        if value is None:
            continue
        value = _called(value)
        if isinstance(value, cst.Attribute) and isinstance(value.value, cst.Name):
            module, attribute = imported.get(value.value.value, ("", ""))[0], value.attr.value
            if value.value.value in imported:
                base, name = imported[value.value.value]
                yield f"{base}.{name}" if name != "app" else base, attribute
                yield module, attribute
            continue
        if isinstance(value, cst.Name):
            yield imported.get(value.value, ("", value.value))


def wire_modal_file(
    project: Project, path: Path, app: Creation, requirements: Sequence[str]
) -> ModalEdits:
    """A file with the edits of each function in it that serves `app`, and what is left to the user."""
    edits = ModalEdits(path, project.source(path).content, _top(project, app))
    index = 0
    while True:
        # Each function starts from what those before it have made of the file.
        functions = [each for each in served(project) if each.path == path]
        if index >= len(functions):
            return edits
        function = functions[index]
        index += 1
        if not serves(project, function, _again(project, app)):
            continue
        _wire_function(project, function, requirements, edits)
        project = project.having(path, edits.content)


def _top(project: Project, app: Creation) -> str:
    """What Modal's functions import first to reach the module."""
    module = module_for(project, project.source(app.path), app.path)
    return (project.module if module.startswith(".") else module).split(".")[0]


def unwire_modal_file(
    project: Project, path: Path, app: Creation, requirements: Sequence[str]
) -> bytes | None:
    """The file without what `wire_modal_file` puts in; None where nothing of it is there."""
    source = project.source(path)
    secret = rf"[\w.]+\.from_name\(\"{re.escape(project.secret)}\"\)"
    keyword = rf"secrets=\[{secret}\]"
    packages = "|".join(re.escape(f'"{each}"') for each in requirements) or "(?!)"
    top = re.escape(f'"{_top(project, app)}"')
    kinds = [
        [
            (rf"(?m)^[ \t]*(?:{keyword}|{secret}),\r?\n", ""),
            (rf"(?:{keyword}|{secret}), ", ""),
            (rf", ?{keyword}| {keyword}", ""),
            (rf"\[\*\((.*?)\), {secret}\]", r"\1"),
            (rf"{keyword}|{secret}", ""),
        ],
        [(rf"(?m)^[ \t]*(?:{packages}),\r?\n", ""), (rf"(?:{packages}), ", ""), (packages, "")],
        [(rf"{top}, ", "")],
    ]
    texts = {source.text}
    for patterns in kinds:
        for text in list(texts):
            texts |= {re.sub(pattern, less, text) for pattern, less in patterns}
    for text in sorted(texts - {source.text}, key=len):
        content = source.content[: len(source.content) - len(source.text.encode(source.encoding))]
        content += text.encode(source.encoding)
        try:
            if (
                wire_modal_file(project.having(path, content), path, app, requirements).content
                == source.content
            ):
                return content
        except Refused:
            continue
    return None


def _again(project: Project, app: Creation) -> Creation:
    """`app` in the file as it is now."""
    names = (app.path, app.name, app.function)
    return next(
        (each for each in candidates(project) if (each.path, each.name, each.function) == names),
        app,
    )


def _wire_function(
    project: Project, each: Served, requirements: Sequence[str], edits: ModalEdits
) -> None:
    source = project.source(each.path)
    decorated = _decorator(source, each.function)
    where = f"{each.path}:{source.line(each.function.name)}"
    if decorated is None:
        edits.todo.append(
            (
                f"{where} serves the application in a way that is not edited here: add the secret to it.",
                f'secrets=[modal.Secret.from_name("{project.secret}")]',
            )
        )
        return
    insertions: list[Insertion] = []
    for step in (_secret, _packages, _source):
        try:
            insertions += step(project, source, decorated, requirements, edits, where)
        except Refused as refused:
            edits.todo.append((str(refused), refused.snippet))
    if insertions:
        edits.content = source.with_insertions(insertions)


def _decorator(source: Source, function: cst.FunctionDef) -> cst.Call | None:
    """`@app.function(...)` of the function, or `@app.cls(...)` of its class."""
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


def _keyword(call: cst.Call, name: str) -> cst.Arg | None:
    return next((each for each in call.args if each.keyword and each.keyword.value == name), None)


def _secret(
    project: Project,
    source: Source,
    call: cst.Call,
    requirements: Sequence[str],
    edits: ModalEdits,
    where: str,
) -> list[Insertion]:
    argument = _keyword(call, "secrets")
    quoted = (f'"{project.secret}"', f"'{project.secret}'")
    covered = source.code(call)
    if argument is not None and isinstance(argument.value, cst.Name):
        match = re.search(
            rf"(?m)^{argument.value.value}\b[^\n=]*=(.*(?:\n[ \t)\]].*)*)", source.text
        )
        covered += match[1] if match else ""
    for app in re.findall(r"(?:modal\.)?App\((?:[^()]|\([^()]*\))*\)", source.text):
        covered += app
    if any(each in covered for each in quoted):
        return []
    variables = re.findall(
        rf"(?m)^(\w+)\s*=\s*(?:modal\.)?Secret\.from_name\(\s*[\"']{re.escape(project.secret)}",
        source.text,
    )
    if any(re.search(rf"\b{name}\b", covered) for name in variables):
        return []
    spelling = _spelling(source, "Secret")
    if spelling is None:
        raise Refused(
            f"{where} needs the secret {project.secret}, but the file does not import modal:"
            " add this to its function.",
            f'secrets=[modal.Secret.from_name("{project.secret}")]',
        )
    secret = f'{spelling}.from_name("{project.secret}")'
    if argument is None:
        keyword = next((each for each in call.args if each.keyword), None)
        return [_argument(source, call, keyword, f"secrets=[{secret}]")]
    value = argument.value
    if isinstance(value, cst.List):
        return [_item(source, value, secret)]
    return [
        Insertion(source.start(value), "[*("),
        Insertion(source.end(value), f"), {secret}]"),
    ]


def _spelling(source: Source, name: str) -> str | None:
    """What modal's `name` is called in this file."""
    module = None
    for node in m.findall(source.module, m.Import() | m.ImportFrom()):
        if isinstance(node, cst.Import):
            for alias in node.names:
                if source.code(alias.name) == "modal":
                    module = source.code(alias.asname.name) if alias.asname else "modal"
        elif (
            isinstance(node, cst.ImportFrom) and node.module and source.code(node.module) == "modal"
        ):
            if isinstance(node.names, cst.ImportStar):
                return name
            for alias in node.names:
                if source.code(alias.name) == name:
                    return source.code(alias.asname.name) if alias.asname else name
    return f"{module}.{name}" if module else None


def _argument(source: Source, call: cst.Call, before: cst.Arg | None, text: str) -> Insertion:
    """`text` as an argument in front of `before`, or as the last one without it."""
    if before is None:
        if not call.args:
            # Between the brackets, whatever they hold.
            return Insertion(source.end(call) - 1, text)
        last = call.args[-1]
        has_comma = isinstance(last.comma, cst.Comma)
        return Insertion(source.end(last), f" {text}" if has_comma else f", {text}")
    start = source.start(before)
    if not source.utf8[source.line_start(start) : start].strip():
        return source.line_before(start, f"{source.indentation(start)}{text},")
    return Insertion(start, f"{text}, ")


def _item(source: Source, value: cst.List, text: str) -> Insertion:
    if not value.elements:
        return Insertion(source.end(value) - 1, text)
    start = source.start(value.elements[0])
    if not source.utf8[source.line_start(start) : start].strip():
        return source.line_before(start, f"{source.indentation(start)}{text},")
    return Insertion(start, f"{text}, ")


def _image(source: Source, call: cst.Call) -> cst.BaseExpression | None:
    """What builds the image of the function, as far as this file says."""
    argument = _keyword(call, "image")
    value = argument.value if argument else None
    if (
        value is None
        and isinstance(call.func, cst.Attribute)
        and isinstance(call.func.value, cst.Name)
    ):
        app = _assigned(source, call.func.value.value)
        if isinstance(app, cst.Call) and (argument := _keyword(app, "image")):
            value = argument.value
    seen = 0
    while isinstance(value, cst.Name) and seen < 5:
        value, seen = _assigned(source, value.value), seen + 1
    return value


def _assigned(
    source: Source, name: str, before: cst.CSTNode | None = None
) -> cst.BaseExpression | None:
    """What the variable `name` is set to last, above `before`."""
    values = [
        node.value
        for node in m.findall(
            source.module, m.Assign(targets=[m.AssignTarget(target=m.Name(name))])
        )
        if isinstance(node, cst.Assign)
        and (before is None or source.end(node) < source.start(before))
    ]
    return max(values, key=source.start) if values else None


def _chain(source: Source, image: cst.BaseExpression | None) -> list[cst.Call]:
    """The calls that build an image, the last one first."""
    calls: list[cst.Call] = []
    node = image
    seen = 0
    while node is not None and seen < 100:
        seen += 1
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


def _packages(
    project: Project,
    source: Source,
    call: cst.Call,
    requirements: Sequence[str],
    edits: ModalEdits,
    where: str,
) -> list[Insertion]:
    calls = _chain(source, _image(source, call))
    code = "\n".join(source.code(each) for each in calls)
    missing = [
        each for each in requirements if not re.search(rf"\b{re.split('[<>=]', each)[0]}\b", code)
    ]
    follows = any(_method(each) in _FOLLOWS for each in calls) or re.search(
        r"run_commands\([^)]*\b(?:uv sync|uv pip install|pip install|poetry install|pdm)\b", code
    )
    if not missing or follows:
        return []
    items = ", ".join(f'"{each}"' for each in missing)
    inline = [each for each in calls if _method(each) in _INLINE]
    if not inline:
        raise Refused(
            f"{where} runs in an image that is not built in this file: add the packages to it.",
            f".pip_install({items})",
        )
    target = inline[0]
    first = next((each for each in target.args if not each.keyword), None)
    if first is None:
        return [_argument(source, target, target.args[0] if target.args else None, items)]
    if isinstance(first.value, cst.List):
        return (
            [_several(source, source.start(first.value.elements[0].value), missing)]
            if (first.value.elements)
            else [Insertion(source.end(first.value) - 1, items)]
        )
    if first.star:
        return [Insertion(source.start(first), f"{items}, ")]
    return [_several(source, source.start(first), missing)]


def _several(source: Source, start: int, items: Sequence[str]) -> Insertion:
    if not source.utf8[source.line_start(start) : start].strip():
        indentation = source.indentation(start)
        lines = source.newline.join(f'{indentation}"{each}",' for each in items)
        return source.line_before(start, lines)
    return Insertion(start, "".join(f'"{each}", ' for each in items))


def _source(
    project: Project,
    source: Source,
    call: cst.Call,
    requirements: Sequence[str],
    edits: ModalEdits,
    where: str,
) -> list[Insertion]:
    """Nothing to do where the module is in a package that is in the image already."""
    top = edits.top
    calls = _chain(source, _image(source, call))
    for each in calls:
        text = source.code(each)[len(source.code(each.func)) :]
        if _method(each) in (
            "add_local_python_source",
            "copy_local_python_source",
            "from_dockerfile",
        ) and (
            re.search(rf"[\"']{re.escape(top)}[\"']", text) or _method(each) == "from_dockerfile"
        ):
            return []
        if _method(each) in ("add_local_dir", "copy_local_dir", "copy_mount"):
            match = re.search(r"[\"']([^\"']*)[\"']", text)
            folder = Path(match[1]) if match else Path()
            if match is None or any(
                project.module_dir.is_relative_to(base / folder)
                for base in (Path(), edits.path.parent)
            ):
                return []
    # Modal adds the package that the function's own module is in.
    if top != "observability" and project.package_dir in (
        edits.path.parent,
        *edits.path.parent.parents,
    ):
        return []
    adding = next((each for each in calls if _method(each) == "add_local_python_source"), None)
    if adding is not None and adding.args:
        return [_argument(source, adding, adding.args[0], f'"{top}"')]
    edits.todo.append(
        (
            f"{where} needs the folder {project.module_dir} in its image, unless it is there already.",
            f'.add_local_python_source("{top}")',
        )
    )
    return []


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
