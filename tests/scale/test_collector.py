"""Three services behind a real Collector."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from ..depth import in_depth
from ..service.process import wait_until
from .conftest import POLICY, RATE, REQUESTS, SAMPLING, Record, spans_in_a_trace
from .estimates import check, check_total
from .honeycomb import Ingest, Trace, decode, traces
from .programs import Collector, new_project, write
from .services import SERVICES, USD_PER_TOKEN, Shops, lost, request, tokens, wait_for
from .traffic import post, post_log_and_metric, replay

# Needs Go, a build of two minutes, and 20,000 requests, which no smaller case replaces.
pytestmark = in_depth

# The files wait for spans of slow requests; these requests are over when they are sent again.
WITHOUT_WAITING: Final = {
    "processors": {
        "tail_sampling": {"decision_wait": "10s", "decision_wait_after_root_received": "2s"}
    }
}


def test_each_span_is_forwarded_exactly_once(sent: dict[str, Trace]) -> None:
    planned = [request(number) for number in range(REQUESTS)]

    assert len(sent) == REQUESTS
    [shape] = {shape_of(trace) for trace in sent.values()}
    assert {service for service, _, _ in shape} == set(SERVICES)
    assert sum(trace.is_error for trace in sent.values()) == sum(
        each.kind == "error" for each in planned
    )
    assert sum(trace.cost_usd for trace in sent.values()) == pytest.approx(
        sum(each.tokens for each in planned) * USD_PER_TOKEN
    )


def shape_of(trace: Trace) -> tuple[tuple[str, str, str], ...]:
    """Service, name, and parent of each span."""
    names = {event.span_id: f"{event.service} {event.name}" for event in trace.events}
    return tuple(
        sorted(
            (event.service, event.name, names[event.parent_id] if event.parent_id else "")
            for event in trace.events
        )
    )


@contextmanager
def sampling(
    program: Path, folder: Path, ingest: Ingest, *changes: dict[str, Any]
) -> Iterator[Collector]:
    project = new_project(folder / "project")
    write(project, "collector", *POLICY)
    with Collector(program, project, ingest.url, *changes) as collector:
        yield collector


def test_sampling_keeps_whole_traces_with_the_right_weights(
    recorded: list[bytes], sent: dict[str, Trace], collector_program: Path, tmp_path: Path
) -> None:
    with (
        Ingest() as ingest,
        sampling(collector_program, tmp_path, ingest, WITHOUT_WAITING) as collector,
    ):
        replay(recorded, collector.endpoints)
        collector.wait_until_sampled(len(sent))

    check(sent, ingest.traces, RATE)
    assert {event.reason for event in ingest.events} == {"errors", "slow", "expensive", "rest"}


def test_sampling_multiplies_the_weights_of_services_that_sample(
    record: Record, collector_program: Path, tmp_path: Path
) -> None:
    recorded = record(2_000, **SAMPLING)
    sent = traces(decode(recorded))
    with (
        Ingest() as ingest,
        sampling(collector_program, tmp_path, ingest, WITHOUT_WAITING) as collector,
    ):
        replay(recorded, collector.endpoints)
        collector.wait_until_sampled(len(sent))

    check(sent, ingest.traces, RATE)
    check_total(2_000, ingest.traces, 4 * RATE)


def test_sigterm_decides_and_stores_what_is_in_memory(
    recorded: list[bytes], sent: dict[str, Trace], collector_program: Path, tmp_path: Path
) -> None:
    with Ingest() as ingest, sampling(collector_program, tmp_path, ingest) as collector:
        # The decisions are 5 seconds away, and Honeycomb rejects what is kept.
        ingest.status = 503
        replay(recorded, collector.endpoints)
        collector.stop()
        assert not ingest.events

        ingest.status = 200
        collector.start()
        must_arrive = {trace_id for trace_id, trace in sent.items() if trace.is_error}
        wait_until(lambda: must_arrive <= ingest.traces.keys(), "traces from the queue on disk")


def test_collector_killed_under_load_loses_no_span(
    shops: Shops, sent: dict[str, Trace], collector_program: Path, tmp_path: Path
) -> None:
    project = new_project(tmp_path / "project")
    write(project, "collector")
    with (
        Ingest() as ingest,
        Collector(collector_program, project, ingest.url) as collector,
        shops.serve(collector.endpoints) as shop,
    ):
        with shop.load() as answered:
            for _ in range(2):
                wait_for(1_000, answered)
                # Spans are in the queue and in requests that are not answered.
                ingest.status = 503
                wait_for(500, answered)
                collector.stop(signal.SIGKILL)
                ingest.status = 200
                collector.start()
            wait_for(500, answered)
        shop.stop()
        spans = len(answered) * spans_in_a_trace(sent)
        wait_until(lambda: len({event.span_id for event in ingest.events}) == spans, "all spans")
        twice = len(ingest.events) - spans

    assert len(ingest.traces) == len(answered)
    print(f"{spans} spans, none lost, {twice} sent twice")


def test_sampling_collector_killed_under_load_loses_only_traces_that_are_not_decided(
    shops: Shops, sent: dict[str, Trace], collector_program: Path, tmp_path: Path
) -> None:
    project = new_project(tmp_path / "project")
    # Every trace is slow, so every trace is kept.
    write(project, "collector", "--sample-rate=10", "--keep-slow-ms=1")
    with (
        Ingest() as ingest,
        Collector(collector_program, project, ingest.url) as collector,
        shops.serve(collector.endpoints) as shop,
    ):
        with shop.load() as answered:
            wait_for(50, answered)
            first = answered[:50]
            # They are decided after 5 seconds, and sent in any order among the others.
            wait_until(
                lambda: not lost(first, ingest.traces.values(), spans_in_a_trace(sent)),
                "the first traces",
            )
            collector.stop(signal.SIGKILL)
            wait_for(500, answered)
            collector.start()
            restarted = len(answered)
            wait_for(500, answered)
        shop.stop()
        # Decides what is left.
        collector.stop()
        collector.start()
        last = {request(number).tokens for number in answered[restarted:]}
        wait_until(
            lambda: last <= {tokens(trace) for trace in ingest.traces.values()},
            "the last traces",
        )

    missing = lost(answered, ingest.traces.values(), spans_in_a_trace(sent))
    print(f"{len(missing)} of {len(answered)} traces lost or incomplete")
    assert missing
    assert not missing & {*first, *answered[restarted:]}


def test_logs_and_metrics_are_forwarded(collector_program: Path, tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    write(project, "collector")
    with Ingest() as ingest, Collector(collector_program, project, ingest.url) as collector:
        post_log_and_metric(collector.endpoints)
        wait_until(lambda: bool(ingest.logs and ingest.metrics), "a log record and a metric")

    assert ingest.logs == ["sold out"]
    assert ingest.metrics == [("metrics", "sales")]


def test_wrong_key_is_rejected(collector_program: Path, tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    write(project, "collector")
    with Ingest() as ingest, Collector(collector_program, project, ingest.url) as collector:
        assert post(collector.endpoints, "another-key") == 401
        assert post(collector.endpoints) == 200
