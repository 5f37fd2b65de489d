"""Measure a service whose exports fail: the time that a shutdown takes, and event loop delays.

    uv run bench/shutdown.py [FAULT ...]

Both have a bound on a machine without other load: a shutdown takes at most 6 seconds, and the event
loop is blocked for less than 5 milliseconds. tests/service checks the same behaviour without a clock.
The healthy receiver in the first row is the control.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from rich import box
from rich.progress import track
from rich.table import Table

from bench.environments import ROOT, render
from bench.report import new_console
from tests.conftest import Workshop
from tests.fakes.receiver import FAULTS, Fault, FaultyReceiver
from tests.service.process import Service

PROMPT: Final = {"prompt": "Write a hello world function in Python"}
PERIODS: Final = 8

# Without a server: only the event loop matters. Prints the longest delay of each period.
EVENT_LOOP: Final = f"""
import asyncio
import time

from bench_service.observability import setup_observability, traced

setup_observability()


async def serve():
    while True:
        with traced("request", {{"app.kind": "a"}}):
            for number in range(9):
                with traced("step", {{"app.number": number, "app.text": "x" * 200}}):
                    pass
        await asyncio.sleep(0.002)


async def longest_delay(seconds):
    longest, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - before - 0.001)
    return longest


async def main():
    serving = asyncio.create_task(serve())
    for _ in range({PERIODS}):
        print("delay", await longest_delay(0.4))


asyncio.run(main())
"""


def shutdown_seconds(workshop: Workshop, project: Path, fault: Fault | None) -> float:
    """Return the time from SIGTERM to the exit of a service with pending spans."""
    with (
        FaultyReceiver(fault) as receiver,
        Service(workshop, project, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as service,
    ):
        for _ in range(20):
            service.post("/api/sessions", PROMPT)
        # Prices are loaded after the first request.
        time.sleep(2)
        before = time.perf_counter()
        service.stop()
        return time.perf_counter() - before


def event_loop_delays(workshop: Workshop, project: Path, fault: Fault | None) -> list[float]:
    """Return the longest delay of the event loop in each period, while exports are due."""
    with FaultyReceiver(fault) as receiver:
        printed = workshop.python(
            project,
            EVENT_LOOP,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_EXPORTER_OTLP_TIMEOUT="0.2",
            OTEL_BSP_SCHEDULE_DELAY="50",
        )
    lines = [line.split() for line in printed.splitlines()]
    return [float(words[1]) for words in lines if words[0] == "delay"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="by default, all of them")
    arguments = parser.parse_args()
    faults = [fault for fault in FAULTS if not arguments.faults or fault in arguments.faults]

    table = Table(
        "receiver",
        "shutdown, s",
        "event loop delay, ms: least",
        "median",
        "most",
        box=box.MARKDOWN,
    )
    with tempfile.TemporaryDirectory() as folder:
        project = render(str(ROOT), Path(folder) / "bench-service")
        workshop = Workshop(Path(folder))
        workshop.install(project)
        for fault in track((None, *faults), transient=True):
            seconds = shutdown_seconds(workshop, project, fault)
            delays = event_loop_delays(workshop, project, fault)
            figures = (min(delays), statistics.median(delays), max(delays))
            milliseconds = [f"{1000 * delay:.1f}" for delay in figures]
            table.add_row(fault or "healthy", f"{seconds:.2f}", *milliseconds)
    new_console().print(table)


if __name__ == "__main__":
    main()
