"""Capture spans in tests, without a key or a receiver."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter

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
    price_loader.finish(30.0)
    spans: list[ReadableSpan] = []
    exporter: Any = SpanExporter()
    exporter.export = spans.extend
    processor = require_processor(SpanExporter())
    previous, processor.exporter = processor.exporter, exporter
    try:
        yield spans
    finally:
        processor.decide_all()
        processor.exporter = previous
