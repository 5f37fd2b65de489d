"""Telemetry that cannot be sent: the service answers as before, says so once, and recovers."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from .conftest import Render, Workshop
from .faulty_receiver import FAULTS, Fault, FaultyReceiver
from .service import Service

PROMPT: Final = {"prompt": "Write a hello world function in Python"}
# Of one request.
SPANS: Final = 10
SOON: Final = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
KEY: Final = "a-key-for-tests"

UNREACHABLE: Final = "{endpoint} cannot be reached ({why}). Check the endpoint and the network."
# What the one line says, after "Traces are not sent: ".
REASONS: Final[dict[Fault, str]] = {
    "refuses": UNREACHABLE.replace(
        "{why}", "ConnectionRefusedError: [Errno 111] Connection refused"
    ),
    "black hole": UNREACHABLE.replace("{why}", "no answer within 1 s"),
    "302": "{endpoint} answers with a redirect (302): it takes no traces. Check the endpoint.",
    "400": "{endpoint} refuses the request (400).",
    "401": "the API key was rejected (401). Set HONEYCOMB_API_KEY to an ingest key of this"
    " region's team.",
    "413": "{endpoint} takes no request of this size (413).",
    "429": "{endpoint} takes no more for now (429): its rate limit is reached.",
    "500": "{endpoint} has a fault of its own (500).",
    "503": "{endpoint} has a fault of its own (503).",
    "half a status line": UNREACHABLE.replace("{why}", "BadStatusLine: HTTP/1.1 20"),
    "no answer": UNREACHABLE.replace(
        "{why}", "RemoteDisconnected: Remote end closed connection without response"
    ),
    "endless garbage": UNREACHABLE.replace(
        "{why}", "LineTooLong: got more than 65536 bytes when reading status line"
    ),
    "one byte a second": UNREACHABLE.replace("{why}", "no answer within 1 s"),
}
REASONS["429, retry after 1 s"] = REASONS["429"]
REASONS["429, retry after 1 h"] = REASONS["429"]
# What is answered so is not sent again: the other side would not take it then either.
FINAL: Final = ("302", "400", "401", "413")


@pytest.fixture(scope="module")
def project(render: Render, workshop: Workshop) -> Path:
    project = render()
    workshop.install(project)
    return project


def traces_lines(service: Service) -> list[str]:
    """What the log says about sending traces."""
    return [line for line in service.log().splitlines() if line.startswith("Traces are ")]


def wait_for(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def ask(service: Service, times: int) -> None:
    """Each request is answered as it is where telemetry works."""
    for _ in range(times):
        status, session = service.post("/api/sessions", PROMPT)
        assert (status, session["status"]) == (201, "validated")


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "half a body"])
def test_a_fault_is_said_once_and_so_is_its_end(
    fault: Fault, project: Path, workshop: Workshop
) -> None:
    with (
        FaultyReceiver(fault) as receiver,
        Service(
            workshop,
            project,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            HONEYCOMB_API_KEY=KEY,
            **SOON,
        ) as service,
    ):
        ask(service, 2)
        wait_for(lambda: len(traces_lines(service)) == 1)
        # Time for what is tried again, and for the next request.
        ask(service, 2)
        time.sleep(0.5)
        ask(service, 2)
        [failing] = traces_lines(service)

        receiver.fault = None
        ask(service, 1)
        if fault == "429, retry after 1 h":
            # At most half a minute is waited for; a stop does not wait.
            service.stop()
        wait_for(lambda: len(traces_lines(service)) == 2)
        ask(service, 1 if service.exit_code is None else 0)
        if service.exit_code is None:
            service.stop()

    failing, recovered = traces_lines(service)
    endpoint = f"{receiver.endpoint}/v1/traces"
    if fault == "garbage":
        assert failing.startswith(f"Traces are not sent: {endpoint} cannot be reached (")
        assert failing.endswith("). Check the endpoint and the network.")
        assert failing.isprintable()
        assert len(failing) < 400
    else:
        assert failing == "Traces are not sent: " + REASONS[fault].format(endpoint=endpoint)
    requests = 7 if fault == "429, retry after 1 h" else 8
    lost = requests * SPANS - receiver.spans
    assert recovered == f"Traces are sent again; {lost} spans were lost."
    assert lost > 0 if fault in FINAL else lost == 0
    assert set(receiver.paths) == {"/v1/traces"}
    assert KEY not in service.log()
    assert "Traceback" not in service.log()


def test_an_answer_whose_body_breaks_off_counts_by_its_status(
    project: Path, workshop: Workshop
) -> None:
    with (
        FaultyReceiver("half a body") as receiver,
        Service(
            workshop, project, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **SOON
        ) as service,
    ):
        for count in (1, 2, 3):
            ask(service, 1)
            assert receiver.wait_for_requests(count) >= count
        service.stop()

    assert traces_lines(service) == []


@pytest.mark.parametrize(
    ("fault", "how", "timeout"),
    [
        ("black hole", signal.SIGTERM, "5"),
        ("black hole", signal.SIGINT, "5"),
        ("black hole", signal.SIGINT, "30"),
        ("one byte a second", signal.SIGTERM, "5"),
    ],
)
def test_a_stop_waits_6_seconds_at_most_for_a_receiver_that_does_not_answer(
    fault: Fault, how: signal.Signals, timeout: str, project: Path, workshop: Workshop
) -> None:
    with (
        FaultyReceiver(fault) as receiver,
        Service(
            workshop,
            project,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_EXPORTER_OTLP_TIMEOUT=timeout,
        ) as service,
    ):
        ask(service, 2)
        seconds = service.stop(how)

    # 6 at most on a machine that does nothing else; without a bound it is 10 and more.
    assert seconds < 9
    assert len(traces_lines(service)) == 1


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        (None, signal.SIGTERM),
        (None, signal.SIGINT),
        ("refuses", signal.SIGINT),
        ("401", signal.SIGTERM),
        ("429, retry after 1 h", signal.SIGINT),
        ("503", signal.SIGTERM),
    ],
)
def test_a_stop_waits_for_nothing_where_the_receiver_answers(
    fault: Fault | None, how: signal.Signals, project: Path, workshop: Workshop
) -> None:
    with (
        FaultyReceiver(fault) as receiver,
        Service(workshop, project, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as service,
    ):
        ask(service, 5)
        # Past the moment in which prices are loaded.
        time.sleep(1)
        seconds = service.stop(how)

    # Under 1 on a machine that does nothing else; waiting for the receiver would be 4.5.
    assert seconds < 4
    assert receiver.spans == (5 * SPANS if fault is None else 0)
    assert len(traces_lines(service)) == (0 if fault is None else 1)


def test_a_stop_while_requests_are_sent_in_vain_waits_once(
    project: Path, workshop: Workshop
) -> None:
    with (
        FaultyReceiver("black hole") as receiver,
        Service(
            workshop,
            project,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_BSP_SCHEDULE_DELAY="50",
        ) as service,
    ):
        ask(service, 2)
        assert receiver.wait_for_requests(1) == 1
        ask(service, 50)
        assert service.stop() < 9


# In the service's own environment, without a server: what is watched is the event loop.
EVENT_LOOP = """
import asyncio
import time

