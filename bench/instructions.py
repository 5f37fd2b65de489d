"""Count the instructions that telemetry adds to a request and to start-up, with callgrind.

    uv run bench/instructions.py [--json FILE] [--template TEMPLATE]

The counts do not depend on the load of the machine, so they can be compared between runs and
machines with the same packages. One application (service/app.py) is called in process: without
telemetry, traced as the guide does, and traced by the rendered module, with every trace kept and
with 1 in 10 kept. Spans are exported to a receiver in another process. The difference to the
application without telemetry is the cost of tracing; the work of all threads counts.

Exits with 1 if a limit is exceeded. Needs valgrind (`apt-get install valgrind`).
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from os import cpu_count
from pathlib import Path
from typing import Final

from rich import box
from rich.table import Table

from bench.environments import (
    BARE,
    GUIDE,
    MODULE,
    ROOT,
    SAMPLED,
    Environments,
    Variant,
    clean_environment,
)
from bench.process import Process
from bench.report import check_limits, conditions, describe, new_console, save

VARIANTS: Final = (BARE, GUIDE, MODULE, SAMPLED)
WARM_UP_REQUESTS: Final = 100
REQUESTS: Final = 400
EVENTS: Final = {GUIDE.name: 10, MODULE.name: 6}
"""Events of a request; fewer mean that spans were lost."""

_FIXED: Final = {
    "PYTHONHASHSEED": "0",
    # However slowly valgrind runs the application: batches are exported when they are full
    # (milliseconds), and no export times out (seconds).
    "OTEL_BSP_SCHEDULE_DELAY": "60000",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
}
_TOTALS: Final = re.compile(r"^totals: (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Counted:
    """Instructions of one variant."""

    start_up: int
    """Importing and setting up telemetry, creating the application."""
    first_trace: int
    """`start_up` and one request, until its spans are received, deferred imports included."""
    request: float
    """One of many requests, until all of their spans are received."""
    events: float
    """Spans, their events and their links that a request exports."""


@dataclass(frozen=True)
class Row:
    """A line of the table: a value of each variant, next to those of the bare one and the guide."""

    key: str
    title: str
    value: Callable[[Counted, Counted, Counted], float]
    limits: Mapping[str, float]
    """By name of the variant."""
    places: int = 0


ROWS: Final = (
    Row(
        "request",
        "a request, thousand",
        lambda this, bare, guide: this.request / 1e3,
        {},
    ),
    Row(
        "added",
        "added to a request, thousand",
        lambda this, bare, guide: (this.request - bare.request) / 1e3,
        {},
    ),
    Row(
        "share",
        "  in % of the guide's",
        lambda this, bare, guide: (
            100 * (this.request - bare.request) / (guide.request - bare.request)
        ),
        {MODULE.name: 35, SAMPLED.name: 25},
        places=1,
    ),
    Row(
        "start_up",
        "added to start-up, million",
        lambda this, bare, guide: (this.start_up - bare.start_up) / 1e6,
        {MODULE.name: 100, SAMPLED.name: 100},
    ),
    Row(
        "first_trace",
        "added until the first trace is received, million",
        lambda this, bare, guide: (this.first_trace - bare.first_trace) / 1e6,
        {},
    ),
    Row("events", "events a request", lambda this, bare, guide: this.events, {}, places=2),
)


def main() -> None:
    options = _options()
    if not shutil.which("valgrind"):
        raise SystemExit(
            "valgrind is not installed. Install it, for example: apt-get install valgrind"
        )
    console = new_console()
    with tempfile.TemporaryDirectory(prefix="instructions-") as name:
        folder = Path(name)
        with console.status("Making the environments"):
            environments = Environments(folder, options.template)
            versions = {variant.name: environments.make(variant) for variant in VARIANTS}
        with console.status("Counting"), ThreadPoolExecutor(cpu_count()) as pool:
            counted = dict(
                zip(
                    (variant.name for variant in VARIANTS),
                    pool.map(lambda variant: _count(environments, variant, folder), VARIANTS),
                    strict=True,
                )
            )
    for name, expected in EVENTS.items():
        if counted[name].events < expected:
            raise SystemExit(f"{name}: {counted[name].events:.2f} of {expected} events arrived.")
    summary = {
        row.key: {
            name: row.value(each, counted[BARE.name], counted[GUIDE.name])
            for name, each in counted.items()
        }
        for row in ROWS
    }
    exceeded = [
        f"{name}: {row.title.strip()}: {summary[row.key][name]:.{row.places}f} > {limit:g}"
        for row in ROWS
        for name, limit in row.limits.items()
        if summary[row.key][name] > limit
    ]
    report = {
        **conditions(),
        "requests": REQUESTS,
        "versions": versions,
        "summary": summary,
        "counted": {name: asdict(each) for name, each in counted.items()},
        "exceeded": exceeded,
    }
    console.print(_table(summary))
    console.print(f"\nInstructions, by callgrind, of {REQUESTS} requests of six spans each.")
    console.print(describe(report, versions.values()))
    save(report, options.json)
    check_limits(exceeded)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the numbers to FILE")
    parser.add_argument(
        "--template",
        default=str(ROOT),
        help="folder or git URL of the template; by default this checkout, uncommitted changes "
        "included",
    )
    return parser.parse_args()


def _count(environments: Environments, variant: Variant, folder: Path) -> Counted:
    python = str(environments.python(variant))
    arguments = ["-m", "bench.service.in_process", variant.module]
    with Process(sys.executable, "bench.receiver") as receiver:
        variables = {
            **clean_environment(),
            **environments.variables(variant, receiver.started),
            **_FIXED,
        }
        # Not counted: compiles the bytecode.
        _run([python, *arguments, "1", "1"], variables)
        receiver.ask("count")
        profile = folder / f"{variant.name}.profile"
        callgrind = ["--tool=callgrind", "--dump-before=getsid", f"--callgrind-out-file={profile}"]
        requests = [str(WARM_UP_REQUESTS), str(REQUESTS)]
        _run(["valgrind", "--quiet", *callgrind, python, *arguments, *requests], variables)
        received = receiver.ask("count")
    # Between two phases, a collection of garbage has a dump too.
    _, start_up, first_trace, _, measured = (
        _total(profile.with_name(f"{profile.name}.{2 * phase + 1}")) for phase in range(5)
    )
    return Counted(
        start_up=start_up,
        first_trace=start_up + first_trace,
        request=measured / REQUESTS,
        events=received["events"] / (1 + WARM_UP_REQUESTS + REQUESTS),
    )


def _run(command: list[str], variables: Mapping[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def _total(profile: Path) -> int:
    found = _TOTALS.search(profile.read_text())
    if found is None:
        raise SystemExit(f"{profile} contains no totals.")
    return int(found[1])


def _table(summary: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(box=box.MARKDOWN)
    table.add_column("instructions", no_wrap=True)
    for variant in VARIANTS:
        table.add_column(variant.name, justify="right", no_wrap=True)
    table.add_column("limit", no_wrap=True)
    for row in ROWS:
        limits = dict.fromkeys(f"{limit:g}" for limit in row.limits.values())
        table.add_row(
            row.title,
            *(f"{summary[row.key][variant.name]:,.{row.places}f}" for variant in VARIANTS),
            "; ".join(limits),
        )
    return table


if __name__ == "__main__":
    main()
