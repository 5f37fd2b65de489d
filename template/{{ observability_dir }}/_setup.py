"""Configuration of the pipeline, once per process: sampler, span processor, exporter."""

import atexit
import concurrent.futures.thread  # noqa: F401 - imported later, it makes the SDK hang in a fork
import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from multiprocessing import parent_process, util
from pathlib import Path
from threading import Lock, Thread, active_count
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.version import __version__ as sdk_version

from ._export_queue import SHUTDOWN_SECONDS, ExportQueue
from ._pricing import price_loader
from ._processor import TelemetryProcessor
from ._sampling import ProbabilitySampler, SnapshotSafeIdGenerator
from ._settings import Settings, is_disabled, warn
from .integrations import never_raises, when_imported
from .integrations.http_clients import trace_http_clients
from .integrations.llm_sdks import instrument_llm_sdks
from .integrations.logging import add_trace_to_log_records, export_log_records
from .integrations.modal import container_attributes
from .integrations.sqlalchemy import trace_queries

_lock = Lock()
_is_set_up = False
_processor: TelemetryProcessor | None = None
_queue: ExportQueue | None = None
_providers: list[Any] = []  # of spans, log records and metrics


def setup_observability(service_name: str | None = None) -> None:
    """Configure telemetry from the environment, before the application is created. Never raises.

    `service_name` becomes `service.name` and thereby the dataset in Honeycomb; it defaults to the
    name of this project. An existing global TracerProvider is kept; a span processor is added to it.
    Without a key or endpoint, one warning is logged and nothing is exported. Later calls do nothing.
    """
    with _lock:
        if not _is_set_up:
            set_up(Settings(service_name))


@never_raises("Could not set up telemetry; the service runs without it")
def set_up(settings: Settings, exporter: SpanExporter | None = None) -> None:
    """Set up what `settings` enable. With `exporter`, spans are enabled, and exported to it."""
    global _is_set_up
    _is_set_up = True
    add_trace_to_log_records()  # even if disabled: log formats may require its fields
    if exporter or (settings.enabled and settings.exporter != "none"):
        _add_processor(settings, exporter)
    if settings.enabled and any(settings.signals.values()):
        _export_other_signals(settings)


def flush(timeout: float = 4.7) -> bool:
    """Export pending spans; return true if all were sent within `timeout` seconds. Never raises.

    A failed request ends it at once; it is retried later.
    """
    flushed: list[bool] = []

    @never_raises("Could not flush pending spans")
    def force_flush() -> None:
        flushed.extend(each.force_flush(int(min(timeout, 1e6) * 1_000)) for each in _providers)

    # Others' span processors may ignore the timeout. A daemon thread can be abandoned.
    thread = Thread(target=force_flush, name="telemetry-flush", daemon=True)
    try:
        thread.start()
        thread.join(min(timeout, 1e6) + 0.1)
    except RuntimeError:  # no thread can start: there are too many, or Python exits
        force_flush()
    return len(flushed) == len(_providers) and all(flushed)


def hold_trace(span: trace.Span) -> Callable[[], None]:
    """Let the trace of `span` wait for sampling until the returned function is called."""
    sampler = _processor.sampler if _processor else None
    return sampler.hold(span.get_span_context().trace_id) if sampler else lambda: None


@never_raises("Could not flush pending spans")
def flush_at_shutdown() -> None:
    """Flush at a shutdown: do not wait for open spans, and retry failed requests. Never raises."""
    end = time.monotonic() + SHUTDOWN_SECONDS
    if _processor:
        _processor.decide_all()
    if not flush(end - time.monotonic()) and _queue:
        _queue.drain(end - time.monotonic())


def require_processor(exporter: SpanExporter) -> TelemetryProcessor:
    """Return the span processor. If there is none, add one that exports to `exporter`."""
    with _lock:
        if not _is_set_up:
            set_up(Settings(), exporter)
        return _processor or _add_processor(Settings(), exporter)


def _add_processor(settings: Settings, exporter: SpanExporter | None = None) -> TelemetryProcessor:
    """Add the span processor to the global tracer provider; create the provider if there is none."""
    global _processor
    provider: Any = trace.get_tracer_provider()
    resource, sampling = create_resource(settings), None
    if isinstance(provider, trace.ProxyTracerProvider):
        provider = _create_provider(settings, resource)
        trace.set_tracer_provider(provider)
        sampling = settings if settings.sample_rate > 1 else None
    elif not hasattr(provider, "add_span_processor"):
        raise RuntimeError(f"{type(provider).__name__} does not support span processors")
    elif settings.sample_rate > 1:
        warn("HONEYCOMB_SAMPLE_RATE is ignored; set your tracer provider's sampler.")
    _processor = TelemetryProcessor(exporter or _create_exporter(settings, resource), sampling)
    provider.add_span_processor(_processor)
    _providers.append(provider)
    atexit.register(_processor.shutdown)
    # multiprocessing ends its workers with os._exit, which skips exit handlers, and a worker forgets
    # finalizers that were registered before its after-fork functions run.
    add_finalizer = partial(util.Finalize, None, exitpriority=0)
    if parent_process():  # in a spawned worker; elsewhere, `shutdown` is enough
        add_finalizer(flush_at_shutdown)
    util.register_after_fork(flush_at_shutdown, add_finalizer)
    # The first instrumentation to start reads it, for all of them.
    names = os.environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "http").split(",")
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = ",".join(dict.fromkeys(["http", *names]))
    trace_http_clients()
    if not is_disabled("sqlalchemy"):
        when_imported("sqlalchemy", trace_queries)
    instrument_llm_sdks()
    return _processor


