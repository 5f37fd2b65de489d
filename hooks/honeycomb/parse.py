"""Parsing of definitions, with one readable clause per invalid field."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter, ValidationError

from .schema import (
    SLO,
    Board,
    BudgetRateAlert,
    DerivedColumn,
    ExhaustionAlert,
    Kind,
    Object,
    Query,
    SavedQuery,
    Trigger,
)

_PANEL_TYPES: Final = ("query", "slo", "text")
_ALERT_TYPES: Final = ("exhaustion_time", "budget_rate")
_MODELS: Final[Mapping[Kind, TypeAdapter[Object]]] = {
    "derived column": TypeAdapter(DerivedColumn),
    "SLO": TypeAdapter(SLO),
    "burn alert": TypeAdapter(
        Annotated[ExhaustionAlert | BudgetRateAlert, Field(discriminator="alert_type")]
    ),
    "trigger": TypeAdapter(Trigger),
    "board": TypeAdapter(Board),
    "saved query": TypeAdapter(SavedQuery),
}
_QUERY: Final = TypeAdapter(Query)


class InvalidForm(Exception):
    """A file does not have the form of its kind: one text per field, each a clause."""

    def __init__(self, error: ValidationError) -> None:
        self.problems = [_clause(detail) for detail in error.errors(include_url=False)]
        super().__init__("; ".join(self.problems))


def parse_object(kind: Kind, body: Any) -> Object:
    """The typed content of a file. Raises InvalidForm."""
    try:
        return _MODELS[kind].validate_python(body)
    except ValidationError as error:
        raise InvalidForm(error) from None


def parse_query(body: Any) -> Query:
    """A typed query. Raises InvalidForm."""
    try:
        return _QUERY.validate_python(body)
    except ValidationError as error:
        raise InvalidForm(error) from None


def _clause(detail: Mapping[str, Any]) -> str:
    field = _field(detail["loc"])
    message = str(detail["msg"]).removeprefix("Value error, ")
    context = detail.get("ctx", {})
    match detail["type"]:
        case "missing":
            return f"{field} is missing"
        case "extra_forbidden":
            return f"{field} is not a field of Honeycomb's API"
        case "union_tag_not_found":
            return f"{field}.{context['discriminator']}".strip(".").replace("'", "") + " is missing"
        case "union_tag_invalid":
            discriminator = f"{field}.{context['discriminator']}".strip(".").replace("'", "")
            expected = " or ".join(context["expected_tags"].rsplit(", ", 1))
            return f"{discriminator} should be {expected}, not {context['tag']!r}"
        case "value_error":
            return f"{field}: {message}" if field else message
        case "model_type" | "dict_type" | "model_attributes_type":
            return f"{field or 'the content'} should be an object"
    _, _, rule = message.partition(" should ")
    value = detail["input"]
    is_short = isinstance(value, int | float | bool) or (isinstance(value, str) and len(value) < 50)
    return f"{field or 'the content'} should {rule}" + (f", not {value!r}" if is_short else "")


def _field(location: Sequence[str | int]) -> str:
    """The path to a field, without the tags that pydantic adds for the members of a union."""
    field = ""
    before: str | int = ""
    for part in location:
        if isinstance(part, int):
            field += f"[{part}]"
        elif part not in _ALERT_TYPES and not (isinstance(before, int) and part in _PANEL_TYPES):
            field += f".{part}"
        before = part
    return field.lstrip(".")