from order_intake.observability import setup_observability, traced

setup_observability()


async def serve():
    while True:
        with traced("request", {"app.kind": "a"}):
            for number in range(9):
                with traced("step", {"app.number": number, "app.text": "x" * 200}):
                    pass
        await asyncio.sleep(0.002)


async def longest_block(seconds):
    longest, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - before - 0.001)
    return longest


async def main():
    serving = asyncio.create_task(serve())
    for _ in range(8):
        print(await longest_block(0.4))


asyncio.run(main())
"""


@pytest.mark.parametrize("fault", [None, "black hole", "413"])
def test_the_event_loop_is_never_blocked_over_5_milliseconds(
    fault: Fault | None, project: Path, workshop: Workshop
) -> None:
    python = str(workshop.environment / "bin/python")
    with FaultyReceiver(fault) as receiver:
        printed = workshop.run(
            project,
            python,
            "-c",
            EVENT_LOOP,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_EXPORTER_OTLP_TIMEOUT="0.2",
            OTEL_BSP_SCHEDULE_DELAY="50",
        )

    blocks = [float(line) for line in printed.splitlines() if not line.startswith("Traces")]
    assert len(blocks) == 8
    # Requests go out in each of these periods: what they block, they block in each. Other
    # processes of the machine block it now and then.
    assert min(blocks) < 0.005
    assert sorted(blocks)[4] < 0.02


MEMORY = """
import resource
import sys
from threading import Event

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Status

from order_intake.observability.sending import MAX_QUEUED_BYTES, SpanQueue

answering = Event()
sent = []


class BlackHole:
    def send(self, request):
        answering.wait()
        sent.append(request.count(b"a-span"))

    def close(self):
        pass


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)


