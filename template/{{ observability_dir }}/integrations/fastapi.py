"""FastAPI: one SERVER span per request, and a flush on shutdown."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncGenerator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from .._setup import flush_at_shutdown, setup_observability
from ..spans import record_exception

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger(__name__)


def instrument_app(app: FastAPI, *, untraced_paths: Sequence[str] = ("/healthz",)) -> None:
    """Trace every request to `app` except `untraced_paths`, and flush pending spans on shutdown.

    Call it right after `app` is created, before the first request. Calls `setup_observability` if
    that has not been called. Never raises.
    """
    setup_observability()
    try:
        import fastapi

        if getattr(app.state, "is_observed", False):
            return
        # FastAPI 0.142 and later traces itself; before, the contrib package traces it.
        if "telemetry" in inspect.signature(fastapi.FastAPI.__init__).parameters:
            _trace_natively(app, frozenset(untraced_paths))
        else:
            _trace_with_contrib(app, untraced_paths)
        _flush_at_shutdown(app)
        app.state.is_observed = True
    except Exception as error:  # noqa: BLE001 - telemetry never raises
        logger.warning("Could not trace requests: %s", error)


def _trace_natively(app: FastAPI, untraced_paths: frozenset[str]) -> None:
    # The dictionary that FastAPI(telemetry=...) fills. By default, each request has four or five
    # spans; without operation spans it has one.
    config: MutableMapping[str, Any] = app._telemetry  # type: ignore[assignment]
    excluded_before = config["exclude"]

    def exclude(scope: MutableMapping[str, Any]) -> bool:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return path in untraced_paths or bool(excluded_before and excluded_before(scope))

    build_middleware_stack = app.build_middleware_stack

    def build_observed_middleware_stack() -> ASGIApp:
        stack = build_middleware_stack()
        # Outside the application's own middleware, which may fail too, and inside
        # ServerErrorMiddleware, whose response ends the span.
        stack.app = _record_exceptions(stack.app)  # type: ignore[attr-defined]
        return stack

    config["operation_spans"] = False
    config["exclude"] = exclude
    # FastAPI's own exporter would export each span a second time.
    config["auto_configure"] = False
    app.build_middleware_stack = build_observed_middleware_stack  # type: ignore[method-assign]


def _trace_with_contrib(app: FastAPI, untraced_paths: Sequence[str]) -> None:
    try:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    except ImportError:
        message = "FastAPI before 0.142 requires opentelemetry-instrumentation-fastapi; install it."
        raise ImportError(message) from None
    # Excluded URLs are patterns separated by commas, searched for in the whole URL.
    excluded = ",".join(rf"://[^/]+{path}(\?|$)" for path in untraced_paths)
    parameters = inspect.signature(FastAPIInstrumentor.instrument_app).parameters
    options: Any = {"exclude_spans": ["receive", "send"]} if "exclude_spans" in parameters else {}
    FastAPIInstrumentor.instrument_app(app, excluded_urls=excluded, **options)


def _record_exceptions(app: ASGIApp) -> ASGIApp:
    """Record unhandled exceptions on the request span; FastAPI sets only the error status."""

    async def recorded(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except Exception as error:
            record_exception(trace.get_current_span(), error)
            raise

    return recorded


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
