"""Choose the application that is served, from deployment files and from the code."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
import libcst.matchers as m

from .app_calls import AppCall, all_app_calls, imported_names, is_module
from .project import Project
from .routes.find import find_routes
from .source import EditRefused

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
class Hint:
    """A file that names the application to serve."""

    path: Path
    module: str
    attribute: str


class SeveralApps(EditRefused):
    """Several applications are equally likely."""

    def __init__(self, apps: Sequence[AppCall]) -> None:
        super().__init__("Several applications may be served. Choose one:", _options(apps))
        self.labels = _labels(apps)


def hints(project: Project) -> Iterator[Hint]:
    """Yield the applications that deployment files, scripts and documents name, the most certain
    first."""
    for path, text in project.texts("pyproject.toml"):
        for entry in re.findall(r"^\s*entrypoint\s*=\s*[\"']([\w.]+:\w+)[\"']", text, re.MULTILINE):
            module, attribute = entry.split(":")
            yield Hint(path, module, attribute)
    files = [*project.texts(*_HINT_FILES)]
    files += [(name, project.text(name)) for name in project.containing(b"uvicorn.run")]
    for path, text in files:
        lines = text.replace("\\\n", " ").splitlines()
        for number, line in enumerate(lines):
            context = " ".join(lines[max(0, number - 3) : number + 1])
            if not re.search(rf"\b{_SERVERS}\b|UvicornWorker", context):
                continue
            for match in _MODULE_ATTRIBUTE.finditer(line):
                yield Hint(path, match[1], match[2])
            for match in _FASTAPI_FILE.finditer(line):
                yield Hint(path, match[1].removesuffix(".py").replace("/", ".").strip("."), "app")


def find_app(project: Project, wanted: str | None, served: Sequence[tuple[Path, str]]) -> AppCall:
    """Return the application that is served.

    `wanted` is the value of `--app`, if given; `served` are the files and names of applications
    that Modal serves. Raises EditRefused if there is none, SeveralApps if there are several.
    """
    found = all_app_calls(project)
    if wanted:
        return _wanted_app(project, found, wanted)
    if not found:
        raise EditRefused(_why_none(project))
    mounted = _mounted(project, found)
    routes, _ = find_routes(project)
    shipped = [route.app for route in routes]
    hinted = list(hints(project))
    scores: dict[AppCall, tuple[int, ...]] = {
        each: (
            int(each in shipped and each not in mounted),
            _hint_score(project, hinted, each, found),
            int((each.path, each.name) in served or (each.path, each.function) in served),
            int(each not in mounted),
            int(not each.function),
            int(not each.obstacle),
            -len(each.path.parts),
            int(each.path.stem in ("main", "app", "server", "asgi", "api")),
        )
        for each in found
    }
    ranked = sorted(found, key=lambda each: scores[each], reverse=True)
    best = ranked[0]
    rivals = [each for each in ranked if scores[each][0] and each is not best]
    if rivals and scores[best][1] < 2:
        # Each is started by a Dockerfile or the like: the module's place decides, or the user.
        near = [each for each in (best, *rivals) if _has_module(project, each)]
        if len(near) != 1:
            raise SeveralApps([best, *rivals])
        return near[0]
    # Branches that assign to the same variable create the same application.
    ties = [
        each
        for each in ranked
        if scores[each] == scores[best]
        and (each.path, each.name, each.function) != (best.path, best.name, best.function)
    ]
    if ties:
        raise SeveralApps([best, *ties])
    return best


def _has_module(project: Project, app: AppCall) -> bool:
    """Return True if the module is in the package of `app`."""
    folder = project.package_dir
    return folder != Path() and app.path.is_relative_to(folder)


def _hint_score(
    project: Project, hinted: Sequence[Hint], app: AppCall, others: Sequence[AppCall]
) -> int:
    """Return 2 for the entry point in pyproject.toml, 1 for another hint, 0 for none."""
    score = 0
    for rank, hint in enumerate(hinted):
        if not _names(project, hint, app):
            continue
        depth = _shared_folders(hint.path, app.path)
        has_nearer = any(
            other is not app
            and _names(project, hint, other)
            and _shared_folders(hint.path, other.path) > depth
            for other in others
        )
        if not has_nearer:
            is_entrypoint = rank == 0 and hint.path.name == "pyproject.toml"
            score = max(score, 2 if is_entrypoint else 1)
    return score


def _names(project: Project, hint: Hint, app: AppCall) -> bool:
    """Return True if `hint` names the variable or the factory of `app`."""
    if is_module(app.path, hint.module) and hint.attribute in (app.name, app.function):
        return not app.function or hint.attribute == app.function or app.name == ""
    # Or a variable that is assigned the result of the factory.
    if not app.function:
        return False
    assignment = rf"^{hint.attribute}\b[^=\n]*=\s*(?:\w+\.)*{app.function}\("
    return any(
        re.search(assignment, project.text(path), re.MULTILINE)
        for path in project.modules
        if is_module(path, hint.module)
    )


def _shared_folders(one: Path, other: Path) -> int:
    count = 0
    for left, right in zip(one.parent.parts, other.parent.parts, strict=False):
        if left != right:
            break
        count += 1
    return count


def _mounted(project: Project, among: Sequence[AppCall]) -> set[AppCall]:
    """Return the applications that another application mounts."""
    names: set[tuple[Path, str]] = set()
    for source in project.sources_containing(b".mount("):
        for call in source.nodes(cst.Call):
            if not m.matches(call.func, m.Attribute(attr=m.Name("mount"))):
                continue
            for argument in call.args:
                if isinstance(argument.value, cst.Name):
                    names.add((source.path, argument.value.value))
    return {
        each
        for each in among
        if any(
            name == each.name and (path == each.path or _imports(project, path, each.path, name))
            for path, name in names
        )
    }


def _imports(project: Project, importer: Path, imported: Path, name: str) -> bool:
    return any(
        local == name
        and imported_name
        and module.split(".")[-1] in (imported.stem, imported.parent.name)
        for module, imported_name, local in imported_names(project.source(importer))
    )


def _wanted_app(project: Project, found: Sequence[AppCall], wanted: str) -> AppCall:
    module, _, attribute = wanted.partition(":")
    module = module.removesuffix(".py").replace("/", ".")
    hint = Hint(Path(), module, attribute or "app")
    matching = [each for each in found if each.identity == wanted] or [
        each
        for each in found
        if is_module(each.path, module) and attribute in (each.name, each.function)
    ]
    if len({each.identity for each in matching if each.name == attribute}) > 1:
        raise SeveralApps(matching)
    if matching:
        return matching[0]
    for each in found:
        if _names(project, hint, each):
            return each
    raise EditRefused(f"There is no application {wanted} in this repository.", _options(found))


def _options(apps: Sequence[AppCall]) -> str:
    return "\n".join(
        f"--app {label}    # {each.path}:{each.line}"
        for label, each in zip(_labels(apps), apps, strict=True)
    )


def _labels(apps: Sequence[AppCall]) -> list[str]:
    """Return a value of `--app` for each application: its label, unless another one has that too."""
    labels = [each.label for each in apps]
    return [each.identity if labels.count(each.label) > 1 else each.label for each in apps]


def _why_none(project: Project) -> str:
    for path in project.containing(b"fastapi import *"):
        return f"{path} uses a star import of fastapi. Import FastAPI by name, then run this again."
    for path in project.containing(b"fastapi", b"FastAPI"):
        try:
            project.source(path)
        except EditRefused as refused:
            return str(refused)
    for hint in hints(project):
        for path in project.modules:
            if is_module(path, hint.module):
                return (
                    f"{path} gets {hint.attribute} from another package. Call"
                    f" instrument_app({hint.attribute}) after that line."
                )
    return "No file in this repository creates a FastAPI application. Run this in the folder of a service."
