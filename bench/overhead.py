"""Measure what telemetry costs a service: the rendered module next to the guide and logfire.

    uv run bench/overhead.py [--quick] [--json FILE] [--template TEMPLATE]

One application (service/app.py) is served with each of them in turn, in separate environments, and
exports to a receiver on this machine. Each round measures all of them, in a different order each
time. The cost of a variant is its difference to the bare application in the same round.
"""

import argparse
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.environments import (
    BARE,
    GUIDE,
    LOGFIRE,
    MODULE,
    ROOT,
    SAMPLED,
    Environments,
    Variant,
)
from bench.process import Process
from bench.report import conditions, describe, new_console, save

VARIANTS: Final = (BARE, GUIDE, LOGFIRE, MODULE, SAMPLED)
CONNECTIONS: Final = 2
WARM_UP_REQUESTS: Final = 400


@dataclass(frozen=True)
class Measured:
    """One variant in one round. Times are in seconds, per request unless noted."""

    start_cpu: float
    """Importing everything and setting up, in a new process with compiled bytecode."""
    start_wall: float
    first_trace_cpu: float
    """From the start of the process until its first request is exported, deferred work included."""
    cpu: float
    """All threads, until every span is exported."""
    p50: float
    p99: float
    events: float
    """Events that Honeycomb bills: spans, their events and their links."""
    wire_bytes: float
    """Everything that the receiver reads from TCP: headers, framing, body."""
    unpacked_bytes: float
    memory_mb: float
    """Resident after the load."""


Rounds = list[dict[str, Measured]]
Value = Callable[[Measured, Measured, Measured], float]


@dataclass(frozen=True)
class Row:
    """A line of the table; `value` is computed from a variant, the bare one and the guide."""

    title: str
    value: Value
    places: int = 0
    target: str = ""
    bare: bool = True
    """Applies to the bare application too."""


ROWS: Final = (
    Row("CPU a request, µs", lambda this, bare, guide: this.cpu * 1e6),
    Row(
        "CPU added a request, µs", lambda this, bare, guide: (this.cpu - bare.cpu) * 1e6, bare=False
    ),
    Row(
        "  in % of the guide's",
        lambda this, bare, guide: 100 * (this.cpu - bare.cpu) / (guide.cpu - bare.cpu),
        bare=False,
    ),
    Row("p50 of a request, ms", lambda this, bare, guide: this.p50 * 1e3, places=2),
    Row("p99 of a request, ms", lambda this, bare, guide: this.p99 * 1e3, places=2),
    Row(
        "events a request",
        lambda this, bare, guide: this.events,
        places=2,
        target="6; 1 in 10: 0.6",
        bare=False,
    ),
    Row("bytes sent a request", lambda this, bare, guide: this.wire_bytes, bare=False),
    Row(
        "  in % of them unpacked",
        lambda this, bare, guide: 100 * this.wire_bytes / this.unpacked_bytes,
        target="< 100: gzip",
        bare=False,
    ),
    Row(
        "CPU added to start-up, ms",
        lambda this, bare, guide: (this.start_cpu - bare.start_cpu) * 1e3,
        target="≤ 100",
        bare=False,
    ),
    Row(
        "time added to start-up, ms",
        lambda this, bare, guide: (this.start_wall - bare.start_wall) * 1e3,
        bare=False,
    ),
    Row(
        "CPU added to first trace, ms",
        lambda this, bare, guide: (this.first_trace_cpu - bare.first_trace_cpu) * 1e3,
        bare=False,
    ),
    Row("memory after the load, MB", lambda this, bare, guide: this.memory_mb),
)


