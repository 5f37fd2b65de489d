"""Setting telemetry up, once a process, and sending what is left when it ends."""

from __future__ import annotations

import atexit
import logging
import sys
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from .logs import add_trace_to_log_records
from .settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from .pipeline import Pipeline, Sink
    from .sending import Transport

logger = logging.getLogger(__name__)

_lock = Lock()
_is_set_up = False
_pipeline: Pipeline | None = None


def setup_observability(service_name: str | None = None) -> None:
    """Traces this process from now on. Call it before the application is made.

    `service_name` becomes `service.name` and so the dataset in Honeycomb; by default it is the name
    that the project was made with. Everything else comes from the environment.

    A provider that is set already stays: spans then go to Honeycomb besides. Without a key and
    without an endpoint nothing is sent, which is one warning. A second call does nothing. Never
    raises.
    """
    global _is_set_up
    with _lock:
        if _is_set_up:
            return
        _is_set_up = True
        try:
            _set_up(Settings.from_environment(service_name))
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            logger.warning("Telemetry could not be set up, the service runs without: %s", error)


def flush(timeout: float = 4.7) -> bool:
    """Export pending spans. Returns True if all were exported within `timeout` seconds. Never raises.

    The default is a little longer than one export may take, so that a shutdown takes at most 6 s.
    """
    provider: Any = trace.get_tracer_provider()
    if not hasattr(provider, "force_flush"):
        return True
    is_flushed = False

    def force_flush() -> None:
        nonlocal is_flushed
        try:
            is_flushed = bool(provider.force_flush(int(timeout * 1000)))
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            logger.warning("What waits to be sent could not be sent: %s", error)

    # Other processors of the provider may know no time limit. A daemon thread can be left behind.
    thread = Thread(target=force_flush, name="flush-telemetry", daemon=True)
    thread.start()
    thread.join(timeout + 0.1)
    return is_flushed


def flush_at_the_end() -> None:
    """As `flush`, for an application that ends: nothing waits for spans that are still open."""
    try:
        if _pipeline is not None:
            _pipeline.decide_all()
        flush()
    except Exception as error:  # noqa: BLE001 - Modal would take it for a failure of the service
        logger.warning("What waits to be sent could not be sent: %s", error)


def _set_up(settings: Settings) -> None:
    # Switched off too, as a log format may name the fields.
    add_trace_to_log_records()
    if not settings.enabled:
        return
    try:
        from .database import trace_queries

        trace_queries()
    except ImportError:  # a service without SQLAlchemy
        pass
    if settings.exporter == "none":
        return
    if settings.exporter == "otlp" and not settings.has_destination:
        if not settings.has_bad_key:
            logger.warning(
                "HONEYCOMB_API_KEY is not set: no traces are sent. Set it, or set"
                " OTEL_EXPORTER_OTLP_ENDPOINT to a receiver of your own."
            )
        return
    _export(settings)


def ensure_pipeline(sink: Sink) -> Pipeline:
    """Return the pipeline of this process. If there is none, start one that exports to `sink`."""
    setup_observability()
    with _lock:
        if _pipeline is None:
            _export(Settings.from_environment(), sink)
        if _pipeline is None:
            provider = type(trace.get_tracer_provider()).__name__
            raise RuntimeError(
                f"The tracer provider ({provider}) does not support span processors."
            )
        return _pipeline


def _export(settings: Settings, sink: Sink | None = None) -> None:
    from .llm_sdks import instrument_llm_sdks
    from .modal_container import InvocationProcessor, is_container
    from .pipeline import Pipeline
    from .provider import new_provider
    from .resource import add_to, make_resource
    from .sampling import TraceSampler
    from .traces import KeepRules

    resource = make_resource(settings)
    provider: Any = trace.get_tracer_provider()
    keep = None
    if hasattr(provider, "resource"):
        resource = add_to(provider.resource, resource)
    if not hasattr(provider, "add_span_processor"):
        if not isinstance(provider, trace.ProxyTracerProvider):
            logger.warning(
                "The tracer provider that is set already, %s, takes no processor: no traces are sent.",
                type(provider).__name__,
            )
            return
        provider = new_provider(TraceSampler(settings.sample_rate), resource)
        trace.set_tracer_provider(provider)
        if settings.sample_rate > 1:
            keep = KeepRules(slow_ms=settings.keep_slow_ms, cost_usd=settings.keep_cost_usd)
    elif settings.sample_rate > 1:
        logger.warning(
            "The tracer provider that is set already decides which traces are kept, and"
            " HONEYCOMB_SAMPLE_RATE does nothing: sample there, or in a Collector."
        )
    if is_container() and "modal" in sys.modules:
        provider.add_span_processor(InvocationProcessor())
    global _pipeline
    _pipeline = Pipeline(sink or _sink(settings, resource), keep)
    provider.add_span_processor(_pipeline)
    atexit.register(_pipeline.shutdown)
    instrument_llm_sdks()


def _sink(settings: Settings, resource: Resource) -> Sink:
    if settings.exporter == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        from .export import ExporterSink

        return ExporterSink(ConsoleSpanExporter())
    from .encoding import encode_resource
    from .sending import SpanQueue

    def connect_late() -> Transport:
        # Imported on the thread that sends: start-up needs no TLS, HTTP or gRPC.
        if settings.protocol == "grpc":
            from .grpc_transport import GRPCTransport

            return GRPCTransport(settings)
        from .http_transport import HTTPTransport

        return HTTPTransport(settings)

    return SpanQueue(
        connect_late, encode_resource(resource), delay=settings.delay, batch=settings.batch
    )
