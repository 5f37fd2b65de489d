"""Add packages to a dependency file, and remove them again. Everything else stays byte for byte."""

import contextlib
import re
import tomllib
from bisect import bisect
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations, takewhile
from pathlib import Path
from typing import Any, Final

import tomlkit
from packaging.requirements import InvalidRequirement, Requirement
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array, Table

from .dependency_file import DependencyFile
from .project import Project
from .requirements import package_name
from .source import EditRefused

# White space and comments before the closing bracket.
_ARRAY_END: Final = r"(?:\s|#[^\n]*\n)*\]\Z"


def with_packages(project: Project, file: DependencyFile, requirements: Sequence[str]) -> bytes:
    """Return the file with `requirements`: at their sorted place if the list is sorted, else at its
    end. Raises EditRefused if the file cannot be edited."""
    try:
        return _add(project.content(file.path).decode(), requirements, file).encode()
    except EditRefused as refused:
        raise EditRefused(str(refused), "\n".join(requirements)) from None


def without_packages(
    project: Project, file: DependencyFile, requirements: Sequence[str]
) -> bytes | None:
    """Return the file without the requirements that `with_packages` added; None if it added none."""
    text = project.content(file.path).decode()
    present = [each for each in requirements if package_name(each) in file.names]
    # The largest subset whose removal `with_packages` reverts exactly.
    for count in range(len(present), 0, -1):
        for subset in combinations(present, count):
            for before in _removals(text, subset, file):
                try:
                    if _add(before, subset, file) == text:
                        return before.encode()
                except EditRefused:
                    continue
    return None


def install_commands(project: Project, file: DependencyFile) -> list[str]:
    """Return the commands that install the packages of the edited file."""
    folder = project.root / file.path.parent
    if file.kind == "requirements":
        if file.path.suffix == ".in":
            compiled = file.path.with_suffix(".txt")
            header = project.text(compiled) if (project.root / compiled).exists() else ""
            command = re.search(r"(?m)^#\s+((?:uv pip compile|pip-compile) .*\S)", header)
            return [command[1] if command else f"pip-compile {file.path}"]
        return [f"pip install -r {file.path}"]
    if file.kind == "pipfile":
        return ["pipenv install"]
    if (folder / "poetry.lock").exists() or file.kind == "poetry":
        return ["poetry lock", "poetry install"]
    if (folder / "pdm.lock").exists():
        return ["pdm lock", "pdm sync"]
    if any((each / "uv.lock").exists() for each in (folder, *folder.parents)):
        return ["uv sync"]
    return [f"pip install -e {file.path.parent}"]


def _add(text: str, requirements: Sequence[str], file: DependencyFile) -> str:
    if file.kind == "requirements":
        return _add_lines(text, requirements, file.path)
    if file.kind == "conda":
        raise EditRefused(f"{file.path} is not edited. Add these packages below `pip:` in it:")
    if file.kind == "poetry" and file.is_optional:
        raise EditRefused(
            f"FastAPI is optional in {file.path}. Add these packages as optional, and to its extra:"
        )
    edited = text
    for each in requirements:
        if file.kind in ("poetry", "pipfile"):
            edited = _edit_table(edited, file, partial(_add_to_table, each))
        else:
            edited = _edit_array(edited, file, partial(_add_to_array, each))
    _check(text, edited, requirements, file)
    return edited


def _removals(text: str, requirements: Sequence[str], file: DependencyFile) -> list[str]:
    """Return candidates for the text before `requirements` were added."""
    if file.kind == "requirements":
        lines = "|".join(map(re.escape, requirements))
        return [
            re.sub(rf"(?m)^(?:{lines})\r?\n", "", text),
            re.sub(rf"\r?\n(?:{lines})(?=\r?\n|\Z)", "", text),
        ]
    if file.kind in ("poetry", "pipfile"):

        def remove(packages: Table) -> None:
            for each in requirements:
                packages.remove(Requirement(each).name)

        less = _edit_table(text, file, remove)
        return [less, less.removesuffix("\n").removesuffix("\r")]
    candidates = []
    for finish in (str, _without_final_comma, _with_final_comma):
        with contextlib.suppress(EditRefused):
            candidates.append(_edit_array(text, file, partial(_less, requirements, finish)))
    return candidates


def _less(requirements: Sequence[str], finish: Callable[[str], str], array: str) -> str:
    """Return the text of an array without `requirements`."""
    for each in requirements:
        item = re.escape(f'"{each}"')
        for pattern in (
            rf"(?m)^[ \t]*{item},?[ \t]*\r?\n",
            rf"{item}, ",
            rf",\s*{item}",
            item,
        ):
            array, count = re.subn(pattern, "", array, count=1)
            if count:
                break
    return finish(array)


