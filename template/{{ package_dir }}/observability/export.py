"""Handing spans to an exporter of the SDK, such as one that prints them or keeps them in memory."""

from collections.abc import Mapping

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import Status
from opentelemetry.util.types import AttributeValue


class ExporterSink:
    """Exports each span at once, on the thread on which it ends: for development and tests."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def take(
        self,
        span: ReadableSpan,
        attributes: Mapping[str, AttributeValue],
        events: list[Event],
        status: Status,
    ) -> None:
        self._exporter.export(
            [
                ReadableSpan(
                    name=span.name,
                    context=span.context,
                    parent=span.parent,
                    resource=span.resource,
                    attributes=attributes,
                    events=events,
                    links=span.links,
                    kind=span.kind,
                    status=status,
                    start_time=span.start_time,
                    end_time=span.end_time,
                    instrumentation_scope=span.instrumentation_scope,
                )
            ]
        )

    def flush(self, timeout: float) -> bool:
        return self._exporter.force_flush(int(timeout * 1000))

    def shutdown(self) -> None:
        self._exporter.shutdown()
