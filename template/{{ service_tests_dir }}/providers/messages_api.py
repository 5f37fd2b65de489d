"""A fake of Anthropic's Messages API on 127.0.0.1, for the real SDK.

`python -m tests.providers.messages_api` serves it until standard input is closed. Every prompt gets
the same specification and the same function.
"""

import json
import sys
from collections import deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

USAGE = {
    "input_tokens": 120,
    "cache_creation_input_tokens": 2_000,
    "cache_read_input_tokens": 5_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 2_000, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 60,
    "service_tier": "standard",
}
SPECIFICATION = {
    "intent": "Greet the world.",
    "function": "hello_world",
    "parameters": [],
    "returns": "str",
    "constraints": ["It does not print."],
    "holes": [{"name": "punctuation", "question": "Does the greeting end with a full stop?"}],
}
CODE = '''\
def hello_world() -> str:
    """Return a greeting that ends with an exclamation mark."""
    return "Hello, world!"
'''

Answer = Callable[["_Handler", dict[str, Any]], None]


class MessagesAPI:
    """Serves the API at `url` while the block runs.

    Each request gets the next of `answers`, or `success()` if there are none.
    """

    def __init__(self) -> None:
        self.answers: deque[Answer] = deque()
        self.requests: list[dict[str, Any]] = []
        self.stopped = Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.api = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()


def success(text: str | None = None) -> Answer:
    """Respond with `text`, or by default with a specification or code, as requested."""

    def answer(handler: "_Handler", request: dict[str, Any]) -> None:
        content = text
        if content is None:
            content = json.dumps(SPECIFICATION) if "output_config" in request else CODE
        if request.get("stream"):
            handler.send_events(_events(content, request["model"]))
        else:
            handler.send_json(200, _message(content, request["model"]))

    return answer


def failure(status: int, kind: str) -> Answer:
    """Respond with an error of the API, such as 429 and "rate_limit_error"."""

    def answer(handler: "_Handler", request: dict[str, Any]) -> None:
        error = {"type": kind, "message": f"{kind} from the fake API"}
        handler.send_json(status, {"type": "error", "error": error})

    return answer


def malformed(handler: "_Handler", request: dict[str, Any]) -> None:
    """Respond with status 200 and truncated JSON."""
    handler.send_body(200, "application/json", b'{"type": "message", "content": [')


def misshapen(handler: "_Handler", request: dict[str, Any]) -> None:
    """Respond with status 200 and JSON that is not a message."""
    handler.send_json(200, {"hello": "world"})


def dropped(handler: "_Handler", request: dict[str, Any]) -> None:
    """Close the connection without a response."""
    handler.close_connection = True


def cut_off(handler: "_Handler", request: dict[str, Any]) -> None:
    """End a stream before its last events, without an error."""
    events = list(_events(CODE, request["model"]))
    handler.send_events(iter(events[:4]))


def torn(handler: "_Handler", request: dict[str, Any]) -> None:
    """Break the connection in the middle of a stream."""
    handler.send_response(200)
    handler.send_header("content-type", "text/event-stream")
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"100\r\nevent: message_start\n")
    handler.close_connection = True


def slow(handler: "_Handler", request: dict[str, Any]) -> None:
    """Do not respond until the API stops."""
    handler.server.api.stopped.wait()
    handler.close_connection = True


def _message(text: str, model: str) -> dict[str, Any]:
    return {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
    }


def _events(text: str, model: str) -> Iterator[dict[str, Any]]:
    message = _message("", model) | {"content": [], "stop_reason": None}
    yield {"type": "message_start", "message": message | {"usage": USAGE | {"output_tokens": 1}}}
    block = {"type": "text", "text": ""}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    for line in text.splitlines(keepends=True):
        delta = {"type": "text_delta", "text": line}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": USAGE["output_tokens"]},
    }
    yield {"type": "message_stop"}


class _Server(ThreadingHTTPServer):
    api: MessagesAPI


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        api = self.server.api
        api.requests.append(request)
        answer = api.answers.popleft() if api.answers else success()
        try:
            answer(self, request)
        except OSError:  # the client closed the connection
            self.close_connection = True

    def send_json(self, status: int, body: dict[str, Any]) -> None:
        self.send_body(status, "application/json", json.dumps(body).encode())

    def send_body(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_events(self, events: Iterator[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for event in events:
            data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
            self.wfile.write(data.encode())
            self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


if __name__ == "__main__":
    with MessagesAPI() as served:
        print(served.url, flush=True)
        sys.stdin.read()
