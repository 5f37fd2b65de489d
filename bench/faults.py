"""What a service loses to a receiver that fails: its throughput and p99, beside a healthy one.

    uv run bench/faults.py [--quick] [FAULT ...]

Two services that were rendered (mock provider, SQLite) run side by side, one with a healthy receiver
and one with a fault, and are asked in turn, for a fraction of a second each. 1.00 is as with the
healthy one; "healthy" beside a healthy one shows what the machine alone makes of it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Final

import copier
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.conftest import Workshop
from tests.fakes.receiver import FAULTS, Fault, FaultyReceiver
from tests.service.process import Service

CONNECTIONS: Final = 2
REQUESTS: Final = 100
# Each fault is met several times a second; how long one export may take stays as it is.
VARIABLES: Final = {"OTEL_BSP_SCHEDULE_DELAY": "200", "HONEYCOMB_API_KEY": "a-key-for-the-bench"}
# In memory, so that no disk is measured.
DATABASES: Final = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


def render(folder: Path) -> Path:
    project = folder / "bench-faults"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", copier.errors.DirtyLocalWarning)
        copier.run_copy(str(HERE.parent), project, defaults=True, quiet=True, vcs_ref="HEAD")
    return project


def ask(service: Service) -> list[float]:
    """How many seconds each answer took."""
    port = service.url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, str(HERE / "load.py"), port, str(CONNECTIONS), str(REQUESTS)],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds: list[float] = json.loads(done.stdout)["seconds"]
    return seconds


def throughput(seconds: list[float]) -> float:
    """Requests a second."""
    return CONNECTIONS * len(seconds) / sum(seconds)


def p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


def row(name: str, healthy: list[list[float]], faulty: list[list[float]]) -> list[str]:
    ratios = [
        throughput(ours) / throughput(theirs) for ours, theirs in zip(faulty, healthy, strict=True)
    ]
    low, middle, high = statistics.quantiles(ratios, n=4)
    together, beside = list(chain(*faulty)), list(chain(*healthy))
    return [
        name,
        f"{middle:.2f} ({low:.2f} to {high:.2f})",
        f"{p99(together) / p99(beside):.2f}",
        f"{throughput(together):.0f}",
        f"{p99(together) * 1000:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a first look, a third as long")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="by default, all of them")
    arguments = parser.parse_args()
    turns = 8 if arguments.quick else 24
    faults = [fault for fault in FAULTS if not arguments.faults or fault in arguments.faults]

    table = Table(
        "receiver",
        "throughput, ratio",
        "p99, ratio",
        "requests/s",
        "p99, ms",
        box=box.MARKDOWN,
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        databases = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=DATABASES)))
        project = render(folder)
        workshop = Workshop(folder)
        workshop.install(project)

        @contextmanager
        def serving(name: str, fault: Fault | None) -> Iterator[Service]:
            database = f"sqlite:///{databases}/{name}.db"
            with (
                FaultyReceiver(fault) as receiver,
                Service(
                    workshop,
                    project,
                    OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
                    DATABASE_URL=database,
                    **VARIABLES,
                ) as service,
            ):
                for _ in range(3):
                    ask(service)
                yield service

        beside = stack.enter_context(serving("beside", None))
        for fault in track((None, *faults), transient=True):
            healthy: list[list[float]] = []
            faulty: list[list[float]] = []
            with serving("measured", fault) as service:
                for turn in range(turns):
                    for of, times in ((beside, healthy), (service, faulty))[:: 1 - turn % 2 * 2]:
                        times.append(ask(of))
            table.add_row(*row(fault or "healthy", healthy, faulty))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
