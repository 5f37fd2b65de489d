"""One SERVER span a request, and the end of telemetry with the end of the application."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import AsyncGenerator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace

from .errors import record_error
from .setup import flush_at_the_end, setup_observability

if TYPE_CHECKING:  # the commands run without FastAPI too
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger(__name__)

UNTRACED_PATHS: Final = ("/healthz",)


def instrument_app(app: FastAPI, *, untraced_paths: Sequence[str] = UNTRACED_PATHS) -> None:
    """Traces each request of `app` but those to `untraced_paths`, and sends what is left at its end.

    Call it right after `app` is made, before the first request. Sets telemetry up where
    `setup_observability` was not called before. Never raises.
    """
    setup_observability()
    try:
        if getattr(app.state, "is_observed", False):
            return
        if _fastapi_traces_itself():
            _trace_natively(app, frozenset(untraced_paths))
        else:
            _trace_with_contrib(app, untraced_paths)
        _flush_at_the_end(app)
        app.state.is_observed = True
    except Exception as error:  # noqa: BLE001 - telemetry never raises
        logger.warning("Requests are not traced: %s", error)


def _fastapi_traces_itself() -> bool:
    """It does from 0.142 on; before, the contrib package does it."""
    from fastapi import FastAPI

    return "telemetry" in inspect.signature(FastAPI.__init__).parameters


def _trace_natively(app: FastAPI, untraced_paths: frozenset[str]) -> None:
    # The dictionary that FastAPI(telemetry=...) fills. By default each request is four spans, or
    # five; without operation spans it is one.
    config: MutableMapping[str, Any] = app._telemetry  # type: ignore[assignment]
    excluded_before = config["exclude"]

    def exclude(scope: MutableMapping[str, Any]) -> bool:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return path in untraced_paths or bool(excluded_before and excluded_before(scope))

    build_middleware_stack = app.build_middleware_stack

    def build_observed_middleware_stack() -> ASGIApp:
        stack = build_middleware_stack()
        # Around the application's own middleware, which may fail too, and within what answers 500
        # and so ends the span.
        stack.app = _RecordException(stack.app)  # type: ignore[attr-defined]
        return stack

    config["operation_spans"] = False
    config["exclude"] = exclude
    # An exporter of FastAPI's own would send each span a second time.
    config["auto_configure"] = False
    app.build_middleware_stack = build_observed_middleware_stack  # type: ignore[method-assign]


def _trace_with_contrib(app: FastAPI, untraced_paths: Sequence[str]) -> None:
    # Without this, the names are those of before the conventions were stable. It is read once, at
    # the first instrumentation of the process.
    chosen = os.environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "")
    if not {"http", "http/dup"} & set(chosen.split(",")):
        os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = ",".join(filter(None, (chosen, "http")))
    try:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    except ImportError:
        raise ImportError(
            "FastAPI traces itself from 0.142 on; with an older one, install"
            " opentelemetry-instrumentation-fastapi."
        ) from None
    # An excluded URL is a pattern, searched for in the whole URL, where a comma separates two.
    excluded = ",".join(rf"://[^/]+{path}(\?|$)" for path in untraced_paths)
    options: dict[str, Any] = {}
    if "exclude_spans" in inspect.signature(FastAPIInstrumentor.instrument_app).parameters:
        options["exclude_spans"] = ["receive", "send"]
    FastAPIInstrumentor.instrument_app(app, excluded_urls=excluded, **options)


class _RecordException:
    """Tells of an exception that no handler takes: FastAPI's own span only says that one came."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            span = trace.get_current_span()
            if span.is_recording():
                record_error(span, error)
            raise


def _flush_at_the_end(app: FastAPI) -> None:
    lifespan = app.router.lifespan_context

    @asynccontextmanager
    async def observed_lifespan(app: FastAPI) -> AsyncGenerator[Any, None]:
        # Stopped by SIGTERM, uvicorn runs this, but no exit handlers of Python.
        try:
            async with lifespan(app) as state:
                yield state
        finally:
            import anyio

            await anyio.to_thread.run_sync(flush_at_the_end)

    app.router.lifespan_context = observed_lifespan
