"""The end of a request: work after the response, disconnects, WebSockets, mounted applications."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from fastapi import (
    BackgroundTasks,
    Depends,
    FastAPI,
    HTTPException,
    Request,
    WebSocket,
    WebSocketDisconnect,
)
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.testclient import TestClient
from observability import get_tracer, instrument_app, traced
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from starlette.middleware.base import BaseHTTPMiddleware

from .conftest import FinishedSpans


def fail() -> None:
    raise ValueError("too late")


def add_stream_that_fails(app: FastAPI) -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "piece"
        fail()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(pieces())


async def pass_through(request: Any, call_next: Any) -> Any:
    return await call_next(request)


@pytest.fixture(params=["plain", "BaseHTTPMiddleware"])
def app(request: pytest.FixtureRequest) -> FastAPI:
    app = FastAPI()
    instrument_app(app)
    if request.param == "BaseHTTPMiddleware":
        app.add_middleware(BaseHTTPMiddleware, dispatch=pass_through)
    return app


def get(app: Any, path: str) -> int:
    return TestClient(app, raise_server_exceptions=False).get(path).status_code


def outline(spans: list[ReadableSpan]) -> list[tuple[str, bool, list[str]]]:
    """Return the name of each span, if it is an error, and the messages of its exceptions."""
    return [
        (
            span.name,
            span.status.status_code is StatusCode.ERROR,
            [str((event.attributes or {})["exception.message"]) for event in span.events],
        )
        for span in spans
    ]


def one_trace(spans: list[ReadableSpan]) -> bool:
    server = next(span for span in spans if span.kind is SpanKind.SERVER)
    parents = {span.parent and span.parent.span_id for span in spans if span is not server}
    return parents <= {server.context.span_id}


def test_background_task_is_a_span_with_its_exception(app: FastAPI, spans: FinishedSpans) -> None:
    @app.get("/orders")
    async def orders(tasks: BackgroundTasks) -> None:
        tasks.add_task(print, end="")
        tasks.add_task(fail)

    assert get(app, "/orders") == 200

    server, *tasks = outline(spans())
    # With older versions, BaseHTTPMiddleware completes the response after the tasks.
    assert (server[0], server[2]) == ("GET /orders", [])
    assert tasks == [
        ("BackgroundTask print", False, []),
        ("BackgroundTask fail", True, ["too late"]),
    ]
    assert one_trace(spans())


def test_exception_of_a_dependency_after_the_response_is_on_a_span(
    app: FastAPI, spans: FinishedSpans
) -> None:
    async def session() -> AsyncIterator[None]:
        yield
        fail()

    @app.get("/orders")
    async def orders(_: None = Depends(session)) -> None: ...

    get(app, "/orders")

    [(name, is_error, messages)] = [each for each in outline(spans()) if each[2]]
    # Older versions close dependencies before the response is complete.
    assert name in ("after response", "GET /orders")
    assert (is_error, messages) == (True, ["too late"])
    assert one_trace(spans())


def test_exception_in_a_streaming_body_is_on_the_request_span(
    app: FastAPI, spans: FinishedSpans
) -> None:
    add_stream_that_fails(app)

    get(app, "/stream")

    assert outline(spans()) == [("GET /stream", True, ["too late"])]


def test_exception_that_a_handler_turns_into_a_response_is_an_event(spans: FinishedSpans) -> None:
    app = FastAPI()
    instrument_app(app)

    @app.exception_handler(LookupError)
    async def unavailable(request: Any, error: Exception) -> PlainTextResponse:
        return PlainTextResponse("unavailable", 503)

    @app.get("/orders")
    async def orders() -> None:
        raise LookupError("no database")

    @app.get("/invoices")
    async def invoices() -> None:
        raise HTTPException(503, "no printer")

    assert [get(app, "/orders"), get(app, "/invoices")] == [503, 503]

    first, second = outline(spans())
    assert first == ("GET /orders", True, ["no database"])
    assert second[:2] == ("GET /invoices", True)
    assert len(second[2]) == 1


async def respond_to_failure(request: Any, call_next: Any) -> Any:
    try:
        return await call_next(request)
    except LookupError:
        return PlainTextResponse("", int(request.url.path[-3:]))


class RespondsToFailure:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.app(scope, receive, send)
        except LookupError:
            response = PlainTextResponse("", int(scope["path"][-3:]))
            await response(scope, receive, send)
        except ValueError:
            pass  # too late for a response


@pytest.mark.parametrize("is_plain", [True, False])
def test_exception_that_middleware_turns_into_a_response_is_an_error_if_that_is(
    is_plain: bool, spans: FinishedSpans
) -> None:
    app = FastAPI()
    instrument_app(app)
    if is_plain:
        app.add_middleware(RespondsToFailure)
    else:
        app.add_middleware(BaseHTTPMiddleware, dispatch=respond_to_failure)

    @app.get("/orders/{status}")
    async def orders(status: int) -> None:
        raise LookupError("no order")

    assert [get(app, f"/orders/{status}") for status in (404, 200, 503)] == [404, 200, 503]

    assert outline(spans()) == [
        ("GET /orders/{status}", False, []),
        ("GET /orders/{status}", False, []),
        ("GET /orders/{status}", True, ["no order"]),
    ]


def test_exception_after_the_start_of_the_response_is_an_error_even_if_middleware_handles_it(
    spans: FinishedSpans,
) -> None:
    app = FastAPI()
    instrument_app(app)
    app.add_middleware(RespondsToFailure)

    add_stream_that_fails(app)

    get(app, "/stream")

    assert outline(spans()) == [("GET /stream", True, ["too late"])]


def scope(path: str, version: str = "2.3") -> dict[str, Any]:
    return {
        "asgi": {"version": "3.0", "spec_version": version},
        "http_version": "1.1",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


async def exchange(app: Any, path: str, *, pieces: int, version: str = "2.3") -> None:
    """Request `path` from a client that leaves after `pieces` messages of the response."""
    gone, received = asyncio.Event(), iter(["http.request"])
    count = 0

    async def receive() -> dict[str, Any]:
        if next(received, None):
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal count
        count += message["type"] == "http.response.body"
        if count >= pieces:
            gone.set()
            if version == "2.4":  # since then, servers raise
                raise OSError("connection lost")

    await app({**scope(path, version), "type": "http", "method": "GET"}, receive, send)


async def converse(app: Any, path: str, close_code: int) -> None:
    """Send one message to the WebSocket at `path`, and leave with `close_code`."""
    messages: list[dict[str, Any]] = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "hello"},
        {"type": "websocket.disconnect", "code": close_code},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None: ...

    await app({**scope(path), "type": "websocket", "scheme": "ws"}, receive, send)


@pytest.mark.parametrize("version", ["2.3", "2.4"])
def test_client_that_leaves_a_stream_is_not_an_error(
    version: str, app: FastAPI, spans: FinishedSpans
) -> None:
    async def pieces() -> AsyncIterator[str]:
        with traced("chat"):
            for number in range(1_000):
                yield str(number)
                await asyncio.sleep(0.01)

    @app.get("/chat")
    async def chat() -> StreamingResponse:
        return StreamingResponse(pieces())

    with suppress(Exception):  # depends on the installed Starlette
        asyncio.run(exchange(app, "/chat", pieces=3, version=version))

    finished = spans()
    assert outline(finished) == [("GET /chat", False, []), ("chat", False, [])]
    assert (finished[0].attributes or {})["request.client_disconnected"] is True
    assert "error.type" not in (finished[0].attributes or {})


def test_client_that_leaves_is_not_an_error_on_the_span_of_an_instrumentation(
    app: FastAPI, spans: FinishedSpans
) -> None:
    async def pieces() -> AsyncIterator[str]:
        span = get_tracer("an.sdk").start_span("chat", attributes={"gen_ai.operation.name": "chat"})
        try:
            for number in range(1_000):
                yield str(number)
                await asyncio.sleep(0.01)
        except asyncio.CancelledError as error:
            span.set_attribute("error.type", "asyncio.exceptions.CancelledError")
            span.record_exception(error)
            span.set_status(StatusCode.ERROR, str(error))
            raise
        finally:
            span.end()

    @app.get("/chat")
    async def chat() -> StreamingResponse:
        return StreamingResponse(pieces())

    with suppress(Exception):  # depends on the installed Starlette
        asyncio.run(exchange(app, "/chat", pieces=3))

    assert outline(spans()) == [("GET /chat", False, []), ("chat", False, [])]
    assert "error.type" not in (spans()[1].attributes or {})


def test_call_that_is_cancelled_for_another_reason_is_an_error(spans: FinishedSpans) -> None:
    with (
        suppress(asyncio.CancelledError),
        get_tracer("an.sdk").start_as_current_span("chat") as span,
    ):
        span.set_attribute("error.type", "asyncio.exceptions.CancelledError")
        span.set_status(StatusCode.ERROR, "cancelled")
        raise asyncio.CancelledError

    assert outline(spans()) == [("chat", True, [])]


@pytest.mark.parametrize("reads", ["body", "stream"])
def test_client_that_leaves_while_it_sends_the_request_is_not_an_error(
    reads: str, app: FastAPI, spans: FinishedSpans
) -> None:
    @app.post("/orders")
    async def orders(request: Request) -> None:
        with traced("read"):
            if reads == "body":
                await request.body()
            async for _ in request.stream():
                pass

    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None: ...

    with suppress(Exception):  # depends on the installed Starlette
        asyncio.run(app({**scope("/orders"), "type": "http", "method": "POST"}, receive, send))

    finished = spans()
    assert outline(finished) == [("POST /orders", False, []), ("read", False, [])]
    attributes = dict(finished[0].attributes or {})
    assert attributes["request.client_disconnected"] is True
    assert "error.type" not in attributes
    # Of FastAPI's response to an unhandled exception, which nobody received.
    assert attributes["http.response.status_code"] == 499


def test_exception_after_the_client_left_is_an_error(app: FastAPI, spans: FinishedSpans) -> None:
    async def pieces() -> AsyncIterator[str]:
        try:
            yield "piece"
            await asyncio.sleep(60)
        finally:
            raise RuntimeError("no rollback")

    @app.get("/chat")
    async def chat() -> StreamingResponse:
        return StreamingResponse(pieces())

    with suppress(Exception):  # depends on the installed Starlette
        asyncio.run(exchange(app, "/chat", pieces=1))

    [(name, is_error, messages)] = outline(spans())
    assert (name, is_error, messages) == ("GET /chat", True, ["no rollback"])


@pytest.mark.parametrize(
    ("code", "is_error", "attributes"),
    [
        (1000, False, {"websocket.close_code": 1000, "request.client_disconnected": False}),
        (1001, False, {"websocket.close_code": 1001, "request.client_disconnected": False}),
        (1006, False, {"websocket.close_code": 1006, "request.client_disconnected": True}),
        (1011, True, {}),
    ],
)
def test_normal_end_of_a_websocket_is_not_an_error(
    code: int, is_error: bool, attributes: dict[str, object], app: FastAPI, spans: FinishedSpans
) -> None:
    @app.websocket("/chat")
    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        while True:
            with traced("message"):
                await socket.receive_text()

    with suppress(WebSocketDisconnect):
        asyncio.run(converse(app, "/chat", code))

    server, *messages = spans()
    assert server.kind is SpanKind.SERVER
    assert [status for _, status, _ in outline([server, *messages])] == [is_error, False, is_error]
    found = dict(server.attributes or {})
    assert found["network.protocol.name"] == "websocket"
    assert "http.request.method" not in found
    for name in ("websocket.close_code", "request.client_disconnected"):
        assert found.get(name) == attributes.get(name)


@pytest.fixture(params=["plain", "instrumented"])
def mounted(request: pytest.FixtureRequest, app: FastAPI) -> FastAPI:
    inner = FastAPI()

    @inner.get("/orders/{number}")
    async def order(number: int) -> int:
        if number < 0:
            raise ValueError("negative")
        return number

    if request.param == "instrumented":
        instrument_app(inner)
    app.mount("/shop", inner)
    return app


def test_request_to_a_mounted_application_has_one_span(
    mounted: FastAPI, spans: FinishedSpans
) -> None:
    assert get(mounted, "/shop/orders/7") == 200

    [span] = spans()
    assert (span.kind, span.status.status_code) == (SpanKind.SERVER, StatusCode.UNSET)


def test_exception_in_a_mounted_application_is_one_event(
    mounted: FastAPI, spans: FinishedSpans
) -> None:
    assert get(mounted, "/shop/orders/-1") == 500

    [(_, is_error, messages)] = outline(spans())
    assert (is_error, messages) == (True, ["negative"])
