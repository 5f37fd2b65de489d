"""The template at work: renders a service, asks it for code, draws the trace of that request."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.client import HTTPException
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from .receiver import Receiver, Span
from .trace_tree import trace_tree

T = TypeVar("T")

ROOT: Final = Path(__file__).resolve().parent.parent
SERVICE: Final = "hello-service"
PACKAGE: Final = "hello_service"
PROMPT: Final = "Write a hello world function in Python"
SPANS: Final = 10
"""Spans of the trace of one POST /api/sessions."""

INSTALL_SECONDS: Final = 600
START_SECONDS: Final = 60
ANSWER_SECONDS: Final = 60
TRACE_SECONDS: Final = 20
STOP_SECONDS: Final = 10
_LAST_LINES: Final = 15

# What would lead the service to an account, a database, a virtual environment or a project of the
# caller's own.
_FOREIGN_PREFIXES: Final = ("ANTHROPIC_", "HONEYCOMB_", "OTEL_", "PYTHON")
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
    """What went wrong, the output that shows it, and the commands that let one look closer."""

    def __init__(self, sentence: str, output: str = "", commands: str = "") -> None:
        super().__init__(sentence)
        self.output = output
        self.commands = commands


def main() -> None:
    """Runs the demo, in about ten seconds once packages are cached. Exits with 1 if it fails."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        # What is not UTF-8, such as a pipe on Windows, shows ? for a tick.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    console = Console(highlight=False)
    try:
        _run(console)
    except DemoFailed as failure:
        _tell(failure)
        sys.exit(1)
    except OSError as error:
        _tell(DemoFailed(f"The demo cannot go on, see to this and run it again: {error}."))
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("\nStopped; nothing is left running.")
        sys.exit(130)


def _run(console: Console) -> None:
    uv = _find_uv()
    folder = Path(tempfile.mkdtemp(prefix="copier-honeycomb-")) / SERVICE
    console.print(
        "From an empty folder to the trace of an LLM request, without any account.\n"
        "Only packages come from outside; nothing leaves this machine.\n"
    )
    with _step(console, "Render the template with its defaults"):
        _render(folder)
    with _step(console, "Install the service and its packages with uv"):
        _install(folder, uv)

    with ExitStack() as running:
        with _step(console, "Start a receiver of spans, in Honeycomb's place"):
            receiver = running.enter_context(Receiver())
        environment = _environment() | {
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        has_messages_api = (folder / "tests/providers/messages_api.py").exists()
        if has_messages_api:
            with _step(console, "Start a stand-in for Anthropic's API"):
                environment |= {
                    "ANTHROPIC_API_KEY": "a-placeholder",
                    "ANTHROPIC_BASE_URL": _start_messages_api(running, folder, uv),
                }
        with _step(console, "Start the service"):
            service, url = _start_service(running, folder, uv, environment)
        with _step(console, "Warm it up: the first request loads SDK and prices"):
            _ask(service, url)
            _trace(receiver, service)
            receiver.clear()
        with _step(console, "Ask it for code"):
            answer = _ask(service, url)
            spans = _trace(receiver, service)
        _show_answer(console, url, answer)
        _show_trace(console, spans, has_messages_api=has_messages_api)
        with _step(console, "Stop everything"):
            running.close()
    _show_next_steps(console, folder)


def _find_uv() -> str:
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise DemoFailed(
            "The demo needs uv: install it as https://docs.astral.sh/uv says, then run the demo"
            " again."
        )
    return uv


def _render(folder: Path) -> None:
    # Takes half a second, in which Ctrl-C is not to end in a traceback.
    import copier
    from copier.errors import DirtyLocalWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DirtyLocalWarning)
            copier.run_copy(str(ROOT), folder, defaults=True, vcs_ref="HEAD", quiet=True)
    except Exception as error:
        raise DemoFailed(
            f"The template in {ROOT} does not render: mend what is named below, then run the demo"
            " again.",
            f"{type(error).__name__}: {error}",
        ) from error


