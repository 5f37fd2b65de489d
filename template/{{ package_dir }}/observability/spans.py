"""Spans of this service's own work."""

import inspect
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Tracer
from opentelemetry.util.types import Attributes

from .errors import record_error

P = ParamSpec("P")
R = TypeVar("R")


_tracer = trace.get_tracer(__name__)


def get_tracer(name: str) -> Tracer:
    """A tracer for spans made by hand. `name` is the module's: `get_tracer(__name__)`."""
    return trace.get_tracer(name)


class traced:
    """A span around a block, or around each call of a function, sync or async.

        with traced("ir.generate", {"ir.model": model}) as span:
            span.set_attribute("ir.holes_count", len(ir.holes))

        @traced("ir.validate")
        async def validate(text: str) -> IR: ...

    An exception that leaves the block gives the span ERROR status and one exception event; an
    `HTTPException` below 500 is an answer and no error. The exception goes on as it was.

    Raises TypeError where it decorates a generator: its span would end before the first item.
    """

    def __init__(
        self, name: str, attributes: Attributes = None, *, kind: SpanKind = SpanKind.INTERNAL
    ) -> None:
        self._name = name
        self._attributes = attributes
        self._kind = kind
        self._entered: list[tuple[Span, Context]] = []

    def __enter__(self) -> Span:
        self._entered.append(enter_span(self._name, self._attributes, kind=self._kind))
        return self._entered[-1][0]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        span, before = self._entered.pop()
        leave_span(span, before, error)
        span.end()

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"traced cannot decorate the generator {function.__qualname__}:"
                f' use `with traced("{self._name}")` inside it.'
            )
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def in_async_span(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return cast(Callable[P, R], in_async_span)

        @wraps(function)
        def in_span(*args: P.args, **kwargs: P.kwargs) -> R:
            with self._again():
                return function(*args, **kwargs)

        return in_span

    def _again(self) -> Self:
        """A span of its own for each call: calls of one function overlap and recurse."""
        return type(self)(self._name, self._attributes, kind=self._kind)


def enter_span(name: str, attributes: Attributes = None, *, kind: SpanKind) -> tuple[Span, Context]:
    """Starts a span and makes it the current one, until `leave_span` is given both results."""
    before = context.get_current()
    span = _tracer.start_span(name, before, kind, attributes)
    context.attach(trace.set_span_in_context(span, before))
    return span, before


def leave_span(span: Span, before: Context, error: BaseException | None) -> None:
    """Makes `before` the current context again, and records `error`. Does not end `span`."""
    # A generator may be closed in another task than the one that entered the block. Detaching
    # would complain there, as its token belongs to the first task; attaching what was before does not.
    if trace.get_current_span() is span:
        context.attach(before)
    if error is not None:
        record_error(span, error)
