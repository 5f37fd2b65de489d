"""An OTLP receiver in a separate process, over HTTP and over gRPC, that responds immediately.

    python -m bench.receiver

The first line on stdout is JSON with its ports. Each line on stdin is answered with one line: the
counts since the previous one. Bodies are decompressed and decoded only then, so that this does not
compete with the measured service.
"""

import asyncio
import gzip
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_TRACE_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


class Received:
    """Everything received since the last call of `count`."""

    def __init__(self) -> None:
        self.bytes_on_the_wire = 0
        self._bodies: list[tuple[bytes, bool]] = []

    def add(self, body: bytes, *, compressed: bool = False) -> None:
        self._bodies.append((body, compressed))

    def count(self) -> dict[str, float]:
        bodies, self._bodies = self._bodies, []
        on_the_wire, self.bytes_on_the_wire = self.bytes_on_the_wire, 0
        unpacked = [gzip.decompress(body) if packed else body for body, packed in bodies]
        spans = [
            span
            for body in unpacked
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]
        return {
            # Honeycomb bills each span, each event of a span and each link as one event.
            "events": sum(1 + len(span.events) + len(span.links) for span in spans),
            "wire_bytes": on_the_wire,
            "unpacked_bytes": sum(map(len, unpacked)),
        }


def _serve_http(received: Received) -> int:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.add(body, compressed=self.headers["content-encoding"] == "gzip")
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def _serve_grpc(received: Received) -> int:
    def export(request: bytes, context: grpc.ServicerContext) -> bytes:
        received.add(request)
        return b""

    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                _TRACE_SERVICE, {"Export": grpc.unary_unary_rpc_method_handler(export)}
            )
        ]
    )
    port: int = server.add_insecure_port("127.0.0.1:0")
    server.start()
    # A garbage-collected server stops.
    _servers.append(server)
    return port


_servers: list[grpc.Server] = []


async def _relay(port: int, count: Callable[[int], None]) -> int:
    """Forward connections to `port` and count each byte received, whatever the protocol."""

    async def forward(
        source: asyncio.StreamReader, target: asyncio.StreamWriter, counted: bool
    ) -> None:
        try:
            while data := await source.read(1 << 20):
                if counted:
                    count(len(data))
                target.write(data)
                await target.drain()
        except ConnectionError:
            pass
        finally:
            target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            forward(reader, other_writer, True), forward(other_reader, writer, False)
        )

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    relayed: int = server.sockets[0].getsockname()[1]
    return relayed


async def main() -> None:
    received = Received()

    def count(size: int) -> None:
        received.bytes_on_the_wire += size

    ports = {
        "http": await _relay(_serve_http(received), count),
        "grpc": await _relay(_serve_grpc(received), count),
    }
    print(json.dumps(ports), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(received.count()), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
