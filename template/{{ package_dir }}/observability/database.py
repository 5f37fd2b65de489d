"""One span a database query, for every SQLAlchemy engine of the process, sync or async."""

import re
from functools import lru_cache
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

from .errors import record_error
from .spans import get_tracer

_tracer = get_tracer(__name__)

_SPAN = "_observability_span"
# OpenTelemetry's names where they differ from SQLAlchemy's.
_SYSTEMS = {"mssql": "microsoft.sql_server", "oracle": "oracle.db"}
_COMMENT = r"--[^\n]* | /\*.*?\*/"
_DOLLAR_QUOTED = r"\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)"
_ESCAPED = r"'(?:[^'\\]|''|\\.)*(?:'|\Z)"
_TEXT = rf"[eE]{_ESCAPED} | [BNXbnx]?'(?:[^']|'')*(?:'|\Z)"
# No $1, no :name_1 and no part of a name.
_NUMBER = r"(?<![\w$:.])\d[\d.]*(?:[eE][+-]?\d+)?\b"
_NAME = r'"(?:[^"]|"")*" | `[^`]*`'
_VALUES = {
    "mysql": rf"(?P<comment>{_COMMENT} | \#[^\n]*) | `[^`]*` | (?P<value>{_ESCAPED}"
    rf'| "(?:[^"\\]|""|\\.)*(?:"|\Z) | {_NUMBER})',
    "mssql": rf"(?P<comment>{_COMMENT}) | \[[^\]]*\] | {_NAME} | (?P<value>{_TEXT} | {_NUMBER})",
    "": rf"(?P<comment>{_COMMENT}) | {_NAME} | (?P<value>{_DOLLAR_QUOTED} | {_TEXT} | {_NUMBER})",
}
_VALUES["mariadb"] = _VALUES["mysql"]
_TOKENS = {
    dialect: re.compile(tokens, re.VERBOSE | re.DOTALL) for dialect, tokens in _VALUES.items()
}


def trace_queries() -> None:
    """Makes queries spans from now on, on engines made before and after. Needs SQLAlchemy."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    event.listen(Engine, "before_cursor_execute", _before_query)
    event.listen(Engine, "after_cursor_execute", _after_query)
    event.listen(Engine, "handle_error", _after_error)


def _before_query(
    connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
) -> None:
    # Outside a trace (start-up, health checks, migrations) a query would be a trace of its own.
    # A request's span has ended when its background tasks run, and is their parent all the same.
    if not trace.get_current_span().get_span_context().is_valid:
        return
    name = connection.dialect.name
    query = without_values(statement, name)
    span = _tracer.start_span(
        query.split(None, 1)[0].upper() if query else "QUERY",
        kind=SpanKind.CLIENT,
        attributes={"db.system.name": _SYSTEMS.get(name, name), "db.query.text": query},
    )
    setattr(context, _SPAN, span)


def _after_query(
    connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
) -> None:
    span: Span | None = getattr(context, _SPAN, None)
    if span is not None:
        span.end()


def _after_error(error: Any) -> None:
    span: Span | None = getattr(error.execution_context, _SPAN, None)
    if span is not None:
        record_error(span, error.sqlalchemy_exception or error.original_exception)
        span.end()


@lru_cache(maxsize=512)
def without_values(statement: str, dialect: str) -> str:
    """`statement` with a question mark for each text and number in it, on one line."""
    tokens = _TOKENS.get(dialect, _TOKENS[""])
    return " ".join(tokens.sub(_without_value, statement).split())


def _without_value(token: re.Match[str]) -> str:
    if token["value"]:
        return "?"
    return " " if token["comment"] else token[0]
