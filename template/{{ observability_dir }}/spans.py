"""Spans around your own code."""

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, partial, wraps
from typing import Any, Final, TypeVar, cast

from opentelemetry import context, propagate, trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

from ._redaction import describe_exception, qualified_name
from .integrations import never_raises

F = TypeVar("F", bound=Callable[..., Any])

# Not at import, when there is no provider: OpenTelemetry's proxy adds calls to each span.
tracer: Final = cache(partial(trace.get_tracer, __name__))
SHARED: Final = context.create_key("span-attributes")  # in a context, for spans that start in it
# In the scope of a request, and in the context of work for it: its client may disconnect.
REQUEST: Final = context.create_key("observability.request")
# Attribute of an exception: the last trace that has an event for it, and its description.
_RECORDED: Final = "_recorded_in_trace"


class traced:
    """Create a span around a block, or around each call of a function, sync or async.

        with traced("ir.generate", {"ir.model": model}) as span:
            span.set_attribute("ir.holes_count", len(ir.holes))

        @traced("ir.validate")
        async def validate(text: str) -> IR: ...

    An exception that leaves the block sets ERROR status and records one exception event, then
    propagates unchanged. An `HTTPException` below 500 is a response, not an error.
    Raises TypeError if it decorates a generator: the span would end before the first item.
    """

    def __init__(
        self, name: str, attributes: Attributes = None, *, kind: SpanKind = SpanKind.INTERNAL
    ) -> None:
        self._name, self._attributes, self._kind = name, attributes, kind

    def __enter__(self) -> Span:
        self._previous = context.get_current()
        self._span = tracer().start_span(self._name, self._previous, self._kind, self._attributes)
        self._entered = trace.set_span_in_context(self._span, self._previous)
        context.attach(self._entered)
        return self._span

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.leave(error)
        self._span.end()

    def leave(self, error: BaseException | None) -> None:
        """Restore the context from before the block and record `error`. The span stays open."""
        # A generator may be closed in another task than the one that entered the block. Detaching
        # would log an error there, because its token belongs to the first task; attaching does not.
        if context.get_current() is self._entered or trace.get_current_span() is self._span:
            context.attach(self._previous)
        if error is not None:
            record_exception(self._span, error)

    def __call__(self, function: F) -> F:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            name = function.__qualname__
            raise TypeError(f"traced cannot decorate the generator {name}; use `with` inside it.")

        # A block for each call: calls of one function overlap and recurse.
        def in_span(*args: Any, **kwargs: Any) -> Any:
            with traced(self._name, self._attributes, kind=self._kind):
                return function(*args, **kwargs)

        async def in_async_span(*args: Any, **kwargs: Any) -> Any:
            with traced(self._name, self._attributes, kind=self._kind):
                return await function(*args, **kwargs)

        is_async = inspect.iscoroutinefunction(function)
        return cast(F, wraps(function)(in_async_span if is_async else in_span))


@contextmanager
def span_attributes(
    attributes: Mapping[str, AttributeValue] | None = None,
    *,
    user_id: str | None = None,
    conversation_id: str | None = None,
    **others: AttributeValue,
) -> Iterator[None]:
    """Set attributes on the current span and on every span started inside the block.

        with span_attributes({"app.tenant": tenant}, user_id=user.id, conversation_id=thread.id):
            await agent.run(question)

    `user_id` becomes `user.id` and `conversation_id` becomes `gen_ai.conversation.id`. Tasks and
    threads that copy the context inherit the attributes, which are never sent to other services.
    """
    given = {"user.id": user_id, "gen_ai.conversation.id": conversation_id, **(attributes or {})}
    added = {name: value for name, value in (given | others).items() if value is not None}
    before: Any = context.get_value(SHARED) or {}
    trace.get_current_span().set_attributes(added)
    context.attach(context.set_value(SHARED, before | added))
    try:
        yield
    finally:
        context.attach(context.set_value(SHARED, before))  # not detached, as in `traced`


def inject() -> dict[str, str]:
    """Return the trace context of the current span, to send with a message or call. See `extract`."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


@contextmanager
def extract(carrier: Mapping[str, str] | None) -> Iterator[None]:
    """Continue a trace in another process: spans in the block belong to the one of `inject`.

        queue.put({"text": text, "trace": inject()})
        with extract(message["trace"]), traced("job.run", kind=SpanKind.CONSUMER): ...

    Without a carrier, spans belong to the current trace, or start one.
    """
    previous = context.get_current()
    context.attach(propagate.extract(carrier or {}, previous))
    try:
        yield
    finally:
        context.attach(previous)


@never_raises("Could not record an exception")
def record_exception(span: Span, error: BaseException) -> None:
    """Set ERROR status, and add an event for each exception in `error` that no span has recorded.

    `error` has several if it is an exception group. Does nothing for a response or a normal end.
    """
    if not span.is_recording() or is_expected(error):
        return
    trace_id, descriptions = span.get_span_context().trace_id, []
    for each in _members(error):
        recorded_in, description = vars(each).get(_RECORDED, (0, ""))
        if recorded_in != trace_id:
            attributes = describe_exception(each)
            described = type(each).__qualname__, attributes["exception.message"]
            description = ": ".join(filter(None, described))
            vars(each)[_RECORDED] = trace_id, description
            if isinstance(each, Exception):
                span.add_event("exception", attributes)
        descriptions.append(description)
    span.set_attribute("error.type", qualified_name(type(error)))
    span.set_status(StatusCode.ERROR, "; ".join(descriptions))


def is_recorded(error: BaseException, span: Span) -> bool:
    """Return true if the trace of `span` has an event for each exception in `error`."""
    trace_id = span.get_span_context().trace_id
    return all(vars(each).get(_RECORDED, (0,))[0] == trace_id for each in _members(error))


def is_expected(error: BaseException) -> bool:
    """Return true if `error` is a response, or the normal end of a connection or a generator."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_expected, error.exceptions))
    is_cancelled = type(error).__name__ in ("CancelledError", "InputCancellation")
    if is_cancelled and context.get_value(REQUEST) is True:  # the input of a Modal function
        return True
    if isinstance(error, asyncio.CancelledError | OSError):  # a server may raise OSError then
        return bool(getattr(context.get_value(REQUEST), "disconnected", None))
    with suppress(ImportError):  # Starlette is optional
        from starlette import exceptions, requests, websockets

        if isinstance(error, exceptions.HTTPException):
            return error.status_code < 500
        if isinstance(error, websockets.WebSocketDisconnect):
            return error.code in (1000, 1001, 1005, 1006)  # the last two: without a close frame
        return isinstance(error, requests.ClientDisconnect | GeneratorExit)
    return isinstance(error, GeneratorExit)


def _members(error: BaseException) -> list[BaseException]:
    groups = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return [member for each in groups for member in _members(each)] or [error]
