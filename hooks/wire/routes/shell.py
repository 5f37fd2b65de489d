"""Commands in Dockerfiles, Procfiles and scripts, and what they start."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Final

_SEPARATORS: Final = frozenset({"&&", "||", ";", "|", "&", "(", ")", "\n", ";;"})
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)(?:(:?[-+])([^{}]*))?\}|(\w+))")
_SERVERS: Final = frozenset({"uvicorn", "gunicorn", "hypercorn", "granian", "daphne", "fastapi"})
_TARGET: Final = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*):([A-Za-z_]\w*)(?:\(\))?")
_MAX_DEPTH: Final = 5


@dataclass(frozen=True)
class Start:
    """A command that starts a server: an application, or a file or module that runs one."""

    folder: PurePosixPath
    """The working directory."""
    module: str = ""
    """The module of the application, or the module that is run."""
    attribute: str = ""
    """The variable or factory; empty if the module or file is run, `*` if `fastapi run` finds it."""
    file: str = ""
    """The Python file that is served or run, instead of a module."""
    path: tuple[PurePosixPath, ...] = ()
    """Folders that the command adds to the import path."""
    script: str = ""
    """The console script that is run, instead of a module."""


@dataclass
class Command:
    """A simple command: its words, in the working directory and environment it runs in."""

    words: list[str]
    folder: PurePosixPath
    variables: dict[str, str] = field(default_factory=dict)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME:+other}`; keep unknown variables."""

    def value(match: re.Match[str]) -> str:
        name, operator, other = match[1] or match[4], match[2] or "", match[3] or ""
        if operator.endswith("+"):
            return other if variables.get(name) else ""
        if operator.endswith("-"):
            return variables.get(name) or other
        return variables.get(name, match[0])

    for _ in range(_MAX_DEPTH):
        before, text = text, _VARIABLE.sub(value, text)
        if text == before:
            break
    return text


def commands(
    text: str | Sequence[str], folder: PurePosixPath, variables: Mapping[str, str]
) -> Iterator[Command]:
    """Yield the simple commands of a shell command, or of a list of words.

    `cd`, assignments and `export` have an effect on the commands that follow.
    """
    known = dict(variables)
    words: list[str] = []
    for word in [*(_words(text) if isinstance(text, str) else text), ";"]:
        if word not in _SEPARATORS:
            words += _expanded(word, known)
            continue
        if words[:1] == ["export"]:
            words.pop(0)
        assigned = {}
        while words and _ASSIGNMENT.match(words[0]):
            name, _, value = words.pop(0).partition("=")
            assigned[name] = value
        if not words:
            known |= assigned
        elif words[0] == "cd" and len(words) > 1:
            folder = folder / words[1]
        elif (inner := _inner_script(words)) is not None:
            yield from commands(inner, folder, known | assigned)
        else:
            yield Command(words, folder, known | assigned)
        words = []


def _expanded(word: str, variables: Mapping[str, str]) -> list[str]:
    text = expand(word, variables)
    # A variable that holds several words, such as a whole command.
    return text.split() if text != word and re.fullmatch(r"\$\{?\w+\}?", word) else [text]


def _words(text: str) -> list[str]:
    text = re.sub(r"\\\r?\n", " ", text)
    words: list[str] = []
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()\n")
        lexer.whitespace_split = True
        try:
            words += [*lexer, ";"]
        except ValueError:
            words += [*line.split(), ";"]
    return words


def _inner_script(words: Sequence[str]) -> str | None:
    """Return the script in `sh -c "..."`, if `words` contain one."""
    for index, word in enumerate(words[:-1]):
        if PurePosixPath(word).name in ("sh", "bash", "ash", "dash"):
            flags = words[index + 1]
            if re.fullmatch(r"-\w*c", flags) and len(words) > index + 2:
                return words[index + 2]
    return None


def exec_form(value: str) -> str | list[str]:
    """Return the words of a JSON array, or the text of a shell command."""
    if value.lstrip().startswith("["):
        try:
            words = json.loads(value)
        except ValueError:
            return value
        if isinstance(words, list):
            return [str(word) for word in words]
    return value


def find_start(command: Command) -> Start | None:
    """Return what `command` starts, if that is a server, a Python file or module, or a script."""
    path = tuple(
        command.folder / each
        for each in command.variables.get("PYTHONPATH", "").split(":")
        if each and "$" not in each
    )
    for index, word in enumerate(command.words):
        name, rest = PurePosixPath(word).name, command.words[index + 1 :]
        start = None
        if name in _SERVERS:
            start = _server(name, rest, command.folder)
        elif re.fullmatch(r"python(?:3(?:\.\d+)?)?", name):
            start = _python(rest, command.folder)
        elif name.endswith(".py") and index and command.words[index - 1] == "run":
            start = Start(command.folder, file=word)
        if start is not None:
            return replace(start, path=(*start.path, *path))
    words = list(command.words)
    while words and (
        words[0] in ("exec", "uv", "poetry", "pdm", "pipenv", "hatch", "run", "--")
        or words[0].startswith("--")
    ):
        words.pop(0)
    return Start(command.folder, script=words[0], path=path) if words else None


def _server(name: str, words: Sequence[str], folder: PurePosixPath) -> Start | None:
    path: list[PurePosixPath] = []
    target = ""
    skip = False
    for index, word in enumerate(words):
        option, _, value = word.partition("=")
        if option in ("--app-dir", "--chdir", "--pythonpath", "--working-dir"):
            value = value or (words[index + 1] if index + 1 < len(words) else "")
            path += [folder / each for each in value.split(",") if each]
            if option == "--chdir":
                folder = folder / value
            skip = "=" not in word
        elif skip:
            skip = False
        elif name != "fastapi" and (match := _TARGET.fullmatch(word)) and not target:
            target = word
    if name == "fastapi":
        if words[:1] not in (["run"], ["dev"]):
            return None
        options = [each for each in words[1:] if each.endswith(".py")]
        folders = [each for each in words[1:2] if not each.startswith("-")]
        return Start(folder, file=(options or folders or ["."])[0], attribute="*")
    if match := _TARGET.fullmatch(target):
        return Start(folder, match[1], match[2], path=tuple(path))
    return None


def _python(words: Sequence[str], folder: PurePosixPath) -> Start | None:
    for index, word in enumerate(words):
        if word == "-m" and index + 1 < len(words):
            module = words[index + 1]
            if module in _SERVERS:
                return _server(module, words[index + 2 :], folder)
            return Start(folder, module, path=(folder,))
        if word.endswith(".py"):
            return Start(folder, file=word)
        if not word.startswith("-"):
            return None
    return None