queue = SpanQueue(BlackHole, b"", delay=0.01)
span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("a-span")
span.end()
before, taken = peak(), 0
for size in (10, 100_000, 300):
    text = "x" * size
    for _ in range(200_000 if size < 1_000 else 500):
        queue.take(span, {"app.text": text}, [], Status())
        taken += 1
grown = peak() - before
waiting = sum(len(encoded) for _, encoded in queue._spans)
lost = queue.lost
answering.set()
assert queue.flush(20)
print(taken, sum(sent) + lost, MAX_QUEUED_BYTES // 1_000_000, waiting / 1e6, grown)
"""


def test_what_waits_is_bounded_and_what_is_given_up_is_counted(
    project: Path, workshop: Workshop
) -> None:
    python = str(workshop.environment / "bin/python")
    printed = workshop.run(project, python, "-c", MEMORY)

    # Behind what the log says.
    taken, accounted, bound, waiting, grown = map(float, printed.splitlines()[-1].split())
    assert taken == accounted == 400_500
    # It is full, and full of megabytes; objects around small spans weigh as much again.
    assert bound - 1 < waiting <= bound
    assert grown < 4 * bound


SLOW = """
import logging
import sys

logging.basicConfig(format="%(message)s", stream=sys.stdout)

from threading import Semaphore

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Status

from order_intake.observability.sending import SpanQueue

may_answer = Semaphore(0)
sent = 0


class Slow:
    def send(self, request):
        global sent
        may_answer.acquire()
        sent += request.count(b"a-span")

    def close(self):
        pass


queue = SpanQueue(Slow, b"", delay=0.01)
span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("a-span")
span.end()
for _ in range(500):
    queue.take(span, {"app.text": "x" * 100_000}, [], Status())
may_answer.release(1_000)
assert queue.flush(20)
print(500 - sent)
"""


def test_spans_that_come_faster_than_they_are_taken_are_said_to_be_lost(
    project: Path, workshop: Workshop
) -> None:
    python = str(workshop.environment / "bin/python")
    full, again, lost = workshop.run(project, python, "-c", SLOW).splitlines()

    assert full == (
        "Traces are not sent: they come faster than they are taken, and the oldest are lost."
        " Set HONEYCOMB_SAMPLE_RATE to send fewer."
    )
    assert int(lost) > 0
    assert again == f"Traces are sent again; {lost} spans were lost."


PROXIED = """
import socket
from base64 import b64encode
from threading import Thread

listener = socket.create_server(("127.0.0.1", 0))
asked = []


def refuse():
    while True:
        connection, _ = listener.accept()
        asked.append(connection.recv(65_536).decode("latin-1").lower())
        connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\\r\\ncontent-length: 0\\r\\n\\r\\n")
        connection.close()


Thread(target=refuse, daemon=True).start()

import os

port = listener.getsockname()[1]
for scheme in ("http", "https"):
    os.environ[f"{scheme}_proxy"] = f"http://na%40me:c4n4ry@127.0.0.1:{port}"

from order_intake.observability.http_transport import HTTPTransport
from order_intake.observability.honeycomb.api import APIError, HoneycombAPI
from order_intake.observability.settings import Settings

for scheme in ("http", "https"):
    settings = Settings.from_environment(
        variables={"HONEYCOMB_API_ENDPOINT": f"{scheme}://collector.example", "HONEYCOMB_API_KEY": "k"}
    )
    print(HTTPTransport(settings).send(b"").reason)
    try:
        HoneycombAPI(settings, "k", print).exchange("GET", "/1/auth", None)
    except APIError as error:
        print(error)
credentials = b64encode(b"na@me:c4n4ry").decode().lower()
print([request.count(f"proxy-authorization: basic {credentials}\\r\\n") for request in asked])
"""


def test_a_proxy_gets_its_name_and_password(project: Path, workshop: Workshop) -> None:
    python = str(workshop.environment / "bin/python")
    *said, counts = workshop.run(project, python, "-c", PROXIED).splitlines()

    assert counts == "[1, 1, 1, 1]"
    assert "407" in said[0]
    assert "c4n4ry" not in "".join(said)


THREADLESS = """
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
flush()
"""


def test_without_a_thread_to_spare_spans_wait_for_one(project: Path, workshop: Workshop) -> None:
    python = str(workshop.environment / "bin/python")
    with FaultyReceiver() as receiver:
        workshop.run(
            project, python, "-c", THREADLESS, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint
        )

        assert receiver.spans == 3
