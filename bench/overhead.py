# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "copier>=9.19.1,<10",
#     "grpcio>=1.76",
#     "opentelemetry-proto>=1.43,<2",
#     "rich>=14",
# ]
# ///
"""What telemetry costs a service: the rendered module beside the guide, logfire and nothing.

    uv run bench/overhead.py [--quick] [--json FILE]

One application (app.py) runs with each of them in turn, in an environment of its own, traced to a
receiver on this machine. Each round measures all of them, in another order than the one before;
what one of them adds is its difference to the bare application in the same round.
"""

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = "bench-service"
CONNECTIONS: Final = 2
WARM_UP_REQUESTS: Final = 400

_SERVICE: Final = ("fastapi", "uvicorn", "sqlalchemy[asyncio]>=2.1,<3")
_GUIDE: Final = (
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry-instrumentation-fastapi",
    "opentelemetry-instrumentation-httpx",
    "opentelemetry-instrumentation-sqlalchemy",
    # What the guide's service has through its LLM SDK.
    "httpx",
)
# Variables that would lead the processes measured here elsewhere, or cost them time.
_FOREIGN: Final = ("HONEYCOMB_", "LOGFIRE_", "MODAL_", "OTEL_", "PYTHON", "VIRTUAL_ENV")
_NAMED: Final = ("fastapi", "logfire", "opentelemetry-sdk", "sqlalchemy", "starlette", "uvicorn")


@dataclass(frozen=True)
class Variant:
    """A way of tracing the application."""

    name: str
    module: str
    """Of the package `telemetry`."""
    packages: tuple[str, ...] = ()
    """Beside those of the application; of the rendered module, its project names them."""
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        return self.module == "module"


BARE: Final = Variant("bare", "bare")
GUIDE: Final = Variant("guide", "guide", _GUIDE)
MODULE: Final = Variant("module", "module")
SAMPLED: Final = Variant("module, 1 in 10", "module", variables={"HONEYCOMB_SAMPLE_RATE": "10"})
VARIANTS: Final = (
    BARE,
    GUIDE,
    Variant("logfire", "with_logfire", ("logfire[fastapi,sqlalchemy]",)),
    MODULE,
    SAMPLED,
)


@dataclass(frozen=True)
class Measured:
    """One variant in one round. Times are in seconds, of one request where nothing else is said."""

    start_cpu: float
    """Of importing everything and setting up, in a fresh process with compiled bytecode."""
    start_wall: float
    first_trace_cpu: float
    """Of the process from its begin until its first request is answered and sent: this has what
    a variant puts off until it is needed."""
    cpu: float
    """Of all threads, until everything is sent."""
    p50: float
    p99: float
    events: float
    """As Honeycomb bills them: spans, their events and their links."""
    wire_bytes: float
    """Everything that the receiver gets over TCP: headers, framing, body."""
    unpacked_bytes: float
    memory_mb: float
    """Resident after the load."""


Rounds = list[dict[str, Measured]]
Value = Callable[[Measured, Measured, Measured], float]


@dataclass(frozen=True)
class Row:
    """A line of the table; `value` gets the variant's, the bare and the guide's measurement."""

    title: str
    value: Value
    places: int = 0
    target: str = ""
    bare: bool = True
    """Whether it says something of the bare application."""
    traced: bool = True


