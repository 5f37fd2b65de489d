"""The container of a Modal function: its image, its packages, and the files that Modal adds."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import libcst as cst

from ..app_calls import imported_names
from ..modal_functions import ModalFunction
from ..project import Project
from ..source import Source
from .build_context import Context
from .container import Container, Copied, Installed, Place, path_changes
from .dockerfile import DockerBuild, base_image
from .installs import Install
from .modal_image import ImageCall, image_calls, own_module, strings
from .run_commands import installed, run_file_command
from .shell import commands

HOME: Final = PurePosixPath("/root")
_OPTIONS: Final = {
    "index_url": "--index-url",
    "extra_index_url": "--extra-index-url",
    "find_links": "--find-links",
    "groups": "--group",
    "extras": "--extra",
    "with_": "--with",
    "without": "--without",
    "only": "--only",
}
"""The option of the command that Modal runs, for each argument of a method."""


def modal_container(
    project: Project, function: ModalFunction, decorator: cst.Call | None
) -> Container:
    """Return the container of a Modal function."""
    source = project.source(function.path)
    place = Place(function.path, source.line(function.node.name))
    container = Container(f"{place} (Modal)", read=project.text, folder=HOME, path=[HOME])
    container.folders.add(HOME)
    calls = image_calls(project, source, decorator) if decorator is not None else []
    for each in calls:
        container = _built(project, container, each)
    container.name, container.client = f"{place} (Modal)", "modal"
    container.path.append(HOME)
    _add_own_files(project, container, source)
    if container.main is not None:
        container.path += path_changes(source.text, container.main)
    return container


def _built(project: Project, container: Container, each: ImageCall) -> Container:
    method, place = each.method, each.place
    if method in ("pip_install", "uv_pip_install"):
        packages = tuple(each.strings("packages"))
        files = tuple(
            filter(None, (_existing(project, each, name) for name in each.named("requirements")))
        )
        copied = {f"{number}-{path.name}": path for number, path in enumerate(files)}
        install = Install(HOME, tuple(copied), packages=packages, words=_options(each))
        container.installed.append(
            Installed(place, install, files, {HOME / name: path for name, path in copied.items()})
        )
    elif method in (
        "pip_install_from_requirements",
        "pip_install_from_pyproject",
        "poetry_install_from_file",
        "uv_sync",
    ):
        container.installed += _from_files(project, each)
    elif method in ("run_commands", "dockerfile_commands"):
        for text in each.strings():
            line = re.sub(r"^\s*RUN\s+", "", text)
            for command in commands(line, container.folder, container.variables):
                container.installed += installed(command, container.files, place)
                run_file_command(container, command, place, container.files)
    elif method == "from_dockerfile":
        built = _from_dockerfile(project, each)
        if built is not None:
            container = built
            container.path.append(HOME)
    elif method in ("debian_slim", "from_registry", "micromamba"):
        names = [*each.named("python_version"), *each.named("add_python"), *each.strings()]
        if method != "debian_slim":
            container.base = base_image((*each.strings(), method)[0])
        for name in names:
            if match := re.search(r"(?:\A|python:?)(3)\.(\d+)", name):
                container.python, container.python_place = (3, int(match[2])), place
                break
    elif method == "env":
        for argument in each.call.args:
            if isinstance(argument.value, cst.Dict):
                container.variables |= _dictionary(each.source, argument.value)
    elif method == "workdir":
        container.folder = container.find("".join(each.strings()[:1]))
        container.path.append(container.folder)
    else:
        _add_local(project, container, each)
    return container


def _from_files(project: Project, each: ImageCall) -> Iterator[Installed]:
    method = each.method
    names = each.strings(
        "requirements_txt", "pyproject_toml", "poetry_pyproject_toml", "uv_project_dir"
    )
    if method == "uv_sync":
        names = [f"{(names or ['.'])[0]}/pyproject.toml"]
    files = tuple(filter(None, (_existing(project, each, name) for name in names[:1])))
    extras = frozenset(
        [
            *each.named("optional_dependencies"),
            *each.named("groups"),
            *each.named("extras"),
            *each.named("with_"),
        ]
    )
    tool = {"uv_sync": "uv", "poetry_install_from_file": "poetry"}.get(method, "pip")
    available = {HOME / path.name: path for path in files}
    for path in files if tool != "pip" else ():
        lock = path.with_name(f"{tool}.lock")
        if lock in set(project.files):
            available[HOME / lock.name] = lock
    is_project = method != "pip_install_from_requirements"
    install = Install(
        HOME,
        files=() if is_project else tuple(path.name for path in files),
        projects=(".",) if is_project else (),
        extras=extras,
        is_locked=tool != "pip",
        has_project=False,
        tool=tool,
        words=_options(each, is_frozen=HOME / "uv.lock" in available),
    )
    yield Installed(each.place, install, files, available)


def _options(each: ImageCall, *, is_frozen: bool = False) -> tuple[str, ...]:
    """Return the options of the command that Modal runs for the call."""
    found = []
    for keyword, option in _OPTIONS.items():
        for value in each.named(keyword):
            found += [option, value]
    for text in each.named("extra_options"):
        found += text.split()
    if each.method == "uv_sync":
        is_frozen = is_frozen and not {"--frozen", "--locked"} & set(found)
        found = ["sync", *(["--frozen"] if is_frozen else []), *found]
    elif each.method == "poetry_install_from_file":
        found = ["install", "--no-root", *found]
    return tuple(found)


def _existing(project: Project, each: ImageCall, name: str) -> Path | None:
    """Return a file that a path in the code names: relative to the file, or to where it is deployed."""
    for folder in (Path(), each.source.path.parent, *each.source.path.parent.parents):
        path = folder / name.removeprefix("./")
        if path in set(project.files):
            return path
    return None


def _from_dockerfile(project: Project, each: ImageCall) -> Container | None:
    names = each.strings("path")
    path = _existing(project, each, names[0]) if names else None
    if path is None:
        return None
    context = (each.named("context_dir") or [""])[0]
    folder = Path(context) if context else Path()
    files = {
        PurePosixPath(name): each_file
        for each_file in project.repository_files
        if (name := project.relative(each_file, folder)) is not None
    }
    return DockerBuild(path, project.text(path), Context(folder, files), project.text).stage()


def _dictionary(source: Source, node: cst.Dict) -> dict[str, str]:
    found = {}
    for element in node.elements:
        if isinstance(element, cst.DictElement):
            name, value = list(strings(source, element.key)), list(strings(source, element.value))
            if name and value:
                found[name[0]] = value[0]
    return found


def _add_local(project: Project, container: Container, each: ImageCall) -> None:
    method = each.method
    if method in ("add_local_python_source", "copy_local_python_source"):
        for name in each.strings("modules"):
            path = own_module(project, each.source.path, name)
            if path is not None and path.name != "__init__.py":
                container.add(HOME / path.name, path, Copied(each.place, HOME))
                continue
            # Without an __init__.py, it is a namespace package.
            package = path.parent if path else _folder_named(project, each.source.path, name)
            if package is not None:
                target = HOME.joinpath(*name.split("."))
                _add_folder(project, container, package, target, each.place)
    elif method in ("add_local_dir", "copy_local_dir"):
        remote = (each.named("remote_path") or each.strings("local_path")[1:] or [""])[0]
        local = each.named("local_path") or each.strings()[:1] or ["."]
        folder = _folder(project, each, local[0])
        if folder is not None:
            _add_folder(project, container, folder, _remote(container, remote), each.place)
    elif method in ("add_local_file", "copy_local_file"):
        texts = each.strings("local_path", "remote_path")
        source = _existing(project, each, texts[0]) if texts else None
        if source is not None and len(texts) > 1:
            to = _remote(container, texts[1])
            to = to / source.name if texts[1].endswith("/") else to
            container.add(to, source, Copied(each.place, to.parent))


def _folder_named(project: Project, importer: Path, name: str) -> Path | None:
    """Return the folder that `importer` may import as `name`, the nearest if there are several."""
    packages = {parent for path in project.modules for parent in path.parents}
    folders = (folder.joinpath(*name.split(".")) for folder in importer.parents)
    return next((folder for folder in folders if folder in packages), None)


def _folder(project: Project, each: ImageCall, name: str) -> Path | None:
    folders = {parent for path in project.files for parent in path.parents}
    bases = [Path(), each.source.path.parent]
    if above := re.search(r"__file__\S*?((?:\.parent)+)", each.source.code(each.call)):
        bases = [each.source.path.parents[above[1].count(".parent") - 1]]
    for base in bases:
        path = base / name.removeprefix("./").rstrip("/")
        if path in folders:
            return path
    return None


def _remote(container: Container, target: str) -> PurePosixPath:
    return container.find(re.sub(r"^~", str(HOME), target), PurePosixPath("/"))


def _add_folder(
    project: Project, container: Container, folder: Path, target: PurePosixPath, place: Place
) -> None:
    for path in project.files:
        if path.is_relative_to(folder):
            container.add(target / path.relative_to(folder), path, Copied(place, target))
    container.folders.add(target)


def _add_own_files(project: Project, container: Container, source: Source) -> None:
    """Add the function's file: with its whole package if it is deployed by `modal deploy -m`."""
    path = source.path
    if is_deployed_as_module(project, container, source):
        root = _package_root(project, path)
        for each in project.files:
            if each.suffix == ".py" and each.is_relative_to(root / path.relative_to(root).parts[0]):
                container.add(HOME / each.relative_to(root), each)
        container.main = HOME / path.relative_to(root)
    else:
        container.add(HOME / path.name, path)
        container.main = HOME / path.name


