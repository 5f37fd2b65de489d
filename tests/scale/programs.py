"""The real programs with the files that `scale` writes, on free ports of 127.0.0.1."""

import os
import random
import re
import shlex
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.request import urlopen

import yaml
from click.testing import CliRunner

from hooks.cli import cli

from ..fakes.honeycomb import INGEST_KEY
from ..service.process import PATIENCE, Log, wait_until
from .services import Endpoints

_UNSET: Final[dict[str, str | None]] = {
    name: None for name in os.environ if name.startswith(("HONEYCOMB_", "OTEL_"))
}


class Program:
    """A process that runs while the block does. `stop` and `start` restart it on the same ports."""

    def __init__(self, command: list[str], *, health: str, metrics: int, **variables: str) -> None:
        self._command = command
        self.health = health
        self._metrics = f"http://127.0.0.1:{metrics}/metrics"
        self._variables = variables
        self._log = Log()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            env={"PATH": os.environ["PATH"], **self._variables},
            stdin=subprocess.DEVNULL,
            stdout=self._log.file,
            stderr=subprocess.STDOUT,
        )
        wait_until(self._is_up, f"a healthy {shlex.join(self._command)}")

    def _is_up(self) -> bool:
        assert self._process.poll() is None, self.log()
        try:
            with urlopen(self.health, timeout=PATIENCE) as response:
                return bool(response.status == 200)
        except (OSError, HTTPException):
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop the process, and print the CPU time that it has used."""
        self._process.send_signal(how)
        wait_until(self._is_over, f"an end of {shlex.join(self._command)}")

    def _is_over(self) -> bool:
        process, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        if process:
            self._process.returncode = os.waitstatus_to_exitcode(status)
            seconds = usage.ru_utime + usage.ru_stime
            print(f"{Path(self._command[0]).name}: {seconds:.2f} s of CPU")
        return bool(process)

    def metric(self, name: str, label: str = "") -> float:
        """Return the current value of a counter or gauge: the series with `label`, added up."""
        with urlopen(self._metrics, timeout=PATIENCE) as response:
            lines = response.read().decode().splitlines()
        return sum(
            float(line.split()[-1])
            for line in lines
            if re.match(rf"{name}[ {{]", line) and label in line
        )

    def log(self) -> str:
        """Return the output so far."""
        return self._log.text()


class Collector(Program):
    """A Collector with `project`/collector, which `scale` has written."""

    def __init__(
        self, program: Path, project: Path, honeycomb: str, *changes: dict[str, Any]
    ) -> None:
        http, grpc, health, metrics = fixed_port(), fixed_port(), fixed_port(), fixed_port()
        reader = {"pull": {"exporter": {"prometheus": {"host": "127.0.0.1", "port": metrics}}}}
        self.endpoints = Endpoints(f"http://127.0.0.1:{http}", f"http://127.0.0.1:{grpc}")
        folder = project / "collector"
        addresses = {
            "extensions": {"health_check": {"endpoint": f"127.0.0.1:{health}"}},
            "receivers": {
                "otlp": {
                    "protocols": {
                        "http": {"endpoint": f"127.0.0.1:{http}"},
                        "grpc": {"endpoint": f"127.0.0.1:{grpc}"},
                    }
                }
            },
            "service": {"telemetry": {"metrics": {"readers": [reader]}}},
        }
        compose = yaml.safe_load((folder / "compose.yaml").read_text())
        flags = compose["services"]["collector"]["command"]
        super().__init__(
            [
                str(program),
                f"--config={folder / 'collector.yaml'}",
                *_overriding(folder, addresses, *changes),
                *(flag for flag in flags if not flag.startswith("--config=")),
            ],
            health=f"http://127.0.0.1:{health}",
            metrics=metrics,
            HONEYCOMB_API_KEY=INGEST_KEY,
            HONEYCOMB_API_ENDPOINT=honeycomb,
            QUEUE_DIRECTORY=str(folder / "queue"),
        )

    def wait_until_forwarded(self) -> None:
        """Wait until Honeycomb has all spans, if this Collector does not sample."""

        def is_forwarded() -> bool:
            accepted = self.metric("otelcol_receiver_accepted_spans")
            return self.metric("otelcol_exporter_sent_spans") == accepted

        wait_until(is_forwarded, "exports of the Collector")

    def wait_until_sampled(self, traces: int) -> None:
        """Wait until all `traces` are decided, and Honeycomb has those that were kept."""

        def is_sampled() -> bool:
            decided = self.metric("otelcol_processor_tail_sampling_global_count_traces_sampled")
            kept = self.metric("otelcol_processor_outgoing_items", 'processor="transform')
            return decided == traces and self.metric("otelcol_exporter_sent_spans") == kept

        wait_until(is_sampled, "decisions and exports of the Collector")


class Refinery(Program):
    """A node of Refinery with `project`/refinery, which `scale` has written."""

    def __init__(
        self,
        program: Path,
        project: Path,
        honeycomb: str,
        *changes: dict[str, Any],
        peer: int | None = None,
    ) -> None:
        http, grpc, peer, metrics = fixed_port(), fixed_port(), peer or fixed_port(), fixed_port()
        self.endpoints = Endpoints(f"http://127.0.0.1:{http}", f"http://127.0.0.1:{grpc}")
        folder = project / "refinery"
        addresses = {
            "Network": {
                "ListenAddr": f"127.0.0.1:{http}",
                "PeerListenAddr": f"127.0.0.1:{peer}",
                "HoneycombAPI": honeycomb,
            },
            "GRPCServerParameters": {"ListenAddr": f"127.0.0.1:{grpc}"},
            "PrometheusMetrics": {"ListenAddr": f"127.0.0.1:{metrics}"},
            "PeerManagement": {"Identifier": "127.0.0.1"},
        }
        super().__init__(
            [
                str(program),
                f"--config={folder / 'refinery.yaml'}",
                *_overriding(folder, addresses, *changes),
                f"--rules_config={folder / 'rules.yaml'}",
            ],
            health=f"{self.endpoints.http}/ready",
            metrics=metrics,
            REFINERY_SEND_KEY=INGEST_KEY,
        )

    @property
    def decided(self) -> float:
        """The number of traces that were kept or dropped so far."""
        return self.metric("trace_send_kept") + self.metric("trace_send_dropped")

    @property
    def pending(self) -> float:
        """The number of traces that are not decided yet."""
        return self.metric("trace_accepted") - self.decided


def fixed_port() -> int:
    """Return a port that stays free while a program restarts: no connection is given it."""
    while True:
        port = random.randint(10_000, 30_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def new_project(folder: Path) -> Path:
    """Return `folder` with the answers of a project in it."""
    folder.mkdir(parents=True)
    answers = {"project_name": "shop", "honeycomb_region": "us"}
    (folder / ".copier-answers.yml").write_text(yaml.safe_dump(answers))
    return folder


def write(project: Path, *arguments: str) -> None:
    """Run `copier-honeycomb scale` in `project`."""
    command = ["scale", *arguments, "--force", f"--project={project}"]
    result = CliRunner().invoke(cli, command, env=_UNSET)
    assert result.exit_code == 0, result.output


def _overriding(folder: Path, *changes: dict[str, Any]) -> Iterator[str]:
    """Write `changes` into files, and yield the options that let them override the first file."""
    own = Path(tempfile.mkdtemp(dir=folder))
    for number, change in enumerate(changes):
        path = own / f"{number}.yaml"
        path.write_text(yaml.safe_dump(change))
        yield f"--config={path}"
