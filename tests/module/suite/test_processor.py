"""The span processor: one span per operation, one event per exception, in bounded memory."""

from collections.abc import Sequence

from observability import get_tracer, traced
from observability._processor import TelemetryProcessor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import use_span

from .conftest import FinishedSpans


class Exporter(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def test_memory_is_bounded_if_children_end_after_their_parents() -> None:
    processor = TelemetryProcessor(Exporter())
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("tests")
    call: dict[str, str | int] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.usage.input_tokens": 1,
    }

    for _ in range(3_000):
        parent = tracer.start_span("parent", attributes=call)
        with use_span(parent, end_on_exit=False):
            tracer.start_span("never ends", attributes=call)
            for _ in range(3):
                tracer.start_span("child", attributes=call).end()
            late = tracer.start_span("late", attributes=call)
        late.record_exception(ValueError("late"))
        late.end()

    assert len(processor._exceptions) <= 1_000
    assert len(processor._calls) <= 1_000


def test_memory_is_bounded_if_a_call_stays_open() -> None:
    processor = TelemetryProcessor(Exporter())
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("tests")
    call = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}

    with tracer.start_as_current_span("stream", attributes=call):
        for _ in range(3_000):
            tracer.start_span("another call", attributes=call).end()
        [call] = processor._calls.values()
        assert len(call.below) <= 100


def test_asgi_message_has_no_span(spans: FinishedSpans) -> None:
    # Older instrumentations of FastAPI create them.
    with traced("request"):
        get_tracer("tests").start_span("GET /orders http send").end()

    assert [span.name for span in spans()] == ["request"]