def _package_root(project: Project, path: Path) -> Path:
    """Return the folder that the top-level package of `path` is in."""
    folder = path.parent
    files = set(project.files)
    while folder != Path() and folder / "__init__.py" in files:
        folder = folder.parent
    # A namespace package, as in `modal deploy -m src.app`.
    return (
        folder if folder / "__init__.py" not in files and folder != path.parent else folder.parent
    )


def is_deployed_as_module(project: Project, container: Container, source: Source) -> bool:
    """Return True if Modal adds the whole package of the file."""
    path = source.path
    if len(path.parts) == 1:
        return False
    for _, text in project.texts(
        "README*", "*.md", "Makefile", "justfile", "*.sh", "*.y*ml", "pyproject.toml"
    ):
        for match in re.finditer(r"modal (?:deploy|serve|run)\b([^\n]*)", text):
            if (
                re.search(rf"-m\s+\S*{re.escape(path.stem)}\b", match[1])
                and f".{path.stem}" in match[1]
            ):
                return True
            if re.search(rf"(?<![\w-]){re.escape(path.as_posix())}\b", match[1]):
                return False
    for module, name, _ in imported_names(source):
        if module.startswith("."):
            return True
        target = own_module(project, path, module) or own_module(project, path, f"{module}.{name}")
        if target is not None and not container.places_of(target):
            return True
    return False
