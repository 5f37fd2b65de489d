"""An OTLP receiver on 127.0.0.1 that keeps the spans it accepts, over HTTP or gRPC."""

import gzip
import socket
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Lock, Thread
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from .otlp import Span, spans_in

Protocol: TypeAlias = Literal["http/protobuf", "grpc"]

PATIENCE: Final = 60.0
"""Seconds to wait for spans by default, so that a busy machine does not look like a lost span."""


class Receiver:
    """Accepts spans at `endpoint` while the block runs, and keeps them.

        with Receiver() as receiver:
            ...  # export spans to receiver.endpoint
            [span] = receiver.wait_for(1)

    The spans can still be read after the block.
    """

    endpoint: str
    """The address to export to while the block runs, for either protocol: http://127.0.0.1:43121"""

    def __init__(self, protocol: Protocol = "http/protobuf") -> None:
        self._protocol = protocol
        self._changed = Condition()
        self._spans: list[Span] = []
        self._requests: list[dict[str, str]] = []
        self._paths: list[str] = []
        self._stop: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def spans(self) -> list[Span]:
        """The spans accepted so far, in the order of their arrival."""
        with self._changed:
            return list(self._spans)

    @property
    def requests(self) -> list[dict[str, str]]:
        """The headers of each request so far, including rejected ones. Names are in lower case."""
        with self._changed:
            return [dict(headers) for headers in self._requests]

    @property
    def paths(self) -> list[str]:
        """The path of each request so far, over HTTP."""
        with self._changed:
            return list(self._paths)

    def wait_for(self, count: int, timeout: float = PATIENCE) -> list[Span]:
        """Return the spans so far, as soon as there are `count`.

        Raise TimeoutError with their names if there are fewer after `timeout` seconds.
        """
        with self._changed:
            if self._changed.wait_for(lambda: len(self._spans) >= count, timeout):
                return list(self._spans)
            names = ", ".join(span.name for span in self._spans)
            raise TimeoutError(
                f"Received {len(self._spans)} of {count} spans within {timeout:g} s"
                f"{f': {names}' if names else ''}."
            )

    def wait_for_requests(self, count: int, timeout: float = PATIENCE) -> int:
        """Return the number of requests so far, as soon as there are `count`, or raise TimeoutError."""
        with self._changed:
            if self._changed.wait_for(lambda: len(self._requests) >= count, timeout):
                return len(self._requests)
            raise TimeoutError(
                f"Received {len(self._requests)} of {count} requests within {timeout:g} s."
            )

    def clear(self) -> None:
        """Forget the spans and requests so far."""
        with self._changed:
            self._spans.clear()
            self._requests.clear()
            self._paths.clear()

    def respond(self, request: BaseHTTPRequestHandler) -> bool:
        """Respond to `request` in place of the receiver, and return true if that was done.

        The spans are then not accepted. A receiver with faults overrides this.
        """
        return False

    def add_request(self, headers: Iterable[tuple[str, str | bytes]], path: str = "") -> None:
        """Keep the headers of a request."""
        named = {
            name.lower(): value if isinstance(value, str) else value.decode(errors="replace")
            for name, value in headers
        }
        with self._changed:
            self._requests.append(named)
            self._paths.append(path)
            self._changed.notify_all()

    def add_spans(self, request: ExportTraceServiceRequest) -> None:
        """Keep the spans of a request."""
        spans = spans_in(request)
        with self._changed:
            self._spans.extend(spans)
            self._changed.notify_all()

    def _listen(self, port: int = 0) -> None:
        if self._protocol == "grpc":
            self.endpoint, self._stop = _serve_grpc(self)
            return
        server = _HTTPServer(self, port)
        self.endpoint = f"http://127.0.0.1:{server.server_port}"
        self._stop = server.stop
        Thread(target=server.serve_forever, args=(0.05,), name="otlp-receiver", daemon=True).start()


class _HTTPServer(ThreadingHTTPServer):
    """Keeps connections open between requests, as Honeycomb does, and closes them when it stops."""

    def __init__(self, receiver: Receiver, port: int) -> None:
        self.receiver = receiver
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


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HTTPServer

    def do_GET(self) -> None:
        receiver = self.server.receiver
        receiver.add_request(self.headers.items(), self.path)
        if not receiver.respond(self):
            self._not_found()

    def do_POST(self) -> None:
        receiver = self.server.receiver
        try:
            body = self.rfile.read(int(self.headers["content-length"]))
        except (TypeError, ValueError):
            self.close_connection = True
            body = b""
        receiver.add_request(self.headers.items(), self.path)
        if receiver.respond(self):
            return
        if self.path != "/v1/traces":
            self._not_found()
            return
        try:
            if self.headers["content-encoding"] == "gzip":
                body = gzip.decompress(body)
            receiver.add_spans(ExportTraceServiceRequest.FromString(body))
        except (DecodeError, EOFError, OSError, ValueError, zlib.error):
            self._answer(400, "text/plain", b"The body is not OTLP in protobuf.\n")
            return
        answer = ExportTraceServiceResponse().SerializeToString()
        self._answer(200, "application/x-protobuf", answer)

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


def _serve_grpc(receiver: Receiver) -> tuple[str, Callable[[], None]]:
    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

    class Servicer:
        def Export(
            self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
        ) -> ExportTraceServiceResponse:
            receiver.add_request(context.invocation_metadata())
            receiver.add_spans(request)
            return ExportTraceServiceResponse()

    pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="otlp-receiver")
    server = grpc.server(pool)
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]
        Servicer(), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    def stop() -> None:
        server.stop(grace=None).wait()
        pool.shutdown()

    return f"http://127.0.0.1:{port}", stop
