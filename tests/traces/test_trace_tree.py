"""Drawings of traces, character by character."""

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stdout

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from rich.cells import cell_len
from rich.console import Console

from hooks.traces.as_json import trace_json
from hooks.traces.assembly import Trace
from hooks.traces.otlp import LogRecord, logs_in, spans_in
from hooks.traces.output import TreeOutput
from hooks.traces.span_tree import span_nodes
from hooks.traces.trace_tree import trace_tree

from .exports import TRACE, Attributes, log, logs_request, span, traces_request

LLM: Attributes = {
    "llm.model": "claude-sonnet-4-6",
    "llm.input_tokens": 7120,
    "llm.output_tokens": 60,
    "llm.cost_usd": 0.01026,
}
QUERY: Attributes = {"db.system.name": "postgresql"}


def drawn(
    *spans: Span,
    logs: Sequence[LogRecord] = (),
    attributes: Sequence[str] = (),
    width: int = 80,
    encoding: str = "utf-8",
) -> str:
    """The drawing, in lines without trailing space."""
    file = io.TextIOWrapper(io.BytesIO(), encoding)
    console = Console(file=file, width=width, highlight=False)
    console.print(trace_tree(spans_in(traces_request(*spans)), logs, attributes=attributes))
    file.flush()
    file.seek(0)
    return "\n".join(line.rstrip() for line in file.read().splitlines())


def test_trace_shows_durations_tokens_cost_and_totals() -> None:
    root = span(
        "POST /api/sessions",
        kind="server",
        ms=25,
        attributes={"http.response.status_code": 201},
    )
    create = span("session.create", root, ms=12)
    call = span("llm.call", create, at=4, ms=5, kind="client", attributes=LLM)
    insert = span("INSERT", create, at=11, ms=0.5, kind="client", attributes=QUERY)

    assert drawn(insert, call, create, root) == (
        """\
span                               time      tokens      cost
POST /api/sessions  ━━━━━━━━━━  25.0 ms                        201
└ session.create    ━━━━━       12.0 ms
  ├ llm.call         ╺━╸        5.00 ms  7,120 → 60  $0.01026  claude-sonnet-4-6
  └ INSERT              ╺       0.50 ms                        postgresql
────────────────────────────────────────────────────────────────────────────────
4 spans                         25.0 ms  7,120 → 60  $0.01026"""
    )


def test_error_and_log_records_are_below_their_span() -> None:
    root = span("GET /orders", kind="server", ms=10, error="")
    query = span("SELECT", root, ms=5, kind="client", error="connection refused", attributes=QUERY)
    records = logs_in(logs_request(log("pool exhausted", query), log("retried", root, 9)))

    assert drawn(root, query, logs=records).splitlines() == [
        "span                                                        time",
        "✗ GET /orders  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  10.0 ms",
        "│ INFO retried",
        "└ ✗ SELECT     ━━━━━━━━━━━━━━━━━━━━                      5.00 ms  postgresql",
        "    connection refused",
        "    WARN pool exhausted",
        "─" * 76,
        "2 spans                                                  10.0 ms",
    ]


def test_attributes_are_shown_on_request() -> None:
    call = span("llm.call", kind="client", attributes={**LLM, "user.id": "u-1"})

    assert "llm.model" not in drawn(call)
    assert "  llm.model = claude-sonnet-4-6\n" in drawn(call, attributes=["llm.*"])
    assert "user.id" not in drawn(call, attributes=["llm.*"])
    assert "  user.id = u-1\n" in drawn(call, attributes=["*"])


def test_many_equal_siblings_share_a_row_and_a_failed_one_has_its_own() -> None:
    root = span("GET /orders", kind="server", ms=900, error="")
    queries = [
        span("SELECT", root, at=i * 0.4, ms=0.3, kind="client", attributes=QUERY)
        for i in range(1998)
    ]
    failed = span("SELECT", root, at=850, ms=5, kind="client", error="timeout", attributes=QUERY)

    assert drawn(root, *queries, failed).splitlines() == [
        "span                                                          time",
        "✗ GET /orders    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━   900 ms",
        "├ SELECT ×1,998  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╸       599 ms  postgresql",
        "└ ✗ SELECT                                             ╸   5.00 ms  postgresql",
        "    timeout",
        "─" * 78,
        "2,000 spans                                                 900 ms",
    ]


def test_few_equal_siblings_keep_their_order() -> None:
    root = span("work", ms=10)
    steps = [span("ab"[i % 2], root, at=i) for i in range(10)]

    rows = drawn(root, *steps).splitlines()[2:12]

    assert [row[2] for row in rows] == list("ababababab")


