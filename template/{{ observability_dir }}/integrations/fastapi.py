"""FastAPI: one SERVER span per request, and a flush on shutdown."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import AsyncGenerator, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind

from .._settings import excluded_urls, is_disabled, trusts_incoming
from .._setup import flush_at_shutdown, hold_trace, setup_observability
from ..spans import (
    EXPECTED,
    REQUEST,
    enter_span,
    is_expected,
    is_recorded,
    leave_span,
    record_exception,
    traced,
)

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.background import BackgroundTask
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

# In the scope of a request that is traced. Mounted applications have the same scope.
_REQUEST: Final = "observability.request"


def instrument_app(
    app: FastAPI, *, untraced_paths: Sequence[str] = ("/healthz", "/health", "/livez", "/readyz")
) -> None:
    """Trace every request to `app` except `untraced_paths`, and flush pending spans on shutdown.

    OTEL_PYTHON_FASTAPI_EXCLUDED_URLS excludes further paths. Call it right after `app` is created, before the first request. Calls `setup_observability` if
    that has not been called. Never raises.
    """
    setup_observability()
    try:
        import fastapi

        if getattr(app.state, "is_observed", False) or is_disabled("fastapi"):
            return
        is_excluded = _exclusion(untraced_paths)
        # FastAPI 0.142 and later traces itself; before, the contrib package traces it.
        if "telemetry" in inspect.signature(fastapi.FastAPI.__init__).parameters:
            _trace_natively(app, is_excluded)
            _observe_requests(app, lambda observed: observed, is_excluded)
        else:
            _observe_requests(app, _contrib_middleware(app), is_excluded)
        _trace_background_tasks()
        _flush_at_shutdown(app)
        app.state.is_observed = True
    except Exception as error:  # noqa: BLE001 - telemetry never raises
        logger.warning("Could not trace requests: %s", error)


def _exclusion(untraced_paths: Sequence[str]) -> Callable[[Scope], bool]:
    """Return a function that is true for a request whose path is excluded.

    The path is the one that is routed: a client words the rest of the URL, such as the host. The
    function also limits the request's trace context, which is extracted after it returns.
    """
    paths, pattern = frozenset(untraced_paths), excluded_urls()
    # The trace state contains a weight.
    most = {b"traceparent": 512, b"tracestate": 512 if trusts_incoming() else -1, b"baggage": 8_192}

    def is_excluded(scope: Scope) -> bool:
        if not most.keys().isdisjoint(dict(headers := scope.get("headers", ()))):
            # OpenTelemetry's parsers need quadratic time for long runs of spaces.
            scope["headers"] = [
                (name, b"".join(value.split()) if name in most else value)
                for name, value in headers
                if len(value) <= most.get(name, sys.maxsize)
            ]
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        return path in paths or (
            # Searching a long path may need quadratic time.
            pattern is not None and len(path) <= 512 and pattern.search(path) is not None
        )

    return is_excluded


def _trace_natively(app: FastAPI, is_excluded: Callable[[Scope], bool]) -> None:
    # The dictionary that FastAPI(telemetry=...) fills. By default, each request has four or five
    # spans; without operation spans it has one.
    config: dict[str, Any] = vars(app)["_telemetry"]
    excluded_before = config["exclude"]

    def exclude(scope: MutableMapping[str, Any]) -> bool:
        return is_excluded(scope) or bool(excluded_before and excluded_before(scope))

    config["operation_spans"] = False
    config["exclude"] = exclude
    # FastAPI's own exporter would export each span a second time.
    config["auto_configure"] = False


def _contrib_middleware(app: Any) -> Any:
    """Return a function that adds the contrib package's middleware to an application."""
    if getattr(app, "_is_instrumented_by_opentelemetry", False):
        return lambda observed: observed
    try:
        contrib: Any = import_module("opentelemetry.instrumentation.fastapi")
    except ImportError:
        message = "FastAPI before 0.142 requires opentelemetry-instrumentation-fastapi; install it."
        raise ImportError(message) from None
    middleware: Any = contrib.OpenTelemetryMiddleware
    options: dict[str, Any] = {"default_span_details": contrib._get_default_span_details}
    if "exclude_spans" in inspect.signature(middleware).parameters:
        options["exclude_spans"] = ["receive", "send"]
    app._is_instrumented_by_opentelemetry = True
    return partial(middleware, **options)


