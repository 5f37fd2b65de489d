"""Rules for queries and expressions that depend on the columns or on several fields.

They are those of https://docs.honeycomb.io/investigate/collaborate/share-query/define-query-json.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from .columns import NUMBERS, Columns, has_relation, without_relation
from .schema import (
    EXISTENCE_FILTERS,
    NUMERIC_OPERATIONS,
    ORDER_FILTERS,
    TEXT_FILTERS,
    Calculation,
    Filter,
    Query,
)

_NOT_IN_TRIGGERS: Final = (
    "compare_time_offset_seconds",
    "end_time",
    "granularity",
    "limit",
    "orders",
    "start_time",
)
_OFFSETS: Final = (1_800, 3_600, 7_200, 28_800, 86_400, 604_800, 2_419_200, 15_724_800)
# Strings are tokens, so that a $ in one is not a column.
_TOKEN: Final = re.compile(
    r"""\s+ | "(?:[^"\\]|\\.)*" | `[^`]*`
    | \$(?P<column>[\w./:=+?-]+) | \$"(?P<quoted>(?:[^"\\]|\\.)*)"
    | (?P<open>\() | (?P<close>\))
    | \d[\d.]*(?:[eE][+-]?\d+)? | [A-Za-z]\w* | <= | >= | != | [-+*/%<>=!,]""",
    re.VERBOSE,
)


def columns_in_query(query: Mapping[str, Any]) -> set[str]:
    """The columns and derived columns that a query names, except those it calculates itself."""
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
        named |= columns_in_expression(calculated["expression"])
    own = {entry.get("name") for entry in (*fields, *calculations, *query.get("formulas", ()))}
    return {without_relation(column) for column in named - own}


def columns_in_expression(expression: str) -> set[str]:
    """The columns that the expression of a calculated field names."""
    names = (token["column"] or token["quoted"] for token in _TOKEN.finditer(expression))
    return {name for name in names if name}


def query_problems(query: Query, columns: Columns) -> Iterator[str]:
    """A clause for each thing in `query` that Honeycomb would reject, or that never matches."""
    for calculated in query.calculated_fields:
        for problem in expression_problems(calculated.expression, columns):
            yield f"{calculated.name}: {problem}"
    # A query's calculated fields are known within it.
    columns = columns.with_calculated(field.name for field in query.calculated_fields)
    for calculation in query.calculations:
        yield from _calculation_problems(calculation, columns)
    for filter_ in query.filters:
        yield from _filter_problems(filter_, columns)
    for breakdown in query.breakdowns:
        yield from column_problems(breakdown, columns)

    terms = [(calculation.op, calculation.column) for calculation in query.calculations]
    calculated_names = [each.name for each in query.calculations]
    names = {*query.breakdowns, *calculated_names, *(each.name for each in query.formulas)} - {None}
    for order in query.orders:
        term = (order.op, order.column)
        if term not in terms and not (order.op is None and order.column in names):
            yield f"orders by {_worded(term)}, which the query does not contain"
    for having in query.havings:
        term = (having.calculate_op, having.column)
        if term not in terms:
            yield f"havings name {_worded(term)}, which the query does not calculate"
    yield from _time_problems(query)
    yield from _formula_problems(query)


def trigger_query_problems(query: Query) -> Iterator[str]:
    """A clause for each thing that a query may contain, but not that of a trigger."""
    for field in _NOT_IN_TRIGGERS:
        if field in query.model_fields_set:
            yield f"the query of a trigger cannot have {field}"
    for calculation in query.calculations:
        if calculation.op in ("HEATMAP", "CONCURRENCY"):
            yield f"the query of a trigger cannot calculate {calculation.op}"
    if len(query.havings) > 1:
        yield "the query of a trigger has at most one having"
    if query.formulas:
        if len(query.formulas) > 1:
            yield "the query of a trigger has at most one formula"
        if query.filters:
            yield "with a formula, filters belong to the calculations"
        return
    conditions = [(having.calculate_op, having.column) for having in query.havings]
    results = [each for each in query.calculations if (each.op, each.column) not in conditions]
    if len(results or query.calculations) != 1:
        yield "the query of a trigger has one calculation, besides that of its having"
    if any({"name", "filters"} & each.model_fields_set for each in query.calculations):
        yield "without a formula, a calculation cannot have a name or filters"


def column_problems(name: str, columns: Columns) -> Iterator[str]:
    if columns.type_of(name) is None:
        closest = columns.closest(name)
        hint = f"; did you mean {closest}?" if closest else ""
        shown = name if re.fullmatch(r"[!-~]+", name) else repr(name)
        yield f"nothing declares the column {shown}{hint}"


def expression_problems(expression: str, columns: Columns) -> Iterator[str]:
    """A clause for each thing that is wrong with the expression of a calculated field."""
    yield from _syntax_problems(expression)
    for name in sorted(columns_in_expression(expression)):
        yield from column_problems(name, columns)


def _syntax_problems(expression: str) -> Iterator[str]:
    position = depth = 0
    while position < len(expression):
        token = _TOKEN.match(expression, position)
        if token is None:
            yield f"{expression[position:]!r} is not valid in an expression"
            return
        depth += bool(token["open"]) - bool(token["close"])
        position = token.end()
    if depth:
        yield "the parentheses do not match"


def _calculation_problems(calculation: Calculation, columns: Columns) -> Iterator[str]:
    column = calculation.column
    if column is not None:
        yield from column_problems(column, columns)
        type_ = columns.type_of(column)
        if re.fullmatch(NUMERIC_OPERATIONS, calculation.op) and type_ not in (*NUMBERS, None):
            yield f"{calculation.op} needs numbers, but {column} has the type {type_}"
    for filter_ in calculation.filters:
        yield from _filter_problems(filter_, columns)
        if has_relation(filter_.column):
            yield "a calculation cannot be filtered by another span"


def _filter_problems(filter_: Filter, columns: Columns) -> Iterator[str]:
    column, operation, value = filter_.column, filter_.op, filter_.value
    yield from column_problems(column, columns)
    if operation in EXISTENCE_FILTERS:
        return
    type_ = columns.type_of(column)
    if operation in ORDER_FILTERS and type_ not in (*NUMBERS, None):
        yield f"{operation} needs numbers, but {column} has the type {type_}"
    if operation in TEXT_FILTERS and type_ in ("boolean", "integer", "float"):
        yield f"{operation} needs text, but {column} has the type {type_}"
    for item in value if isinstance(value, list) else [value]:
        if not _fits(item, type_):
            yield f"{column} has the type {type_}, so it never equals {item!r}"
        elif column == "error" and item is False:
            yield "error is true or absent, never false"


def _time_problems(query: Query) -> Iterator[str]:
    if {"start_time", "end_time", "time_range"} <= query.model_fields_set:
        yield "only two of start_time, end_time and time_range can be set"
    seconds = query.time_range
    granularity = query.granularity or seconds
    if not seconds / 1000 <= granularity <= seconds:
        yield f"for {seconds} seconds, granularity is from {seconds / 1000:g} to {seconds}"
    offset = query.compare_time_offset_seconds
    if offset is not None and (offset not in (*_OFFSETS, seconds) or offset < seconds):
        yield f"{seconds} seconds cannot be compared with an offset of {offset} seconds"


def _formula_problems(query: Query) -> Iterator[str]:
    names = [calculation.name for calculation in query.calculations if calculation.name]
    if len(set(names)) < len(names):
        yield "two calculations have the same name"
    for formula in query.formulas:
        for problem in _syntax_problems(formula.expression):
            yield f"{formula.name}: {problem}"
        for name in sorted(columns_in_expression(formula.expression) - set(names)):
            yield f"{formula.name}: no calculation is named {name}"


def _fits(value: object, type_: str | None) -> bool:
    if type_ == "string":
        return isinstance(value, str)
    if type_ == "boolean":
        return isinstance(value, bool)
    if type_ in ("integer", "float"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return True


def _worded(term: Sequence[str | None]) -> str:
    operation, column = term
    return f"{operation}({column or ''})" if operation else str(column)
