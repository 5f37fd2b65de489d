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
from ..service.process import Log, wait_until

SERVICE: Final = """
import uvicorn
from fastapi import FastAPI, Request
from opentelemetry import trace
from observability import inject, instrument_app, traced

app = FastAPI()
instrument_app(app)


@app.get("/{path:path}")
async def headers(path: str) -> dict[str, str]:
    span = trace.get_current_span().get_span_context()
    return {"id": f"{span.trace_id:032x}", "state": inject().get("tracestate", "")}


@app.post("/orders")
async def order(request: Request) -> int:
    with traced("read"):
        return len(await request.body())


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
    # A file: OpenTelemetry logs invalid baggage, and a full pipe would stop the server.
    log = Log()
    with subprocess.Popen(
        [python.python, "-W", "ignore", "-c", SERVICE],
        cwd=rendering,
        env={**os.environ, **variables, "HONEYCOMB_SAMPLE_RATE": str(rate)},
        stderr=log.file,
    ) as process:
        try:
            wait_until(lambda: "http://127.0.0.1:" in log.text(), "the port of the server")
            [port] = re.findall(r"http://127.0.0.1:(\d+)", log.text())
            yield int(port)
        finally:
            process.send_signal(signal.SIGTERM)
    text = log.text()
    assert text.count("Traceback") == text.count("\nstarlette.requests.ClientDisconnect")


def exchange(port: int, request: bytes, *, leaves: bool = False) -> bytes:
    """Send `request` and return the response, or leave without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        return b"" if leaves else b"".join(iter(lambda: connection.recv(65_536), b""))


def get(port: int, headers: list[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the ID of the request's trace and the state it would pass on, or None if refused."""
    lines = ["GET /orders HTTP/1.1", "connection: close"]
    if "host" not in dict(headers):
        lines.append("host: a")
    lines += [f"{name}: {value}" for name, value in headers]
    answer = exchange(port, "\r\n".join([*lines, "", ""]).encode("latin-1"))
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


SECRET: Final = b"c4n4ry"
COMMON: Final = b"host: c4n4ry\r\nuser-agent: c4n4ry\r\nconnection: close\r\n"
PARENT: Final = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
GET_PATH: Final = "GET /{path}"
POST: Final = "POST /orders"
# The start of a request, and the name of its span. The server rejects those without a span.
ODD_REQUESTS: Final = {
    "unknown method": (b"C4N4RY-c4n4ry /c4n4ry HTTP/1.1\r\n", "HTTP /{path}"),
    "long method": (b"c4n4ry" * 1_000 + b" /c4n4ry HTTP/1.1\r\n", "HTTP /{path}"),
    "address of another server": (b"GET http://c4n4ry:c4n4ry@c4n4ry/ HTTP/1.1\r\n", "GET"),
    "undecodable path": (b"GET /c4n4ry%ff%00%0a?c4n4ry=%ff HTTP/1.1\r\n", GET_PATH),
    "health check of another host": (b"GET //c4n4ry/healthz HTTP/1.1\r\n", GET_PATH),
    "encoded health check": (b"GET /%68ealthz HTTP/1.1\r\n", None),
    "older protocol": (b"GET /c4n4ry HTTP/1.0\r\n", GET_PATH),
    "upgrade": (b"GET /c4n4ry HTTP/1.1\r\nupgrade: h2c\r\nhttp2-settings: c4n4ry\r\n", GET_PATH),
    "flood of trace states": (
        b"GET / HTTP/1.1\r\n"
        + PARENT
        + b"".join(b"tracestate: a%d=c4n4ry\r\n" % n for n in range(99)),
        GET_PATH,
    ),
    "flood of baggage": (
        b"GET / HTTP/1.1\r\n" + b"".join(b"baggage: a%d=c4n4ry\r\n" % n for n in range(99)),
        GET_PATH,
    ),
    "two parents": (b"GET / HTTP/1.1\r\n" + 2 * PARENT, GET_PATH),
    "forwarded": (
        b"GET / HTTP/1.1\r\nx-forwarded-proto: c4n4ry\r\nforwarded: c4n4ry\r\n",
        GET_PATH,
    ),
    "length and chunks": (
        b"POST /orders HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n",
        POST,
    ),
    "two lengths": (b"POST /orders HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n", None),
    "negative length": (b"POST /orders HTTP/1.1\r\ncontent-length: -3\r\n", None),
    "no version": (b"GET /c4n4ry\r\n", None),
}
# The client leaves, or sends what is not a body.
INCOMPLETE: Final = {
    "leaves before it continues": b"expect: 100-continue\r\ncontent-length: 6\r\n\r\n",
    "leaves in its body": b"content-length: 600\r\n\r\nc4n4ry",
    "leaves between chunks": b"transfer-encoding: chunked\r\n\r\n6\r\nc4n4ry\r\n",
    "odd chunk": b"transfer-encoding: chunked\r\n\r\n-6\r\nc4n4ry\r\n",
}
ATTRIBUTES: Final = {
    *("http.request.method", "http.response.status_code", "http.route"),
    "request.client_disconnected",
}


@in_depth
@pytest.mark.parametrize("server", SERVERS)
def test_odd_request_is_one_span_without_anything_that_the_client_words(
    server: str, shared: Path, http_rendering: Path
) -> None:
    python = environment(shared, f"uvicorn-{server}", SERVERS[server])
    names = [POST] * len(INCOMPLETE)

    with Receiver() as receiver, serving(python, http_rendering, receiver, 1) as port:
        for request, name in ODD_REQUESTS.values():
            answer = exchange(port, request + COMMON + b"\r\n0\r\n\r\n")
            assert b" 500 " not in answer[:20]
            if name:
                names.append(name)
        for request in INCOMPLETE.values():
            exchange(port, b"POST /orders HTTP/1.1\r\n" + COMMON + request, leaves=True)

    found = Counter(span.name.replace("{path:path}", "{path}") for span in receiver.spans)
    assert found - Counter(read=99) == Counter(names)
    for span in receiver.spans:
        assert SECRET not in repr(span).lower().encode()
        assert span.attributes.keys() <= ATTRIBUTES, (span.attributes, span.status, span.events)
        assert (span.status, span.events) == ("unset", ())
    left = [span for span in receiver.spans if "request.client_disconnected" in span.attributes]
    assert len(left) == len(INCOMPLETE)
