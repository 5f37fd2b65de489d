"""The projects of the repository that a command installs into a container."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Final

from .container import normal
from .installs import Install

Files = Mapping[PurePosixPath, Path]
Read = Callable[[Path], str]

LOCAL_REQUIREMENT: Final = re.compile(
    r"\s*(?:-e\s*|--editable[ =]\s*)?(?:file:(?://)?)?(\.{0,2}/[^\s\[;]*|\.)(?:\[([^\]]*)\])?\s*(?:[;#].*)?"
)
"""A line of a requirements file that names a folder or file, and its extras."""
_ARCHIVES: Final = (".whl", ".gz", ".zip")


def local_projects(install: Install, files: Files, read: Read) -> Iterator[PurePosixPath]:
    """Yield the folder of each project in `files` that is installed, dependencies included."""
    has_members = "--no-install-workspace" not in install.words
    for name in install.projects:
        folder = normal(install.folder / name)
        if install.has_project:
            yield folder
        if has_members:
            yield from _dependencies(folder, files, read)
    for name in install.files:
        path = normal(install.folder / name)
        if path in files and path.suffix in (".txt", ".in"):
            for folder, _ in local_requirements(path, read(files[path])):
                yield folder
                yield from _dependencies(folder, files, read)


def local_requirements(path: PurePosixPath, text: str) -> Iterator[tuple[PurePosixPath, str]]:
    """Yield the folders that the requirements file `path` with this text names, and their extras."""
    for line in text.splitlines():
        if is_local(line) and (match := LOCAL_REQUIREMENT.fullmatch(line)):
            yield normal(path.parent / match[1]), match[2] or ""


def is_local(line: str) -> bool:
    """Return True if a line of a requirements file names a folder."""
    match = LOCAL_REQUIREMENT.fullmatch(line)
    return match is not None and not match[1].endswith(_ARCHIVES)


def import_root(folder: PurePosixPath, files: Files, read: Read) -> PurePosixPath:
    """Return the folder that the packages of the project in `folder` are imported from."""
    tool = project_file(folder, files, read).get("tool", {})
    setuptools, hatch = tool.get("setuptools", {}), tool.get("hatch", {}).get("build", {})
    found = setuptools.get("packages", {})
    where = found.get("find", {}).get("where", []) if isinstance(found, dict) else []
    names = [
        *where[:1],
        setuptools.get("package-dir", {}).get(""),
        *(each.get("from") for each in tool.get("poetry", {}).get("packages", [])),
        *(
            str(PurePosixPath(each).parent)
            for each in hatch.get("targets", {}).get("wheel", {}).get("packages", [])
        ),
    ]
    for name in [*filter(None, names), "src"]:
        root = normal(folder / name)
        if any(path.is_relative_to(root) for path in files):
            return root
    return folder


def project_file(folder: PurePosixPath, files: Files, read: Read) -> dict[str, Any]:
    """Return the content of the pyproject.toml in `folder`; empty if there is none."""
    path = files.get(folder / "pyproject.toml")
    try:
        return tomllib.loads(read(path)) if path is not None else {}
    except tomllib.TOMLDecodeError:
        return {}


def _dependencies(folder: PurePosixPath, files: Files, read: Read) -> Iterator[PurePosixPath]:
    """Yield the members of the workspace in `folder`, and the projects that it names by their path."""
    tool = project_file(folder, files, read).get("tool", {})
    members = tool.get("uv", {}).get("workspace", {}).get("members", [])
    entries = [
        *tool.get("uv", {}).get("sources", {}).values(),
        *tool.get("poetry", {}).get("dependencies", {}).values(),
    ]
    for path in files:
        if path.name == "pyproject.toml" and path.is_relative_to(folder):
            name = str(path.parent.relative_to(folder))
            if any(fnmatchcase(name, each.rstrip("/")) for each in members):
                yield path.parent
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("path"), str):
            yield normal(folder / entry["path"])
