"""The packages that the module needs, in the file that the repository declares its own in."""

import re
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from .declared import Declared, locked_version, newest_in, newest_version, oldest_in
from .project import Project
from .source import Refused

SDK: Final = "opentelemetry-sdk>=1.27,<2"
CONTRIB: Final = "opentelemetry-instrumentation-fastapi>=0.48b0"
PRICES: Final = "genai-prices>=0.2"
OPENAI: Final = "opentelemetry-instrumentation-genai-openai>=1.0b0"
GRPC: Final = "grpcio>=1.60"
ANTHROPIC: Final = "opentelemetry-instrumentation-genai-anthropic>=1.0b0"
ANTHROPIC_TRACES_ITSELF: Final = Version("1.17")
TRACES_ITSELF: Final = Version("0.142")
OLDEST: Final = Version("0.92")


@dataclass
class Dependencies:
    """What is needed, what is missing, and the file with it."""

    declared: Declared
    missing: list[str]
    content: bytes | None = None
    after: list[str] = field(default_factory=list)
    """Commands that the user runs then."""


def needed(project: Project, declared: Declared, sdks: Collection[str]) -> list[str]:
    """What the module needs in this repository, which uses the LLM SDKs `sdks`."""
    version = newest_version(project, declared, "fastapi")
    requirements = [SDK]
    if version is not None and version < TRACES_ITSELF:
        requirements.append(CONTRIB)
    if sdks:
        requirements.append(PRICES)
    if "openai" in sdks:
        requirements.append(OPENAI)
    if "anthropic" in sdks:
        version = newest_version(project, declared, "anthropic")
        if version is not None and version < ANTHROPIC_TRACES_ITSELF:
            requirements.append(ANTHROPIC)
    if project.answers.get("otlp_protocol") == "grpc":
        requirements.append(GRPC)
    return sorted(requirements)


def too_old(
    project: Project, declared: Declared, requirements: Sequence[str]
) -> list[tuple[str, str]]:
    """What to say of each package that is declared or locked in a version before the one needed,
    and what to declare."""
    found: list[tuple[str, str]] = []
    for each in requirements:
        name = _name(each)
        if name not in declared.names:
            continue
        specifier = Requirement(each).specifier
        [least] = [Version(part.version) for part in specifier if part.operator == ">="]
        locked, text = locked_version(project, declared, name), declared.versions[name]
        if locked is not None and locked < least:
            found.append((f"{name} is locked at {locked}, and the module needs {least}.", each))
        elif any(
            bound < least for bound in (newest_in(text), oldest_in(text)) if bound is not None
        ):
            found.append((f"{declared.path} has {name}{text}; the module needs {least}.", each))
    return found


def wire_dependencies(
    project: Project, declared: Declared, requirements: Sequence[str]
) -> Dependencies:
    """The declaring file with what is missing. Raises Refused where it is not edited."""
    missing = [each for each in requirements if _name(each) not in declared.names]
    result = Dependencies(declared, missing)
    if not missing:
        return result
    content = project.content(declared.path)
    text = content.decode()
    result.content = _with(text, missing, declared).encode()
    result.after = _commands(project, declared)
    if declared.kind != "requirements":
        before, after = tomllib.loads(text), tomllib.loads(result.content.decode())
        _assert_only_added(before, after, declared.path)
    return result


def unwire_dependencies(
    project: Project, declared: Declared, requirements: Sequence[str]
) -> bytes | None:
    """The declaring file without the lines that `wire` writes; None where none are there."""
    content = project.content(declared.path)
    present = [each for each in requirements if _name(each) in declared.names]
    for subset in _subsets(present):
        candidate = _without(content.decode(), subset, declared)
        if candidate is None:
            continue
        for text in candidate:
            try:
                again = _with(text, subset, declared)
            except Refused:
                continue
            if again.encode() == content:
                return text.encode()
    return None


def _with(text: str, lines: Sequence[str], declared: Declared) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    if declared.kind == "requirements":
        if "--hash=" in text:
            raise Refused(
                f"{declared.path} holds hashes: add these where it is made from, and make it again.",
                "\n".join(lines),
            )
        return _append(text, lines, newline)
    if declared.kind == "poetry":
        return _into_poetry(text, lines, newline, declared.path)
    return _into_array(text, lines, newline, declared.path)


def _subsets(present: Sequence[str]) -> list[list[str]]:
    """All of `present`, then fewer of them."""
    count = len(present)
    masks = sorted(range(1, 1 << count), key=lambda mask: -mask.bit_count())
    return [[each for bit, each in enumerate(present) if mask >> bit & 1] for mask in masks]