def test_orphans_are_roots_and_marked_unless_another_service_called_them() -> None:
    entry = span("GET /orders", "00f067aa0ba902b7", kind="server", at=2)
    orphan = span("INSERT", "53995c3f42cd8ad8", kind="client")

    rows = drawn(orphan, entry).splitlines()

    assert rows[1].startswith("GET /orders  ")
    assert rows[2].startswith("INSERT (parent missing)  ")


def test_parents_in_a_circle_are_drawn() -> None:
    first, second = span("first"), span("second", at=1)
    first.parent_span_id, second.parent_span_id = second.span_id, first.span_id

    rows = drawn(first, second).splitlines()

    assert [row.split()[:2] for row in rows[1:3]] == [["first", "(parent"], ["└", "second"]]


def test_chain_of_two_thousand_spans_is_cut_and_counted() -> None:
    chain = [span("level 0", kind="server", ms=100)]
    for level in range(1, 2000):
        chain.append(span(f"level {level}", chain[-1], ms=100))

    rows = drawn(*chain).splitlines()

    assert rows[199].startswith("…               └ level 198")
    assert rows[201] == "… 1,800 more spans; --json and --web show all"
    assert rows[203].startswith("2,000 spans")
    assert max(len(row) for row in rows) <= 80


def test_encoding_without_box_drawing_uses_ascii() -> None:
    root = span("GET /orders", kind="server", ms=10, error="boom")
    children = [span("SELECT", root, kind="client") for _ in range(6)]

    text = drawn(root, *children, encoding="ascii")

    assert "x GET /orders" in text
    assert "`-SELECT x6" in text
    assert text.isascii()


def test_control_characters_and_markup_do_not_reach_the_terminal() -> None:
    hostile = "\x1b[31mGET\x07 [bold]/x[/bold]\ny"
    root = span(hostile, error=hostile, attributes={hostile: hostile})
    records = logs_in(logs_request(log(hostile, root)))

    text = drawn(root, logs=records, attributes=["*"])

    assert "\x1b" not in text
    assert "\x07" not in text
    assert text.count("[31mGET [bold]/x[/bold] y") == 5


def test_narrow_terminal_cuts_names_and_leaves_out_bars() -> None:
    root = span("POST /api/sessions/with/a/long/path", kind="server", ms=25)
    call = span("llm.call", root, ms=5, kind="client", attributes=LLM)

    assert drawn(root, call, width=40).splitlines()[1] == "POST /api/sessi…  25.0 ms"
    assert max(len(row) for row in drawn(root, call, width=40).splitlines()) <= 40


@st.composite
def any_spans(draw: st.DrawFn) -> list[Span]:
    """Spans with any names, times, attributes and parents, which may be missing or in a circle."""
    count = draw(st.integers(1, 12))
    ids = [bytes([number + 1]) * 8 for number in range(count + 2)]
    times = st.integers(0, 2**64 - 1)
    values = st.one_of(st.text(), st.floats(), st.booleans(), st.integers(-(2**63), 2**63 - 1))
    spans = []
    for number in range(count):
        attributes = draw(st.dictionaries(st.sampled_from([*LLM, "other", ""]), values))
        each = span(draw(st.text()), error=draw(st.none() | st.text()), attributes=attributes)
        each.span_id = ids[number]
        each.parent_span_id = draw(st.sampled_from([b"", *ids]))
        each.start_time_unix_nano = draw(times)
        each.end_time_unix_nano = draw(times)
        each.kind = draw(st.sampled_from([0, 1, 2, 3]))  # type: ignore[assignment]
        spans.append(each)
    return spans


@given(any_spans(), st.integers(40, 120))
@settings(max_examples=200, deadline=None)
def test_any_trace_can_be_drawn_and_is_valid_json(spans: list[Span], width: int) -> None:
    def reject(constant: str) -> None:
        raise AssertionError(constant)

    trace = Trace(TRACE, {each.span_id: each for each in spans_in(traces_request(*spans))})
    content = json.loads(json.dumps(trace_json(trace)), parse_constant=reject)
    assert len(content["spans"]) == len(spans)
    assert min(each["duration_ms"] for each in content["spans"]) >= 0
    nodes = list(span_nodes([*trace.spans.values()]))
    assert sorted(each.span_id for node in nodes for each in node.spans) == sorted(trace.spans)

    rows = drawn(*spans, width=width, attributes=["*"]).splitlines()
    assert max(map(cell_len, rows)) <= width
    assert f"{len(spans)} span" in rows[-1]
    output = io.StringIO()
    with redirect_stdout(output):
        TreeOutput().show(trace)
    assert TRACE in output.getvalue()
