"""Columns of the dataset and their types: declared in telemetry.yaml, by OpenTelemetry or Honeycomb."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

CALCULATED: Final = "calculated"
"""Type of a derived column, which may be any."""
NUMBERS: Final = ("integer", "float", CALCULATED)

# Types in telemetry.yaml, and in Honeycomb.
_TYPES: Final = {"string": "string", "int": "integer", "double": "float", "boolean": "boolean"}
_PYTHON_TYPES: Final = {"string": str, "int": int, "double": float, "boolean": bool}
# Columns that Honeycomb derives from a span, and that do not hold text.
_DERIVED: Final = {
    "duration_ms": "float",
    "error": "boolean",
    "meta.time_since_span_start_ms": "float",
    "span.num_events": "integer",
    "span.num_links": "integer",
    "status_code": "integer",
}
_CONVENTIONS: Final = Path(__file__).with_name("conventions.json")
_KNOWN_TEXT: Final = re.compile(
    r"(http|url|server|client|network|error|exception|db|gen_ai|anthropic|openai|user|service"
    r"|deployment|cloud|faas|telemetry|trace|span|meta|library)\.[\w.]+"
    r"|name|type|status_message|parent_name"
)
_KNOWN_NUMBER: Final = re.compile(r"(anthropic|gen_ai|openai)\.usage\.[\w.]+_tokens")
# The most frequent ones, to suggest if a name is mistyped.
_COMMON_TEXT: Final = (
    "db.query.text",
    "db.system.name",
    "deployment.environment.name",
    "error.type",
    "exception.message",
    "exception.type",
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "http.request.method",
    "http.route",
    "name",
    "parent_name",
    "service.name",
    "service.version",
    "span.kind",
    "trace.parent_id",
    "trace.trace_id",
    "url.path",
    "user.id",
)
# Prefixes by which a query names a column of another span of the same trace.
_RELATION: Final = re.compile(r"^(root|parent|child|any[23]?|none)\.")


@dataclass(frozen=True)
class Attribute:
    """An attribute that telemetry.yaml declares."""

    name: str
    type: str
    """The name in telemetry.yaml: string, int, double or boolean."""
    brief: str
    examples: tuple[Any, ...]

    @property
    def column_type(self) -> str:
        """The name in Honeycomb."""
        return _TYPES.get(self.type, "string")

    def problems(self) -> Iterable[str]:
        if self.type not in _TYPES:
            yield f"{self.name}: type should be {', '.join(_TYPES)}, not {self.type}"
            return
        for example in self.examples:
            if type(example) is not _PYTHON_TYPES[self.type]:
                yield f"{self.name}: the example {example!r} is not of the type {self.type}"


@dataclass(frozen=True)
class Columns:
    """The columns that a query may name."""

    declared: Mapping[str, str]
    """Types by name."""

    def type_of(self, name: str) -> str | None:
        """The type of a column, or None if nothing declares it."""
        name = without_relation(name)
        declared = self.declared.get(name) or _known().get(name)
        if declared is None and _KNOWN_NUMBER.fullmatch(name):
            return "integer"
        if declared is None and _KNOWN_TEXT.fullmatch(name):
            return "string"
        return declared

    def closest(self, name: str) -> str | None:
        """The declared column whose name is most similar to `name`."""
        close = difflib.get_close_matches(name, [*self.declared, *_known(), *_COMMON_TEXT], n=1)
        return close[0] if close else None

    def with_calculated(self, names: Iterable[str]) -> "Columns":
        """These columns and some that are calculated from them."""
        return Columns({**self.declared, **dict.fromkeys(names, CALCULATED)})


@cache
def _known() -> dict[str, str]:
    """Columns of other types than text, by name: of Honeycomb and of the semantic conventions."""
    conventions = json.loads(_CONVENTIONS.read_text(encoding="utf-8"))
    types = ("integer", "float", "boolean")
    return {name: type_ for type_ in types for name in conventions[type_]} | _DERIVED


def without_relation(name: str) -> str:
    """`name` without a prefix that selects another span of the trace."""
    return _RELATION.sub("", name, count=1)


def has_relation(name: str) -> bool:
    return _RELATION.match(name) is not None


class UnreadableRegistry(Exception):
    """telemetry.yaml cannot be read."""


def read_registry(path: Path) -> dict[str, Attribute]:
    """The attributes that a registry of OpenTelemetry Weaver declares. Raises UnreadableRegistry."""
    try:
        groups = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        return {
            attribute["id"]: Attribute(
                attribute["id"],
                str(attribute["type"]),
                str(attribute.get("brief", "")),
                tuple(attribute.get("examples", ())),
            )
            for group in groups
            for attribute in group.get("attributes", ())
            if "id" in attribute
        }
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UnreadableRegistry(f"{error.problem} in line {line}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UnreadableRegistry(str(error).splitlines()[0]) from None
    except (KeyError, TypeError, AttributeError):
        raise UnreadableRegistry(
            "it needs a list `groups`, whose `attributes` have an `id` and a `type`"
        ) from None
