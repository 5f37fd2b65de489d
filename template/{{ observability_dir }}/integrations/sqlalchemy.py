"""SQLAlchemy: one CLIENT span per query, for every engine in the process, sync or async."""

from typing import Any

from opentelemetry import context, trace

from .._redaction import MAX_LONG_TEXT, redact_sql
from ..spans import record_exception, tracer

_SYSTEMS = {"mssql": "microsoft.sql_server", "oracle": "oracle.db"}  # OpenTelemetry's names


def trace_queries(sqlalchemy: Any) -> None:
    """Trace queries of existing and future engines, once SQLAlchemy is imported."""
    engine, listen = sqlalchemy.engine.Engine, sqlalchemy.event.listen
    listen(engine, "before_cursor_execute", _start_span)
    listen(engine, "after_cursor_execute", lambda *others: _end_span(others[4]))
    listen(engine, "handle_error", lambda error: _end_span(error.execution_context, error))


def _start_span(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
    # Outside a trace (start-up, health checks, migrations) each query would start a new trace.
    # The request span has ended when background tasks run, and still is their parent.
    current = context.get_current()
    if not trace.get_current_span(current).get_span_context().is_valid:
        return
    name = connection.dialect.name
    query = redact_sql(statement[:MAX_LONG_TEXT], name)
    others[1]._observability_span = tracer().start_span(  # of the context of the query
        query.split(None, 1)[0].upper() if query else "QUERY",
        current,
        kind=trace.SpanKind.CLIENT,
        attributes={"db.system.name": _SYSTEMS.get(name, name), "db.query.text": query},
    )


def _end_span(execution: Any, error: Any = None) -> None:
    if span := getattr(execution, "_observability_span", None):
        if error is not None:
            record_exception(span, error.sqlalchemy_exception or error.original_exception)
        span.end()
