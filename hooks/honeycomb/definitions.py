"""The definitions in `honeycomb/`: parsed, validated, and identified by a tag."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from .columns import Attribute, Columns, UnreadableRegistry, read_registry
from .parse import InvalidForm, parse_object
from .queries import columns_in_expression, columns_in_query
from .schema import Kind, Object

# In the order in which they depend on each other.
FOLDERS: Final[Mapping[Kind, str]] = {
    "derived column": "derived_columns",
    "SLO": "slos",
    "burn alert": "burn_alerts",
    "trigger": "triggers",
    "board": "boards",
}
SAVED_QUERIES: Final = "saved_queries.json"
_LISTED: Final = ("burn alert", "saved query")
"""Kinds of which a file may hold a list, as they are short."""
TAG: Final = "file"
"""Key of the tag by which an object of ours is recognised, even if it is renamed."""
_MAX_TAG: Final = 128
_PLAN_TAG: Final = {"key": "plan", "value": "free"}
"""Marks the triggers that Honeycomb's Free plan is to have, which are at most two."""


class InvalidDefinition(Exception):
    """Definitions are invalid: one sentence each, with the file."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Definition:
    """One file: the desired state of one object."""

    kind: Kind
    file: str
    """Its path within `honeycomb/`: boards/overview.json."""
    body: Mapping[str, Any]
    """In the form of the management API, except that references are names."""
    typed: Object
    """The whole content of the file, also if Honeycomb's plan lacks a part of it."""
    tag: str
    """Value of the tag: order-intake/boards/overview."""
    needs_plan: str = ""
    """The plan of Honeycomb that includes it, if the team's plan does not."""

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
        chosen = {each.file for each in triggers if _PLAN_TAG in each.body.get("tags", ())}
        # Files of releases up to 0.3.0 do not have the tag.
        chosen = chosen or {each.file for each in triggers if not each.body.get("disabled")}
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
    for kind, file, body in _contents(folder, problems):
        try:
            typed = parse_object(kind, body)
        except InvalidForm as error:
            problems += [f"honeycomb/{file}: {problem}." for problem in error.problems]
            continue
        identity = file.removesuffix(".json")
        if kind in _LISTED:
            identity += f"/{body['name' if kind == 'saved query' else 'alert_type']}"
        definitions.append(Definition(kind, file, body, typed, tag_of(service_name, identity)))
    problems += _invalid_references(definitions)
    try:
        attributes = read_registry(folder / "telemetry.yaml")
    except UnreadableRegistry as error:
        problems.append(f"honeycomb/telemetry.yaml is not a valid registry: {error}.")
    if problems:
        raise InvalidDefinition(problems)
    return Definitions(tuple(definitions), attributes).on_plan(plan)


def _contents(folder: Path, problems: list[str]) -> Iterator[tuple[Kind, str, Any]]:
    """The JSON of each object, with its kind and file. Adds a sentence to `problems` if it is invalid."""
    files: list[tuple[Kind, Path]] = [
        (kind, path)
        for kind, subfolder in FOLDERS.items()
        for path in sorted((folder / subfolder).glob("*.json"))
    ]
    if (path := folder / SAVED_QUERIES).is_file():
        files.append(("saved query", path))
    for kind, path in files:
        file = path.relative_to(folder).as_posix()
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            problems.append(f"honeycomb/{file} is not valid JSON: {error}.")
            continue
        listed = kind in _LISTED and isinstance(content, list)
        yield from ((kind, file, each) for each in (content if listed else [content]))


def _on_free_plan(definition: Definition, triggers: set[str]) -> Definition:
    kind, body = definition.kind, definition.body
    if kind in ("SLO", "burn alert") or (kind == "trigger" and definition.file not in triggers):
        return replace(definition, needs_plan="Pro")
    if kind == "board":
        panels = [panel for panel in body["panels"] if panel["type"] != "slo"]
        return replace(definition, body={**body, "panels": panels})
    return definition


def tag_of(service_name: str, file: str) -> str:
    """The value of the tag of the object in `file`, in the form that Honeycomb requires."""
    parts = (service_name, *file.removesuffix(".json").split("/"))
    tag = "/".join(re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
    tag = tag if re.match("[a-z]", tag) else f"service-{tag}"
    if len(tag) > _MAX_TAG:
        tag = f"{tag[: _MAX_TAG - 9]}-{hashlib.sha256(tag.encode()).hexdigest()[:8]}"
    return tag


def by_title(panels: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The panels of a board by title: the name of the query or SLO, numbered if it repeats."""
    titled: dict[str, Mapping[str, Any]] = {}
    for panel in panels:
        title = str(panel["type"])
        if title == "query":
            title = str((panel["query_panel"].get("query_annotation") or {}).get("name"))
        elif title == "slo":
            title = str(panel["slo_panel"]["slo"]["name"])
        number = sum(1 for other in titled if other == title or other.startswith(f"{title} #"))
        titled[f"{title} #{number + 1}" if number else title] = panel
    return titled


def _invalid_references(definitions: list[Definition]) -> Iterator[str]:
    """A sentence for each name that no file defines, and for each that several define."""
    names = {(definition.kind, definition.name) for definition in definitions}

    def check(definition: Definition, kind: Kind, name: str) -> Iterable[str]:
        if (kind, name) not in names:
            yield f"honeycomb/{definition.file} names the {kind} {name!r}, which no file defines."

    seen: dict[tuple[Kind, str], str] = {}
    for definition in definitions:
        first = seen.setdefault((definition.kind, definition.name), definition.file)
        if first != definition.file:
            yield (
                f"honeycomb/{first} and honeycomb/{definition.file} both define"
                f" the {definition.kind} {definition.name!r}."
            )
        if definition.kind == "SLO":
            yield from check(definition, "derived column", definition.body["sli"]["alias"])
        elif definition.kind == "burn alert":
            yield from check(definition, "SLO", definition.body["slo"]["name"])
        for panel in definition.body.get("panels", ()):
            if panel["type"] == "slo":
                yield from check(definition, "SLO", panel["slo_panel"]["slo"]["name"])
