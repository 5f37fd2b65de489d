"""Work on the request path is linear in the size of what a client or a user sends."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("opentelemetry.proto", reason="requires opentelemetry-proto")

from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from observability import instrument_app, traced
from observability._otlp import encode_span
from observability._processor import TelemetryProcessor
from observability._redaction import redact_sql
from observability.testing import capture_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

SIZE = 20_000
# A client sends any text; these pieces, repeated, are the start of what a pattern looks for.
PIECES = [
    *[
        "a",
        "1",
        " ",
        "\t",
        ".",
        ":",
        "://",
        "?",
        "@",
        "/",
        "(",
        "(a.",
        "[",
        "$",
        "$a",
        "'",
        '"',
        "`",
    ],
    *["\\\\", "/*", "*/", "--", "#", "\n", "e'", "1.1", "1e", "a=1,", "validation error", "[SQL: "],
    *[
        "http://a",
        "a?b",
        "DETAIL",
        "Traceback (most recent call last):\n",
        '  File "',
        "    a\n",
        "|",
    ],
]
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join)


class Encoder(SpanExporter):
    size = 0

    def export(self, spans: Any) -> SpanExportResult:
        for span in spans:
            self.size = len(encode_span(span))
        return SpanExportResult.SUCCESS


encoder = Encoder()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(TelemetryProcessor(encoder))
tracer = provider.get_tracer("tests")
app = FastAPI()


@pytest.fixture(scope="module", autouse=True)
def instrumented() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, capture_spans():
        patch.setenv("HONEYCOMB_TRUST_INCOMING", "true")
        instrument_app(app)
        yield


def exception(text: str) -> None:
    try:
        with tracer.start_as_current_span("work"):
            raise RuntimeError(text)
    except RuntimeError:
        pass


def own_exception(text: str) -> None:
    try:
        with traced("work"):
            raise LookupError(text)
    except LookupError:
        pass


def status(text: str) -> None:
    span = tracer.start_span("work")
    span.set_status(StatusCode.ERROR, text)
    span.end()


def span_name(text: str) -> None:
    tracer.start_span(text).end()


def attributes(text: str) -> None:
    names = ("a", "url.full", "db.statement", "exception.stacktrace", "gen_ai.prompt", text)
    tracer.start_span("work", attributes=dict.fromkeys(names, text)).end()


def event(text: str) -> None:
    span = tracer.start_span("work")
    span.add_event(text, {text: text, "exception.message": text})
    span.end()


def headers(text: str) -> None:
    trace_parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for name in (b"tracestate", b"baggage", b"traceparent"):
        value = f"a=1{text}b".encode()
        # As long as it may be, and longer.
        for each in (value[:500], value[:8_000], value):
            asyncio.run(request([(b"traceparent", trace_parent), (name, each)]))


async def request(headers: list[tuple[bytes, bytes]]) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None: ...

    scope = {"type": "http", "asgi": {}, "http_version": "1.1", "method": "GET", "scheme": "http"}
    path = {"path": "/", "raw_path": b"/", "query_string": b"", "root_path": ""}
    peers = {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}
    await app({**scope, **path, **peers, "headers": headers}, receive, send)


def sql(text: str) -> None:
    for dialect in ("sqlite", "postgresql", "mysql", "mssql"):
        redact_sql(text, dialect)


WORK = [exception, own_exception, status, span_name, attributes, event, headers, sql]


def cpu(work: Callable[[str], None], text: str) -> float:
    """Return the least CPU time of this thread that `work` has taken, of three."""
    times = []
    for _ in range(3):
        before = time.thread_time()
        work(text)
        times.append(time.thread_time() - before)
    return min(times)


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEXTS)
def test_time_is_linear_in_the_size_of_a_text(work: Callable[[str], None], piece: str) -> None:
    small = cpu(work, (piece * SIZE)[:SIZE])
    large = cpu(work, (piece * 16 * SIZE)[: 16 * SIZE])

    # Quadratic time would be 256 times as long. Below a tenth of a millisecond, other things count.
    assert large < 64 * max(small, 1e-4)
    # A text is truncated to a few thousand characters before it is searched: linear or not, it may
    # not need much more time than another.
    assert small < 100 * max(cpu(work, "word " * (SIZE // 5)), 1e-4)


def test_long_names_are_truncated_before_they_are_cached() -> None:
    name = "x" * 1_000_000
    span = tracer.start_span(name, attributes={name: 1})
    span.add_event("event", {name: 1})
    span.end()

    assert encoder.size < 5_000


@pytest.mark.parametrize(
    "message",
    ["a" * 50_000, "0123456789abcdef" * 6_250, "word " * 200_000, "(" * 50_000, "1" * 50_000],
    ids=lambda message: message[:10],
)
def test_message_of_a_client_takes_little_time(message: str) -> None:
    # Formatting a message needs linear time; another of its length is the control.
    control = "word " * (len(message) // 5)
    assert cpu(exception, message) < 50 * max(cpu(exception, control), 1e-3)


def test_spaces_in_a_header_are_not_searched_repeatedly() -> None:
    def get(baggage: str) -> None:
        asyncio.run(request([(b"baggage", baggage.encode())]))

    # OpenTelemetry's parser needs 40 ms for as many spaces.
    assert cpu(get, "a=1" + " " * 8_000 + "b") < 10 * max(cpu(get, "a=1" + "b" * 4_000), 1e-3)
