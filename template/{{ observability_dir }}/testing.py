"""Capture spans in tests, without a key or a receiver."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ._pricing import price_loader
from ._setup import require_processor


@contextmanager
def capture_spans() -> Iterator[list[ReadableSpan]]:
    """Collect finished spans as they would be exported, instead of exporting them.

        with capture_spans() as spans:
            client.get("/orders/7")
        assert [span.name for span in spans] == ["SELECT", "GET /orders/{order_id}"]

    Spans are deduplicated, redacted, sampled and priced, in the order in which they end. With
    sampling, the list is complete when the block ends. Sets telemetry up if it is not yet, even if
    it is disabled. Raises RuntimeError if the tracer provider does not support span processors.
    """
    price_loader.start_loading()
    price_loader.wait(30.0)
    exporter = _ListExporter()
    processor = require_processor(exporter)
    previous, processor.exporter = processor.exporter, exporter
    try:
        yield exporter.spans
    finally:
        processor.decide_all()
        exporter.is_open = False
        processor.exporter = previous


class _ListExporter(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.is_open = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.is_open:
            self.spans.extend(spans)
        return SpanExportResult.SUCCESS