def _without(text: str, lines: Sequence[str], declared: Declared) -> list[str] | None:
    """The texts that may have been there before `lines` were put in."""
    results = [text]
    for each in lines:
        spellings = {
            "requirements": [f"{each}"],
            "poetry": [_poetry_line(each)],
            "pep621": [f'"{each}"'],
        }[declared.kind]
        following: list[str] = []
        for before in results:
            for spelling in spellings:
                for pattern in (
                    rf"(?m)^[ \t]*{re.escape(spelling)},?[ \t]*\r?\n",
                    rf"\r?\n{re.escape(spelling)}(?=\r?\n|\Z)",
                    rf"{re.escape(spelling)}, ",
                    rf"{re.escape(spelling)}",
                ):
                    match = re.search(pattern, before)
                    if match:
                        following.append(before[: match.start()] + before[match.end() :])
        if not following:
            return None
        results = list(dict.fromkeys(following))
    return results


def _name(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)


def _append(text: str, lines: Sequence[str], newline: str) -> str:
    added = newline.join(lines)
    if text and not text.endswith("\n"):
        return f"{text}{newline}{added}"
    return f"{text}{added}{newline}"


def _poetry_line(requirement: str) -> str:
    name = Requirement(requirement).name
    return f'{name} = "{requirement.removeprefix(name)}"'


def _into_poetry(text: str, lines: Sequence[str], newline: str, path: Path) -> str:
    header = re.search(r"(?m)^\[tool\.poetry\.dependencies\][^\n]*(\n|\Z)", text)
    if header is None:
        raise Refused(f"{path} writes Poetry's dependencies in a way that is not edited here.")
    added = "".join(_poetry_line(each) + newline for each in lines)
    if not text[: header.end()].endswith("\n"):
        return f"{text}{newline}{added}"
    return text[: header.end()] + added + text[header.end() :]


def _into_array(text: str, lines: Sequence[str], newline: str, path: Path) -> str:
    header = re.search(r"(?m)^\[project\][^\n]*\n", text)
    array = header and re.compile(r"(?m)^dependencies[ \t]*=[ \t]*\[").search(text, header.end())
    if not header or not array or re.search(r"(?m)^\[", text[header.end() : array.start()]):
        raise Refused(f"{path} writes its dependencies in a way that is not edited here.")
    rest = text[array.end() :]
    line_end = rest.find("\n")
    first_line = rest if line_end < 0 else rest[: line_end + 1]
    if first_line.split("#")[0].strip():
        # On one line.
        is_empty = first_line.lstrip().startswith("]")
        items = ", ".join(f'"{each}"' for each in lines) + ("" if is_empty else ", ")
        return text[: array.end()] + items + rest
    start = array.end() + line_end + 1
    items_text = text[start:]
    indentation = re.match(r"[ \t]*", items_text)
    indent = indentation[0] if indentation and not items_text.lstrip().startswith("]") else "    "
    for each in reversed(lines):
        at = _sorted_place(text, start, each)
        text = text[:at] + f'{indent}"{each}",{newline}' + text[at:]
    return text


def _sorted_place(text: str, start: int, requirement: str) -> int:
    """The start of the line that `requirement` goes before, where each item has its line and they
    are in order; else the first line."""
    items: list[tuple[str, int]] = []
    at = start
    for line in text[start:].splitlines(keepends=True):
        stripped = line.strip()
        if stripped.startswith("]"):
            break
        match = re.fullmatch(
            r"""["']([A-Za-z0-9][\w.-]*)[^"']*(?:"[^"]*"|'[^']*')*[^"']*["'](,?)\s*(?:\#.*)?""",
            stripped,
        )
        if match is None:
            if stripped and not stripped.startswith("#"):
                return start
        else:
            items.append((canonicalize_name(match[1]), at))
            last_has_comma = bool(match[2])
        at += len(line)
    names = [name for name, _ in items]
    if not items or names != sorted(names):
        return start
    for name, place in items:
        if name > _name(requirement):
            return place
    return at if last_has_comma else items[-1][1]


def _commands(project: Project, declared: Declared) -> list[str]:
    folder = project.root / declared.path.parent
    if declared.kind == "requirements":
        if declared.path.suffix == ".in":
            return [f"pip-compile {declared.path}"]
        return [f"pip install -r {declared.path}"]
    if (folder / "poetry.lock").exists() or declared.kind == "poetry":
        return ["poetry lock", "poetry install"]
    if (folder / "pdm.lock").exists():
        return ["pdm lock", "pdm sync"]
    if any((each / "uv.lock").exists() for each in (folder, *folder.parents)):
        return ["uv sync"]
    return [f"pip install -e {declared.path.parent}"]


def _assert_only_added(before: Any, after: Any, path: Path) -> None:
    """Raises Refused where something else of the file changed its meaning."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key not in after:
                raise Refused(f"{path} cannot be added to without changing what it says.")
            _assert_only_added(value, after[key], path)
    elif isinstance(before, list) and isinstance(after, list):
        if [each for each in after if each in before] != before:
            raise Refused(f"{path} cannot be added to without changing what it says.")
    elif before != after:
        raise Refused(f"{path} cannot be added to without changing what it says.")
