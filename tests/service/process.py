"""A rendered service as a process, and HTTP requests to it."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from types import TracebackType
from typing import Any, Final, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ..conftest import Workshop

PATIENCE: Final = 120.0
"""Seconds after which a test gives up. No test is about the duration of anything."""


def wait_until(condition: Callable[[], bool], expected: str) -> None:
    """Poll `condition` until it holds. `expected` describes it if it never does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"Did not happen: {expected}"
        time.sleep(0.02)


class Log:
    """The output of a process. It can be read while the process writes."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "log"
        # Appended to: reading a file that the process inherits would move its position.
        self.file = self._path.open("ab")

    def text(self) -> str:
        """Return the output so far."""
        return self._path.read_text(errors="replace")

    def clear(self) -> None:
        self.file.truncate(0)


class Service:
    """The service of `project` while the block runs. It is stopped as a platform would stop it."""

    def __init__(self, workshop: Workshop, project: Path, *command: str, **variables: str) -> None:
        """`command` is the server, with {port} in it; by default uvicorn."""
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
        self._log = Log()
        self.exit_code: int | None = None

    def __enter__(self) -> Self:
        # Another process may get the free port first.
        while not self._start():
            pass
        return self

    def _start(self) -> bool:
        """Start the service and wait until it is healthy. Return false if its port is in use."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        program, *arguments = (part.format(port=port) for part in self._command)
        self._process = subprocess.Popen(
            [str(self._workshop.environment / "bin" / program), *arguments],
            cwd=self._project,
            env=self._workshop.variables | self._variables,
            stdin=subprocess.DEVNULL,
            stdout=self._log.file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.get("/healthz")
                return True
            except (OSError, HTTPException, ValueError):
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self._kill()
                    log = self.log()
                    if "address already in use" in log.lower():
                        self._log.clear()
                        return False
                    raise AssertionError(f"The service did not start.\n{log}") from None
                time.sleep(0.05)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            if kind is None:
                self.stop()
            else:
                self._kill()

    def get(self, path: str) -> tuple[int, Any]:
        """Return the status and the JSON of the response."""
        return send(Request(self.url + path))

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return the status and the JSON of the response."""
        headers = {"content-type": "application/json"}
        return send(Request(self.url + path, json.dumps(body).encode(), headers))

    def stop(self, how: signal.Signals = signal.SIGTERM, *, workers_too: bool = False) -> None:
        """Stop the service. With `workers_too`, signal all its processes, as Ctrl+C does."""
        (os.killpg if workers_too else os.kill)(self._process.pid, how)
        try:
            self.exit_code = self._process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._kill()
            raise AssertionError(f"The service did not stop.\n{self.log()}") from None

    def _kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def log(self) -> str:
        """Return the output so far."""
        return self._log.text()


class Program:
    """A Python program in the environment of `project`, run step by step while the block runs."""

    def __init__(self, workshop: Workshop, project: Path, source: str, **variables: str) -> None:
        self._command = [str(workshop.environment / "bin/python"), "-c", source]
        self._project = project
        self._variables = workshop.variables | variables
        self._log = Log()
        self._lines: Queue[str] = Queue()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            cwd=self._project,
            env=self._variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.file,
            text=True,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=PATIENCE)
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())

    def step(self) -> str:
        """Return the next line that the program prints, once it has."""
        try:
            return self._lines.get(timeout=PATIENCE)
        except Empty:
            raise AssertionError(f"The program printed nothing more.\n{self.log()}") from None

    def go_on(self, text: str = "") -> None:
        """Let the program's next input() return."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Wait until the program has exited without an error."""
        assert self._process.wait(timeout=PATIENCE) == 0, self.log()

    def log(self) -> str:
        """Return its stderr so far."""
        return self._log.text()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def send(request: Request) -> tuple[int, Any]:
    """Return the status and the JSON of the response."""
    try:
        with urlopen(request, timeout=PATIENCE) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        return error.code, json.load(error)
