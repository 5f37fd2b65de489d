"""What a container starts, from its entrypoint and command."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from .container import Container, Place
from .shell import Command, Start, commands, find_start


def start_commands(
    container: Container,
    entrypoint: tuple[Place, str | list[str]] | None,
    command: tuple[Place, str | list[str]] | None,
) -> Iterator[tuple[Place, Start]]:
    """Yield what a container starts, from its entrypoint and command. Scripts are followed."""
    place, text = entrypoint or command or (None, "")
    if place is None:
        return
    if entrypoint and command and isinstance(command[1], list) and isinstance(text, list):
        text = [*text, *command[1]]
    parts = [text] if not (entrypoint and command) else [text, command[1]]
    for part in parts:
        where = command[0] if command and part is command[1] else place
        for each in commands(part, container.folder, container.variables):
            yield from starts_of(container, each, where)


def starts_of(
    container: Container, command: Command, place: Place, depth: int = 0
) -> Iterator[tuple[Place, Start]]:
    """Yield what `command` starts; the lines of a shell script are followed."""
    start = find_start(command)
    if start is None:
        return
    if "LAMBDA_TASK_ROOT" in container.variables and re.fullmatch(r"[\w.]+\.\w+", start.script):
        module, _, handler = start.script.rpartition(".")
        start = Start(command.folder, module, handler)
    if start.script and depth < 3:
        for word in command.words:
            source = container.files.get(container.find(word, command.folder))
            if source is not None and not word.endswith(".py"):
                text = container.read(source)
                if word.endswith(".sh") or text.startswith("#!"):
                    for inner in commands(
                        _script(text), command.folder, command.variables | container.variables
                    ):
                        yield from starts_of(container, inner, Place(source, 1), depth + 1)
                    return
    yield place, _configured(container, command, start)


def _configured(container: Container, command: Command, start: Start) -> Start:
    """Return the start with the application that the configuration file of gunicorn names, if any."""
    words = command.words
    if not start.script or "gunicorn" not in (PurePosixPath(word).name for word in words):
        return start
    named = re.search(r"(?:^| )(?:-c|--config)[ =](?:file:)?(\S+)", " ".join(words))
    path = container.find(named[1] if named else "gunicorn.conf.py", command.folder)
    source = container.files.get(path)
    text = container.read(source) if source is not None else ""
    found = re.search(r"(?m)^wsgi_app\s*=\s*[\"']([\w.]+):(\w+)", text)
    chdir = re.search(r"(?m)^chdir\s*=\s*[\"']([^\"']+)", text)
    if found is None:
        return start
    folder = container.find(chdir[1], command.folder) if chdir else command.folder
    return replace(start, folder=folder, script="", module=found[1], attribute=found[2])


def _script(text: str) -> str:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    words = re.compile(r"^\s*(?:if|then|else|elif|fi|do|done|while|for|case|esac|set)\b")
    return "\n".join(words.sub("", line) for line in lines)
