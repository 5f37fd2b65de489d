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
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any, Self

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
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
    repeated: bytes = b""  # after `ending`, until the client closes the connection
    pause: float = 0.0  # seconds before each repetition
    code: str = ""  # of gRPC, instead of a status
    retry_after: float | None = None  # seconds in the RetryInfo of gRPC


@dataclass
class ScriptedReceiver:
    """Responds on 127.0.0.1 while the block runs, and counts the names of accepted spans."""

    script: deque[Action] = field(default_factory=deque)
    refuses: Callable[[list[str]], Action | None] = lambda names: None
    names: Counter[str] = field(default_factory=Counter)
    unacknowledged: set[str] = field(default_factory=set)  # accepted without a response
    spans: list[Any] = field(default_factory=list)  # of all requests
    requests: int = 0
    headers: dict[str, str] = field(default_factory=dict)  # of the last request, and its path
    tls: ssl.SSLContext | None = None
    credentials: grpc.ServerCredentials | None = None  # of TLS over gRPC
    # Each for a new connection: "close" or "reset", and if that is before TLS, after it, or in the
    # middle of the first request.
    connections: deque[tuple[str, str]] = field(default_factory=deque)

    def __enter__(self) -> Self:
        self.stopped, self._lock = Event(), Lock()
        handler = type("Handler", (_Handler,), {"receiver": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        scheme = "https" if self.tls else "http"
        self.port = self._server.server_port
        self.endpoint = f"{scheme}://127.0.0.1:{self.port}"
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def act(self, request: ExportTraceServiceRequest) -> Action:
        """Return the response to `request`, and keep its spans if they are accepted."""
        spans = [
            span
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        names = [span.name for span in spans]
        with self._lock:
            self.spans += spans
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
        add_port, scheme = self._grpc_server.add_insecure_port, "http"
        if credentials := self.credentials:
            add_port, scheme = (
                partial(self._grpc_server.add_secure_port, server_credentials=credentials),
                "https",
            )
        self.endpoint = f"{scheme}://127.0.0.1:{add_port('127.0.0.1:0')}"
        self._grpc_server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self._grpc_server.stop(None)

    def _export(self, body: bytes, context: Any) -> bytes:
        self.headers = dict(context.invocation_metadata())
        action = self.act(ExportTraceServiceRequest.FromString(body))
        if action.ending == "silence":
            self.stopped.wait(1.0)
        if action.retry_after is not None:
            from google.rpc.error_details_pb2 import RetryInfo
            from google.rpc.status_pb2 import Status

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


class Proxy:
    """Forwards connections to `port`, and what it responds in pieces of `size`, one every 50 ms.

    With a `delay`, it is an HTTP proxy that waits so many seconds before and after its response.
    """

    def __init__(self, port: int, *, size: int = 65_536, delay: float = 0.0) -> None:
        self._port, self._size, self._delay = port, size, delay

    def __enter__(self) -> Self:
        self._stopped = Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self._port)) as to:
            if self._delay:
                client.recv(65_536)
                self._stopped.wait(self._delay)
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                self._stopped.wait(self._delay)
            Thread(target=_copy, args=(client, to), daemon=True).start()
            while piece := to.recv(self._size):
                client.sendall(piece)
                if self._stopped.wait(0.05):
                    break


def _copy(source: socket.socket, destination: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65_536):
            destination.sendall(piece)
        destination.shutdown(socket.SHUT_WR)


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
        self.receiver.headers = {**dict(self.headers), "path": self.path}
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
            while action.repeated and not self.receiver.stopped.wait(action.pause):
                self.wfile.write(action.repeated)
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
