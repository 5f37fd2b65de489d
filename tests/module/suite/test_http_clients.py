"""Outgoing HTTP: one CLIENT span per request, redacted, with `traceparent` in its headers."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from observability import llm_call, traced
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from .conftest import FinishedSpans
from .programs import run

Get = Callable[[str], int]


class Server(ThreadingHTTPServer):
    """Answers /STATUS with that status, and redirects /redirect."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.headers: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.headers.append(dict(self.headers))
        path = self.path.partition("?")[0]
        self.send_response(302 if path == "/redirect" else int(path[1:]))
        self.send_header("Location", "/200")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def headers(server: Server) -> list[dict[str, str]]:
    server.headers.clear()
    return server.headers


def blocking(library: str) -> Get:
    module: Any = pytest.importorskip(library, reason=f"requires {library}")
    options = {} if library == "requests" else {"follow_redirects": True}
    return lambda url: module.get(url, **options).status_code


def concurrent(library: str) -> Get:
    module: Any = pytest.importorskip(library, reason=f"requires {library}")

    async def get(url: str) -> int:
        if library == "aiohttp":
            async with module.ClientSession() as session, session.get(url) as response:
                return response.status
        async with module.AsyncClient(follow_redirects=True) as client:
            return (await client.get(url)).status_code

    return lambda url: asyncio.run(get(url))


CLIENTS = {
    "httpx": lambda: blocking("httpx"),
    "httpx async": lambda: concurrent("httpx"),
    "httpx2": lambda: blocking("httpx2"),
    "httpx2 async": lambda: concurrent("httpx2"),
    "requests": lambda: blocking("requests"),
    "aiohttp": lambda: concurrent("aiohttp"),
}


@pytest.fixture(params=CLIENTS)
def get(request: pytest.FixtureRequest) -> Get:
    return CLIENTS[request.param]()


def test_request_is_a_span_whose_context_is_sent(
    get: Get, server: Server, headers: list[dict[str, str]], spans: FinishedSpans
) -> None:
    with traced("work"):
        assert get(f"{server.url.replace('//', '//user:password@')}/200?token=secret&secret") == 200

    work, span = spans()
    assert (span.name, span.kind) == ("GET", SpanKind.CLIENT)
    assert span.parent == work.context
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": server.server_port,
        "url.full": f"{server.url}/200",
    }
    trace_id, span_id = format_trace_id(span.context.trace_id), format_span_id(span.context.span_id)
    [sent] = headers
    assert {name.lower(): value for name, value in sent.items()}["traceparent"][3:52] == (
        f"{trace_id}-{span_id}"
    )


def test_redirect_is_a_part_of_its_request(
    get: Get, server: Server, headers: list[dict[str, str]], spans: FinishedSpans
) -> None:
    with traced("work"):
        assert get(f"{server.url}/redirect") == 200

    assert [span.name for span in spans()] == ["work", "GET"]
    assert len(headers) == 2


def test_failed_request_is_an_error(get: Get, server: Server, spans: FinishedSpans) -> None:
    with traced("work"):
        assert get(f"{server.url}/503") == 503
        with pytest.raises(Exception, match=""), traced("refused"):
            get("http://127.0.0.1:1/?token=secret")

    work, answered, refused, span = spans()
    assert answered.status.status_code is StatusCode.ERROR
    assert (answered.attributes or {})["error.type"] == "503"
    assert work.status.status_code is StatusCode.UNSET
    assert span.status.status_code is refused.status.status_code is StatusCode.ERROR
    assert len(span.events) == 1
    assert not refused.events


def test_request_of_an_llm_call_or_outside_a_trace_has_no_span(
    get: Get, server: Server, headers: list[dict[str, str]], spans: FinishedSpans
) -> None:
    get(f"{server.url}/200")
    with llm_call("openai", "gpt-4o"):
        get(f"{server.url}/200")

    assert [span.name for span in spans()] == ["llm.call"]
    assert not [name for sent in headers for name in sent if name.lower() == "traceparent"]


def test_request_inside_a_span_that_describes_it_has_no_span(
    get: Get, server: Server, spans: FinishedSpans
) -> None:
    with traced("count_tokens", {"http.request.method": "POST"}, kind=SpanKind.CLIENT):
        get(f"{server.url}/200")

    assert [span.name for span in spans()] == ["count_tokens"]


def test_request_of_a_tool_has_a_span(get: Get, server: Server, spans: FinishedSpans) -> None:
    with traced("tool", {"gen_ai.operation.name": "execute_tool"}):
        get(f"{server.url}/200")

    assert [span.name for span in spans()] == ["tool", "GET"]


@pytest.mark.parametrize("ours_first", [True, False])
def test_request_that_a_contrib_package_traces_too_has_one_span(
    ours_first: bool, server: Server, headers: list[dict[str, str]]
) -> None:
    pytest.importorskip(CONTRIB, reason="requires opentelemetry-instrumentation-requests")
    contrib = f"from {CONTRIB} import RequestsInstrumentor as I; I().instrument()"
    ours = "from observability import setup_observability; setup_observability()"
    both = [ours, contrib] if ours_first else [contrib, ours]
    variables = {"OTEL_TRACES_EXPORTER": "console"}
    output, _ = run("\n".join([*both, GET]).replace("URL", f"{server.url}/200"), variables)

    assert output.count('"kind": "SpanKind.CLIENT"') == 1
    assert len(headers) == 1


CONTRIB = "opentelemetry.instrumentation.requests"
GET = """
import requests
from observability import traced
with traced("work"):
    requests.get("URL")
"""
PROGRAM = """
from observability.testing import capture_spans
with capture_spans() as spans:
    from observability import traced
    import {library} as library
    with traced("work"):
        try:
            library.get("http://127.0.0.1:1/")
        except Exception:
            pass
print([span.name for span in spans])
"""


@pytest.mark.parametrize(
    ("disabled", "names"), [("", "['GET', 'work']"), ("requests, httpx", "['work']")]
)
def test_library_is_traced_when_it_is_imported_unless_it_is_disabled(
    disabled: str, names: str
) -> None:
    library = "httpx2" if _has("httpx2") else "httpx"
    output, _ = run(
        PROGRAM.format(library=library), {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": disabled}
    )

    assert output == names


def test_library_that_cannot_be_traced_is_imported_with_one_warning(tmp_path: Path) -> None:
    (tmp_path / "requests.py").write_text("Session = None\n")
    program = "from observability import setup_observability as s; s(); import requests; print(1)"
    variables = {
        "OTEL_TRACES_EXPORTER": "console",
        "PYTHONPATH": f"{tmp_path}:{os.environ['PYTHONPATH']}",
    }

    output, log = run(program, variables)

    assert output == "1"
    assert len(log) == 1
    assert log[0].startswith("Could not trace calls of requests: ")


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
def test_port_of_an_address_without_one_is_that_of_its_scheme(
    scheme: str, port: int, spans: FinishedSpans
) -> None:
    httpx: Any = pytest.importorskip("httpx2" if _has("httpx2") else "httpx")
    answer = httpx.MockTransport(lambda request: httpx.Response(204))
    with traced("work"), httpx.Client(transport=answer) as client:
        client.get(f"{scheme}://example.test/orders")

    attributes = spans()[1].attributes or {}
    assert (attributes["server.address"], attributes["server.port"]) == ("example.test", port)


def _has(module: str) -> bool:
    try:
        import_module(module)
    except ImportError:
        return False
    return True
