"""Machines that run the repository without a Dockerfile: Procfile, Render, Railway, App Engine, Vercel."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from .container import Container, Place
from .run_commands import installed, run_file_command
from .shell import Command, commands
from .starting import starts_of

_LOCKS = {
    "uv.lock": ["uv", "sync"],
    "poetry.lock": ["poetry", "install"],
    "Pipfile": ["pipenv", "install"],
}


def machine(
    name: str, folder: PurePosixPath, files: Mapping[PurePosixPath, Path], read: Any
) -> Container:
    """Return a machine with the files in `folder` of the repository."""
    container = Container(name, read=read)
    for path, source in files.items():
        if path.is_relative_to(folder):
            container.add("/" / path.relative_to(folder), source)
    for file in ("runtime.txt", ".python-version"):
        version = container.files.get(PurePosixPath("/") / file)
        match = re.search(r"(\d)\.(\d+)", read(version)) if version else None
        if match and version:
            container.python = (int(match[1]), int(match[2]))
            container.python_place = Place(version, 1)
            break
    return container


def install(container: Container, place: Place, command: str = "") -> None:
    """Install the packages by `command`, or as a buildpack does."""
    found = [*commands(command, container.folder, container.variables)]
    if not command:
        words = next(
            (
                words
                for lock, words in _LOCKS.items()
                if PurePosixPath("/") / lock in container.files
            ),
            None,
        )
        words = words or ["pip", "install", "-r", "requirements.txt"]
        found = [Command(words, container.folder)]
    for each in found:
        container.installed += installed(each, container.files, place)
        run_file_command(container, each, place, container.files)


def start(container: Container, command: str, place: Place) -> None:
    for each in commands(command, container.folder, container.variables):
        container.starts += starts_of(container, each, place)


def declared(path: Path, text: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield (process, folder, build command, start command) of each service that a file declares."""
    name = path.name
    try:
        if name.startswith("Procfile"):
            for process, command in re.findall(r"(?m)^([\w-]+):[ \t]*(.+)$", text):
                yield process, "", "", command
        elif name == "render.yaml":
            for service in _mapping(yaml.safe_load(text)).get("services") or []:
                if "python" in (service.get("runtime"), service.get("env")):
                    yield (
                        str(service.get("name", "")),
                        str(service.get("rootDir") or ""),
                        str(service.get("buildCommand") or ""),
                        str(service.get("startCommand") or ""),
                    )
        elif name in ("railway.toml", "railway.json", "nixpacks.toml"):
            data = json.loads(text) if name.endswith("json") else tomllib.loads(text)
            command = _mapping(data.get("deploy")).get("startCommand") or _mapping(
                data.get("start")
            ).get("cmd")
            yield (
                "",
                "",
                str(_mapping(data.get("build")).get("buildCommand") or ""),
                str(command or ""),
            )
        elif name == "app.yaml":
            yield "", "", "", str(_mapping(yaml.safe_load(text)).get("entrypoint") or "")
        elif name == "vercel.json":
            for file in re.findall(r'"/?([\w/]+)\.py"', text) or ["api/index"]:
                yield "", "", "", f"uvicorn {file.replace('/', '.')}:app"
    except (yaml.YAMLError, ValueError, AttributeError):
        return


def line_of(text: str, command: str) -> int:
    """Return the line of `command` in `text`, or 1."""
    return text[: max(text.find(command), 0)].count("\n") + 1 if command else 1


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
