"""Headers that a client may send, to a real server: none changes what is recorded of a request."""

import os
import re
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hooks.traces.receiver import Receiver

from ..depth import in_depth
from ..environments import Environment, environment

SERVICE: Final = """
import uvicorn
from fastapi import FastAPI
from opentelemetry import trace
from observability import inject, instrument_app

app = FastAPI()
instrument_app(app)


@app.get("/{path:path}")
async def headers(path: str) -> dict[str, str]:
    span = trace.get_current_span().get_span_context()
    return {"id": f"{span.trace_id:032x}", "state": inject().get("tracestate", "")}


uvicorn.run(app, port=0, access_log=False)
"""
# FastAPI traces itself, and the contrib package does.
SERVERS: Final = {
    "native": ("fastapi", "opentelemetry-sdk", "uvicorn"),
    "contrib": (
        "fastapi==0.115.*",
        "opentelemetry-instrumentation-fastapi",
        "opentelemetry-sdk",
        "uvicorn",
    ),
}
RATE: Final = 10
THRESHOLD: Final = 2**56 - round(2**56 / RATE)

TRACE_PARENT: Final = st.builds(
    "{}-{}-{}-{}".format,
    st.sampled_from(["00", "01", "cc", "ff"]),
    st.sampled_from(
        ["0af7651916cd43dd84ffffffffffffff", "0af7651916cd43dd8400000000000000", "0" * 32]
    )
    | st.integers(0, 2**128 - 1).map("{:032x}".format),
    st.sampled_from(["b7ad6b7169203331", "0" * 16]),
    st.sampled_from(["00", "01", "02", "03", "ff", "01-x"]),
)
TRACE_STATE: Final = st.sampled_from(
    ["ot=th:ffffffffffffff", "ot=th:0", "ot=th:8;rv:00000000000000", "a=1,ot=th:c", "=", "ot="]
)
# What a server passes on: anything but a line break and a zero byte.
TEXT: Final = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=60)
PIECES: Final = TEXT | st.builds(lambda text, times: text * times, TEXT, st.sampled_from([20, 200]))
NAMES: Final = ("traceparent", "tracestate", "baggage", "b3", "host", "x-forwarded-for")
HEADERS: Final = st.lists(
    st.tuples(st.just("traceparent"), TRACE_PARENT)
    | st.tuples(st.just("tracestate"), TRACE_STATE)
    | st.tuples(st.sampled_from(NAMES), PIECES)
    | st.tuples(st.just("host"), st.sampled_from(["a/healthz?", "a://b/livez", "[", ""])),
    max_size=5,
)


@contextmanager
def serving(python: Environment, rendering: Path, receiver: Receiver, rate: int) -> Iterator[int]:
    """Run the service and return its port; stop it, which exports its spans."""
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [python.python, "-W", "ignore", "-c", SERVICE],
        cwd=rendering,
        env={**os.environ, **variables, "HONEYCOMB_SAMPLE_RATE": str(rate)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            lines = iter(process.stderr.readline, "")
            port = next(
                filter(None, (re.search(r"http://127.0.0.1:(\d+)", line) for line in lines))
            )
            yield int(port[1])
        finally:
            process.send_signal(signal.SIGTERM)
            assert "Traceback" not in process.stderr.read()


def get(port: int, headers: list[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the ID of the request's trace and the state it would pass on, or None if refused."""
    lines = ["GET /orders HTTP/1.1", "connection: close"]
    if "host" not in dict(headers):
        lines.append("host: a")
    lines += [f"{name}: {value}" for name, value in headers]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    # The server itself rejects a malformed request.
    assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 ")), answer[:200]
    found = re.search(rb'"id":"(\w+)","state":"([^"]*)"', answer)
    return (found[1].decode(), found[2].decode()) if found else None


@in_depth
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("rate", [1, RATE])
def test_no_header_changes_the_spans_or_the_weight_of_a_request(
    server: str, rate: int, shared: Path, http_rendering: Path
) -> None:
    python = environment(shared, f"uvicorn-{server}", SERVERS[server])
    traces: list[str] = []

    with Receiver() as receiver, serving(python, http_rendering, receiver, rate) as port:

        @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
        @given(HEADERS)
        def send(headers: list[tuple[str, str]]) -> None:
            if response := get(port, headers):
                trace_id, state = response
                is_kept = int(trace_id, 16) % 2**56 >= THRESHOLD or rate == 1
                traces.extend([trace_id] * is_kept)
                assert state == ("ot=th:e6666666666666" if is_kept and rate > 1 else "")

        send()

    assert len(traces) > 50 or rate > 1
    assert Counter(span.trace_id for span in receiver.spans) == Counter(traces)
    assert {span.attributes.get("SampleRate", 1) for span in receiver.spans} <= {rate}
