"""OTLP receivers that follow a script: one action for each request, then they accept all."""

import gzip
import socket
import ssl
import struct
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any, Self

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
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
    # Instead of a response: "close", "reset", "silence", or bytes that are no response; "idle" closes
    # the connection after the response.
    ending: str = ""
    code: str = ""  # of gRPC, instead of a status
    retry_after: float | None = None  # seconds in the RetryInfo of gRPC


@dataclass
class ScriptedReceiver:
    """Responds on 127.0.0.1 while the block runs, and counts the names of accepted spans."""

    script: deque[Action] = field(default_factory=deque)
    refuses: Callable[[list[str]], Action | None] = lambda names: None
    names: Counter[str] = field(default_factory=Counter)
    unacknowledged: set[str] = field(default_factory=set)  # accepted without a response
    requests: int = 0
    tls: ssl.SSLContext | None = None
    # Each for a new connection: "close" or "reset", and if that is before TLS, after it, or in the
    # middle of the first request.
    connections: deque[tuple[str, str]] = field(default_factory=deque)

    def __enter__(self) -> Self:
        self.stopped, self._lock = Event(), Lock()
        handler = type("Handler", (_Handler,), {"receiver": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        scheme = "https" if self.tls else "http"
        self.endpoint = f"{scheme}://127.0.0.1:{self._server.server_port}"
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
            is_answered = not action.code and action.ending in ("", "idle")
            if (is_answered and 200 <= action.status < 300) or action.accepts:
                rejected = min(action.rejected, len(names))
                self.names.update(names[: len(names) - rejected])
            if action.accepts:
                self.unacknowledged.update(names)
        return action


class GRPCReceiver(ScriptedReceiver):
    """The same over gRPC."""

    def __enter__(self) -> Self:
        self.stopped, self._lock = Event(), Lock()
        export: dict[str, Any] = {"Export": grpc.unary_unary_rpc_method_handler(self._export)}
        service = "opentelemetry.proto.collector.trace.v1.TraceService"
        handler = grpc.method_handlers_generic_handler(service, export)
        self._grpc_server: Any = grpc.server(ThreadPoolExecutor(4), [handler])
        self.endpoint = f"http://127.0.0.1:{self._grpc_server.add_insecure_port('127.0.0.1:0')}"
        self._grpc_server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self._grpc_server.stop(None)

    def _export(self, body: bytes, context: Any) -> bytes:
        action = self.act(ExportTraceServiceRequest.FromString(body))
        if action.ending == "silence":
            self.stopped.wait(1.0)
        if action.retry_after is not None:
            info, detail = RetryInfo(), AnyMessage()
            info.retry_delay.FromNanoseconds(round(action.retry_after * 1e9))
            detail.Pack(info)
            status = Status(code=8, message="scripted", details=[detail]).SerializeToString()
            context.set_trailing_metadata([("grpc-status-details-bin", status)])
        if action.ending or action.code:
            context.abort(grpc.StatusCode[action.code or "UNAVAILABLE"], "scripted")
        return _response(action)


def _response(action: Action) -> bytes:
    response = ExportTraceServiceResponse()
    if action.rejected:
        response.partial_success.rejected_spans = action.rejected
        response.partial_success.error_message = "too many\nattributes"
    encoded: bytes = response.SerializeToString()
    return encoded


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # of a connection that is closed before a request


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: ScriptedReceiver

    def setup(self) -> None:
        how, phase = "", ""
        with suppress(IndexError):
            how, phase = self.receiver.connections.popleft()
        if phase == "before TLS":
            self._end(how)
        if self.receiver.tls:
            self.request = self.receiver.tls.wrap_socket(self.request, server_side=True)
        super().setup()
        if phase == "in the request":
            self.rfile.read(10)
        if phase:
            self._end(how)

    def _end(self, how: str) -> None:
        """End the connection without a TLS closing alert."""
        connection: socket.socket = self.request
        if how == "reset":
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        # Python's wrapper of a TLS connection closes it like this; `shutdown` would reset nothing.
        connection.close()
        raise ConnectionAbortedError

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        action = self.receiver.act(ExportTraceServiceRequest.FromString(body))
        self.close_connection = bool(action.ending)
        if action.ending in ("close", "reset"):
            self._end(action.ending)
        elif action.ending == "silence":
            self.receiver.stopped.wait(1.0)
            return
        elif action.ending not in ("", "idle"):
            self.wfile.write(action.ending.encode())
            return
        answer = action.body or _response(action)
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

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()
