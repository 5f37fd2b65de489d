"""The demo: render a service, send it a prompt and draw the trace of that request."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from ..traces.otlp import Span
from ..traces.receiver import Receiver
from ..traces.trace_tree import trace_tree
from .following import FollowedReceiver, follow
from .process import DemoFailed, Process, clean_environment, free_port, send_request
from .project import find_uv, install, render

SERVICE: Final = "hello-service"
PACKAGE: Final = "hello_service"
PROMPT: Final = "Write a hello world function in Python"
SPANS: Final = 10
"""Spans in the trace of one POST /api/sessions."""

TRACE_SECONDS: Final = 20
_LAST_LINES: Final = 15


def main() -> None:
    """Run the demo, in about ten seconds once packages are cached. Exit with 1 on failure."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        # A stream that is not UTF-8, such as a pipe on Windows, shows ? for a tick.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    console = Console(highlight=False)
    try:
        _run(console)
    except DemoFailed as failure:
        _report(failure)
        sys.exit(1)
    except OSError as error:
        _report(DemoFailed(f"The demo failed: {error}. Fix this and run it again."))
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("\nStopped; nothing is left running.")
        sys.exit(130)


def _run(console: Console) -> None:
    uv = find_uv()
    folder = Path(tempfile.mkdtemp(prefix="copier-honeycomb-")) / SERVICE
    console.print(
        "From an empty folder to the trace of an LLM request, without any account.\n"
        "Only packages are downloaded; nothing leaves this machine.\n"
    )
    with _step(console, "Render the template with its defaults"):
        render(folder)
    with _step(console, "Install the service and its packages with uv"):
        install(folder, uv)

    with ExitStack() as running:
        with _step(console, "Start an OTLP receiver in place of Honeycomb"):
            receiver = running.enter_context(FollowedReceiver())
        environment = clean_environment() | {
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        has_messages_api = (folder / "tests/providers/messages_api.py").exists()
        if has_messages_api:
            with _step(console, "Start a fake of Anthropic's API"):
                environment |= {
                    "ANTHROPIC_API_KEY": "a-placeholder",
                    "ANTHROPIC_BASE_URL": _start_messages_api(running, folder, uv),
                }
        with _step(console, "Start the service"):
            service, url = _start_service(running, folder, uv, environment)
        with _step(console, "Warm up: the first request loads the SDK and prices"):
            _send_prompt(service, url)
            _trace(receiver, service)
            receiver.clear()
        with _step(console, "Send the prompt"):
            answer = _send_prompt(service, url)
            spans = _trace(receiver, service)
        _show_response(console, url, answer)
        _show_trace(console, spans, has_messages_api=has_messages_api)
        if console.is_terminal:
            follow(console, receiver, _curl(url))
        with _step(console, "Stop everything"):
            running.close()
    _show_next_steps(console, folder)


def _start_messages_api(running: ExitStack, folder: Path, uv: str) -> str:
    """Start the fake of Anthropic's API from the rendered project's tests, and return its URL."""
    process = running.enter_context(
        Process(
            "fake API",
            [uv, "run", "--no-sync", "python", "-m", "tests.providers.messages_api"],
            folder,
            clean_environment(),
        )
    )

    def url() -> str | None:
        printed = re.search(r"^(http://\S+)\n", process.output, re.MULTILINE)
        return printed and printed[1]

    return process.wait_until(url)


def _start_service(
    running: ExitStack, folder: Path, uv: str, environment: Mapping[str, str]
) -> tuple[Process, str]:
    """Start the service, wait until it is healthy, and return it with its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = f"{PACKAGE}.api.server:app"
    service = running.enter_context(
        Process(
            "service",
            [uv, "run", "--no-sync", "uvicorn", server, "--host", "127.0.0.1", "--port", str(port)],
            folder,
            environment,
        )
    )

    def healthy() -> bool | None:
        try:
            return send_request(f"{url}/healthz")[0] == HTTPStatus.OK or None
        except OSError:
            return None

    service.wait_until(healthy)
    return service, url


def _send_prompt(service: Process, url: str) -> dict[str, Any]:
    """Send the prompt and return the session."""
    try:
        status, body = send_request(f"{url}/api/sessions", json.dumps({"prompt": PROMPT}).encode())
        if status == HTTPStatus.CREATED:
            answer: dict[str, Any] = json.loads(body)
            return answer
        reason = f"responded with {status} instead of 201: {body}"
    except (OSError, ValueError) as error:
        reason = f"did not respond ({error})"
    raise service.failed(reason)


def _trace(receiver: Receiver, service: Process) -> list[Span]:
    """Return the spans of the request, once all have arrived."""
    deadline = time.monotonic() + TRACE_SECONDS
    count = SPANS
    while True:
        try:
            spans = receiver.wait_for(count, timeout=max(deadline - time.monotonic(), 0))
        except TimeoutError:
            names = ", ".join(span.name for span in receiver.spans) or "none"
            raise service.failed(
                f"sent fewer than the {SPANS} spans of its trace within {TRACE_SECONDS} s: {names}"
            ) from None
        for server in spans:
            trace = [span for span in spans if span.trace_id == server.trace_id]
            if server.kind == "server" and len(trace) >= SPANS:
                return trace
        count = len(spans) + 1


def _curl(url: str) -> str:
    """The command that sends the prompt."""
    body = shlex.quote(json.dumps({"prompt": PROMPT}))
    return f"curl {url}/api/sessions \\\n        -H 'content-type: application/json' \\\n        -d {body}"


def _show_response(console: Console, url: str, answer: Mapping[str, Any]) -> None:
    console.print(Text.assemble(("\n$ ", "dim"), _curl(url)), soft_wrap=True)
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
            "No model was called: a fake API on this machine sent a fixed response.\n"
            "The cost is Anthropic's price for its tokens."
        )
    else:
        note = "No model was called: the service's mock provider has no price."
    console.print(f"\n{note}\n", style="dim")


def _show_next_steps(console: Console, folder: Path) -> None:
    console.print("\nThe service is yours to try:\n")
    console.print(f"    cd {shlex.quote(str(folder))}\n    uv run fastapi dev\n", soft_wrap=True)
    console.print("With HONEYCOMB_API_KEY set, it sends its traces to Honeycomb.")


def _report(failure: DemoFailed) -> None:
    console = Console(stderr=True, highlight=False, markup=False)
    console.print(f"\n{failure}", style="red")
    for heading, lines in (
        ("Last lines of its output:", failure.output.strip().splitlines()[-_LAST_LINES:]),
        ("For a closer look:", failure.commands.splitlines()),
    ):
        if lines:
            console.print(f"\n{heading}\n")
        for line in lines:
            console.print(f"    {line}".rstrip(), style="dim", soft_wrap=True)


@contextmanager
def _step(console: Console, text: str) -> Iterator[None]:
    """Show a step as running while the block runs, then as done, with its duration."""
    started = time.monotonic()
    try:
        with console.status(text):
            yield
    except DemoFailed:
        console.print(f"[red]✗[/] {text}")
        raise
    console.print(f"[green]✓[/] {text}  [dim]{time.monotonic() - started:.1f} s[/]")
