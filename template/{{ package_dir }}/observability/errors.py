"""What a span says of an exception: enough to find it, and no value that a library put into it."""

import asyncio
import re
import traceback
from collections.abc import Iterator
from typing import Final

from opentelemetry.trace import Span, StatusCode

# Exceptions that quote what they were given: parameters, rows, input, answers.
_QUOTING: Final = re.compile(
    r"(asyncpg|psycopg2?|pydantic_core|sqlalchemy|sqlite3)\.|fastapi\.exceptions\.\w*ValidationError"
)
# SQLAlchemy begins with the driver's own class, Pydantic and FastAPI with a line that counts.
_KIND: Final = re.compile(r"\((?P<driver>[\w.]+)\)|\d+ validation errors?(?: for \w+|(?=:\n))")
_QUOTING_STATUS: Final = re.compile(rf"\w+: (?P<kind>{_KIND.pattern}).*", re.DOTALL)


def record_error(span: Span, error: BaseException) -> None:
    """Marks `span` as failed by `error`, unless `error` is a way of answering or of stopping."""
    if _is_no_failure(error) or not span.is_recording():
        return
    kind = qualified_name(error)
    span.set_attribute("error.type", kind)
    if isinstance(error, asyncio.CancelledError):
        span.set_status(StatusCode.ERROR, "cancelled")
        return
    message = without_values(kind, _text(error))
    span.set_status(StatusCode.ERROR, f"{type(error).__qualname__}: {message}")
    if isinstance(error, Exception):
        span.add_event(
            "exception",
            {
                "exception.type": kind,
                "exception.message": message,
                "exception.stacktrace": "".join(_stack_trace(error, message)),
            },
        )


def qualified_name(error: BaseException) -> str:
    """The class of `error` with its module, as FastAPI names it in `error.type`."""
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def without_values(kind: str, message: str) -> str:
    """`message` of an exception of class `kind`, or what is known to be no value in it."""
    if not _QUOTING.match(kind):
        return message
    known = _KIND.match(message)
    return known[0] if known else ""


def status_without_values(description: str) -> str:
    """The same for a status, as OpenTelemetry's own code words it."""
    return _QUOTING_STATUS.sub(
        lambda status: status[0][: status.end("kind") - status.start()], description
    )


def _is_no_failure(error: BaseException) -> bool:
    try:
        from starlette.exceptions import HTTPException
        from starlette.websockets import WebSocketDisconnect
    except ImportError:  # no server
        return isinstance(error, GeneratorExit)
    if isinstance(error, HTTPException):
        return error.status_code < 500
    if isinstance(error, WebSocketDisconnect):
        return error.code in (1000, 1001)
    return isinstance(error, GeneratorExit)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - somebody else's __str__
        return ""


def _stack_trace(error: BaseException, message: str) -> Iterator[str]:
    """As Python prints it; of the exceptions that led to `error`, without what they say."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and cause is not error:
        yield from traceback.format_tb(cause.__traceback__)
        yield f"{qualified_name(cause)}\n\nwhich led to:\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{qualified_name(error)}: {message}\n"
