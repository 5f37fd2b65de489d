"""Capture spans in tests:

    def test_order_is_traced(client: TestClient) -> None:
        with capture_spans() as spans:
            client.get("/orders/7")
        assert [span.name for span in spans] == ["SELECT", "GET /orders/{order_id}"]

Neither a key nor a receiver is needed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .export import ExporterSink
from .setup import ensure_pipeline


@contextmanager
def capture_spans() -> Iterator[list[ReadableSpan]]:
    """Collect finished spans as they would be exported, instead of exporting them.

    Spans are appended as they end, after deduplication, redaction, sampling and pricing. The list
    is complete when the block ends: spans of an LLM SDK and spans of sampled traces may be delayed.
    Sets telemetry up if it is not yet, even if it is disabled. Raises RuntimeError if the global
    tracer provider does not support span processors.
    """
    spans: list[ReadableSpan] = []
    pipeline = ensure_pipeline(ExporterSink(_ListExporter([])))
    before, pipeline.sink = pipeline.sink, ExporterSink(_ListExporter(spans))
    try:
        yield spans
    finally:
        pipeline.decide_all()
        pipeline.sink = before


class _ListExporter(SpanExporter):
    def __init__(self, spans: list[ReadableSpan]) -> None:
        self._spans = spans

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._spans.extend(spans)
        return SpanExportResult.SUCCESS
