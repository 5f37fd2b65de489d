"""The export queue: it never blocks the event loop, is bounded, and survives a lack of threads."""

from pathlib import Path
from typing import Final

from hooks.traces.receiver import Receiver

from ..conftest import Workshop
from ..fakes.receiver import FaultyReceiver
from .messages import QUEUE_FULL, export_lines, lost_spans
from .process import Program

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
    assert QUEUE_FULL in full
    assert lost_spans(recovery) + len(receiver.spans) == 1 + 120_000 + 300 + 12_000
    # It is full, up to the size of one batch. Objects around small spans weigh as much again.
    queued = sum(len(str(span.attributes["app.text"])) for span in receiver.spans)
    assert 0.8 * bound < queued <= bound
    assert grown < 4 * bound


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
