"""An HTTP receiver that follows a script: one action for each request, then it accepts all."""

import gzip
import socket
import struct
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Action:
    """The response to one request."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    accepts: bool = False  # the spans are kept, whatever the response
    rejected: int = 0  # number of spans that a partial success rejects
    ending: str = ""  # instead of a response: "reset", "silence", or bytes that are no response


@dataclass
class ScriptedReceiver:
    """Responds on 127.0.0.1 while the block runs, and counts the names of accepted spans."""

    script: deque[Action] = field(default_factory=deque)
    refuses: Callable[[list[str]], Action | None] = lambda names: None
    names: Counter[str] = field(default_factory=Counter)
    unacknowledged: set[str] = field(default_factory=set)  # accepted without a response
    requests: int = 0

    def __enter__(self) -> Self:
        self.stopped, self._lock = Event(), Lock()
        handler = type("Handler", (_Handler,), {"receiver": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def act(self, request: ExportTraceServiceRequest) -> Action:
        """Return the response to `request`, and keep its spans if they are accepted."""
        names = [
            span.name
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        with self._lock:
            self.requests += 1
            action = self.refuses(names) or (self.script.popleft() if self.script else Action())
            is_accepted = 200 <= action.status < 300 and not action.ending
            if is_accepted or action.accepts:
                rejected = min(action.rejected, len(names))
                self.names.update(names[: len(names) - rejected])
            if action.accepts:
                self.unacknowledged.update(names)
        return action


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: ScriptedReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        action = self.receiver.act(ExportTraceServiceRequest.FromString(body))
        if action.ending:
            self.close_connection = True
            if action.ending == "silence":
                self.receiver.stopped.wait(1.0)
            elif action.ending == "reset":
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
            else:
                self.wfile.write(action.ending.encode())
            return
        answer = action.body
        if action.rejected:
            response = ExportTraceServiceResponse()
            response.partial_success.rejected_spans = action.rejected
            response.partial_success.error_message = "too many\nattributes"
            answer = response.SerializeToString()
        self.send_response_only(action.status)
        for name, value in action.headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()