def main() -> None:
    options = _options()
    console = new_console()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="overhead-")))
        receiver = stack.enter_context(Process(sys.executable, "bench.receiver"))
        versions = {}
        with console.status("Making the environments"):
            environments = Environments(folder, options.template)
            for variant in VARIANTS:
                versions[variant.name] = environments.make(variant)
                # Discarded: includes one-time work such as compiling bytecode.
                _measure(environments, variant, receiver, options.requests)
        rounds: Rounds = []
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("Measuring", total=options.rounds * len(VARIANTS))
            for number in range(options.rounds):
                measured = {}
                first = number % len(VARIANTS)
                for variant in VARIANTS[first:] + VARIANTS[:first]:
                    measured[variant.name] = _measure(
                        environments, variant, receiver, options.requests
                    )
                    progress.advance(task)
                rounds.append(measured)
    report = {
        **conditions(),
        "rounds": len(rounds),
        "requests_a_round": options.requests,
        "connections": CONNECTIONS,
        "versions": versions,
        "summary": _summary(rounds),
        "measured": [{name: asdict(one) for name, one in each.items()} for each in rounds],
    }
    _print(console, report)
    save(report, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds of fewer requests")
    parser.add_argument("--rounds", type=int, help="how often each variant is measured")
    parser.add_argument("--requests", type=int, help="requests per measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the numbers to FILE")
    parser.add_argument(
        "--template",
        default=str(ROOT),
        help="folder or git URL of the template; by default this checkout, uncommitted changes "
        "included",
    )
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 9)
    options.requests = options.requests or (1_000 if options.quick else 3_000)
    return options


def _measure(
    environments: Environments, variant: Variant, receiver: Process, requests: int
) -> Measured:
    port = _free_port()
    with Process(
        environments.python(variant),
        "bench.service.serve",
        variant.module,
        str(port),
        variables=environments.variables(variant, receiver.started),
    ) as service:
        _wait_until_listening(port)
        _load(port, connections=1, requests=1)
        first_trace = service.ask("flush")
        _load(port, CONNECTIONS, WARM_UP_REQUESTS)
        before = service.ask("flush")
        receiver.ask("count")
        latencies = _load(port, CONNECTIONS, requests)
        after = service.ask("flush")
        received = receiver.ask("count")
    percentiles = statistics.quantiles(latencies, n=100)
    answered = len(latencies)
    return Measured(
        start_cpu=service.started["cpu_seconds"],
        start_wall=service.started["wall_seconds"],
        first_trace_cpu=first_trace["cpu_seconds"],
        cpu=(after["cpu_seconds"] - before["cpu_seconds"]) / answered,
        p50=percentiles[49],
        p99=percentiles[98],
        events=received["events"] / answered,
        wire_bytes=received["wire_bytes"] / answered,
        unpacked_bytes=received["unpacked_bytes"] / answered,
        memory_mb=after["memory_mb"],
    )


def _load(port: int, connections: int, requests: int) -> list[float]:
    """Send `requests` and return the latency of each, in seconds."""
    arguments = map(str, (port, connections, requests))
    with Process(sys.executable, "bench.load", *arguments) as load:
        latencies: list[float] = load.started["seconds"]
        return latencies


def _summary(rounds: Rounds) -> dict[str, dict[str, dict[str, float]]]:
    """Median and quartiles over the rounds, by row and variant."""
    return {
        row.title.strip(): {
            variant.name: _quartiles(
                [
                    row.value(each[variant.name], each[BARE.name], each[GUIDE.name])
                    for each in rounds
                ]
            )
            for variant in VARIANTS
            if row.bare or variant is not BARE
        }
        for row in ROWS
    }


def _quartiles(values: list[float]) -> dict[str, float]:
    low, median, high = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    )
    return {"median": median, "first_quartile": low, "third_quartile": high}


def _print(console: Console, report: Mapping[str, Any]) -> None:
    table = Table(box=box.MARKDOWN)
    table.add_column("", no_wrap=True)
    for variant in VARIANTS:
        table.add_column(variant.name, justify="right", no_wrap=True)
    table.add_column("target", no_wrap=True)
    for row in ROWS:
        values = report["summary"][row.title.strip()]
        cells = (_cell(values.get(variant.name), row.places) for variant in VARIANTS)
        table.add_row(row.title, *cells, row.target)
    console.print(table)
    console.print(
        f"\nMedians of {report['rounds']} rounds of {report['requests_a_round']:,} requests over"
        f" {report['connections']} connections, ± half of the interquartile range.\n"
        "The guide exports over gRPC without compression, as written; logfire and the module over"
        f" HTTP.\n{describe(report, report['versions'].values())}"
    )


def _cell(value: Mapping[str, float] | None, places: int) -> str:
    if value is None:
        return ""
    spread = (value["third_quartile"] - value["first_quartile"]) / 2
    return f"{value['median']:,.{places}f} ± {spread:,.{places}f}"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _wait_until_listening(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


if __name__ == "__main__":
    main()
