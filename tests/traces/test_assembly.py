"""Completion of traces: late spans, missing parents, repeated exports, many traces."""

import random

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from hooks.traces import assembly
from hooks.traces.assembly import SETTLE_SECONDS, Trace, TraceAssembler
from hooks.traces.otlp import logs_in, spans_in

from .exports import TRACE, log, logs_request, span, traces_request

WAIT = 6.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Assembly:
    """An assembler with a clock that the test moves."""

    def __init__(self, keep: int = 100) -> None:
        self._clock = Clock()
        self.assembler = TraceAssembler(keep=keep, wait=WAIT, clock=self._clock)

    def add(self, *spans: Span) -> None:
        self.assembler.add(spans=spans_in(traces_request(*spans)))

    def after(self, seconds: float) -> list[Trace]:
        self._clock.now += seconds
        return self.assembler.completed()


@pytest.fixture
def traces() -> Assembly:
    return Assembly()


def names(trace: Trace) -> list[str]:
    return [span.name for span in trace.spans.values()]


def test_trace_is_complete_when_it_is_whole_and_quiet(traces: Assembly) -> None:
    root = span("GET /orders", kind="server")
    traces.add(span("SELECT", root))
    assert traces.after(SETTLE_SECONDS) == []
    traces.add(root)
    assert traces.after(SETTLE_SECONDS - 0.1) == []

    [trace] = traces.after(0.1)

    assert names(trace) == ["SELECT", "GET /orders"]
    assert trace.root is not None
    assert (trace.root.name, trace.service, trace.late) == ("GET /orders", "order-intake", 0)
    assert traces.after(100) == []


def test_late_span_completes_the_trace_once_more(traces: Assembly) -> None:
    root = span("POST /jobs", kind="server")
    traces.add(root)
    assert len(traces.after(SETTLE_SECONDS)) == 1

    traces.add(span("background", root, at=500), span("INSERT", root, at=600))
    [trace] = traces.after(SETTLE_SECONDS)

    assert names(trace) == ["POST /jobs", "background", "INSERT"]
    assert trace.late == 2


def test_trace_with_a_missing_parent_is_complete_after_the_wait(traces: Assembly) -> None:
    traces.add(span("INSERT", "00f067aa0ba902b7"))
    assert traces.after(WAIT - 0.1) == []

    [trace] = traces.after(0.1)

    assert trace.missing == {"00f067aa0ba902b7"}


def test_root_is_the_span_without_parent_or_else_an_entry_span(traces: Assembly) -> None:
    entry = span("GET /orders", "00f067aa0ba902b7", kind="server", at=5)
    traces.add(span("orphan", "53995c3f42cd8ad8"), entry)
    [trace] = traces.after(WAIT)
    assert trace.root is not None
    assert trace.root.name == "GET /orders"

    traces.add(span("first", at=9))
    [trace] = traces.after(WAIT)
    assert trace.root is not None
    assert trace.root.name == "first"


def test_repeated_export_changes_nothing(traces: Assembly) -> None:
    root = span("GET /orders", kind="server")
    traces.add(root)
    traces.after(SETTLE_SECONDS)

    traces.add(root)

    assert traces.after(100) == []


def test_log_record_completes_its_trace_once_more(traces: Assembly) -> None:
    root = span("GET /orders", kind="server")
    traces.add(root)
    traces.after(SETTLE_SECONDS)

    traces.assembler.add(logs=logs_in(logs_request(log("pool exhausted", root))))

    [trace] = traces.after(SETTLE_SECONDS)
    assert [record.body for record in trace.logs] == ["pool exhausted"]


def test_ten_concurrent_traces_are_assembled_in_any_order_of_arrival(traces: Assembly) -> None:
    spans = []
    for number in range(10):
        trace_id = f"{number + 1:032x}"
        root = span(f"GET /{number}", kind="server", at=number, trace=trace_id)
        child = span("work", root, at=number, trace=trace_id)
        spans += [root, child, span("SELECT", child, at=number, trace=trace_id)]
    random.Random(19).shuffle(spans)

    for each in spans:
        traces.add(each)

    complete = traces.after(SETTLE_SECONDS)
    assert [trace.root and trace.root.name for trace in complete] == [
        f"GET /{number}" for number in range(10)
    ]
    assert {len(trace.spans) for trace in complete} == {3}


def test_only_the_last_traces_are_kept_and_each_is_shown() -> None:
    traces = Assembly(keep=3)
    for number in range(5):
        traces.add(span(f"GET /{number}", at=number, trace=f"{number + 1:032x}"))

    shown = traces.after(0)

    assert [names(trace) for trace in shown] == [["GET /0"], ["GET /1"]]
    assert len(traces.assembler.recent()[1]) == 3
    assert len(traces.after(SETTLE_SECONDS)) == 3


def test_spans_beyond_the_limit_are_counted(
    traces: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "MAX_SPANS", 5)
    root = span("batch")
    traces.add(root, *(span("step", root) for _ in range(10)))

    [trace] = traces.after(SETTLE_SECONDS)

    assert (len(trace.spans), trace.dropped) == (5, 6)


def test_remaining_traces_are_returned_once(traces: Assembly) -> None:
    traces.add(span("GET /orders"))

    [trace] = traces.assembler.remaining()

    assert trace.trace_id == TRACE
    assert traces.assembler.remaining() == []


def test_trace_that_was_returned_does_not_change(traces: Assembly) -> None:
    root = span("GET /orders")
    traces.add(root)
    [trace] = traces.after(SETTLE_SECONDS)

    traces.add(span("late", root))

    assert names(trace) == ["GET /orders"]


def test_traces_that_arrive_faster_than_they_are_read_are_counted() -> None:
    traces = Assembly(keep=10)
    for number in range(2000):
        traces.add(span("GET /", at=number, trace=f"{number + 1:032x}"))

    assert len(traces.after(SETTLE_SECONDS)) == 1010
    assert traces.assembler.skipped == 990
