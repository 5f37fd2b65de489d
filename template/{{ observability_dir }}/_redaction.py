"""Redaction of request attributes, of values in SQL, and of values quoted in exceptions.

The content of LLM calls is not recorded unless `_settings.captures_content()` opts in.
"""

import re
import traceback
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanKind, Status

# FastAPI and its instrumentation record these besides route, method and status: paths, query
# strings, hosts and addresses, which identify people and are billed as columns.
_REQUEST_ATTRIBUTES: Final = frozenset(
    """
    http.client_ip http.flavor http.host http.scheme http.server_name http.target http.url
    http.user_agent net.host.ip net.host.name net.host.port net.peer.ip net.peer.name net.peer.port
    client.address client.port network.local.address network.local.port network.peer.address
    network.peer.port network.protocol.version server.address server.port
    url.full url.path url.query url.scheme user_agent.original
    """.split()  # noqa: SIM905 - a list would need 29 lines
)

# Exceptions that quote their input: parameters, rows, responses.
_QUOTING: Final = re.compile(
    r"(asyncpg|psycopg2?|pydantic_core|sqlalchemy|sqlite3)\.|fastapi\.exceptions\.\w*ValidationError"
)
# SQLAlchemy begins with the class of the driver's exception, Pydantic and FastAPI with a count.
_PREFIX: Final = re.compile(r"\((?P<driver>[\w.]+)\)|\d+ validation errors?(?: for \w+|(?=:\n))")
_QUOTING_STATUS: Final = re.compile(rf"(?P<kept>\w+: (?:{_PREFIX.pattern})).*", re.DOTALL)

_COMMENT: Final = r"--[^\n]* | /\*.*?\*/"
_DOLLAR_QUOTED: Final = r"\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)"
_ESCAPED: Final = r"'(?:[^'\\]|''|\\.)*(?:'|\Z)"
_TEXT: Final = rf"[eE]{_ESCAPED} | [BNXbnx]?'(?:[^']|'')*(?:'|\Z)"
# Not a placeholder ($1, :name_1) and not a part of a name.
_NUMBER: Final = r"(?<![\w$:.])\d[\d.]*(?:[eE][+-]?\d+)?\b"
_NAME: Final = r'"(?:[^"]|"")*" | `[^`]*`'
_SQL: Final = {
    "mysql": rf"(?P<comment>{_COMMENT} | \#[^\n]*) | `[^`]*` | (?P<value>{_ESCAPED}"
    rf'| "(?:[^"\\]|""|\\.)*(?:"|\Z) | {_NUMBER})',
    "mssql": rf"(?P<comment>{_COMMENT}) | \[[^\]]*\] | {_NAME} | (?P<value>{_TEXT} | {_NUMBER})",
    "": rf"(?P<comment>{_COMMENT}) | {_NAME} | (?P<value>{_DOLLAR_QUOTED} | {_TEXT} | {_NUMBER})",
}
_SQL["mariadb"] = _SQL["mysql"]
_SQL_TOKENS: Final = {
    dialect: re.compile(tokens, re.VERBOSE | re.DOTALL) for dialect, tokens in _SQL.items()
}


def redact_span(span: ReadableSpan, events: list[Event], weight: int) -> ReadableSpan:
    """Return `span` as it is exported: with `events`, its `SampleRate`, and without private values."""
    attributes: Any = (original := span.attributes or {})
    status = span.status
    if span.kind is SpanKind.SERVER and not _REQUEST_ATTRIBUTES.isdisjoint(attributes):
        attributes = {
            name: value for name, value in attributes.items() if name not in _REQUEST_ATTRIBUTES
        }
    if weight > 1 or (span.context.trace_state and "ot" in span.context.trace_state):
        # Honeycomb multiplies each event by it. Without it, the rate in the trace state counts, even
        # if the trace was kept because it failed.
        attributes = {**attributes, "SampleRate": weight}
    if status.description:
        # Formatted by OpenTelemetry's own code: the class, a colon, the message.
        description = _QUOTING_STATUS.sub(r"\g<kept>", status.description)
        status = Status(status.status_code, description)
    if attributes is original and status is span.status and not span.events:
        return span
    events = [_redact_event(event) for event in events]
    return copy_span(span, attributes=attributes, events=events, status=status)


def copy_span(
    span: ReadableSpan, *, attributes: Any, events: Any = None, status: Status | None = None
) -> ReadableSpan:
    """Return a copy of a finished span, whose own attributes are immutable."""
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=span.events if events is None else events,
        links=span.links,
        kind=span.kind,
        status=status or span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


@lru_cache(maxsize=512)
def redact_sql(statement: str, dialect: str) -> str:
    """Replace each text and number in `statement` with a question mark, and join its lines."""

    def redact(token: re.Match[str]) -> str:
        return "?" if token["value"] else " " if token["comment"] else token[0]

    tokens = _SQL_TOKENS.get(dialect, _SQL_TOKENS[""])
    return " ".join(tokens.sub(redact, statement).split())


def qualified_name(error: BaseException) -> str:
    """Return the class of `error` with its module, as OpenTelemetry's `error.type`."""
    module, name = type(error).__module__, type(error).__qualname__
    return name if module == "builtins" else f"{module}.{name}"


def redact_message(kind: str, message: str) -> str:
    """Remove quoted values from the message of an exception of class `kind`."""
    if not _QUOTING.match(kind):
        return message
    prefix = _PREFIX.match(message)
    return prefix[0] if prefix else ""


def stack_trace(error: BaseException, message: str) -> Iterator[str]:
    """Format `error` as Python does, with `message`, and without the messages of its causes."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and cause is not error:
        yield from traceback.format_tb(cause.__traceback__)
        yield f"{qualified_name(cause)}\n\nwhich led to:\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{qualified_name(error)}: {message}\n"


def _redact_event(event: Event) -> Event:
    """Redact an exception that OpenTelemetry's own code has recorded."""
    attributes = event.attributes
    if event.name != "exception" or not attributes:
        return event
    message = str(attributes.get("exception.message", ""))
    redacted = redact_message(str(attributes.get("exception.type", "")), message)
    if redacted == message:
        return event
    # The message ends the stack trace, and others may be quoted above.
    trace = str(attributes.get("exception.stacktrace", "")).replace(message, redacted)
    changed = {**attributes, "exception.message": redacted, "exception.stacktrace": trace}
    return Event(event.name, changed, event.timestamp)
