"""The container that a Dockerfile builds."""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from dockerfile_parse import DockerfileParser

from .build_context import Context
from .container import Container, Copied, Place, normal
from .run_commands import installed, run_file_command
from .shell import Command, commands, exec_form, expand, find_start
from .starting import start_commands

_INSTRUCTIONS: Final = {
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
    "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}  # fmt: skip
_PYTHON_TAG: Final = re.compile(r"python:?(?:\d-python)?-?(\d)\.(\d+)")
_PLAIN_IMAGE: Final = re.compile(
    r"(?:[\w.-]+(?::\d+)?/)*(?:python|debian|ubuntu|alpine|uv|cuda|scratch|busybox|amazonlinux|fedora"
    r"|rockylinux|python3?-?\d*|bitnami-python)(?:[:@]|\Z)"
)
_HEREDOC: Final = re.compile(r"<<-?\s*([\"']?)(\w+)\1")


@dataclass(frozen=True)
class Instruction:
    name: str
    value: str
    line: int
    last_line: int


def instructions(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile; here-documents belong to the instruction above."""
    file = io.BytesIO(text.encode())
    found: list[Instruction] = []
    ends: list[str] = []
    for each in DockerfileParser(fileobj=file).structure:
        name, content = each["instruction"], each["content"]
        if ends:
            last = found[-1]
            found[-1] = replace(last, last_line=each["endline"] + 1)
            if content.strip() == ends[0]:
                ends.pop(0)
            elif last.name == "RUN":
                found[-1] = replace(found[-1], value=f"{last.value}\n{content}")
        elif name in _INSTRUCTIONS:
            found.append(
                Instruction(name, each["value"], each["startline"] + 1, each["endline"] + 1)
            )
            ends = (
                [match[2] for match in _HEREDOC.finditer(each["value"])]
                if name in ("RUN", "COPY")
                else []
            )
            if ends and name == "RUN":
                found[-1] = replace(found[-1], value=_HEREDOC.sub("", each["value"]))
    return found


class DockerBuild:
    """A simulation of `docker build`."""

    def __init__(
        self, path: Path, text: str, context: Context, read: Callable[[Path], str]
    ) -> None:
        """Build the Dockerfile `text` at `path`. `read` reads a file of the repository."""
        self._read = read
        self._path = path
        self._context = context
        self._arguments: dict[str, str] = {}
        self._stages: dict[str, Container] = {}
        self._triggers: dict[str, list[Instruction]] = {}
        """The ONBUILD instructions of each stage."""
        self.missing = 0
        """The number of sources to copy that the context lacks."""
        self._run(text)

    def stage(self, name: str = "") -> Container | None:
        """Return the container of a stage, or of the last one."""
        if name:
            return self._stages.get(name.lower())
        return list(self._stages.values())[-1] if self._stages else None

    def _run(self, text: str) -> None:
        stage: Container | None = None
        entrypoint: tuple[Place, str | list[str]] | None = None
        command: tuple[Place, str | list[str]] | None = None

        def finish() -> None:
            if stage is not None:
                stage.starts = list(start_commands(stage, entrypoint, command)) or stage.starts

        waiting = instructions(text)
        while waiting:
            each = waiting.pop(0)
            place = Place(self._path, each.line)
            if each.name == "FROM":
                finish()
                stage = self._from(each, place)
                waiting[:0] = self._triggers.get(each.value.split()[0].lower(), [])
                entrypoint = command = None
            elif each.name == "ONBUILD":
                name, _, value = each.value.strip().partition(" ")
                trigger = replace(each, name=name.upper(), value=value)
                for name in [name for name, known in self._stages.items() if known is stage]:
                    self._triggers.setdefault(name, []).append(trigger)
            elif each.name == "ARG":
                for name, value in _pairs(each.value):
                    known = self._arguments.get(name)
                    variables = stage.variables if stage else self._arguments
                    if value or known:
                        variables.setdefault(name, expand(value, variables) or known or "")
            elif stage is None:
                continue
            elif each.name == "ENV":
                for name, value in _pairs(each.value):
                    stage.variables[name] = expand(value, stage.variables)
            elif each.name == "WORKDIR":
                stage.folder = stage.find(expand(each.value.strip("\"'"), stage.variables))
                stage.folders |= {stage.folder, *stage.folder.parents}
            elif each.name in ("COPY", "ADD"):
                self._copy(stage, each, place)
            elif each.name == "RUN":
                self._run_command(stage, each, place)
            elif each.name == "ENTRYPOINT":
                entrypoint, command = (place, exec_form(each.value)), None
            elif each.name == "CMD":
                command = (place, exec_form(each.value))
        finish()

    def _from(self, each: Instruction, place: Place) -> Container:
        words = [word for word in each.value.split() if not word.startswith("--")]
        image = expand(words[0], self._arguments) if words else ""
        if image.lower() in self._stages:
            stage = self._stages[image.lower()].copy()
        else:
            stage = Container(str(self._path), read=self._read)
            stage.context, stage.ignore = self._context.folder, self._context.ignore
            stage.base = base_image(image)
            if match := _PYTHON_TAG.search(image):
                stage.python = (int(match[1]), int(match[2]))
                stage.python_place = place
            if "lambda/python" in image:
                stage.folder = PurePosixPath("/var/task")
                stage.variables["LAMBDA_TASK_ROOT"] = "/var/task"
            if "uvicorn-gunicorn" in image:
                stage.folder = PurePosixPath("/app")
                stage.folders.add(stage.folder)
                stage.variables["PYTHONPATH"] = "/app"
                stage.starts = [
                    (place, find_start(Command(["uvicorn", f"{module}:app"], stage.folder)))  # type: ignore[misc]
                    for module in ("app.main", "main")
                ]
        name = words[2] if len(words) > 2 and words[1].lower() == "as" else ""
        self._stages[name.lower() or str(len(self._stages))] = stage
        self._stages.setdefault(str(len(self._stages) - 1), stage)
        return stage

    def _copy(self, stage: Container, each: Instruction, place: Place) -> None:
        flags = re.findall(r"--([\w-]+)(?:=(\S+))?", each.value.split("[")[0])
        rest = re.sub(r"^(?:\s*--[\w-]+(?:=\S+)?)+", "", each.value).strip()
        if "<<" in rest:
            return
        words = exec_form(rest)
        if isinstance(words, str):
            words = words.split()
        words = [expand(word.strip("\"'"), stage.variables) for word in words]
        if len(words) < 2:
            return
        *sources, target = words
        source_stage = dict(flags).get("from")
        if source_stage is not None:
            origin = self._stages.get(expand(source_stage, self._arguments).lower())
            if origin is not None:
                self._copy_from_stage(stage, origin, sources, target, place)
            return
        folder = stage.find(target)
        matched = [
            (pattern, self._context.matching(pattern))
            for pattern in sources
            if "://" not in pattern
        ]
        self.missing += sum(not paths for _, paths in matched)
        paths = [path for _, some in matched for path in some]
        is_folder = target.endswith(("/", ".")) or len(paths) > 1 or folder in stage.folders
        parents = "parents" in dict(flags)
        for path in paths:
            if path in self._context.files:
                to = folder / (path if parents else path.name) if is_folder else folder
                stage.add(to, self._context.files[path], Copied(place, to.parent, each.last_line))
                continue
            base = folder / path if parents else folder
            for file, source in self._context.files.items():
                if path == PurePosixPath(".") or file.is_relative_to(path):
                    stage.add(
                        base / file.relative_to(path), source, Copied(place, base, each.last_line)
                    )

    def _copy_from_stage(
        self, stage: Container, origin: Container, sources: list[str], target: str, place: Place
    ) -> None:
        folder = stage.find(target)
        for pattern in sources:
            source = normal(PurePosixPath("/") / pattern)
            if source in origin.files:
                name = (
                    folder / source.name
                    if target.endswith("/") or folder in stage.folders
                    else folder
                )
                stage.add(name, origin.files[source], Copied(place, name.parent))
            for path, file in origin.below(source):
                if path != PurePosixPath("."):
                    stage.add(folder / path, file, Copied(place, folder))
        for root in origin.built:
            for path, file in origin.below(root):
                stage.add(root / path, file)
        stage.installed += [each for each in origin.installed if each not in stage.installed]
        stage.path += [each for each in origin.path if each not in stage.path]
        stage.projects += [each for each in origin.projects if each not in stage.projects]

    def _run_command(self, stage: Container, each: Instruction, place: Place) -> None:
        mounted = dict(stage.files)
        for mount in re.findall(r"--mount=(\S*type=bind\S*)", each.value):
            options = {
                name: value
                for name, _, value in (option.partition("=") for option in mount.split(","))
            }
            source = options.get("source", options.get("src", "."))
            target = stage.find(options.get("target", options.get("dst", ".")))
            for path in self._context.matching(source):
                if path in self._context.files:
                    mounted[target] = self._context.files[path]
                else:
                    mounted |= {
                        normal(target / file.relative_to(path)): origin
                        for file, origin in self._context.files.items()
                        if path == PurePosixPath(".") or file.is_relative_to(path)
                    }
        value = re.sub(r"^(?:\s*--[\w-]+(?:=\S+)?)+", "", each.value).strip()
        for command in commands(exec_form(value), stage.folder, stage.variables):
            stage.installed += installed(command, mounted, place)
            run_file_command(stage, command, place, mounted)


def base_image(image: str) -> str:
    """Return `image`, or an empty string if it contains no Python packages."""
    return "" if _PLAIN_IMAGE.match(image) else image


def _pairs(value: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values of ENV and ARG."""
    found = re.findall(r"(\w+)=(\"(?:[^\"\\]|\\.)*\"|'[^']*'|(?:[^\s\\]|\\.)*)", value)
    if found:
        yield from ((name, text.strip("\"'")) for name, text in found)
    else:
        name, _, text = value.strip().partition(" ")
        if name:
            yield name, text.strip()