def _edit_array(text: str, file: DependencyFile, edit: Callable[[str], str]) -> str:
    """Return the file's text after `edit` of the text of its array of packages."""

    def replace(parent: Any, key: str) -> None:
        parent[key] = _parsed(edit(parent[key].as_string()))

    return _edit_toml(text, file, replace)


def _edit_table(text: str, file: DependencyFile, edit: Callable[[Table], None]) -> str:
    """Return the file's text after `edit` of its table of packages."""

    def change(parent: Any, key: str) -> None:
        if not isinstance(parent[key], Table):
            raise TypeError("inline table")
        edit(parent[key])

    return _edit_toml(text, file, change)


def _edit_toml(text: str, file: DependencyFile, edit: Callable[[Any, str], None]) -> str:
    try:
        document = tomlkit.parse(text)
        edit(_at(document, file.table[:-1]), file.table[-1])
        edited = tomlkit.dumps(document)
    except (TOMLKitError, TypeError, KeyError) as error:
        raise EditRefused(f"{file.path} cannot be edited ({error}). Add these packages:") from None
    if not text.endswith("\n"):
        edited = edited.removesuffix("\n")
    return re.sub(r"(?<!\r)\n", "\r\n", edited) if "\r\n" in text else edited


def _parsed(array: str) -> Array:
    parsed: Any = tomlkit.parse(f"x = {array}")["x"]
    assert isinstance(parsed, Array)
    return parsed


def _at(document: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        document = document[key]
    return document


def _place(items: Sequence[object], requirement: str) -> int:
    """Return the index that keeps `items` sorted, or their number if they are not sorted."""
    try:
        names = [package_name(str(each)) for each in items]
    except InvalidRequirement:
        return len(items)
    if len(names) < 2 or names != sorted(names):
        return len(items)
    return bisect(names, package_name(requirement))


def _add_to_array(requirement: str, before: str) -> str:
    """Return the text of an array with `requirement`, in the style of the text `before`."""
    items = list(_parsed(before))
    place = _place(items, requirement)
    array = _parsed(_with_final_comma(before) if items else before)
    array.insert(place, requirement)
    after = array.as_string()
    if place == 0 and items:
        # tomlkit inserts the first item without a space after it.
        after = re.sub(r"\A(\[\s*\"[^\"]*\",)(?=[\"'])", r"\1 ", after)
    has_final_comma = re.search(rf",{_ARRAY_END}", before) if items else "\n" in before
    return _with_final_comma(after) if has_final_comma else _without_final_comma(after)


def _with_final_comma(array: str) -> str:
    if re.search(rf",{_ARRAY_END}", array):
        return array
    return re.sub(rf"(?<=[\"'}}]){_ARRAY_END}", r",\g<0>", array, count=1)


def _without_final_comma(array: str) -> str:
    return re.sub(rf",({_ARRAY_END})", r"\1", array, count=1)


def _add_to_table(requirement: str, table: Table) -> None:
    """Add a package below the last one, above comments that belong to the next table."""
    name = Requirement(requirement).name
    body = table.value.body
    rest = list(reversed(list(takewhile(lambda entry: entry[0] is None, reversed(body)))))
    del body[len(body) - len(rest) :]
    table[name] = requirement.removeprefix(name)
    body.extend(rest)


def _check(text: str, edited: str, requirements: Sequence[str], file: DependencyFile) -> None:
    """Raises EditRefused unless the only change is that `requirements` were added."""
    before, after = tomllib.loads(text), tomllib.loads(edited)
    packages = _at(after, file.table)
    for each in requirements:
        if isinstance(packages, list):
            packages.remove(each)
        else:
            del packages[Requirement(each).name]
    rest = iter(edited)
    if before != after or not all(character in rest for character in text):
        raise EditRefused(
            f"{file.path} cannot be edited without other changes. Add these packages:"
        )


def _add_lines(text: str, requirements: Sequence[str], path: Path) -> str:
    if "--hash=" in text:
        raise EditRefused(
            f"{path} contains hashes. Add these packages to its source and compile it again:"
        )
    newline = "\r\n" if "\r\n" in text else "\n"
    for each in requirements:
        lines = text.splitlines(keepends=True)
        place = _place([line.split(" #")[0].strip() for line in lines], each)
        if place < len(lines):
            text = "".join([*lines[:place], each + newline, *lines[place:]])
        elif text and not text.endswith("\n"):
            text = f"{text}{newline}{each}"
        else:
            text = f"{text}{each}{newline}"
    return text
