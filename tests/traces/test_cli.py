"""The command `copier-honeycomb traces` as a process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest
from click.testing import CliRunner

from hooks.traces.cli import traces as command
from hooks.traces.filters import Duration, Filter
from hooks.traces.server import OTLPServer

from ..conftest import TEMPLATE
from .exports import post, span, traces_request
from .test_assembly import Assembly

# A service that exports one span and its root, the root in a later export, and then serves.
EXPORTING = """
import os
import time
from tests.traces.exports import post, span, traces_request
endpoint = os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"]
root = span("GET /orders", kind="server", ms=25)
post(endpoint, traces_request(span("SELECT", root)))
post(endpoint, traces_request(root))
print("exported, delay", os.environ["OTEL_BSP_SCHEDULE_DELAY"], flush=True)
"""
# Exports its last span when it is interrupted, as the module does.
FLUSHING = f"""
import atexit
atexit.register(lambda: post(endpoint, traces_request(span("last", trace="1" * 32))))
{EXPORTING}
time.sleep(120)
"""


class Running:
    """The running command. Its port is free; `endpoint` is known once it listens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        assert process.stderr is not None
        self.out: IO[str] = process.stdout
        self.err: IO[str] = process.stderr

    def endpoint(self, stream: IO[str]) -> str:
        line = stream.readline()
        assert line.startswith("Waiting for traces at http://127.0.0.1:"), line
        return line.split()[4].rstrip(",")

    def interrupt(self) -> str:
        """Stop as Ctrl+C does, and return the rest of the output."""
        self.process.send_signal(signal.SIGINT)
        out, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0
        return out


@contextmanager
def running(*arguments: str) -> Iterator[Running]:
    program = "from hooks.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "traces", "--port", "0", *arguments],
        cwd=TEMPLATE,
        env={**os.environ, "PYTHONPATH": str(TEMPLATE), "PYTHONUTF8": "1", "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        yield Running(process)
    finally:
        # It then stops the command that it has started, which is in another process group.
        process.terminate()
        process.communicate()


def test_trace_is_drawn_when_complete_and_the_summary_at_the_end() -> None:
    with running() as tool:
        endpoint = tool.endpoint(tool.out)
        root = span("GET /orders", kind="server", ms=25, error="boom")
        post(endpoint, traces_request(span("SELECT", root), root))
        post(endpoint, traces_request(span("GET /health", kind="server", trace="1" * 32)))

        out = tool.interrupt()

    assert "trace 4bf92f3577b34da6a3ce929d0e0e4736  order-intake\n" in out
    assert "✗ GET /orders  ━" in out
    assert "\n│ boom\n└ SELECT" in out
    assert out.endswith("\n2 requests, p50 1.00 ms, p95 25.0 ms, 1 error\n")
    assert "\x1b" not in out


def test_json_prints_one_object_per_trace_and_nothing_else_on_stdout() -> None:
    with running("--json", "--count", "1") as tool:
        endpoint = tool.endpoint(tool.err)
        root = span("GET /orders", kind="server", ms=25, error="boom")
        call = span(
            "llm.call",
            root,
            at=5,
            attributes={"llm.model": "m", "llm.input_tokens": 9, "llm.cost_usd": 0.5},
        )
        post(endpoint, traces_request(call, root))
        out, err = tool.process.communicate(timeout=120)

    [line] = out.splitlines()
    trace = json.loads(line)
    assert (trace["name"], trace["duration_ms"], trace["cost_usd"]) == ("GET /orders", 25.0, 0.5)
    assert trace["models"]["m"]["calls"] == 1
    assert [(span["name"], span["start_ms"]) for span in trace["spans"]] == [
        ("GET /orders", 0.0),
        ("llm.call", 5.0),
    ]
    assert trace["spans"][0]["status_message"] == "boom"
    assert err.endswith("1 request, p50 25.0 ms, p95 25.0 ms, 1 error, $0.50000\n")


def test_command_prints_to_stderr_if_traces_are_printed_as_json() -> None:
    with running("--json", "--count", "1", "--", sys.executable, "-c", EXPORTING) as tool:
        out, err = tool.process.communicate(timeout=120)

    assert [json.loads(line)["name"] for line in out.splitlines()] == ["GET /orders"]
    assert "exported, delay 300\n" in err


def test_command_is_started_with_the_endpoint_and_its_status_is_reported() -> None:
    with running("--", sys.executable, "-c", f"{EXPORTING}\nraise SystemExit(3)") as tool:
        out, _ = tool.process.communicate(timeout=120)

    assert tool.process.returncode == 3
    assert "exported, delay 300\n" in out
    assert "GET /orders  ━" in out
    assert f"{sys.executable} exited with status 3.\n1 request" in out


def test_interrupt_waits_until_the_command_has_flushed_its_spans() -> None:
    with running("--", sys.executable, "-c", FLUSHING) as tool:
        for line in tool.out:
            if line.startswith("exported"):
                break

        out = tool.interrupt()

    assert "\nlast    ━" in out
    assert out.endswith("2 requests, p50 1.00 ms, p95 25.0 ms, 0 errors\n")


def test_command_that_does_not_exist_is_one_sentence() -> None:
    with running("--", "no-such-command") as tool:
        _, err = tool.process.communicate(timeout=120)

    assert (tool.process.returncode, err) == (
        1,
        "Error: Cannot run no-such-command: No such file or directory.\n",
    )


def test_port_in_use_is_one_sentence_that_names_the_remedy() -> None:
    with OTLPServer() as other:
        port = other.endpoint.rpartition(":")[2]
        result = CliRunner().invoke(command, ["--port", port])

    assert result.exit_code == 1
    assert result.output == (
        f"Error: Cannot listen on port {port} of 127.0.0.1 (Address already in use). Stop the other"
        " OTLP receiver, or choose another port: --port 4319\n"
    )


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (Filter(), ["GET /orders", "POST /orders", "GET /[x]"]),
        (Filter(errors=True), ["POST /orders"]),
        (Filter(slow=2), ["GET /orders"]),
        (Filter(slow=0.05), ["GET /orders", "POST /orders"]),
        (Filter(name="post"), ["POST /orders"]),
        (Filter(name="g*orders"), ["GET /orders"]),
        (Filter(name="insert"), ["POST /orders"]),
        (Filter(name="[x]"), ["GET /[x]"]),
        (Filter(errors=True, slow=2), []),
    ],
)
def test_filters(wanted: Filter, shown: list[str]) -> None:
    traces = Assembly()
    post_orders = span("POST /orders", ms=100, error="", trace="2" * 32)
    traces.add(
        span("GET /orders", ms=2000, trace="1" * 32),
        post_orders,
        span("INSERT", post_orders, trace="2" * 32),
        span("GET /[x]", ms=10, trace="3" * 32),
    )

    matching = filter(wanted.matches, traces.after(60))

    assert [trace.root and trace.root.name for trace in matching] == shown


@pytest.mark.parametrize(
    ("text", "seconds"), [("2s", 2), ("500ms", 0.5), ("1.5 m", 90), ("3", 3), ("2S", 2)]
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


def test_invalid_duration_is_rejected_with_an_example() -> None:
    result = CliRunner().invoke(command, ["--slow", "fast"])

    assert result.exit_code == 2
    assert "'fast' is not a duration. Write 500ms or 2s, for example." in result.output