def _install(folder: Path, uv: str) -> None:
    try:
        subprocess.run(
            [uv, "sync"],
            cwd=folder,
            env=_environment(),
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise DemoFailed(
            "The service could not be installed: see that uv reaches its package index, then run"
            " the demo again.",
            getattr(error, "stdout", None) or str(error),
            f"cd {shlex.quote(str(folder))}\nuv sync",
        ) from error


def _start_messages_api(running: ExitStack, folder: Path, uv: str) -> str:
    """The URL of the stand-in for Anthropic's API that the rendered project tests itself with."""
    process = running.enter_context(
        _Process(
            "stand-in",
            [uv, "run", "--no-sync", "python", "-m", "tests.providers.messages_api"],
            folder,
            _environment(),
        )
    )

    def url() -> str | None:
        printed = re.search(r"^(http://\S+)\n", process.output, re.MULTILINE)
        return printed and printed[1]

    return process.wait_until(url)


def _start_service(
    running: ExitStack, folder: Path, uv: str, environment: Mapping[str, str]
) -> tuple[_Process, str]:
    """The service, once it answers, and its URL."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    server = f"{PACKAGE}.api.server:app"
    service = running.enter_context(
        _Process(
            "service",
            [uv, "run", "--no-sync", "uvicorn", server, "--host", "127.0.0.1", "--port", str(port)],
            folder,
            environment,
        )
    )

    def healthy() -> bool | None:
        try:
            return _request(f"{url}/healthz")[0] == HTTPStatus.OK or None
        except OSError:
            return None

    service.wait_until(healthy)
    return service, url


def _ask(service: _Process, url: str) -> dict[str, Any]:
    """What the service makes of the prompt."""
    try:
        status, body = _request(f"{url}/api/sessions", {"prompt": PROMPT})
        if status == HTTPStatus.CREATED:
            answer: dict[str, Any] = json.loads(body)
            return answer
        reason = f"answered {status} instead of 201, {body}"
    except (OSError, ValueError) as error:
        reason = f"gave no answer ({error})"
    raise service.failed(reason)


def _trace(receiver: Receiver, service: _Process) -> list[Span]:
    """The spans of the request, once all are there."""
    deadline = time.monotonic() + TRACE_SECONDS
    count = SPANS
    while True:
        try:
            spans = receiver.wait_for(count, timeout=max(deadline - time.monotonic(), 0))
        except TimeoutError:
            names = ", ".join(span.name for span in receiver.spans) or "none"
            raise service.failed(
                f"did not send all {SPANS} spans of its trace within {TRACE_SECONDS} s but {names}"
            ) from None
        for server in spans:
            trace = [span for span in spans if span.trace_id == server.trace_id]
            if server.kind == "server" and len(trace) >= SPANS:
                return trace
        count = len(spans) + 1


def _show_answer(console: Console, url: str, answer: Mapping[str, Any]) -> None:
    curl = (
        f"curl {url}/api/sessions",
        "-H 'content-type: application/json'",
        f"-d {shlex.quote(json.dumps({'prompt': PROMPT}))}",
    )
    console.print(Text.assemble(("\n$ ", "dim"), " \\\n    ".join(curl)), soft_wrap=True)
    console.print(f"\n[green]201 Created[/], session {answer['status']}:\n")
    code = str(answer["code"]).rstrip()
    syntax = Syntax(code, "python", theme="ansi_dark", background_color="default")
    for line in syntax.highlight(code).split("\n"):
        console.print(Text("    ").append_text(line), soft_wrap=True)


def _show_trace(console: Console, spans: list[Span], *, has_messages_api: bool) -> None:
    console.print("\nIts trace, as it would arrive at Honeycomb:\n")
    console.print(trace_tree(spans))
    if has_messages_api:
        note = (
            "No model was asked. A stand-in on this machine answered Anthropic's SDK, always\n"
            "with the same text and tokens; the cost is what Anthropic charges for these."
        )
    else:
        note = "No model was asked: the service's mock provider answered, which has no price."
    console.print(f"\n{note}\n", style="dim")


def _show_next_steps(console: Console, folder: Path) -> None:
    console.print("\nThe service is yours to try:\n")
    console.print(f"    cd {shlex.quote(str(folder))}\n    uv run fastapi dev\n", soft_wrap=True)
    console.print("With HONEYCOMB_API_KEY set, it sends its traces to Honeycomb.")


def _tell(failure: DemoFailed) -> None:
    console = Console(stderr=True, highlight=False, markup=False)
    console.print(f"\n{failure}", style="red")
    for heading, lines in (
        ("What was said last:", failure.output.strip().splitlines()[-_LAST_LINES:]),
        ("To look closer:", failure.commands.splitlines()),
    ):
        if lines:
            console.print(f"\n{heading}\n")
        for line in lines:
            console.print(f"    {line}".rstrip(), style="dim", soft_wrap=True)


@contextmanager
def _step(console: Console, text: str) -> Iterator[None]:
    """Announces a step: under way while the block runs, then done, with the time it took."""
    started = time.monotonic()
    try:
        with console.status(text):
            yield
    except DemoFailed:
        console.print(f"[red]✗[/] {text}")
        raise
    console.print(f"[green]✓[/] {text}  [dim]{time.monotonic() - started:.1f} s[/]")


class _Process:
    """A process that runs while the block does. What it writes goes to a file beside its folder."""

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
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def wait_until(self, ready: Callable[[], T | None]) -> T:
        """What `ready` returns, as soon as it returns something. Raises DemoFailed."""
        deadline = time.monotonic() + START_SECONDS
        while (result := ready()) is None:
            if self._popen.poll() is not None:
                raise self.failed("ended while it started")
            if time.monotonic() > deadline:
                raise self.failed(f"was not ready after {START_SECONDS} s")
            time.sleep(0.05)
        return result

    def failed(self, how: str) -> DemoFailed:
        """The failure that this process shows."""
        return DemoFailed(
            f"The {self._name} {how}.",
            self.output,
            f"cd {shlex.quote(str(self._folder))}\n{shlex.join(['uv', *self._command[1:]])}",
        )


def _environment() -> dict[str, str]:
    """The caller's variables, without those that would lead a process elsewhere."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in _FOREIGN and not name.upper().startswith(_FOREIGN_PREFIXES)
    }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _request(url: str, body: object = None) -> tuple[int, str]:
    """Status and text of the answer to a GET, or to a POST of `body` as JSON. Raises OSError."""
    request = Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    # A proxy of the caller's would not find 127.0.0.1.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(request, timeout=ANSWER_SECONDS) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except HTTPException as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    main()
