"""The files of `honeycomb/`: what Honeycomb is to have, and what is wrong in them."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from .. import defaults

Kind: TypeAlias = Literal["derived column", "SLO", "burn alert", "trigger", "board"]

# In the order in which they depend on each other.
FOLDERS: Final[Mapping[Kind, str]] = {
    "derived column": "derived_columns",
    "SLO": "slos",
    "burn alert": "burn_alerts",
    "trigger": "triggers",
    "board": "boards",
}
TAG: Final = "file"
"""Key of the tag by which an object of ours is known, whatever it is called."""
_LONGEST_TAG: Final = 128
_TYPES: Final = {"int": "integer", "double": "float", "boolean": "boolean"}
# Columns that Honeycomb or OpenTelemetry's conventions name, and that are no texts.
_KNOWN: Final = {
    "duration_ms": "float",
    "error": "boolean",
    "status_code": "integer",
    "span.num_events": "integer",
    "span.num_links": "integer",
    "http.response.status_code": "integer",
    "http.request.body.size": "integer",
    "http.response.body.size": "integer",
    "gen_ai.request.max_tokens": "integer",
    "gen_ai.request.temperature": "float",
    "server.port": "integer",
}
_KNOWN_TEXT: Final = re.compile(
    r"(http|url|server|client|network|error|exception|db|gen_ai|user|service|deployment|cloud|faas"
    r"|telemetry|trace|span|meta|library)\.[\w.]+|name|type|status_message|parent_name"
)
_KNOWN_NUMBER: Final = re.compile(r"gen_ai\.usage\.[\w.]+")
# Prefixes by which a query asks for a column of another span of the same trace.
_RELATIONAL: Final = re.compile(r"^(root|parent|child|any[23]?|none)\.")
# Texts are skipped, so that a $ in one is no column.
_IN_EXPRESSION: Final = re.compile(
    r'\$"(?P<quoted>(?:[^"\\]|\\.)*)" | \$(?P<plain>[\w./:=+?-]+)'
    r' | "(?:[^"\\]|\\.)*" | `[^`]*`',
    re.VERBOSE,
)


class FilesError(Exception):
    """What is wrong in the files, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Definition:
    """One file: one object that Honeycomb is to have."""

    kind: Kind
    file: str
    """Its path within `honeycomb/`: boards/overview.json."""
    body: dict[str, Any]
    """As the management API has it, but for references, which are names."""
    tag: str
    """Value of the tag: order-intake/boards/overview."""
    needs_plan: str = ""
    """The plan of Honeycomb that it takes, where the project's plan does not have it."""

    @property
    def name(self) -> str:
        if self.kind == "burn alert":
            return f"{self.body['slo']['name']}: {self.body['alert_type']}"
        return str(self.body["alias" if self.kind == "derived column" else "name"])

    def queries(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Its queries, each with the title of its panel where it is one of a board."""
        if self.kind == "trigger":
            yield "", self.body["query"]
        for title, panel in by_title(self.body.get("panels", ())).items():
            if panel["type"] == "query":
                yield title, panel["query_panel"]["query"]

    def columns(self) -> set[str]:
        """The columns and derived columns that it names."""
        named = {column for _, query in self.queries() for column in columns_of(query)}
        named |= {preset["column"] for preset in self.body.get("preset_filters", ())}
        if self.kind == "derived column":
            named |= columns_in(self.body["expression"])
        return named


@dataclass(frozen=True)
class Definitions:
    """All the files."""

    all: tuple[Definition, ...]
    """In the order in which they depend on each other."""
    types: Mapping[str, str]
    """Honeycomb's type of each column that telemetry.yaml declares."""

    def of(self, kind: Kind) -> list[Definition]:
        return [definition for definition in self.all if definition.kind == kind]

    def active(self) -> list[Definition]:
        return [definition for definition in self.all if not definition.needs_plan]

    def columns(self) -> dict[str, Definition]:
        """Each column that must be there, with the first definition that names it."""
        derived = {definition.name for definition in self.of("derived column")}
        named: dict[str, Definition] = {}
        for definition in self.active():
            for column in sorted(definition.columns() - derived):
                named.setdefault(column, definition)
        return named

    def type_of(self, column: str) -> str | None:
        """Honeycomb's type of a column, or None for one that nothing declares."""
        declared = self.types.get(column) or _KNOWN.get(column)
        if declared is None and _KNOWN_NUMBER.fullmatch(column):
            return "integer"
        if declared is None and _KNOWN_TEXT.fullmatch(column):
            return "string"
        return declared


def find_folder() -> Path:
    """The project's folder `honeycomb`, from the current folder or from where this package is.

    Raises FilesError where there is none.
    """
    for folder in (Path.cwd(), *Path(__file__).resolve().parents):
        if (folder / "honeycomb/telemetry.yaml").is_file():
            return folder / "honeycomb"
    raise FilesError(
        ["There is no folder honeycomb here: run the command in the project's own folder."]
    )


def load(folder: Path, service_name: str, plan: str = defaults.HONEYCOMB_PLAN) -> Definitions:
    """Reads and checks the files of `folder`. Raises FilesError, which names each place."""
    problems: list[str] = []
    definitions: list[Definition] = []
    for kind, subfolder in FOLDERS.items():
        for path in sorted((folder / subfolder).glob("*.json")):
            file = f"{subfolder}/{path.name}"
            try:
                body = json.loads(path.read_text(encoding="utf-8"))
                definition = _definition(kind, file, body, service_name, plan)
                definition.name  # noqa: B018 - and all else that is read later
                definition.columns()
                definitions.append(definition)
            except (ValueError, OSError) as error:
                problems.append(f"honeycomb/{file} is no JSON that can be read: {error}.")
            except (KeyError, TypeError, AttributeError) as error:
                problems.append(another_form(file, kind, error))
    problems += _bad_references(definitions)
    if problems:
        raise FilesError(problems)
    return Definitions(tuple(definitions), types_in(folder / "telemetry.yaml"))


def another_form(file: str, kind: Kind, error: Exception) -> str:
    """A sentence for what was met when `file` was read as an object of `kind`."""
    what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
    return f"honeycomb/{file} is no {kind}: {what}."


def types_in(registry: Path) -> dict[str, str]:
    """Honeycomb's type of each attribute that a Weaver registry declares. Raises FilesError."""
    try:
        yaml: Any = import_module("yaml")  # the service itself needs none
    except ImportError:
        raise FilesError(
            [f"honeycomb/{registry.name} is YAML, and PyYAML is not installed: add pyyaml."]
        ) from None
    try:
        groups = yaml.safe_load(registry.read_text(encoding="utf-8"))["groups"]
        return {
            attribute["id"]: _TYPES.get(str(attribute["type"]), "string")
            for group in groups
            for attribute in group.get("attributes", ())
            if "id" in attribute
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise FilesError([f"honeycomb/{registry.name} cannot be read: {reason}."]) from None


def tag_of(service_name: str, file: str) -> str:
    """The value of the tag of the object in `file`, by Honeycomb's rules for one."""
    parts = (service_name, *file.removesuffix(".json").split("/"))
    tag = "/".join(re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
    tag = tag if re.match("[a-z]", tag) else f"service-{tag}"
    if len(tag) > _LONGEST_TAG:
        tag = f"{tag[: _LONGEST_TAG - 9]}-{hashlib.sha256(tag.encode()).hexdigest()[:8]}"
    return tag


def by_title(panels: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The panels of a board, each by what it is called: the name of its query or SLO."""
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


def columns_of(query: Mapping[str, Any]) -> set[str]:
    """The columns and derived columns that a query names, but for those that it calculates itself."""
    calculations = query.get("calculations", ())
    named = set(query.get("breakdowns", ()))
    for part in (
        calculations,
        query.get("filters", ()),
        query.get("orders", ()),
        query.get("havings", ()),
        *(calculation.get("filters", ()) for calculation in calculations),
    ):
        named |= {entry["column"] for entry in part if entry.get("column")}
    fields = query.get("calculated_fields", ())
    for calculated in fields:
        named |= columns_in(calculated["expression"])
    own = {entry.get("name") for entry in (*fields, *calculations, *query.get("formulas", ()))}
    return {_RELATIONAL.sub("", column, count=1) for column in named - own}


def columns_in(expression: str) -> set[str]:
    """The columns that an expression of a calculated field names."""
    return {
        match["plain"] or match["quoted"]
        for match in _IN_EXPRESSION.finditer(expression)
        if match["plain"] or match["quoted"]
    }


def _definition(
    kind: Kind, file: str, body: dict[str, Any], service_name: str, plan: str
) -> Definition:
    for recipient in body.get("recipients") or ():
        if "id" not in recipient:
            recipient["type"]
    needs_plan = ""
    if plan == "free" and (
        kind in ("SLO", "burn alert") or (kind == "trigger" and body.get("disabled"))
    ):
        needs_plan = "Pro"
    if kind == "board" and plan == "free":
        body = {
            **body,
            "panels": [panel for panel in body.get("panels", ()) if panel["type"] != "slo"],
        }
    return Definition(kind, file, body, tag_of(service_name, file), needs_plan)


def _bad_references(definitions: list[Definition]) -> Iterator[str]:
    """A sentence for each name of another object that no file has, and each name that two have."""
    names = {(definition.kind, definition.name) for definition in definitions}

    def check(definition: Definition, kind: Kind, name: str) -> Iterable[str]:
        if (kind, name) not in names:
            yield f"honeycomb/{definition.file} names the {kind} {name!r}, and no file has it."

    seen: dict[tuple[Kind, str], str] = {}
    for definition in definitions:
        first = seen.setdefault((definition.kind, definition.name), definition.file)
        if first != definition.file:
            yield (
                f"honeycomb/{definition.file} and honeycomb/{first} are both"
                f" the {definition.kind} {definition.name!r}."
            )
        if definition.kind == "SLO":
            yield from check(definition, "derived column", definition.body["sli"]["alias"])
        elif definition.kind == "burn alert":
            yield from check(definition, "SLO", definition.body["slo"]["name"])
        for panel in definition.body.get("panels", ()):
            if panel["type"] == "slo":
                yield from check(definition, "SLO", panel["slo_panel"]["slo"]["name"])
