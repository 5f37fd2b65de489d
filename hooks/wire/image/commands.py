"""The commands of uv that install the packages of a container into another environment."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from packaging.utils import canonicalize_name

from ..routes.container import ROOT, Container, Installed, Place, normal
from ..routes.local_projects import is_local, local_requirements
from .errors import LockOutdated, NotInstalled
from .lock_files import locked_versions, pipfile_requirements, poetry_requirements

Read = Callable[[Path], str]

# Options with an effect on the packages, and those among them that are followed by a value.
_PIP_VALUES: Final = {
    "-i": "--default-index", "--index-url": "--default-index", "--default-index": "--default-index",
    "--extra-index-url": "--index", "--index": "--index", "-f": "--find-links",
    "--find-links": "--find-links", "-c": "-c", "--constraint": "-c", "--prerelease": "--prerelease",
    "--resolution": "--resolution", "--index-strategy": "--index-strategy",
}  # fmt: skip
_PIP_FLAGS: Final = ("--no-deps", "--pre")
_UV_VALUES: Final = ("--extra", "--group", "--no-group", "--only-group", "--package", "--no-extra")
_UV_FLAGS: Final = (
    "--frozen", "--locked", "--no-dev", "--only-dev", "--all-extras", "--all-groups",
    "--no-default-groups", "--all-packages", "--dev",
)  # fmt: skip
# They would only add packages that the service cannot use.
_INSTALLERS: Final = re.compile(
    r"(?i)(?:pip|uv|poetry(?:-[\w-]+)?|pdm|pipenv|pip-tools|virtualenv|build|hatch)(?![\w-])"
)
_VARIABLES: Final = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "UV_DEFAULT_INDEX": "UV_DEFAULT_INDEX", "UV_INDEX_URL": "UV_DEFAULT_INDEX",
    "UV_INDEX": "UV_INDEX", "UV_EXTRA_INDEX_URL": "UV_INDEX", "UV_NO_DEV": "UV_NO_DEV",
    "UV_NO_DEFAULT_GROUPS": "UV_NO_DEFAULT_GROUPS",
}  # fmt: skip
_BASE_PACKAGES: Final = {
    "uvicorn-gunicorn-fastapi": ("fastapi", "gunicorn", "uvicorn[standard]"),
    "uvicorn-gunicorn-starlette": ("starlette", "gunicorn", "uvicorn[standard]"),
    "uvicorn-gunicorn": ("gunicorn", "uvicorn[standard]"),
    "lambda/python": ("boto3",),
}
_READ: Final = re.compile(r"(?:.*\.(?:txt|in|toml|lock|cfg)|setup\.py|Pipfile)")


@dataclass(frozen=True)
class UvCommand:
    """A command of uv. Paths in it are relative to the root of the container."""

    place: Place
    words: tuple[str, ...]
    folder: PurePosixPath = ROOT
    """The working directory."""
    files: Mapping[PurePosixPath, Path | str] = field(default_factory=dict)
    """The files that it can read: of the repository, or texts."""
    variables: Mapping[str, str] = field(default_factory=dict)

    def content(self, read: Read) -> list[str]:
        """Return everything that determines the packages."""
        texts = [
            f"{path} {text if isinstance(text, str) else read(text)}"
            for path, text in sorted(self.files.items())
            if _READ.fullmatch(path.name)
        ]
        return [*self.words, str(self.folder), *map(str, self.variables.items()), *texts]


def uv_commands(container: Container) -> list[UvCommand]:
    """Return the commands that install the packages of `container`, without the repository's code.

    Raises LockOutdated if a lock file lacks packages, and NotInstalled for those of conda.
    """
    found: list[UvCommand] = []
    for name, packages in _BASE_PACKAGES.items():
        if f"{name}:" in f"{container.base}:":
            place = container.python_place or Place(Path(container.name), 1)
            found.append(UvCommand(place, ("pip", "install", *packages)))
            break
    for each in container.installed:
        command = _command(each, container.read)
        if command is not None and command not in found:
            found.append(command)
    return found


def _command(each: Installed, read: Read) -> UvCommand | None:
    install = each.command
    if install.tool == "uv":
        return _uv(each)
    if install.tool == "conda":
        raise NotInstalled(f"{each.place} installs them with conda")
    words: list[str] = []
    files: dict[PurePosixPath, Path | str] = dict(each.available)
    if install.tool in ("poetry", "pdm", "pipenv"):
        words += _locked(each, files, read)
    else:
        for name in install.files:
            path = normal(install.folder / name)
            if path in files:
                words += ["-r", _relative(path), *_without_local(path, files, read)]
        words += [package for package in install.packages if not _INSTALLERS.match(package)]
        for name in install.projects:
            folder = normal(install.folder / name)
            words += _project(folder, install.extras, files, read)
    if not words:
        return None
    options = _pip_options(install.words, install.folder) if install.tool == "pip" else []
    return UvCommand(
        each.place, ("pip", "install", *options, *words), files=files, variables=_variables(each)
    )


def _uv(each: Installed) -> UvCommand | None:
    install, words = each.command, ["sync", "--no-install-workspace", "--no-install-local"]
    folder = normal(install.folder / install.projects[0])
    if folder / "pyproject.toml" not in each.available or "--no-sync" in install.words:
        return None
    for index, word in enumerate(install.words):
        option, equals, value = word.partition("=")
        if word in _UV_FLAGS:
            words.append(word)
        elif option in _UV_VALUES:
            words += [option, value if equals else "".join(install.words[index + 1 : index + 2])]
    return UvCommand(each.place, tuple(words), folder, each.available, _variables(each))


def _variables(each: Installed) -> dict[str, str]:
    return {_VARIABLES[name]: text for name, text in each.variables.items() if name in _VARIABLES}


def _pip_options(words: tuple[str, ...], folder: PurePosixPath) -> Iterator[str]:
    for index, word in enumerate(words):
        option, equals, value = word.partition("=")
        if word in _PIP_FLAGS:
            yield {"--pre": "--prerelease=allow"}.get(word, word)
        elif option in _PIP_VALUES:
            value = value if equals else "".join(words[index + 1 : index + 2])
            name = _PIP_VALUES[option]
            yield from (name, _relative(normal(folder / value)) if name == "-c" else value)
            if name == "--index":  # pip compares the versions of all indexes
                yield "--index-strategy=unsafe-best-match"


def _without_local(
    path: PurePosixPath, files: dict[PurePosixPath, Path | str], read: Read
) -> Iterator[str]:
    """Remove the folders of the repository from a requirements file, and those that it includes;
    yield words that install their packages instead."""
    text = _text(files[path], read)
    for folder, names in local_requirements(path, text):
        extras = frozenset(filter(None, re.split(r"[\s,]+", names)))
        yield from _project(folder, extras, files, read)
        files[path] = "\n".join(line for line in text.splitlines() if not is_local(line))
    for name in re.findall(r"(?m)^(?:-r|--requirement)[ =]*(\S+)", text):
        included = normal(path.parent / name)
        if included in files and included != path:
            yield from _without_local(included, files, read)


def _project(
    folder: PurePosixPath,
    extras: frozenset[str],
    files: dict[PurePosixPath, Path | str],
    read: Read,
) -> Iterator[str]:
    """Yield words that install the packages that the project in `folder` requires."""
    data = _toml(folder / "pyproject.toml", files, read)
    name = ""
    if "poetry" in data.get("tool", {}) and "dependencies" not in data.get("project", {}):
        requirements = poetry_requirements(data, ["--only", "main"], extras)
        yield from _written(folder, "requirements", requirements, files)
        return
    for each in ("pyproject.toml", "setup.py", "setup.cfg"):
        if folder / each in files and (each != "pyproject.toml" or "project" in data):
            name = each
            break
    if name:
        yield from ("-r", _relative(folder / name))
        for extra in sorted(extras):
            yield from ("--extra", extra)


def _locked(each: Installed, files: dict[PurePosixPath, Path | str], read: Read) -> Iterator[str]:
    """Yield words that install what Poetry, PDM or Pipenv does."""
    install = each.command
    folder = normal(install.folder / (install.projects or (".",))[0])
    requirements: list[str] = []
    data = _toml(
        folder / ("Pipfile" if install.tool == "pipenv" else "pyproject.toml"), files, read
    )
    if not data:
        return
    if install.tool == "pipenv":
        requirements = pipfile_requirements(data, install.words)
        yield from _written(folder, "requirements", requirements, files)
    elif install.tool == "poetry":
        requirements = poetry_requirements(data, install.words, install.extras)
        yield from _written(folder, "requirements", requirements, files)
        for entry in data.get("tool", {}).get("poetry", {}).get("dependencies", {}).values():
            if isinstance(entry, dict) and "path" in entry:
                yield from _project(normal(folder / entry["path"]), frozenset(), files, read)
    else:
        yield from _project(folder, install.extras, files, read)
    lock = folder / {"pipenv": "Pipfile.lock"}.get(install.tool, f"{install.tool}.lock")
    if lock in files:
        locked = locked_versions(lock.name, _text(files[lock], read))
        names = {canonicalize_name(re.split(r"[^\w.-]", each)[0]) for each in requirements}
        if missing := sorted(names - locked.keys()):
            raise LockOutdated(lock.name, missing, f"{install.tool} lock")
        [_, path] = _written(folder, "constraints", list(filter(None, locked.values())), files)
        yield from ("-c", path)


def _written(
    folder: PurePosixPath,
    name: str,
    lines: list[str],
    files: dict[PurePosixPath, Path | str],
) -> list[str]:
    path = folder / f".image-{name}.txt"
    files[path] = "\n".join(lines)
    return ["-r", _relative(path)]


def _toml(
    path: PurePosixPath, files: Mapping[PurePosixPath, Path | str], read: Read
) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(files[path], read)) if path in files else {}
    except tomllib.TOMLDecodeError:
        return {}


def _text(file: Path | str, read: Read) -> str:
    return file if isinstance(file, str) else read(file)


def _relative(path: PurePosixPath) -> str:
    return str(path.relative_to("/"))
