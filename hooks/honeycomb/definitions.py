"""The definitions in `honeycomb/`: parsed, validated, and identified by a tag."""

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any, Final

from ..terminal import printable
from .columns import Attribute, Columns, UnreadableRegistry, read_registry
from .parse import InvalidForm, parse_object
from .queries import columns_in_expression, columns_in_query
from .schema import Kind, Object

# The names of files and folders, in the order in which the kinds depend on each other.
FOLDERS: Final[Mapping[Kind, str]] = {
    "derived column": "derived_columns",
    "SLO": "slos",
    "burn alert": "burn_alerts",
    "trigger": "triggers",
    "board": "boards",
}
SAVED_QUERIES: Final = "saved_queries.json"
_LISTED: Final[Mapping[Kind, str]] = {"burn alert": "alert_type", "saved query": "name"}
"""Kinds of which there may be a list, and the field that distinguishes its members."""
TAG: Final = "file"
"""Key of the tag by which an object of ours is recognised, even if it is renamed."""
_MAX_TAG: Final = 128
_MAX_SERVICE: Final = 100
_LONG: Final = re.compile(r"(\S{100})\S{100,}")
"""A value that is too long for a message."""
_PLAN_TAG: Final = {"key": "plan", "value": "free"}
"""Marks the triggers that Honeycomb's Free plan is to have, which are at most two."""