def _observe_requests(
    app: FastAPI,
    trace_requests: Callable[[ASGIApp], ASGIApp],
    is_excluded: Callable[[Scope], bool],
) -> None:
    """Add `_observed` outside the application's own middleware, and `_recorded` inside it."""
    from starlette.middleware import Middleware

    build_middleware_stack = app.build_middleware_stack

    def build_observed_middleware_stack() -> ASGIApp:
        outermost: Any = (stack := build_middleware_stack())
        mounted = outermost.app
        observed = trace_requests(_observed(mounted))

        async def observe(scope: Scope, receive: Receive, send: Send) -> None:
            is_untraced = _REQUEST in scope or is_excluded(scope)
            await (mounted if is_untraced else observed)(scope, receive, send)

        # Inside ServerErrorMiddleware, whose response ends the span.
        outermost.app = observe
        return stack

    app.build_middleware_stack = build_observed_middleware_stack  # type: ignore[method-assign]
    app.user_middleware.append(Middleware(_recorded))


def _observed(app: ASGIApp) -> ASGIApp:
    """Keep the trace of a request open until all of its work ends, and note a disconnect."""

    async def observed(scope: Scope, receive: Receive, send: Send) -> None:
        span = trace.get_current_span()
        if not span.is_recording():
            return await app(scope, receive, send)
        request = scope[_REQUEST] = _Request(span)

        async def observed_receive() -> Message:
            message = await receive()
            # Servers report a disconnect after the response too.
            if message["type"].endswith(".disconnect") and span.is_recording():
                request.disconnect = message
            return message

        async def observed_send(message: Message) -> None:
            request.record(None)  # BaseHTTPMiddleware completes the response even then
            try:
                await send(message)
            except OSError as error:
                request.disconnect = {}
                vars(error)[EXPECTED] = True
                raise

        if scope["type"] == "websocket":
            span.set_attribute("network.protocol.name", "websocket")
        previous = context.get_current()
        context.attach(context.set_value(REQUEST, request, previous))
        release_trace, error = hold_trace(span), None
        try:
            await app(scope, observed_receive, observed_send)
        except BaseException as raised:
            error = raised
            raise
        finally:
            request.record(error)
            context.attach(previous)
            release_trace()

    return observed


def _recorded(app: ASGIApp) -> ASGIApp:
    """Record exceptions before a middleware or an exception handler completes the response."""

    async def recorded(scope: Scope, receive: Receive, send: Send) -> None:
        request: _Request | None = scope.get(_REQUEST)
        if request is None:
            return await app(scope, receive, send)

        async def recorded_send(message: Message) -> None:
            if message.get("status", 0) >= 500:
                request.record(sys.exc_info()[1])  # of the handler that responds
            await send(message)

        try:
            await app(scope, receive, recorded_send)
        except Exception as error:
            request.record(error)
            raise

    return recorded


@dataclass(slots=True)
class _Request:
    span: Span
    disconnect: Message | None = None
    has_failed: bool = False

    def record(self, error: BaseException | None) -> None:
        """Record `error`, or that the client left before the response ended."""
        if error is None or is_expected(error):
            if self.disconnect is not None and not self.has_failed and self.span.is_recording():
                code = self.disconnect.get("code")
                if code:
                    self.span.set_attribute("websocket.close_code", code)
                if code not in (1000, 1001):
                    self.span.set_attribute("request.client_disconnected", True)
        elif self.span.is_recording():
            self.has_failed = True
            record_exception(self.span, error)
        elif isinstance(error, Exception) and not is_recorded(error, self.span):
            # The request span ended with the response. It is the parent of this one.
            span, previous = enter_span("after response", kind=SpanKind.INTERNAL)
            leave_span(span, previous, error)
            span.end()


def _trace_background_tasks() -> None:
    from starlette.background import BackgroundTask

    # The contrib package does the same, and sets this attribute.
    if hasattr(BackgroundTask, "_otel_original_call"):
        return
    run = BackgroundTask.__call__

    async def run_traced(task: BackgroundTask) -> None:
        name = getattr(task.func, "__name__", type(task.func).__name__)
        in_trace = trace.get_current_span().get_span_context().is_valid
        with traced(f"BackgroundTask {name}") if in_trace else nullcontext():
            await run(task)

    patched: Any = BackgroundTask
    patched.__call__, patched._otel_original_call = run_traced, run


def _flush_at_shutdown(app: FastAPI) -> None:
    lifespan = app.router.lifespan_context

    @asynccontextmanager
    async def observed_lifespan(app: FastAPI) -> AsyncGenerator[Any, None]:
        # On SIGTERM, uvicorn runs this but not Python's exit handlers.
        try:
            async with lifespan(app) as state:
                yield state
        finally:
            import anyio

            await anyio.to_thread.run_sync(flush_at_shutdown)

    app.router.lifespan_context = observed_lifespan
