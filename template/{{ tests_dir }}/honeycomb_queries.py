"""What is wrong with a query or an expression, before Honeycomb says so.

A query is held against the columns that it may name, and against the rules of Honeycomb's API:
https://docs.honeycomb.io/investigate/collaborate/share-query/define-query-json.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

Columns = Mapping[str, str]
"""The type of each column: string, integer, float, boolean, or CALCULATED."""
Object = Mapping[str, Any]

CALCULATED: Final = "calculated"
_NUMBERS: Final = ("integer", "float", CALCULATED)

_OF_NUMBERS: Final = re.compile(
    r"AVG|HEATMAP|MAX|MIN|P(001|01|05|10|20|25|50|75|80|90|95|99|999)|RATE_(AVG|MAX|SUM)|SUM"
)
_OF_EVENTS: Final = {"COUNT", "CONCURRENCY"}

_OF_EXISTENCE: Final = {"exists", "does-not-exist"}
_OF_LISTS: Final = {"in", "not-in"}
_OF_ORDER: Final = {">", ">=", "<", "<="}
_OF_TEXT: Final = {
    "contains",
    "does-not-contain",
    "ends-with",
    "does-not-end-with",
    "starts-with",
    "does-not-start-with",
}
_FILTERS: Final = _OF_EXISTENCE | _OF_LISTS | _OF_ORDER | _OF_TEXT | {"=", "!="}

_FIELDS: Final = {
    "breakdowns",
    "calculated_fields",
    "calculations",
    "compare_time_offset_seconds",
    "end_time",
    "filter_combination",
    "filters",
    "formulas",
    "granularity",
    "havings",
    "limit",
    "orders",
    "start_time",
    "time_range",
}
_NOT_IN_TRIGGERS: Final = (
    "compare_time_offset_seconds",
    "end_time",
    "granularity",
    "limit",
    "orders",
    "start_time",
)
_DEFAULT_TIME_RANGE: Final = 7200
_OFFSETS: Final = (1_800, 3_600, 7_200, 28_800, 86_400, 604_800, 2_419_200, 15_724_800)
# A column of another span of the same trace.
_RELATION: Final = re.compile(r"(root|parent|child|any\d?|none)\.")
_TOKEN: Final = re.compile(
    r"""\s+ | "(?:[^"\\]|\\.)*" | `[^`]*`
    | \$(?P<column>[\w./:=+?-]+) | \$"(?P<quoted>[^"]+)"
    | (?P<open>\() | (?P<close>\))
    | \d[\d.]*(?:[eE][+-]?\d+)? | [A-Za-z]\w* | <= | >= | != | [-+*/%<>=!,]""",
    re.VERBOSE,
)


def query_problems(place: str, query: Object, columns: Columns) -> Iterator[str]:
    """What is wrong with `query`, each with `place` before it."""
    for field in sorted(set(query) - _FIELDS):
        yield f"{place}: a query has no {field}"
    # What a query names itself is known in it alone.
    for calculated in query.get("calculated_fields", []):
        inside = f"{place}: {calculated['name']}"
        yield from expression_problems(inside, calculated["expression"], columns)
    own = [calculated["name"] for calculated in query.get("calculated_fields", [])]
    columns = {**columns, **dict.fromkeys(own, CALCULATED)}

    calculations = query.get("calculations", [{"op": "COUNT"}])
    for calculation in calculations:
        yield from _calculation_problems(place, calculation, columns)
    for filter_ in query.get("filters", []):
        yield from _filter_problems(place, filter_, columns)
    if query.get("filter_combination", "AND") not in ("AND", "OR"):
        yield f"{place}: filters are combined with AND or OR"
    for breakdown in query.get("breakdowns", []):
        yield from column_problems(place, breakdown, columns)

    terms = [(calculation.get("op"), calculation.get("column")) for calculation in calculations]
    named = [*calculations, *query.get("formulas", [])]
    names = [*query.get("breakdowns", []), *(each["name"] for each in named if "name" in each)]
    for order in query.get("orders", []):
        term = (order.get("op"), order.get("column"))
        if term not in terms and term not in [(None, name) for name in names]:
            yield f"{place}: it is ordered by {_worded(term)}, which it does not have"
    for having in query.get("havings", []):
        term = (having.get("calculate_op"), having.get("column"))
        if term not in terms or having.get("op") not in _OF_ORDER | {"=", "!="}:
            yield f"{place}: havings name {_worded(term)}, which it does not calculate"
    if not 1 <= query.get("limit", 1) <= 1_000:
        yield f"{place}: a limit is from 1 to 1000"
    yield from _time_problems(place, query)
    yield from _formula_problems(place, query, calculations)


def trigger_query_problems(place: str, query: Object) -> Iterator[str]:
    """What a trigger does not allow of a query that is right otherwise."""
    for field in _NOT_IN_TRIGGERS:
        if field in query:
            yield f"{place}: the query of a trigger has no {field}"
    calculations = query.get("calculations", [{"op": "COUNT"}])
    for calculation in calculations:
        if calculation.get("op") in ("HEATMAP", "CONCURRENCY"):
            yield f"{place}: the query of a trigger calculates no {calculation['op']}"
    havings = query.get("havings", [])
    if len(havings) > 1:
        yield f"{place}: the query of a trigger has one having at most"
    if formulas := query.get("formulas"):
        if len(formulas) > 1:
            yield f"{place}: the query of a trigger has one formula at most"
        if query.get("filters"):
            yield f"{place}: beside a formula, filters belong to its calculations"
        return
    conditions = [(having.get("calculate_op"), having.get("column")) for having in havings]
    results = [
        calculation
        for calculation in calculations
        if (calculation.get("op"), calculation.get("column")) not in conditions
    ]
    if len(results or calculations) != 1:
        yield f"{place}: the query of a trigger has one calculation, beside that of its having"
    if any({"name", "filters"} & set(calculation) for calculation in calculations):
        yield f"{place}: without a formula, a calculation has no name and no filters"


def column_problems(place: str, name: str, columns: Columns) -> Iterator[str]:
    if _RELATION.sub("", name, count=1) in columns or name in columns:
        return
    near = difflib.get_close_matches(name, columns, n=1)
    hint = f"; {near[0]} is sent" if near else ""
    yield f"{place}: nothing sends {name}{hint}"


def expression_problems(place: str, expression: str, columns: Columns) -> Iterator[str]:
    """What is wrong with the expression of a calculated field."""
    position = depth = 0
    while position < len(expression):
        token = _TOKEN.match(expression, position)
        if token is None:
            yield f"{place}: {expression[position:]!r} cannot be read"
            return
        if name := token["column"] or token["quoted"]:
            yield from column_problems(place, name, columns)
        depth += bool(token["open"]) - bool(token["close"])
        position = token.end()
    if depth:
        yield f"{place}: a parenthesis has no other"


def _calculation_problems(place: str, calculation: Object, columns: Columns) -> Iterator[str]:
    operation, column = calculation.get("op"), calculation.get("column")
    of_numbers = _OF_NUMBERS.fullmatch(operation or "")
    if not of_numbers and operation not in _OF_EVENTS | {"COUNT_DISTINCT"}:
        yield f"{place}: there is no operation {operation}"
    elif column is None:
        if operation not in _OF_EVENTS:
            yield f"{place}: {operation} needs a column"
    elif operation == "CONCURRENCY":
        yield f"{place}: CONCURRENCY takes no column"
    else:
        yield from column_problems(place, column, columns)
        type_ = _type(column, columns)
        if of_numbers and type_ not in (*_NUMBERS, None):
            yield f"{place}: {operation} needs numbers, and {column} is of type {type_}"
    for filter_ in calculation.get("filters", []):
        yield from _filter_problems(place, filter_, columns)
        if _RELATION.match(filter_.get("column", "")):
            yield f"{place}: a calculation is not filtered by another span"


def _filter_problems(place: str, filter_: Object, columns: Columns) -> Iterator[str]:
    column, operation, value = filter_.get("column", ""), filter_.get("op"), filter_.get("value")
    yield from column_problems(place, column, columns)
    if operation not in _FILTERS:
        yield f"{place}: {column}: there is no filter {operation}"
        return
    if operation in _OF_EXISTENCE:
        if "value" in filter_:
            yield f"{place}: {column} {operation} takes no value"
        return
    if (operation in _OF_LISTS) != isinstance(value, list) or value in (None, []):
        yield f"{place}: {column} {operation} needs {'a list' if operation in _OF_LISTS else 'a value'}"
        return
    type_ = _type(column, columns)
    if operation in _OF_ORDER and type_ not in (*_NUMBERS, None):
        yield f"{place}: {operation} needs numbers, and {column} is of type {type_}"
    if operation in _OF_TEXT and type_ not in ("string", CALCULATED, None):
        yield f"{place}: {operation} needs text, and {column} is of type {type_}"
    for item in value if isinstance(value, list) else [value]:
        if not _fits(item, type_):
            yield f"{place}: {column} is of type {type_}, and never {item!r}"
        elif column == "error" and item is False:
            yield f"{place}: error is true or not there, and never false"


def _time_problems(place: str, query: Object) -> Iterator[str]:
    if {"start_time", "end_time", "time_range"} <= set(query):
        yield f"{place}: of start_time, end_time and time_range, two are enough"
    seconds = query.get("time_range", _DEFAULT_TIME_RANGE)
    if seconds < 1:
        yield f"{place}: a time_range is 1 second or more"
    granularity = query.get("granularity", seconds)
    if not seconds / 1000 <= granularity <= seconds:
        yield f"{place}: in {seconds} seconds, granularity is from {seconds / 1000:g} to {seconds}"
    offset = query.get("compare_time_offset_seconds")
    if offset is not None and (offset not in (*_OFFSETS, seconds) or offset < seconds):
        yield f"{place}: {seconds} seconds cannot be compared with those {offset} seconds before"


def _formula_problems(place: str, query: Object, calculations: list[Object]) -> Iterator[str]:
    names = [calculation["name"] for calculation in calculations if "name" in calculation]
    if len(set(names)) < len(names):
        yield f"{place}: two calculations have one name"
    for formula in query.get("formulas", []):
        inside = f"{place}: {formula['name']}"
        yield from expression_problems(inside, formula["expression"], dict.fromkeys(names, "float"))


def _type(column: str, columns: Columns) -> str | None:
    """None where nothing sends the column, which is said already."""
    return columns.get(column) or columns.get(_RELATION.sub("", column, count=1))


def _fits(value: object, type_: str | None) -> bool:
    if type_ == "string":
        return isinstance(value, str)
    if type_ == "boolean":
        return isinstance(value, bool)
    if type_ in ("integer", "float"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return True


def _worded(term: tuple[str | None, str | None]) -> str:
    operation, column = term
    return f"{operation}({column or ''})" if operation else str(column)
