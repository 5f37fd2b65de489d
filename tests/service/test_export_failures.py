"""Export failures: the service responds as before, logs one line, and recovers."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from ..conftest import Workshop
from ..fakes.receiver import FAULTS, Fault, FaultyReceiver
from .messages import EXPORT_FAILED, NO_RESPONSE, REASONS, export_lines, lost_spans
from .process import Program, Service, wait_until
from .traces import PROMPT, SPANS

KEY: Final = "a-key-for-tests"
# A request with one of these responses is not retried, as it would be rejected again.
FINAL: Final = ("302", "400", "401", "413")


@dataclass(frozen=True)
class Exporting:
    """A running service and the receiver that it exports to."""

    receiver: FaultyReceiver
    service: Service

    def send(self, times: int) -> int:
        """Create `times` sessions, and return the number of spans of their traces."""
        for _ in range(times):
            status, session = self.service.post("/api/sessions", PROMPT)
            assert (status, session["status"]) == (201, "validated")
        return times * SPANS

    def lines(self) -> list[str]:
        return export_lines(self.service.log())

    def settle(self) -> None:
        """Export everything, and forget the spans so far."""
        self.receiver.fault = None
        _, session = self.service.post("/api/sessions", PROMPT)

        def is_exported() -> bool:
            spans = self.receiver.spans
            traces = {
                span.trace_id
                for span in spans
                if span.attributes.get("session.id") == session["id"]
            }
            return sum(span.trace_id in traces for span in spans) == SPANS

        wait_until(is_exported, "the trace of a request to a healthy receiver")
        self.receiver.clear()


@pytest.fixture(scope="module")
def running(project: Path, workshop: Workshop) -> Iterator[Exporting]:
    with (
        FaultyReceiver() as receiver,
        Service(
            workshop,
            project,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_EXPORTER_OTLP_TIMEOUT="5",
            OTEL_BSP_SCHEDULE_DELAY="100",
            HONEYCOMB_API_KEY=KEY,
        ) as service,
    ):
        yield Exporting(receiver, service)


@pytest.fixture
def exporting(running: Exporting) -> Exporting:
    running.settle()
    return running


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault not in ("half a body", "429, retry after 1 h")]
)
def test_export_failure_is_logged_once_and_so_is_the_recovery(
    fault: Fault, exporting: Exporting
) -> None:
    receiver = exporting.receiver
    count = len(exporting.lines())

    receiver.fault = fault
    sent = exporting.send(2)
    wait_until(lambda: len(exporting.lines()) > count, "a line about the failure")
    sent += exporting.send(2)
    if fault != "refuses":
        # The next request or a retry: it is not logged.
        receiver.wait_for_requests(len(receiver.requests) + 1)
    sent += exporting.send(2)
    [failure] = exporting.lines()[count:]
    receiver.fault = None
    sent += exporting.send(1)
    wait_until(lambda: len(exporting.lines()) > count + 1, "a line about the recovery")
    [_, recovery] = exporting.lines()[count:]
    lost = lost_spans(recovery)
    spans = receiver.wait_for(sent - lost)

    assert failure.startswith(EXPORT_FAILED)
    assert f"{receiver.endpoint}/v1/traces" in failure or fault == "401"
    for words in REASONS[fault]:
        assert words in failure
    assert failure.isprintable()
    assert len(failure) < 400
    assert lost > 0 if fault in FINAL else lost == 0
    assert len({span.span_id for span in spans}) == len(spans) == sent - lost
    assert set(receiver.paths) == {"/v1/traces"}
    log = exporting.service.log()
    assert KEY not in log
    assert "Traceback" not in log


def test_truncated_response_body_counts_as_its_status(exporting: Exporting) -> None:
    count = len(exporting.lines())

    exporting.receiver.fault = "half a body"
    for requests in (1, 2, 3):
        exporting.send(1)
        exporting.receiver.wait_for_requests(requests)

    assert len(exporting.lines()) == count


def test_shutdown_does_not_wait_until_a_retry_is_allowed(project: Path, workshop: Workshop) -> None:
    with (
        FaultyReceiver("429, retry after 1 h") as receiver,
        Service(workshop, project, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as service,
    ):
        exporting = Exporting(receiver, service)
        sent = exporting.send(2)
        wait_until(lambda: bool(exporting.lines()), "a line about the failure")
        receiver.fault = None
        service.stop()

    failure, recovery = exporting.lines()
    assert all(words in failure for words in REASONS["429, retry after 1 h"])
    assert lost_spans(recovery) == 0
    assert len(receiver.spans) == sent


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        ("black hole", signal.SIGTERM),
        ("black hole", signal.SIGINT),
        ("one byte every 10 s", signal.SIGTERM),
    ],
)
def test_shutdown_does_not_wait_for_a_receiver_that_does_not_respond(
    fault: Fault, how: signal.Signals, project: Path, workshop: Workshop
) -> None:
    with (
        FaultyReceiver(fault) as receiver,
        Service(
            workshop,
            project,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            # Longer than this test waits for the service to exit. bench/shutdown.py measures the time.
            OTEL_EXPORTER_OTLP_TIMEOUT="600",
            OTEL_BSP_SCHEDULE_DELAY="50",
        ) as service,
    ):
        exporting = Exporting(receiver, service)
        sent = exporting.send(2)
        receiver.wait_for_requests(1)
        sent += exporting.send(50)
        service.stop(how)

    failure, stopped = exporting.lines()
    assert NO_RESPONSE in failure
    assert lost_spans(stopped) == sent


FLUSHES: Final = """
from order_intake.observability import flush, setup_observability, traced

setup_observability()
while True:
    with traced("work"):
        pass
    flush(3_600)
    print("returned", flush=True)
    if input() == "end":
        break
"""


def test_flush_returns_when_an_export_fails(project: Path, workshop: Workshop) -> None:
    faults: tuple[Fault, ...] = ("refuses", "401", "503", "429, retry after 1 h")
    with (
        FaultyReceiver() as receiver,
        Program(
            workshop, project, FLUSHES, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint
        ) as program,
    ):
        assert program.step() == "returned"
        for fault in faults:
            receiver.fault = fault
            program.go_on()
            # Without waiting for the timeout, which is an hour.
            assert program.step() == "returned"
        receiver.fault = None
        program.go_on()
        assert program.step() == "returned"
        program.go_on("end")
        program.end()

    _, recovery = export_lines(program.log())
    lost = lost_spans(recovery)
    # The span that was rejected with 401, and perhaps one that was queued behind it.
    assert lost in (1, 2)
    assert len(receiver.spans) + lost == 1 + len(faults) + 1


SHUTDOWN: Final = """
import time

from opentelemetry import trace
from order_intake.observability import flush, setup_observability, traced

setup_observability()
with traced("work"):
    pass
times = [time.monotonic()]
for wait in (lambda: flush(3), trace.get_tracer_provider().shutdown):
    wait()
    times.append(time.monotonic())
flushed, shut_down, end = times
print(end - shut_down < shut_down - flushed)
"""


def test_shutdown_does_not_wait_again_for_spans_that_a_flush_could_not_export(
    project: Path, workshop: Workshop
) -> None:
    with FaultyReceiver("black hole") as receiver:
        printed = workshop.python(
            project,
            SHUTDOWN,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            # A failed export would end the second wait.
            OTEL_EXPORTER_OTLP_TIMEOUT="600",
        )

    # The flush, which waits three seconds, is the control: a second wait would be longer.
    assert printed.splitlines()[-1] == "True"
