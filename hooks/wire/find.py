"""Which FastAPI application is the one that is served."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
import libcst.matchers as m

from .project import Project
from .source import Refused, Source

_SERVERS = r"(?:uvicorn|gunicorn|hypercorn|granian|fastapi|daphne)"
_MODULE_ATTRIBUTE = re.compile(
    r"(?<![\w./:-])([A-Za-z_]\w*(?:\.\w+)*):([A-Za-z_]\w*)(?:\(\))?(?![\w:/])"
)
_FASTAPI_FILE = re.compile(r"\bfastapi[\"', \[\]]+(?:run|dev)\b[^\n]*?([\w./-]+\.py)")
_HINT_FILES = (
    "Dockerfile*", "*.Dockerfile", "Procfile*", "Makefile", "justfile", "compose*.y*ml",
    "docker-compose*.y*ml", "*.sh", "fly.toml", "render.yaml", "railway.*", "app.yaml",
    "pyproject.toml", "README*", "*.service", "supervisord*.conf",
)  # fmt: skip


@dataclass(frozen=True)
class Creation:
    """A call that makes a FastAPI application."""

    path: Path
    line: int
    call: cst.Call
    name: str
    """The variable that it is bound to; empty where there is none that a line could use."""
    function: str
    """The function that it is in, or empty at module level."""
    why_not: str = ""
    """Why no line is put after it, where none is."""

    @property
    def label(self) -> str:
        return f"{'.'.join(self.path.with_suffix('').parts)}:{self.name or self.function}"


def creations(source: Source, subclasses: frozenset[str] = frozenset()) -> list[Creation]:
    """Each call of FastAPI in `source`, in order."""
    names, modules = _fastapi_names(source, subclasses)
    found = []
    for call in m.findall(source.module, m.Call()):
        assert isinstance(call, cst.Call)
        if _is_fastapi(call.func, names, modules):
            found.append(_creation(source, call))
    return sorted(found, key=lambda each: source.start(each.call))


def subclasses_of(source: Source) -> set[str]:
    """Names of the classes in `source` that are FastAPI applications."""
    names, modules = _fastapi_names(source, frozenset())
    return {
        node.name.value
        for node in m.findall(source.module, m.ClassDef())
        if isinstance(node, cst.ClassDef)
        and any(_is_fastapi(base.value, names, modules) for base in node.bases)
    }


def _fastapi_names(source: Source, subclasses: frozenset[str]) -> tuple[set[str], set[str]]:
    """What FastAPI, or a subclass of it, is called here; and the module fastapi."""
    names: set[str] = set()
    modules: set[str] = set()
    for node in m.findall(source.module, m.ImportFrom() | m.Import()):
        if isinstance(node, cst.Import):
            for alias in node.names:
                if source.code(alias.name) in ("fastapi", "fastapi.applications"):
                    modules.add(
                        source.code(alias.asname.name) if alias.asname else source.code(alias.name)
                    )
        elif isinstance(node, cst.ImportFrom) and not isinstance(node.names, cst.ImportStar):
            module = source.code(node.module) if node.module else ""
            for alias in node.names:
                imported = source.code(alias.name)
                local = source.code(alias.asname.name) if alias.asname else imported
                is_fastapi = module in ("fastapi", "fastapi.applications") and not node.relative
                if (is_fastapi and imported == "FastAPI") or (
                    imported in subclasses and module != "fastapi"
                ):
                    names.add(local)
    grown = True
    while grown:
        grown = False
        for node in m.findall(source.module, m.ClassDef()):
            assert isinstance(node, cst.ClassDef)
            if node.name.value not in names and any(
                _is_fastapi(base.value, names, modules) for base in node.bases
            ):
                names.add(node.name.value)
                grown = True
    return names, modules


def _is_fastapi(node: cst.BaseExpression, names: set[str], modules: set[str]) -> bool:
    if isinstance(node, cst.Name):
        return node.value in names
    return (
        isinstance(node, cst.Attribute)
        and node.attr.value == "FastAPI"
        and cst.Module([]).code_for_node(node.value) in modules
    )


def enclosing(
    source: Source, node: cst.CSTNode, kinds: type | tuple[type, ...]
) -> cst.CSTNode | None:
    parent = source.parents.get(node)
    while parent is not None and not isinstance(parent, kinds):
        parent = source.parents.get(parent)
    return parent


def _creation(source: Source, call: cst.Call) -> Creation:
    function = enclosing(source, call, (cst.FunctionDef, cst.ClassDef))
    in_class = isinstance(function, cst.ClassDef)
    name, why_not = _bound_to(source, call)
    if in_class and not why_not:
        why_not = "it is made in the body of a class"
    return Creation(
        path=source.path,
        line=source.line(call),
        call=call,
        name=name,
        function=function.name.value if isinstance(function, cst.FunctionDef) else "",
        why_not=why_not,
    )


def _bound_to(source: Source, call: cst.Call) -> tuple[str, str]:
    """The variable that `call` is assigned to, and why no line can follow it where none can."""
    statement = source.parents[call]
    if isinstance(statement, cst.Assign) and len(statement.targets) >= 1:
        target: cst.BaseExpression = statement.targets[0].target
    elif isinstance(statement, cst.AnnAssign):
        target = statement.target
    elif isinstance(statement, cst.Return):
        return "", "it is returned at once"
    elif isinstance(statement, cst.NamedExpr):
        return "", "it is made within an expression"
    elif isinstance(statement, cst.IfExp):
        return "", "it is made within a conditional expression"
    elif isinstance(statement, cst.Arg):
        return "", "it is handed to another call at once"
    else:
        return "", "it is made within an expression"
    if not isinstance(target, cst.Name):
        return source.code(target), "it is no plain variable"
    line = source.parents[statement]
    if not isinstance(line, cst.SimpleStatementLine):
        return target.value, "it is on the line of its `if` or `with`"
    return target.value, ""


@dataclass(frozen=True)
class Hint:
    """A place that says what is served."""

    path: Path
    module: str
    attribute: str


def hints(project: Project) -> Iterator[Hint]:
    """What deployment files, scripts and documents start, the most certain ones first."""
    for path, text in project.texts("pyproject.toml"):
        for entry in re.findall(r"^\s*entrypoint\s*=\s*[\"']([\w.]+:\w+)[\"']", text, re.MULTILINE):
            module, attribute = entry.split(":")
            yield Hint(path, module, attribute)
    found = [*project.texts(*_HINT_FILES)]
    found += [(name, project.text(name)) for name in project.containing(b"uvicorn.run")]
    for path, text in found:
        lines = text.replace("\\\n", " ").splitlines()
        for number, line in enumerate(lines):
            near = " ".join(lines[max(0, number - 3) : number + 1])
            if not re.search(rf"\b{_SERVERS}\b|UvicornWorker", near):
                continue
            for match in _MODULE_ATTRIBUTE.finditer(line):
                yield Hint(path, match[1], match[2])
            for match in _FASTAPI_FILE.finditer(line):
                yield Hint(path, match[1].removesuffix(".py").replace("/", ".").strip("."), "app")


def candidates(project: Project) -> list[Creation]:
    """Every application that the repository makes, those that cannot be wired too."""
    subclasses: set[str] = set()
    for path in project.containing(b"(FastAPI)", b".FastAPI)", b"FastAPI, ", b"FastAPI,"):
        try:
            subclasses |= subclasses_of(project.source(path))
        except Refused:
            continue
    needles = [b"FastAPI", *(name.encode() for name in subclasses)]
    found: list[Creation] = []
    for path in project.containing(*needles):
        try:
            found += creations(project.source(path), frozenset(subclasses))
        except Refused:
            continue
    return found


def mounted(project: Project, among: Sequence[Creation]) -> set[Creation]:
    """Those that another application mounts."""
    names: set[tuple[Path, str]] = set()
    for path in {each.path for each in among} | set(project.containing(b".mount(")):
        try:
            source = project.source(path)
        except Refused:
            continue
        for call in m.findall(source.module, m.Call(func=m.Attribute(attr=m.Name("mount")))):
            assert isinstance(call, cst.Call)
            for argument in call.args:
                if isinstance(argument.value, cst.Name):
                    names.add((path, argument.value.value))
    return {
        each
        for each in among
        if any(
            name == each.name and (path == each.path or _imports(project, path, each.path, name))
            for path, name in names
        )
    }


def _imports(project: Project, importer: Path, imported: Path, name: str) -> bool:
    source = project.source(importer)
    for node in m.findall(source.module, m.ImportFrom()):
        assert isinstance(node, cst.ImportFrom)
        if isinstance(node.names, cst.ImportStar):
            continue
        names = {
            source.code(alias.asname.name if alias.asname else alias.name) for alias in node.names
        }
        if (
            name in names
            and node.module
            and source.code(node.module).split(".")[-1]
            in (
                imported.stem,
                imported.parent.name,
            )
        ):
            return True
    return False


def is_module(path: Path, module: str) -> bool:
    """Whether `path` may be what `import module` imports."""
    parts = module.split(".")
    stem = path.with_suffix("").parts
    if stem[-1] == "__init__":
        stem = stem[:-1]
    return len(parts) <= len(stem) and list(stem[-len(parts) :]) == parts


def _names_it(project: Project, hint: Hint, each: Creation) -> bool:
    """Whether what `hint` starts is, or makes, the application of `each`."""
    if is_module(each.path, hint.module) and hint.attribute in (each.name, each.function):
        return not each.function or hint.attribute == each.function or each.name == ""
    # A variable that holds what a function of the repository makes.
    if not each.function:
        return False
    for path in project.modules:
        if is_module(path, hint.module):
            pattern = rf"^{hint.attribute}\b[^=\n]*=\s*(?:\w+\.)*{each.function}\("
            if re.search(pattern, project.text(path), re.MULTILINE):
                return True
    return False


def _near(one: Path, other: Path) -> int:
    """How many folders two files share."""
    count = 0
    for left, right in zip(one.parent.parts, other.parent.parts, strict=False):
        if left != right:
            break
        count += 1
    return count


def find_app(project: Project, wanted: str | None, served: Sequence[tuple[Path, str]]) -> Creation:
    """The application that is served; `wanted` is what `--app` says, `served` what Modal serves.

    Raises Refused where there is none, or where two are equally likely.
    """
    found = candidates(project)
    if wanted:
        return _wanted(project, found, wanted)
    if not found:
        raise Refused(_why_none(project))
    children = mounted(project, found)
    everything = list(hints(project))
    by_strength: dict[Creation, tuple[int, ...]] = {}
    for each in found:
        hinted = 0
        for rank, hint in enumerate(everything):
            if _names_it(project, hint, each):
                near = _near(hint.path, each.path)
                better = [
                    other
                    for other in found
                    if other is not each
                    and _names_it(project, hint, other)
                    and _near(hint.path, other.path) > near
                ]
                if not better:
                    certain = rank == 0 and hint.path.name == "pyproject.toml"
                    hinted = max(hinted, 2 if certain else 1)
        by_strength[each] = (
            hinted,
            int((each.path, each.name) in served or (each.path, each.function) in served),
            int(each not in children),
            int(not each.function),
            int(not each.why_not),
            -len(each.path.parts),
            int(each.path.stem in ("main", "app", "server", "asgi", "api")),
        )
    # Several branches that make one variable are one application.
    ranked = sorted(found, key=lambda each: by_strength[each], reverse=True)
    best = ranked[0]
    ties = [
        each
        for each in ranked
        if by_strength[each] == by_strength[best]
        and (each.path, each.name, each.function) != (best.path, best.name, best.function)
    ]
    if ties:
        lines = "\n".join(
            f"--app {each.label}    # {each.path}:{each.line}" for each in (best, *ties)
        )
        raise Refused("Several applications may be the one that is served: say which.", lines)
    return best


def _wanted(project: Project, found: Sequence[Creation], wanted: str) -> Creation:
    module, _, attribute = wanted.partition(":")
    module = module.removesuffix(".py").replace("/", ".")
    hint = Hint(Path(), module, attribute or "app")
    matching = [each for each in found if is_module(each.path, module)]
    for each in matching:
        if attribute in (each.name, each.function):
            return each
    for each in found:
        if _names_it(project, hint, each):
            return each
    known = "\n".join(f"--app {each.label}    # {each.path}:{each.line}" for each in found)
    raise Refused(f"There is no application {wanted} here.", known)


def _why_none(project: Project) -> str:
    for path in project.containing(b"fastapi import *"):
        return (
            f"{path} imports everything of fastapi: import FastAPI by its name, and run this again."
        )
    for path in project.containing(b"fastapi", b"FastAPI"):
        try:
            project.source(path)
        except Refused as refused:
            return str(refused)
    for hint in hints(project):
        for path in project.modules:
            if is_module(path, hint.module):
                return (
                    f"{path} gets {hint.attribute} from another package: after the line that does,"
                    f" call instrument_app({hint.attribute})."
                )
    return "No file here makes a FastAPI application."
