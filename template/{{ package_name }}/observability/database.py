"""One span a database query, for every SQLAlchemy engine of the process, sync or async."""

import re
from functools import lru_cache
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

from .spans import get_tracer, record_error

_tracer = get_tracer(__name__)

_SPAN = "_observability_span"
# OpenTelemetry's names where they differ from SQLAlchemy's.
_SYSTEMS = {"mssql": "microsoft.sql_server", "oracle": "oracle.db"}
_LITERAL = re.compile(
    r"""
      --[^\n]* | /\*.*?\*/             # comments
    | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$  # PostgreSQL's dollar-quoted text
    | [EXBNexbn]?'(?:[^'\\]|''|\\.)*(?:'|\Z)  # text, closed or not
    | (?<![\w$:.])\d[\d.]*(?:[eE][+-]?\d+)?\b  # numbers, but no $1 and no :name_1
    """,
    re.VERBOSE | re.DOTALL,
)


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
    if not trace.get_current_span().is_recording():
        return
    name = connection.dialect.name
    query = _without_literals(statement)
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
def _without_literals(statement: str) -> str:
    """`statement` with placeholders where it holds text or numbers, on one line."""
    return " ".join(_LITERAL.sub(_placeholder, statement).split())


def _placeholder(literal: re.Match[str]) -> str:
    return " " if literal[0].startswith(("--", "/*")) else "?"
