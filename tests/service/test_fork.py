"""Processes that are forked after set-up export their own spans, and only those."""

from pathlib import Path
from typing import Final

import pytest

from hooks.traces.receiver import Receiver

from ..conftest import Workshop
from ..depth import in_depth

# Threads create spans all the while, so that locks are held at many of the forks.
PROGRAM: Final = """
import multiprocessing
import sys
import threading
import time

from order_intake.observability import TokenUsage, flush, llm_call, setup_observability, traced

setup_observability()
is_over = threading.Event()
created = [0] * 3


def work(thread):
    while not is_over.is_set():
        with traced("in parent"):
            created[thread] += 1
        time.sleep(0.001)


def in_child(number):
    with traced("in child"):
        with llm_call("anthropic", "claude-sonnet-4-6") as call:
            call.record_usage(TokenUsage(input_tokens=10, output_tokens=1))
    # Ten processes load the prices at once.
    flush(100)


threads = [threading.Thread(target=work, args=[thread]) for thread in range(3)]
for thread in threads:
    thread.start()
if sys.argv[1] == "loading prices":
    with llm_call("anthropic", "claude-sonnet-4-6") as call:
        call.record_usage(TokenUsage(input_tokens=10, output_tokens=1))
elif sys.argv[1] == "exporting":
    flush(100)
context = multiprocessing.get_context("fork")
children = [context.Process(target=in_child, args=[number]) for number in range(10)]
for child in children:
    child.start()
    time.sleep(0.004)
for child in children:
    child.join(120)
    if child.exitcode is None:
        child.kill()
is_over.set()
for thread in threads:
    thread.join()
flush(100)
print(sum(created), [child.exitcode for child in children])
"""


# The state of the parent at the fork and the sample rate meet different locks; both rates meet both
# ends, and the other combinations add repetitions.
@pytest.mark.parametrize(
    ("parent", "rate"),
    [
        ("exporting", "1"),
        pytest.param("exporting", "1000000", marks=in_depth),
        ("connecting", "1000000"),
        pytest.param("connecting", "1", marks=in_depth),
        ("loading prices", "1"),
        pytest.param("loading prices", "1000000", marks=in_depth),
    ],
)
def test_forked_processes_export_their_own_spans_only(
    parent: str, rate: str, project: Path, workshop: Workshop
) -> None:
    with Receiver() as receiver:
        printed = workshop.tool(
            project,
            "python",
            "-c",
            PROGRAM,
            parent,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_BSP_SCHEDULE_DELAY="1",
            HONEYCOMB_SAMPLE_RATE=rate,
            HONEYCOMB_KEEP_SLOW_MS="0.000001",
        )

    created, exit_codes = printed.strip().split(" ", 1)
    assert exit_codes == str([0] * 10), printed
    names = [span.name for span in receiver.spans]
    assert names.count("in child") == 10
    assert names.count("llm.call") == 10 + (parent == "loading prices")
    assert names.count("in parent") == int(created)
    assert len({span.span_id for span in receiver.spans}) == len(names)
