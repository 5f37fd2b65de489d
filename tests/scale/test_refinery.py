"""Three services behind a real Refinery."""

from pathlib import Path
from typing import Any, Final

from ..depth import in_depth
from ..service.messages import export_lines, lost_spans
from ..service.process import wait_until
from .conftest import POLICY, RATE, SAMPLING, Record, spans_in_a_trace
from .estimates import check, check_total
from .honeycomb import Ingest, Trace, decode, traces
from .programs import Refinery, fixed_port, new_project, write
from .services import Shops, lost, wait_for
from .traffic import post, post_log_and_metric, replay

# Needs Refinery, and 20,000 requests, which no smaller case replaces.
pytestmark = in_depth

# Waits a shorter time for root spans that were lost.
INCOMPLETE_TRACES: Final[dict[str, Any]] = {"Traces": {"TraceTimeout": "5s"}}


def test_whole_traces_are_kept_with_the_right_weights(
    recorded: list[bytes], sent: dict[str, Trace], refinery_program: Path, tmp_path: Path
) -> None:
    project = new_project(tmp_path / "project")
    write(project, "refinery", *POLICY)
    with Ingest() as ingest, Refinery(refinery_program, project, ingest.url) as refinery:
        replay(recorded, refinery.endpoints)
        wait_until(lambda: refinery.decided == len(sent), "decisions")
        assert refinery.metric("incoming_router_dropped") == 0
        refinery.stop()

    check(sent, ingest.traces, RATE)
    assert {event.reason for event in ingest.events} == {"errors", "slow", "expensive", "rest"}


def test_weights_of_services_that_sample_are_multiplied(
    record: Record, refinery_program: Path, tmp_path: Path
) -> None:
    recorded = record(2_000, **SAMPLING)
    sent = traces(decode(recorded))
    project = new_project(tmp_path / "project")
    write(project, "refinery", *POLICY)
    with Ingest() as ingest, Refinery(refinery_program, project, ingest.url) as refinery:
        replay(recorded, refinery.endpoints)
        wait_until(lambda: refinery.decided == len(sent), "decisions")
        refinery.stop()

    check(sent, ingest.traces, RATE)
    check_total(2_000, ingest.traces, 4 * RATE)


def test_two_nodes_share_traces(
    recorded: list[bytes], sent: dict[str, Trace], refinery_program: Path, tmp_path: Path
) -> None:
    project = new_project(tmp_path / "project")
    write(project, "refinery", "--nodes=2", *POLICY)
    ports = (fixed_port(), fixed_port())
    # On one host instead of two, the nodes have one name and two ports.
    peers = {"PeerManagement": {"Peers": [f"http://127.0.0.1:{port}" for port in ports]}}
    with (
        Ingest() as ingest,
        Refinery(refinery_program, project, ingest.url, peers, peer=ports[0]) as first,
        Refinery(refinery_program, project, ingest.url, peers, peer=ports[1]) as second,
    ):
        # Each trace arrives at both nodes.
        replay(recorded, first.endpoints, second.endpoints)
        wait_until(lambda: first.decided + second.decided == len(sent), "decisions")
        share = first.decided / len(sent)
        first.stop()
        second.stop()

    check(sent, ingest.traces, RATE)
    assert 0.3 < share < 0.7


def test_restart_loses_only_traces_that_are_not_decided(
    shops: Shops, sent: dict[str, Trace], refinery_program: Path, tmp_path: Path
) -> None:
    project = new_project(tmp_path / "project")
    write(project, "refinery", "--sample-rate=1")
    with (
        Ingest() as ingest,
        Refinery(refinery_program, project, ingest.url, INCOMPLETE_TRACES) as refinery,
        shops.serve(refinery.endpoints) as shop,
    ):
        with shop.load() as answered:
            wait_for(2_000, answered)
            undecided = refinery.pending
            refinery.stop()
            wait_for(1_000, answered)
            refinery.start()
            restarted = len(answered)
            wait_for(1_000, answered)
        shop.stop()
        wait_until(lambda: refinery.pending == 0, "decisions")
        refinery.stop()

    missing = lost(answered, ingest.traces.values(), spans_in_a_trace(sent))
    print(f"{len(missing)} of {len(answered)} traces lost or incomplete, {undecided:.0f} undecided")
    # The services keep their spans while Refinery is down, and Refinery discards what it has accepted.
    for service in shop.services.values():
        [_, recovered] = export_lines(service.log())
        assert lost_spans(recovered) == 0
    assert missing
    assert not missing & {*answered[:100], *answered[restarted:]}


def test_events_are_lost_after_one_retry_while_honeycomb_is_unavailable(
    recorded: list[bytes], refinery_program: Path, tmp_path: Path
) -> None:
    project = new_project(tmp_path / "project")
    write(project, "refinery", "--sample-rate=1")
    with (
        Ingest() as ingest,
        Refinery(refinery_program, project, ingest.url, INCOMPLETE_TRACES) as refinery,
    ):
        # Refinery has to know the key.
        assert post(refinery.endpoints) == 200
        ingest.status = 503
        replay(recorded[:3], refinery.endpoints)
        spans = sum(1 for _ in decode(recorded[:3]))
        wait_until(lambda: refinery.metric("libhoney_upstream_response_errors") >= spans, "losses")
        ingest.status = 200
        refinery.stop()

    assert not ingest.events


def test_spans_are_accepted_and_discarded_while_the_key_cannot_be_checked(
    recorded: list[bytes], refinery_program: Path, tmp_path: Path
) -> None:
    project = new_project(tmp_path / "project")
    write(project, "refinery")
    with Refinery(refinery_program, project, f"http://127.0.0.1:{fixed_port()}") as refinery:
        assert post(refinery.endpoints, body=recorded[0]) == 200
        assert refinery.metric("trace_accepted") == 0
        assert refinery.metric("incoming_router_dropped") == 0


def test_metrics_and_logs_outside_a_trace_are_forwarded(
    refinery_program: Path, tmp_path: Path
) -> None:
    project = new_project(tmp_path / "project")
    write(project, "refinery")
    with Ingest() as ingest, Refinery(refinery_program, project, ingest.url) as refinery:
        post_log_and_metric(refinery.endpoints)
        wait_until(lambda: bool(ingest.logs and ingest.metrics), "a log record and a metric")

    assert ingest.logs == ["sold out"]
    assert ingest.metrics == [("", "sales")]


def test_wrong_key_is_rejected(refinery_program: Path, tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    write(project, "refinery")
    with Ingest() as ingest, Refinery(refinery_program, project, ingest.url) as refinery:
        assert post(refinery.endpoints, "0" * 32) == 401
        assert post(refinery.endpoints) == 200
