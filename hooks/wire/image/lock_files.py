"""Requirements of Poetry and Pipenv projects, and the versions in their lock files, as pip reads them."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from packaging.utils import canonicalize_name


def poetry_requirements(
    pyproject: Mapping[str, Any], words: Sequence[str], extras: frozenset[str]
) -> list[str]:
    """Return what `poetry install` with the options `words` installs, without the project itself."""
    project, poetry = pyproject.get("project", {}), pyproject.get("tool", {}).get("poetry", {})
    only, without = _values(words, "--only"), _values(words, "--without")
    found: list[str] = []
    if not only or "main" in only:
        found += project.get("dependencies", [])
        optional = {name for extra in extras for name in poetry.get("extras", {}).get(extra, [])}
        for extra in extras:
            found += project.get("optional-dependencies", {}).get(extra, [])
        found += _table(poetry.get("dependencies", {}), optional)
    groups = {**poetry.get("group", {}), "dev": {"dependencies": poetry.get("dev-dependencies")}}
    groups |= poetry.get("group", {})
    for name, group in groups.items():
        is_default = not (only or "--no-dev" in words or "export" in words or group.get("optional"))
        is_named = name in only or name in _values(words, "--with")
        if (is_default and name not in without) or is_named:
            found += _table(group.get("dependencies") or {}, set())
    return found


def pipfile_requirements(pipfile: Mapping[str, Any], words: Sequence[str]) -> list[str]:
    tables = ["packages", *(["dev-packages"] if {"--dev", "-d"} & set(words) else [])]
    return [each for table in tables for each in _table(pipfile.get(table, {}), set())]


def locked_versions(name: str, text: str) -> dict[str, str]:
    """Return a constraint for each package in a lock file; empty if it has several versions there."""
    versions: dict[str, set[str]] = {}
    if name == "Pipfile.lock":
        for section in ("default", "develop"):
            for package, entry in json.loads(text).get(section, {}).items():
                versions.setdefault(package, set()).add(entry.get("version", ""))
    else:
        for entry in tomllib.loads(text).get("package", []):
            is_released = entry.get("source", {}).get("type", "legacy") == "legacy"
            version = f"=={entry.get('version')}" if is_released else ""
            versions.setdefault(entry["name"], set()).add(version)
    return {
        canonicalize_name(package): f"{package}{min(each)}" if len(each) == 1 else ""
        for package, each in versions.items()
    }


def _table(table: Mapping[str, Any], optional: set[str]) -> Iterator[str]:
    for name, entry in table.items():
        if canonicalize_name(name) == "python":
            continue
        for each in entry if isinstance(entry, list) else [entry]:
            fields = each if isinstance(each, dict) else {"version": str(each)}
            if fields.get("optional") and name not in optional:
                continue
            if "path" not in fields:
                yield _requirement(name, fields)


def _requirement(name: str, fields: Mapping[str, Any]) -> str:
    extras = f"[{','.join(fields['extras'])}]" if fields.get("extras") else ""
    if url := fields.get("git") or fields.get("url"):
        revision = (
            fields.get("rev") or fields.get("tag") or fields.get("branch") or fields.get("ref")
        )
        source = f"git+{url}" if fields.get("git") else url
        text = f"{name}{extras} @ {source}{f'@{revision}' if revision else ''}"
    else:
        text = f"{name}{extras}{specifier(str(fields.get('version', '*')))}"
    markers = [fields["markers"]] if fields.get("markers") else []
    if python := specifier(str(fields.get("python", "*"))):
        bounds = re.findall(r"([<>=!~]+)\s*([\d.*]+)", python)
        markers += [f'python_version {operator} "{version}"' for operator, version in bounds]
    return f"{text} ; {' and '.join(markers)}" if markers else text


def specifier(version: str) -> str:
    """Return Poetry's version constraint as a specifier of pip; empty for any version."""
    parts = []
    for part in version.split(",") if "|" not in version else []:
        operator, number = re.fullmatch(r"\s*([\^~<>=!]*)\s*(.*?)\s*", part).groups()  # type: ignore[union-attr]
        if number in ("*", ""):
            continue
        if operator in ("^", "~"):
            parts.append(f">={number},<{_next(operator, number)}")
        else:
            parts.append(f"{'==' if operator in ('', '=') else operator}{number}")
    return ",".join(parts)


def _next(operator: str, version: str) -> str:
    """Return the first version that `^version` or `~version` excludes."""
    numbers = [int(each) for each in re.match(r"\d+(?:\.\d+)*", version)[0].split(".")]  # type: ignore[index]
    if operator == "~":
        index = min(1, len(numbers) - 1)
    else:
        index = next((place for place, each in enumerate(numbers) if each), len(numbers) - 1)
    return ".".join(map(str, [*numbers[:index], numbers[index] + 1]))


def _values(words: Sequence[str], option: str) -> set[str]:
    values = set()
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == option:
            values |= set((value if equals else "".join(words[index + 1 : index + 2])).split(","))
    return values
