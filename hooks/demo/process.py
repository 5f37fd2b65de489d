"""A process of the demo: its environment, its log, and requests to it."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

T = TypeVar("T")

START_SECONDS: Final = 60
ANSWER_SECONDS: Final = 60
STOP_SECONDS: Final = 10

# Variables that would lead the service to an account, a database, a virtual environment or another
# project.
_FOREIGN_PREFIXES: Final = ("ANTHROPIC_", "GEMINI_", "HONEYCOMB_", "OPENAI_", "OTEL_", "PYTHON")
_FOREIGN: Final = {
    "DATABASE_URL",
    "UV_ENV_FILE",
    "UV_FROZEN",
    "UV_ISOLATED",
    "UV_LOCKED",
    "UV_NO_PROJECT",
    "UV_NO_SYNC",
    "UV_PROJECT",
    "UV_PROJECT_ENVIRONMENT",
    "UV_WORKING_DIR",
    "VIRTUAL_ENV",
}


class DemoFailed(Exception):
    """An error message, the output that shows the cause, and commands for a closer look."""

    def __init__(self, sentence: str, output: str = "", commands: str = "") -> None:
        super().__init__(sentence)
        self.output = output
        self.commands = commands


class Process:
    """A process that runs while the block does. Its output goes to a file beside its folder."""

    def __init__(
        self, name: str, command: list[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self._name = name
        self._command = command
        self._folder = folder
        self._environment = environment
        self._log = folder.parent / f"{name}.log"

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._popen.terminate()
        try:
            self._popen.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.communicate()

    @property
    def output(self) -> str:
        """The output so far."""
        return self._log.read_text(errors="replace")

    def wait_until(self, ready: Callable[[], T | None]) -> T:
        """Poll `ready` and return its first result that is not None. Raise DemoFailed."""
        deadline = time.monotonic() + START_SECONDS
        while (result := ready()) is None:
            if self._popen.poll() is not None:
                raise self.failed("exited during start-up")
            if time.monotonic() > deadline:
                raise self.failed(f"was not ready after {START_SECONDS} s")
            time.sleep(0.05)
        return result

    def failed(self, how: str) -> DemoFailed:
        """Describe a failure of this process."""
        return DemoFailed(
            f"The {self._name} {how}.",
            self.output,
            f"cd {shlex.quote(str(self._folder))}\n{shlex.join(['uv', *self._command[1:]])}",
        )


def clean_environment() -> dict[str, str]:
    """Return the environment without variables that would lead a process elsewhere."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in _FOREIGN and not name.upper().startswith(_FOREIGN_PREFIXES)
    }


def free_port() -> int:
    """Return a port of 127.0.0.1 that is not in use."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def send_request(url: str, body: bytes | None = None) -> tuple[int, str]:
    """GET `url`, or POST `body` as JSON. Return the status and the text. Raise OSError."""
    request = Request(url, data=body, headers={"content-type": "application/json"})
    # A proxy cannot reach 127.0.0.1.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(request, timeout=ANSWER_SECONDS) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except HTTPException as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error
