"""Export failures: the service responds as before, logs one line, and recovers."""

import signal
import socket
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest

from hooks.demo.receiver import Receiver

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
        exporting.send(2)
        receiver.wait_for_requests(1)
        exporting.send(50)
        service.stop(how)

    [line] = exporting.lines()
    assert NO_RESPONSE in line


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


# In the service's environment, without a server: only the event loop matters.
EVENT_LOOP: Final = """
import asyncio

from order_intake.observability import setup_observability, traced

setup_observability()


async def serve(requests):
    for _ in range(requests):
        with traced("request", {"app.kind": "a"}):
            for number in range(9):
                with traced("step", {"app.number": number, "app.text": "x" * 200}):
                    await asyncio.sleep(0)


async def main():
    await serve(1)
    input()
    await serve(500)
    print("served", flush=True)
    input()


asyncio.run(main())
"""


def test_event_loop_runs_while_an_export_is_unanswered(project: Path, workshop: Workshop) -> None:
    with FaultyReceiver() as receiver:
        receiver.hold()
        with Program(
            workshop,
            project,
            EVENT_LOOP,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_EXPORTER_OTLP_TIMEOUT="3600",
            OTEL_BSP_SCHEDULE_DELAY="50",
        ) as program:
            receiver.wait_for_requests(1)
            program.go_on()
            assert program.step() == "served"
            # Ten batches are due by now, but the first request has not been answered yet.
            assert (len(receiver.requests), receiver.spans) == (1, [])
            receiver.release()
            program.go_on()
            program.end()

    assert len(receiver.spans) == 501 * 10


FASTER_THAN_EXPORTED: Final = """
import resource

from order_intake.observability import flush, setup_observability, traced

setup_observability()


def create(count, size):
    text = "x" * size
    for _ in range(count):
        with traced("work", {"app.text": text}):
            pass


create(1, 1)
input()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
# Each of these is more than the queue holds.
create(120_000, 10)
create(300, 100_000)
create(12_000, 2_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, flush=True)
input()
flush(100)
"""


def test_queue_is_bounded_and_dropped_spans_are_counted(project: Path, workshop: Workshop) -> None:
    bound = 16_000_000
    with FaultyReceiver() as receiver:
        receiver.hold()
        with Program(
            workshop,
            project,
            FASTER_THAN_EXPORTED,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_EXPORTER_OTLP_TIMEOUT="3600",
        ) as program:
            receiver.wait_for_requests(1)
            program.go_on()
            grown = int(program.step()) * 1024
            receiver.release()
            program.go_on()
            program.end()

    full, recovery = export_lines(program.log())
    assert "HONEYCOMB_SAMPLE_RATE" in full
    assert lost_spans(recovery) + len(receiver.spans) == 1 + 120_000 + 300 + 12_000
    # It is full, up to the size of one batch. Objects around small spans weigh as much again.
    queued = sum(len(str(span.attributes["app.text"])) for span in receiver.spans)
    assert 0.8 * bound < queued <= bound
    assert grown < 4 * bound


@pytest.fixture
def refusing_proxy() -> Iterator[tuple[int, list[str]]]:
    """A proxy that wants other credentials: its port, and the requests to it."""
    requests: list[str] = []

    def refuse() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                requests.append(connection.recv(65_536).decode("latin-1").lower())
                connection.sendall(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
                )

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=refuse, daemon=True).start()
        yield listener.getsockname()[1], requests
        listener.shutdown(socket.SHUT_RDWR)


ONE_SPAN: Final = """
from order_intake.observability import flush, setup_observability, traced

setup_observability()
with traced("work"):
    pass
flush(100)
"""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_receives_its_credentials_and_the_log_does_not(
    scheme: str, project: Path, workshop: Workshop, refusing_proxy: tuple[int, list[str]]
) -> None:
    port, requests = refusing_proxy
    variables: dict[str, Any] = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{scheme}://collector.example",
        f"{scheme}_proxy": f"http://na%40me:c4n4ry@127.0.0.1:{port}",
        "no_proxy": "",
        "NO_PROXY": "",
    }
    log = workshop.python(project, ONE_SPAN, **variables)

    credentials = b64encode(b"na@me:c4n4ry").decode().lower()
    assert all(f"proxy-authorization: basic {credentials}\r\n" in each for each in requests)
    assert requests
    [line] = export_lines(log)
    assert "407" in line
    assert "c4n4ry" not in log


NO_THREADS: Final = """
import threading

from order_intake.observability import flush, llm_call, setup_observability, traced

start = threading.Thread.start


def fail(thread):
    raise RuntimeError("can't start new thread")


def ask():
    with llm_call("anthropic", "claude-sonnet-4-6") as call:
        call.record_usage({"input_tokens": 1, "output_tokens": 1})


setup_observability()
threading.Thread.start = fail
ask()
with traced("work"):
    pass
threading.Thread.start = start
ask()
flush(100)
"""


def test_spans_wait_until_a_thread_can_be_started(project: Path, workshop: Workshop) -> None:
    with Receiver() as receiver:
        workshop.python(project, NO_THREADS, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)

    assert len(receiver.spans) == 3
