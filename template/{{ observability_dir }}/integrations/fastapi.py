"""FastAPI: one SERVER span per request, and a flush on shutdown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace

from .._settings import Settings, excluded_urls, is_disabled
from .._setup import flush_at_shutdown, hold_trace, setup_observability
from ..spans import REQUEST, is_expected, is_recorded, record_exception, traced, tracer
from . import never_raises
from .modal import invocation_attributes

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


@never_raises("Could not trace requests")
def instrument_app(
    app: FastAPI, *, untraced_paths: Sequence[str] = ("/healthz", "/health", "/livez", "/readyz")
) -> None:
    """Trace every request to `app` except `untraced_paths`, and flush pending spans on shutdown.

    OTEL_PYTHON_FASTAPI_EXCLUDED_URLS excludes further paths. Call it right after `app` is created,
    before the first request. Calls `setup_observability` if that has not been called. Never raises.
    """
    setup_observability()
    if getattr(app.state, "is_observed", False) or is_disabled("fastapi"):
        return
    is_excluded, observe = _exclusion(untraced_paths), _observe
    # FastAPI 0.142 and later traces itself; before, the contrib package traces it.
    if telemetry := vars(app).get("_telemetry"):
        before = telemetry["exclude"]
        telemetry.update(  # the dictionary that `FastAPI(telemetry=...)` fills
            exclude=(lambda scope: is_excluded(scope) or before(scope)) if before else is_excluded,
            operation_spans=False,  # by default, each request has four or five spans
            auto_configure=False,  # its own exporter would export each span a second time
        )
    elif not vars(app).get("_is_instrumented_by_opentelemetry"):  # by that package
        try:
            contrib = import_module("opentelemetry.instrumentation.fastapi")
        except ImportError:
            package = "opentelemetry-instrumentation-fastapi"
            raise ImportError(f"FastAPI before 0.142 requires {package}; install it.") from None
        observe = partial(_trace_with_contrib, contrib, is_excluded)
    app.user_middleware.append(import_module("starlette.middleware").Middleware(_observe))
    build_middleware_stack = app.build_middleware_stack
    app.build_middleware_stack = lambda: observe(build_middleware_stack())  # type: ignore[method-assign]
    vars(app)["_is_instrumented_by_opentelemetry"] = True
    _trace_background_tasks()
    app.state.is_observed = True


def _exclusion(untraced_paths: Sequence[str]) -> Callable[[Any], bool]:
    """Return a predicate for excluded paths. Called first, it also limits the trace headers."""
    paths, pattern = frozenset(untraced_paths), excluded_urls()
    most = {b"traceparent": 512, b"baggage": 8_192}
    most[b"tracestate"] = 512 if Settings().trust_incoming else -1  # it contains a weight

    def is_excluded(scope: Any) -> bool:
        if not most.keys().isdisjoint(dict(headers := scope.get("headers", ()))):
            # OpenTelemetry's parsers need quadratic time for long runs of spaces.
            scope["headers"] = [
                (name, b"".join(value.split()) if name in most else value)
                for name, value in headers
                if len(value) <= most.get(name, sys.maxsize)
            ]
        # Without the host, which the client chooses. Searching a long path may need quadratic time.
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        return path in paths or bool(pattern and len(path) <= 512 and pattern.search(path))

    return is_excluded


def _trace_with_contrib(contrib: Any, is_excluded: Callable[[Any], bool], app: ASGIApp) -> ASGIApp:
    details = contrib._get_default_span_details
    traced_app = contrib.OpenTelemetryMiddleware(_observe(app), default_span_details=details)
    traced_app.exclude_receive_span = traced_app.exclude_send_span = True

    async def trace_request(scope: Scope, receive: Receive, send: Send) -> None:
        if REQUEST not in scope and is_excluded(scope):
            scope[REQUEST] = None
        await (app if REQUEST in scope else traced_app)(scope, receive, send)

    return trace_request


def _observe(app: ASGIApp) -> ASGIApp:
    """Record the failures of a request, outside and inside middleware that may respond to them."""

    async def observe(scope: Scope, receive: Receive, send: Send) -> None:
        request = scope.get(REQUEST)
        if is_outermost := REQUEST not in scope:  # mounted applications have the same scope
            span = trace.get_current_span()
            if scope["type"] == "lifespan":
                scope[REQUEST], send = None, partial(_flush_before, send)
            elif span.is_recording():
                if scope["type"] == "websocket":
                    span.set_attribute("network.protocol.name", "websocket")
                span.set_attributes(invocation_attributes("http"))
                request = scope[REQUEST] = _Request(span)
                context.attach(context.set_value(REQUEST, request))
                receive, release_trace = partial(request.receive, receive), hold_trace(span)
        if request is None:
            return await app(scope, receive, send)
        try:
            await app(scope, receive, partial(request.send, send))
            request.record(None)
        except BaseException as error:
            request.failure = error
            if is_outermost or request.has_started:  # before, middleware may respond to it
                request.record(error)
            raise
        finally:
            if is_outermost:
                release_trace()

    return observe


class _Request:
    def __init__(self, span: Any) -> None:
        self.span = span
        self.disconnected: dict[str, Any] = {}  # attributes, once the client has left
        self.has_started = False  # to respond
        self.failure: BaseException | None = None

    async def receive(self, receive: Receive) -> Message:
        message = await receive()
        # Servers report a disconnect after the response too.
        if message["type"].endswith(".disconnect") and self.span.is_recording():
            code = message.get("code")
            self.disconnected = {"request.client_disconnected": code not in (1000, 1001)}
            if code:
                self.disconnected["websocket.close_code"] = code
        return message

    async def send(self, send: Send, message: Message) -> None:
        has_failed = message.get("status", 0) >= 500
        if has_failed and self.disconnected:
            message = {**message, "status": 499}  # nobody receives it
        try:
            await send(message)
        except OSError:
            self.disconnected = {"request.client_disconnected": True}
            raise
        if has_failed:  # after the contrib package has set the status as the error
            self.record(sys.exc_info()[1] or self.failure)  # that a handler or middleware handles
        self.has_started = True

    def record(self, error: BaseException | None) -> None:
        """Record `error`, or that the client left before the response ended."""
        is_open = self.span.is_recording()
        if error is None or is_expected(error):
            if self.disconnected and is_open and self.span.status.is_unset:
                self.span.set_attributes(self.disconnected)
        elif is_open:
            record_exception(self.span, error)
        elif not is_recorded(error, self.span):
            # The request span ended with the response, and is the parent of this one.
            late = tracer().start_span("after response")
            record_exception(late, error)
            late.end()


def _trace_background_tasks() -> None:
    task_class: Any = import_module("starlette.background").BackgroundTask
    # The contrib package does the same, unless it finds this attribute.
    run = getattr(task_class, "_otel_original_call", task_class.__call__)

    async def run_traced(task: Any) -> None:
        with traced(f"BackgroundTask {getattr(task.func, '__name__', type(task.func).__name__)}"):
            await run(task)

    task_class.__call__, task_class._otel_original_call = run_traced, run


async def _flush_before(send: Send, message: Message) -> None:
    # The lifespan ends. On SIGTERM, uvicorn runs this but not Python's exit handlers.
    if message["type"] != "lifespan.startup.complete":
        await import_module("anyio.to_thread").run_sync(flush_at_shutdown)
    await send(message)
