"""The packages that a command installs."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement

from .shell import Command

_EXTRAS: Final = re.compile(r"(.*?)(?:\[([\w,. -]+)\])?")
# Options of pip that are followed by a value which is neither a package nor a file of packages.
_PIP_VALUES: Final = {
    "-i", "--index-url", "--extra-index-url", "-f", "--find-links", "-t", "--target", "--prefix",
    "-w", "--wheel-dir", "--python", "-p", "--root", "--timeout", "--retries", "--trusted-host",
    "--platform", "--no-binary", "--only-binary", "--progress-bar", "--upgrade-strategy",
    "--cache-dir", "-d", "--dest", "--src", "--index-strategy", "--index", "--default-index",
    "--python-version", "--link-mode", "--prerelease", "--resolution", "--config-settings",
    "--log",
}  # fmt: skip
_BUILDERS: Final = ("uv", "poetry", "pdm", "hatch", "flit")


@dataclass(frozen=True)
class Install:
    """Packages that a command installs."""

    folder: PurePosixPath
    files: tuple[str, ...] = ()
    """Files of requirements."""
    projects: tuple[str, ...] = ()
    """Folders with a pyproject.toml."""
    packages: tuple[str, ...] = ()
    """Requirements in the command itself."""
    extras: frozenset[str] = frozenset()
    """Extras and groups of the projects."""
    has_project: bool = True
    """True if the code of the projects is installed too, not only its dependencies."""
    is_locked: bool = False
    """True if the versions are those of a lock file."""
    is_editable: bool = False
    members: frozenset[str] = frozenset()
    """The members of a workspace that are installed; all if it is empty."""
    tool: str = field(default="pip", compare=False)
    """The tool that resolves the packages: pip, uv, poetry, pdm, pipenv or conda."""
    words: tuple[str, ...] = field(default=(), compare=False)
    """The words of the command after the name of the tool."""


def find_installs(command: Command) -> Iterator[Install]:
    """Yield the packages that `command` installs."""
    words, folder = command.words, command.folder
    for index, word in enumerate(words):
        name, rest = PurePosixPath(word).name, words[index + 1 :]
        if re.fullmatch(r"pip(?:3(?:\.\d+)?)?", name) and rest[:1] in (
            ["install"],
            ["wheel"],
            ["sync"],
            ["download"],
        ):
            options = rest[1:]
            if rest[0] in ("wheel", "download"):  # installed later, with the dependencies
                options = [word for word in options if word != "--no-deps"]
            yield _pip(options, folder)
            return
        if (name in _BUILDERS and _verb(rest) == "build") or rest[:2] == ["-m", "build"]:
            yield Install(folder, projects=(".",))
            return
        if re.fullmatch(r"python3?(?:\.\d+)?", name) and rest[:2] in (
            ["setup.py", "install"],
            ["setup.py", "develop"],
        ):
            yield Install(folder, projects=(".",), is_editable=rest[1] == "develop")
            return
        if name == "pip-sync":
            files = tuple(word for word in rest if not word.startswith("-"))
            yield Install(folder, files=files or ("requirements.txt",))
            return
        if name == "uv" and (verb := _verb(rest)) in ("sync", "export", "run"):
            yield _uv(verb, rest, folder)
            return
        if name in ("poetry", "pdm") and (verb := _verb(rest)) in ("install", "export", "sync"):
            has_project = verb != "export" and not {"--no-root", "--no-self"} & set(rest)
            yield Install(
                folder,
                projects=(".",),
                extras=_options(rest, "--with", "--only", "-E", "--extras", "-G"),
                has_project=has_project,
                is_locked=True,
                is_editable=True,
                tool=name,
                words=tuple(rest),
            )
            return
        if name == "pipenv" and _verb(rest) in ("install", "sync", "requirements"):
            yield Install(
                folder, files=("Pipfile",), is_locked=True, tool="pipenv", words=tuple(rest)
            )
            return
        if name in ("conda", "mamba", "micromamba") and {"-f", "--file"} & set(rest):
            yield Install(folder, files=tuple(_options(rest, "-f", "--file")), tool="conda")
            return


def _verb(words: Sequence[str]) -> str:
    return next((word for word in words if not word.startswith("-")), "")


def _options(words: Sequence[str], *names: str) -> frozenset[str]:
    """Return the values of the options `names`, split at commas."""
    values: list[str] = []
    for index, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in names:
            values += (value if equals else "".join(words[index + 1 : index + 2])).split(",")
    return frozenset(filter(None, values))


def _pip(words: Sequence[str], folder: PurePosixPath) -> Install:
    all_words = tuple(words)
    files: list[str] = []
    projects: list[str] = []
    packages: list[str] = []
    extras: set[str] = set()
    is_editable = False
    words = list(words)
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=")
        if option in (
            "-r",
            "--requirement",
            "--requirements",
            "-e",
            "--editable",
            "-c",
            "--constraint",
            "--group",
        ):
            value = value if equals else (words.pop(0) if words else "")
            if option in ("-r", "--requirement", "--requirements"):
                files.append(value)
            elif option in ("-e", "--editable"):
                is_editable = True
                words.insert(0, value)
        elif word.startswith("-r") and len(word) > 2:
            files.append(word[2:])
        elif option in _PIP_VALUES:
            if not equals and words:
                words.pop(0)
        elif word.startswith("-"):
            continue
        elif word.endswith((".txt", ".in")) and "==" not in word:
            files.append(word)  # uv pip sync FILE
        elif word.startswith((".", "/")):
            match = _EXTRAS.fullmatch(word)
            if match and not re.search(r"[*]|\.whl$|\.tar\.gz$", word):
                projects.append(match[1])
                extras |= {each.strip() for each in (match[2] or "").split(",") if each.strip()}
        else:
            try:
                Requirement(word)
            except InvalidRequirement:
                if not re.match(r"(?:git\+|https?:)", word):
                    continue
            packages.append(word)
    return Install(
        folder,
        tuple(files),
        tuple(projects),
        tuple(packages),
        frozenset(extras),
        is_editable=is_editable,
        words=all_words,
    )


def _uv(verb: str, words: Sequence[str], folder: PurePosixPath) -> Install:
    [project] = list(_options(words, "--project", "--directory"))[:1] or ["."]
    flags = set(words)
    has_project = (
        verb != "export" and not {"--no-install-project", "--no-install-workspace"} & flags
    )
    extras = _options(words, "--extra", "--group", "--only-group")
    if "--all-extras" in flags:
        extras |= {"*"}
    return Install(
        folder,
        projects=(project,),
        extras=extras,
        has_project=has_project,
        is_locked=True,
        is_editable="--no-editable" not in flags,
        members=_options(words, "--package"),
        tool="uv",
        words=tuple(words),
    )