class InvalidDefinition(Exception):
    """Definitions are invalid: one sentence each, with the place."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = [_LONG.sub(r"\1...", printable(problem)) for problem in problems]
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class Definition:
    """The desired state of one object."""

    kind: Kind
    file: str
    """Its file within `honeycomb/`: triggers.json or triggers/high-error-rate.json."""
    key: str
    """Its key in a file of several: high-error-rate."""
    body: Mapping[str, Any]
    """In the form of the management API, except that references are names."""
    typed: Object
    """All of it, also if Honeycomb's plan lacks a part."""
    tag: str
    """Value of the tag: order-intake/boards/overview."""
    needs_plan: str = ""
    """The plan of Honeycomb that includes it, if the team's plan does not."""

    @property
    def place(self) -> str:
        """The file and the key, for messages."""
        return _place(self.file, self.key)

    @property
    def name(self) -> str:
        if self.kind == "burn alert":
            return f"{self.body['slo']['name']}: {self.body['alert_type']}"
        return str(self.body["alias" if self.kind == "derived column" else "name"])

    def queries(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Its queries, those of a board each with the title of its panel."""
        if self.kind in ("trigger", "saved query"):
            yield "", self.body["query"]
        for title, panel in by_title(self.body.get("panels", ())).items():
            if panel["type"] == "query":
                yield title, panel["query_panel"]["query"]

    def columns(self) -> set[str]:
        """The columns and derived columns that it names."""
        named = {column for _, query in self.queries() for column in columns_in_query(query)}
        named |= {preset["column"] for preset in self.body.get("preset_filters", ())}
        if self.kind == "derived column":
            named |= columns_in_expression(self.body["expression"])
        return named


@dataclass(frozen=True)
class Definitions:
    """All definitions of a project."""

    all: tuple[Definition, ...]
    """In the order in which they depend on each other."""
    attributes: Mapping[str, Attribute]
    """The attributes that telemetry.yaml declares, by name."""

    def of(self, kind: Kind) -> list[Definition]:
        return [definition for definition in self.all if definition.kind == kind]

    def active(self) -> list[Definition]:
        """The definitions that Honeycomb's plan includes."""
        return [definition for definition in self.all if not definition.needs_plan]

    def required_columns(self) -> dict[str, Definition]:
        """Each column that has to exist, with the first definition that names it."""
        derived = {definition.name for definition in self.of("derived column")}
        named: dict[str, Definition] = {}
        for definition in self.active():
            for column in sorted(definition.columns() - derived):
                named.setdefault(column, definition)
        return named

    def on_plan(self, plan: str) -> "Definitions":
        """These definitions, as far as a plan of Honeycomb includes them."""
        if plan != "free":
            return self
        triggers = self.of("trigger")
        chosen = {each.tag for each in triggers if _PLAN_TAG in each.body.get("tags", ())}
        # Files of releases up to 0.3.0 do not have the tag.
        chosen = chosen or {each.tag for each in triggers if not each.body.get("disabled")}
        return replace(self, all=tuple(_on_free_plan(each, chosen) for each in self.all))

    def with_descriptions(self, change: Callable[[str], str]) -> "Definitions":
        """These definitions with changed descriptions."""

        def changed(definition: Definition) -> Definition:
            if "description" not in definition.body:
                return definition
            body = {**definition.body, "description": change(definition.body["description"])}
            return replace(definition, body=body)

        return replace(self, all=tuple(map(changed, self.all)))

    @property
    def columns(self) -> Columns:
        """The columns that the service sends, as far as they are declared."""
        return Columns({name: each.column_type for name, each in self.attributes.items()})


def load(folder: Path, service_name: str, plan: str) -> Definitions:
    """Read and validate the files in `folder`. Raises InvalidDefinition."""
    problems: list[str] = []
    definitions: list[Definition] = []
    invalid: set[Kind] = set()
    for kind, file, key, body in _contents(folder, problems, invalid):
        try:
            typed = parse_object(kind, body)
        except InvalidForm as error:
            place = _place(file, key)
            problems += [f"honeycomb/{place}: {problem}." for problem in error.problems]
            invalid.add(kind)
            continue
        # The same for both forms of files, so that the object in Honeycomb is.
        tag = tag_of(service_name, _joined(file.removesuffix(".json"), key))
        definitions.append(Definition(kind, file, key, body, typed, tag))
    problems += _invalid_references(definitions, invalid)
    try:
        attributes = read_registry(folder / "telemetry.yaml")
    except UnreadableRegistry as error:
        problems.append(f"honeycomb/telemetry.yaml is not a valid registry: {error}.")
    if problems:
        raise InvalidDefinition(problems)
    return Definitions(tuple(definitions), attributes).on_plan(plan)


def _contents(
    folder: Path, problems: list[str], invalid: set[Kind]
) -> Iterator[tuple[Kind, str, str, Any]]:
    """The kind, file, key and JSON of each object.

    Adds a sentence to `problems` for each invalid file, and its kind to `invalid`.
    """
    files: list[tuple[Kind, str]] = []
    for kind, name in FOLDERS.items():
        single = sorted(path.name for path in (folder / name).glob("*.json"))
        files += [(kind, f"{name}.json"), *((kind, f"{name}/{file}") for file in single)]
    for kind, file in (*files, ("saved query", SAVED_QUERIES)):
        is_keyed = file == f"{FOLDERS.get(kind)}.json"
        found = len(problems)
        contents = _read(folder, file, problems)
        if len(problems) > found:
            invalid.add(kind)
        for content in contents:
            if is_keyed and not isinstance(content, dict):
                problems.append(
                    f"honeycomb/{file} should be an object, with a key for each {kind}."
                )
                invalid.add(kind)
                continue
            for key, value in content.items() if is_keyed else [("", content)]:
                for member, body in _members(kind, value):
                    yield kind, file, _joined(key, member), body


def _members(kind: Kind, content: Any) -> Iterator[tuple[str, Any]]:
    """The objects of a list, or the only one, each with the value that distinguishes it."""
    field = _LISTED.get(kind)
    for body in content if field and isinstance(content, list) else [content]:
        yield str(body.get(field, "")) if field and isinstance(body, dict) else "", body


def _read(folder: Path, file: str, problems: list[str]) -> list[Any]:
    """The JSON of a file. Nothing if it is absent or, after a `copier update`, empty."""
    path = folder / file
    try:
        text = path.read_text(encoding="utf-8") if os.path.lexists(path) else ""
        if "\n=======\n" in text:
            problems.append(f"honeycomb/{file} contains a merge conflict: resolve it.")
            return []
        if not text.strip():
            return []
        return [
            json.loads(
                text,
                object_pairs_hook=_with_unique_keys,
                parse_constant=_finite,
                parse_float=_finite,
            )
        ]
    except _RepeatedKey as error:
        problems.append(f"honeycomb/{file} has the key {error} twice: rename or delete one.")
    except (ValueError, OSError) as error:
        problems.append(f"honeycomb/{file} is not valid JSON: {error}.")
    return []


def _finite(text: str) -> float:
    """The number `text`. JSON has neither infinity nor NaN, but a parser accepts both."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return number


class _RepeatedKey(Exception):
    """An object in JSON has a key twice, of which a parser would drop the first."""


def _with_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise _RepeatedKey(repr(key))
        content[key] = value
    return content


def _place(file: str, key: str) -> str:
    return f"{file}: {key}" if key else file


def _joined(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def _on_free_plan(definition: Definition, triggers: set[str]) -> Definition:
    kind, body = definition.kind, definition.body
    if kind in ("SLO", "burn alert") or (kind == "trigger" and definition.tag not in triggers):
        return replace(definition, needs_plan="Pro")
    if kind == "board":
        panels = [panel for panel in body["panels"] if panel["type"] != "slo"]
        return replace(definition, body={**body, "panels": panels})
    return definition


def tag_of(service_name: str, identity: str) -> str:
    """The value of the tag of an object, such as triggers/errors, in the form that Honeycomb requires."""
    service, *parts = map(_in_tag, (service_name, *identity.split("/")))
    # All tags of a service begin with its name, so it is not shortened together with the rest.
    tag = "/".join((_shortened(service, _MAX_SERVICE), *parts))
    return _shortened(tag if re.match("[a-z]", tag) else f"service-{tag}", _MAX_TAG)


def _in_tag(text: str) -> str:
    part = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    # Names in other scripts would become equal.
    return part if text.isascii() else f"{part}-{_digest(text)}".lstrip("-")


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 9]}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def by_title(panels: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The panels of a board by title, numbered if it repeats."""
    titled: dict[str, Mapping[str, Any]] = {}
    for panel in panels:
        titled[unused_title(title_of(panel), titled)] = panel
    return titled


def title_of(panel: Mapping[str, Any]) -> str:
    """The name of a panel's query or SLO; the type of a panel that has no name."""
    title = str(panel["type"])
    if title == "query":
        # That of another dataset has no name here.
        title = str((panel["query_panel"].get("query_annotation") or {}).get("name") or title)
    elif title == "slo":
        title = str(panel["slo_panel"]["slo"]["name"])
    return title


def unused_title(title: str, used: Container[str]) -> str:
    """`title`, numbered if it is one of `used`."""
    numbered = (f"{title} #{number}" for number in count(2))
    return next(each for each in chain([title], numbered) if each not in used)


def _invalid_references(definitions: list[Definition], invalid: set[Kind]) -> Iterator[str]:
    """A sentence for each name that no file defines, and for each object that two define.

    A name may be defined by a file of a kind in `invalid`.
    """
    names = {(definition.kind, definition.name) for definition in definitions}

    def check(definition: Definition, kind: Kind, name: str) -> Iterable[str]:
        if (kind, name) not in names and kind not in invalid:
            yield f"honeycomb/{definition.place} names the {kind} {name!r}, which no file defines."

    seen: dict[tuple[Kind, str], str] = {}
    for definition in definitions:
        kind, name, place = definition.kind, definition.name, definition.place
        identities = ((kind, name), (kind, definition.tag))
        first = next((seen[identity] for identity in identities if identity in seen), None)
        seen |= dict.fromkeys(identities, place)
        if first is not None:
            yield f"honeycomb/{first} and honeycomb/{place} both define the {kind} {name!r}: keep one."
        if kind == "SLO":
            yield from check(definition, "derived column", definition.body["sli"]["alias"])
        elif kind == "burn alert":
            yield from check(definition, "SLO", definition.body["slo"]["name"])
        for panel in definition.body.get("panels", ()):
            if panel["type"] == "slo":
                yield from check(definition, "SLO", panel["slo_panel"]["slo"]["name"])
