"""A rendered service as a process of its own, asked over HTTP."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from .conftest import Workshop


class Service:
    """The service of `project` while the block runs; it is stopped as a platform stops it."""

    def __init__(self, workshop: Workshop, project: Path, *command: str, **variables: str) -> None:
        """`command` is what serves, with {port} in it; by default uvicorn."""
        self._workshop = workshop
        self._project = project
        [server] = project.glob("*/api/server.py")
        package = server.parents[1].name
        self._command = command or (
            "uvicorn",
            f"{package}.api.server:app",
            "--host=127.0.0.1",
            "--port={port}",
        )
        self._variables = variables
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - read until the end of the test
        self.exit_code: int | None = None

    def __enter__(self) -> Self:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        program, *arguments = (part.format(port=port) for part in self._command)
        self._process = subprocess.Popen(
            [str(self._workshop.environment / "bin" / program), *arguments],
            cwd=self._project,
            env=self._workshop.variables | self._variables,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                self.get("/healthz")
                return self
            except URLError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self._process.kill()
                    raise AssertionError(f"The service did not start.\n{self.log()}") from None
                time.sleep(0.05)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self.stop()

    def get(self, path: str) -> tuple[int, Any]:
        """The status and the JSON of the answer."""
        return asked(Request(self.url + path))

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        headers = {"content-type": "application/json"}
        return asked(Request(self.url + path, json.dumps(body).encode(), headers))

    def stop(self, how: signal.Signals = signal.SIGTERM, *, workers_too: bool = False) -> float:
        """Stops the service and tells how many seconds that took.

        With `workers_too`, every process of it gets the signal, as by Ctrl+C in a terminal.
        """
        before = time.monotonic()
        (os.killpg if workers_too else os.kill)(self._process.pid, how)
        try:
            self.exit_code = self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"The service did not stop.\n{self.log()}") from None
        return time.monotonic() - before

    def log(self) -> str:
        """What it has printed so far."""
        self._log.seek(0)
        return self._log.read().decode()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def asked(request: Request) -> tuple[int, Any]:
    try:
        with urlopen(request, timeout=20) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        return error.code, json.load(error)
