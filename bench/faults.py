"""Measure throughput and p99 of a service whose receiver fails, next to one with a healthy receiver.

    uv run bench/faults.py [--quick] [FAULT ...]

Two rendered services (mock provider, SQLite) run at the same time, one with a healthy receiver and
one with a fault. Load alternates between them, a fraction of a second each. A ratio of 1.00 means no
difference; the row "healthy" compares two healthy ones, and so shows the noise of the machine.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Final

from rich import box
from rich.progress import track
from rich.table import Table

from bench.environments import PROJECT, ROOT, render
from bench.process import Process
from bench.report import new_console
from tests.conftest import Workshop
from tests.fakes.receiver import FAULTS, Fault, FaultyReceiver
from tests.service.process import Service

CONNECTIONS: Final = 2
REQUESTS: Final = 100
# Each fault occurs several times a second; the timeout of an export is the default.
VARIABLES: Final = {"OTEL_BSP_SCHEDULE_DELAY": "200", "HONEYCOMB_API_KEY": "a-key-for-the-bench"}
# In memory, so that the disk is not measured.
DATABASES: Final = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


def main() -> None:
    options = _options()
    turns = 8 if options.quick else 24
    faults = [fault for fault in FAULTS if not options.faults or fault in options.faults]
    titles = ("receiver", "throughput, ratio", "p99, ratio", "requests/s", "p99, ms")
    table = Table(*titles, box=box.MARKDOWN)
    console = new_console()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        databases = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=DATABASES)))
        project = render(str(ROOT), folder / PROJECT)
        workshop = Workshop(folder)
        workshop.install(project)

        @contextmanager
        def serving(name: str, fault: Fault | None) -> Iterator[Service]:
            with (
                FaultyReceiver(fault) as receiver,
                Service(
                    workshop,
                    project,
                    OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
                    DATABASE_URL=f"sqlite:///{databases}/{name}.db",
                    **VARIABLES,
                ) as service,
            ):
                for _ in range(3):
                    _load(service)
                yield service

        control = stack.enter_context(serving("control", None))
        for fault in track((None, *faults), console=console, transient=True):
            healthy: list[list[float]] = []
            faulty: list[list[float]] = []
            with serving("measured", fault) as measured:
                for turn in range(turns):
                    pair = ((control, healthy), (measured, faulty))
                    for service, latencies in pair if turn % 2 else reversed(pair):
                        latencies.append(_load(service))
            table.add_row(*_row(fault or "healthy", healthy, faulty))
    console.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a third of the time")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="by default, all of them")
    return parser.parse_args()


def _load(service: Service) -> list[float]:
    """Send requests and return the latency of each, in seconds."""
    port = service.url.rpartition(":")[2]
    arguments = (port, str(CONNECTIONS), str(REQUESTS))
    with Process(sys.executable, "bench.load", *arguments) as load:
        latencies: list[float] = load.started["seconds"]
        return latencies


def _row(name: str, healthy: list[list[float]], faulty: list[list[float]]) -> list[str]:
    ratios = [
        _throughput(measured) / _throughput(control)
        for measured, control in zip(faulty, healthy, strict=True)
    ]
    low, middle, high = statistics.quantiles(ratios, n=4)
    all_faulty, all_healthy = list(chain(*faulty)), list(chain(*healthy))
    return [
        name,
        f"{middle:.2f} ({low:.2f} to {high:.2f})",
        f"{_p99(all_faulty) / _p99(all_healthy):.2f}",
        f"{_throughput(all_faulty):.0f}",
        f"{_p99(all_faulty) * 1000:.1f}",
    ]


def _throughput(latencies: list[float]) -> float:
    """Requests per second."""
    return CONNECTIONS * len(latencies) / sum(latencies)


def _p99(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=100)[98]


if __name__ == "__main__":
    main()
