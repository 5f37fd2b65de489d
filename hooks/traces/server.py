"""An OTLP server on 127.0.0.1: HTTP (protobuf or JSON) and gRPC on the same port."""

import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Final, Self

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from .grpc_server import INVALID_ARGUMENT, PREFACE, UNIMPLEMENTED, GRPCError, serve_grpc
from .otlp import decompress, parse

_MAX_BODY: Final = 64 << 20
_JSON: Final = "application/json"
_PROTOBUF: Final = "application/x-protobuf"
_REQUESTS: Final[dict[str, type[Message]]] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
}
_RESPONSES: Final[dict[str, type[Message]]] = {
    "/v1/traces": ExportTraceServiceResponse,
    "/v1/logs": ExportLogsServiceResponse,
    "/v1/metrics": ExportMetricsServiceResponse,
}
_GRPC_PATHS: Final = {
    f"/opentelemetry.proto.collector.{signal}.v1.{signal.title()}Service/Export": path
    for path, signal in (
        ("/v1/traces", "trace"),
        ("/v1/logs", "logs"),
        ("/v1/metrics", "metrics"),
    )
}


class OTLPServer:
    """Accepts exports while the block runs. Subclasses override the `add_` methods."""

    endpoint: str
    """The address to export to while the block runs, for either protocol: http://127.0.0.1:43121"""

    def __init__(self, port: int = 0) -> None:
        self._port = port
        self._stop: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        self._listen(self._port)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def add_request(self, headers: Iterable[tuple[str, str]], path: str) -> None:
        """Called for each request, including rejected ones."""

    def add_spans(self, request: ExportTraceServiceRequest) -> None:
        """Called for each valid export of spans."""

    def add_logs(self, request: ExportLogsServiceRequest) -> None:
        """Called for each valid export of log records."""

    def add_metrics(self, request: ExportMetricsServiceRequest) -> None:
        """Called for each valid export of metrics."""

    def respond(self, request: BaseHTTPRequestHandler) -> bool:
        """Respond to `request` in place of the server, and return true if that was done."""
        return False

    def accept(self, path: str, body: bytes, *, is_json: bool = False) -> Message:
        """Decode an export and return the response to it. Raises ValueError."""
        request = parse(_REQUESTS[path], body, is_json=is_json)
        if isinstance(request, ExportTraceServiceRequest):
            self.add_spans(request)
        elif isinstance(request, ExportLogsServiceRequest):
            self.add_logs(request)
        elif isinstance(request, ExportMetricsServiceRequest):
            self.add_metrics(request)
        return _RESPONSES[path]()

    def _listen(self, port: int = 0) -> None:
        server = _HTTPServer(self, port)
        self.endpoint = f"http://127.0.0.1:{server.server_port}"
        self._stop = server.stop
        Thread(target=server.serve_forever, args=(0.05,), name="otlp-server", daemon=True).start()


class _HTTPServer(ThreadingHTTPServer):
    """Keeps connections open between requests, as Honeycomb does, and closes them when it stops."""

    def __init__(self, server: OTLPServer, port: int) -> None:
        self.otlp = server
        self._connections: set[socket.socket] = set()
        self._lock = Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that closes its connection early."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Rejected(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HTTPServer
    raw_requestline: bytes

    def parse_request(self) -> bool:
        if self.raw_requestline == PREFACE:
            self.close_connection = True
            serve_grpc(self.rfile, self.wfile.write, self._call, _MAX_BODY)
            return False
        return super().parse_request()

    def do_GET(self) -> None:
        otlp = self.server.otlp
        otlp.add_request(self.headers.items(), self.path)
        if not otlp.respond(self):
            self._not_found()

    def do_POST(self) -> None:
        otlp = self.server.otlp
        try:
            body = self._body()
        except (_Rejected, ValueError) as error:
            self.close_connection = True
            status = error.status if isinstance(error, _Rejected) else 400
            self._answer(status, "text/plain", f"{error}\n".encode())
            return
        otlp.add_request(self.headers.items(), self.path)
        if otlp.respond(self):
            return
        if self.path not in _REQUESTS:
            self._not_found()
            return
        try:
            content_type, answer = self._export(body)
        except ValueError as error:
            reason = f"The body is not valid OTLP: {error}\n"
            self._answer(400, "text/plain", reason.encode(errors="replace"))
        except _Rejected as error:
            self._answer(error.status, "text/plain", f"{error}\n".encode())
        else:
            self._answer(200, content_type, answer)

    def _export(self, body: bytes) -> tuple[str, bytes]:
        if "origin" in self.headers:
            raise _Rejected(403, "Requests from a web page are not accepted.")
        content_type = self.headers.get_content_type()
        if content_type not in (_JSON, _PROTOBUF):
            raise _Rejected(415, f"Send {_PROTOBUF} or {_JSON}.")
        if self.headers.get("content-encoding", "identity") not in ("identity", "gzip", "deflate"):
            raise _Rejected(415, "Compress with gzip, or not at all.")
        if self.headers.get("content-encoding", "identity") != "identity":
            body = decompress(body, _MAX_BODY)
        is_json = content_type == _JSON
        message = self.server.otlp.accept(self.path, body, is_json=is_json)
        return content_type, b"{}" if is_json else message.SerializeToString()

    def _call(self, path: str, headers: list[tuple[str, str]], message: bytes) -> bytes:
        """Answer a gRPC call."""
        self.server.otlp.add_request(headers, path)
        if path not in _GRPC_PATHS:
            raise GRPCError(UNIMPLEMENTED, "unknown method")
        try:
            return self.server.otlp.accept(_GRPC_PATHS[path], message).SerializeToString()
        except ValueError:
            raise GRPCError(INVALID_ARGUMENT, "not a valid message") from None

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            return b"".join(self._chunks())
        length = int(self.headers.get("content-length") or 0)
        if not 0 <= length <= _MAX_BODY:
            raise _Rejected(413, f"A request may have {_MAX_BODY >> 20} MB.")
        return self.rfile.read(length)

    def _chunks(self) -> Iterable[bytes]:
        total = 0
        while size := int(self.rfile.readline(32).partition(b";")[0], 16):
            total += size
            if not 0 <= total <= _MAX_BODY:
                raise _Rejected(413, f"A request may have {_MAX_BODY >> 20} MB.")
            yield self.rfile.read(size)
            self.rfile.readline(8)
        while self.rfile.readline(1024).strip():
            pass

    def _not_found(self) -> None:
        self._answer(404, "text/plain", b"Send spans by POST to /v1/traces.\n")

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