def _create_provider(settings: Settings, resource: Resource) -> Any:
    sampler = ProbabilitySampler(settings.sample_rate, trust_incoming=settings.trust_incoming)
    options: Any = {"sampler": sampler, "resource": resource, "shutdown_on_exit": False}
    options["id_generator"] = SnapshotSafeIdGenerator()
    with suppress(Exception):  # deleted, or a later SDK differs
        return import_module("._tracer_provider", __package__).create_tracer_provider(**options)
    return TracerProvider(**options)


def _after_fork() -> None:
    """Start empty in the child: the parent process exports what it has created."""
    global _lock
    _lock = Lock()
    parts: tuple[Any, ...] = (price_loader, _processor, _queue)
    for part in filter(None, parts):
        part.reset()


if hasattr(os, "register_at_fork"):
    # A module that another thread is importing would remain half imported in the child.
    os.register_at_fork(before=lambda: price_loader.finish(5.0), after_in_child=_after_fork)


def _create_exporter(settings: Settings, resource: Resource) -> SpanExporter:
    global _queue
    if settings.exporter == "console":
        return ConsoleSpanExporter()
    transport = import_module(f"._{settings.protocol.partition('/')[0]}", __package__).Transport
    _queue = ExportQueue(lambda: transport(settings), resource, settings)
    if settings.console:
        export, show = _queue.export, ConsoleSpanExporter().export
        _queue.export = lambda spans: (show(spans), export(spans))[1]  # type: ignore[method-assign]
    return _queue


def _export_other_signals(settings: Settings) -> None:
    """Export log records and metrics through the SDK's own providers and exporters."""
    protocol, resource = settings.protocol.partition("/")[0], create_resource(settings)
    base, otlp = settings.endpoint.removesuffix("/v1/traces"), f"otlp_proto_{protocol}"
    try:
        for signal, export in (("logs", export_log_records), ("metrics", _export_metrics)):
            url, exporters = f"{base}/v1/{signal}" if protocol == "http" else base, []
            options = {"endpoint": url, "headers": settings.headers, "timeout": settings.timeout}
            for name in settings.signals[signal]:
                group, package = f"opentelemetry_{signal}_exporter", name.replace("otlp", otlp)
                [entry_point] = entry_points(group=group, name=package)
                exporters.append(entry_point.load()(**(options if name == "otlp" else {})))
            if exporters:
                _providers.append(export(exporters, resource))
    except (ImportError, ValueError):
        missing = f"opentelemetry-exporter-otlp-proto-{protocol}"
        warn("No log records and metrics are exported: install %s.", missing)
    atexit.register(flush)  # before the exporters shut down, all at once


def _export_metrics(exporters: list[Any], resource: Resource) -> Any:
    """Export metrics of requests, which FastAPI measures, and of the process."""
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader as Reader

    provider = MeterProvider([*map(Reader, exporters)], resource, shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    meter = provider.get_meter(__name__)

    def callbacks(read: Callable[[], float]) -> Any:
        return [lambda _: [metrics.Observation(read())]]

    meter.create_observable_counter("process.cpu.time", callbacks(time.process_time), "s")
    meter.create_observable_gauge("process.thread.count", callbacks(active_count), "{thread}")
    if (statm := Path("/proc/self/statm")).exists():
        resident = callbacks(lambda: int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        meter.create_observable_gauge("process.memory.usage", resident, "By")
    return provider


def create_resource(settings: Settings) -> Resource:
    """Describe this process. OTEL_* variables override settings; an existing provider, both."""
    attributes = {
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": sdk_version,
        "service.name": settings.service_name,
        # Not generated at import, which containers restored from one memory snapshot share.
        "service.instance.id": os.environ.get("MODAL_TASK_ID") or str(uuid.uuid4()),
        "service.version": settings.service_version,
        "deployment.environment.name": settings.environment,
        **container_attributes(),
    }
    existing = getattr(trace.get_tracer_provider(), "resource", Resource({})).attributes
    known = {name: each for name, each in existing.items() if "unknown_service" not in str(each)}
    return Resource(attributes).merge(OTELResourceDetector().detect()).merge(Resource(known))