ROWS: Final = (
    Row("CPU a request, µs", lambda this, bare, guide: this.cpu * 1e6, traced=False),
    Row(
        "CPU added a request, µs", lambda this, bare, guide: (this.cpu - bare.cpu) * 1e6, bare=False
    ),
    Row(
        "  in % of the guide's",
        lambda this, bare, guide: 100 * (this.cpu - bare.cpu) / (guide.cpu - bare.cpu),
        target="≤ 50; 1 in 10: ≤ 25",
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


class Process:
    """A Python process that is asked by lines on its stdin and answers each with a line of JSON."""

    def __init__(
        self, python: Path, *arguments: str, variables: Mapping[str, str] | None = None
    ) -> None:
        self._command = [str(python), *arguments]
        self._variables = variables or {}

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile("w+")
        self._popen = subprocess.Popen(
            self._command,
            cwd=HERE,
            env={**_environment(), **self._variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.started: dict[str, Any] = self._read()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._popen.terminate()
        try:
            self._popen.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.communicate()
        self._errors.close()

    def ask(self, line: str) -> dict[str, float]:
        assert self._popen.stdin is not None
        print(line, file=self._popen.stdin, flush=True)
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise SystemExit(f"{' '.join(self._command)} has ended:\n{self._errors.read()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Bench:
    """The environments of all variants in `folder`, and a receiver that runs."""

    def __init__(self, folder: Path, receiver: Process, requests: int) -> None:
        self._folder = folder
        self._receiver = receiver
        self._requests = requests
        ports = receiver.started
        self._variables = {
            "RECEIVER_HTTP": f"http://127.0.0.1:{ports['http']}",
            "RECEIVER_GRPC": f"http://127.0.0.1:{ports['grpc']}",
            # Of the rendered module; nobody else has a package of its name.
            "PYTHONPATH": str(folder / PROJECT),
        }

    def make_environment(self, variant: Variant) -> dict[str, str]:
        """Installs what `variant` needs and returns the versions of it that the report names."""
        python = self._python(variant)
        if not python.exists():
            _uv("venv", "--python", sys.executable, str(self._folder / variant.module))
            project = ["-r", str(self._folder / PROJECT / "pyproject.toml")]
            _uv(
                "pip",
                "install",
                "--compile-bytecode",
                f"--python={python}",
                *_SERVICE,
                *variant.packages,
                *(project if variant.is_ours else ()),
            )
        listed = json.loads(_uv("pip", "list", "--format=json", f"--python={python}"))
        versions = {package["name"]: package["version"] for package in listed}
        return {name: versions[name] for name in _NAMED if name in versions}

    def measure(self, variant: Variant) -> Measured:
        port = _free_port()
        with Process(
            self._python(variant),
            "app.py",
            variant.module,
            str(port),
            variables={**self._variables, **variant.variables},
        ) as service:
            _wait_until_listening(port)
            self._load(port, connections=1, requests=1)
            first_trace = service.ask("flush")
            self._load(port, CONNECTIONS, WARM_UP_REQUESTS)
            before = service.ask("flush")
            self._receiver.ask("tell")
            latencies = self._load(port, CONNECTIONS, self._requests)
            after = service.ask("flush")
            received = self._receiver.ask("tell")
        percentiles = statistics.quantiles(latencies, n=100)
        requests = len(latencies)
        return Measured(
            start_cpu=service.started["cpu_seconds"],
            start_wall=service.started["wall_seconds"],
            first_trace_cpu=first_trace["cpu_seconds"],
            cpu=(after["cpu_seconds"] - before["cpu_seconds"]) / requests,
            p50=percentiles[49],
            p99=percentiles[98],
            events=received["events"] / requests,
            wire_bytes=received["wire_bytes"] / requests,
            unpacked_bytes=received["unpacked_bytes"] / requests,
            memory_mb=after["memory_mb"],
        )

    def _python(self, variant: Variant) -> Path:
        return self._folder / variant.module / "bin" / "python"

    def _load(self, port: int, connections: int, requests: int) -> list[float]:
        """Seconds that each of the requests took."""
        with Process(
            Path(sys.executable), "load.py", *map(str, (port, connections, requests))
        ) as load:
            latencies: list[float] = load.started["seconds"]
            return latencies


def main() -> None:
    options = _options()
    # Wide enough for the table where nobody looks at a terminal.
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="overhead-")))
        _render(options.template, folder / PROJECT)
        receiver = stack.enter_context(Process(Path(sys.executable), "receiver.py"))
        bench = Bench(folder, receiver, options.requests)
        versions = {}
        with console.status("Making an environment for each variant"):
            for variant in VARIANTS:
                versions[variant.name] = bench.make_environment(variant)
                # Not measured: whatever happens once on a machine.
                bench.measure(variant)
        rounds = _measure_rounds(bench, options.rounds, console)
    report = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "rounds": len(rounds),
        "requests_a_round": options.requests,
        "connections": CONNECTIONS,
        "versions": versions,
        "summary": _summary(rounds),
        "measured": [{name: asdict(one) for name, one in each.items()} for each in rounds],
    }
    console.print(_table(report))
    console.print(_notes(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, of fewer requests")
    parser.add_argument("--rounds", type=int, help="how often each variant is measured")
    parser.add_argument("--requests", type=int, help="how many requests a measurement takes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the numbers go besides")
    parser.add_argument(
        "--template",
        default=str(HERE.parent),
        help="the template whose module is measured, a folder or a git URL; by default this one, "
        "with what is changed in it",
    )
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 9)
    options.requests = options.requests or (1_000 if options.quick else 3_000)
    return options


def _measure_rounds(bench: Bench, count: int, console: Console) -> Rounds:
    rounds: Rounds = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("Measuring", total=count * len(VARIANTS))
        for number in range(count):
            measured = {}
            first = number % len(VARIANTS)
            for variant in VARIANTS[first:] + VARIANTS[:first]:
                measured[variant.name] = bench.measure(variant)
                progress.advance(task)
            rounds.append(measured)
    return rounds


def _summary(rounds: Rounds) -> dict[str, dict[str, dict[str, float]]]:
    """Of each row and variant, the median over the rounds, and the quartiles around it."""
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


def _table(report: Mapping[str, Any]) -> Table:
    table = Table(box=box.MARKDOWN)
    table.add_column("", no_wrap=True)
    for variant in VARIANTS:
        table.add_column(variant.name, justify="right", no_wrap=True)
    table.add_column("target", no_wrap=True)
    for row in ROWS:
        values = report["summary"][row.title.strip()]
        table.add_row(
            row.title,
            *(_cell(values.get(variant.name), row.places) for variant in VARIANTS),
            row.target,
        )
    return table


def _cell(value: Mapping[str, float] | None, places: int) -> str:
    if value is None:
        return ""
    spread = (value["third_quartile"] - value["first_quartile"]) / 2
    return f"{value['median']:,.{places}f} ± {spread:,.{places}f}"


def _notes(report: Mapping[str, Any]) -> str:
    used: dict[str, str] = {}
    for versions in report["versions"].values():
        used |= versions
    packages = ", ".join(f"{name} {version}" for name, version in sorted(used.items()))
    return (
        f"\nMedians of {report['rounds']} rounds of {report['requests_a_round']:,} requests over"
        f" {report['connections']} connections, ± half of the distance between the quartiles.\n"
        "The guide sends by gRPC, uncompressed, as it says; logfire and the module by HTTP.\n"
        f"{report['date']}, {report['machine']}, Python {report['python']}, {packages}.\n"
    )


def _render(template: str, folder: Path) -> None:
    import copier
    from copier.errors import DirtyLocalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DirtyLocalWarning)
        copier.run_copy(
            template,
            folder,
            data={"project_name": PROJECT},
            defaults=True,
            vcs_ref="HEAD",
            quiet=True,
        )


def _uv(*arguments: str) -> str:
    uv = os.environ.get("UV") or shutil.which("uv") or "uv"
    done = subprocess.run(
        [uv, *arguments], env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"uv {' '.join(arguments)} has failed:\n{done.stderr}")
    return done.stdout


def _environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.upper().startswith(_FOREIGN)
    }


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
