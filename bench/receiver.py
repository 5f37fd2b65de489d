"""Count the spans and bytes that a service exports, over HTTP or gRPC, in a separate process.

    python -m bench.receiver

The first line on stdout is JSON with the port of each protocol. Each line on stdin is answered with
one line: the counts since the previous one.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from threading import Lock

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hooks.traces.receiver import Receiver


class Counts:
    """Counts since the last call of `reset`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[str, int] = {}

    def add(self, **counts: int) -> None:
        with self._lock:
            for name, count in counts.items():
                self._counts[name] = self._counts.get(name, 0) + count

    def reset(self) -> dict[str, int]:
        with self._lock:
            counts, self._counts = self._counts, {}
        return {"events": 0, "wire_bytes": 0, "unpacked_bytes": 0, **counts}


class CountingReceiver(Receiver):
    """Counts spans and does not keep them, so that it competes little with the measured service."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._counts = counts

    def add_spans(self, request: ExportTraceServiceRequest) -> None:
        # Honeycomb bills each span, each event of a span and each link as one event.
        events = sum(
            1 + len(span.events) + len(span.links)
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        )
        self._counts.add(events=events, unpacked_bytes=request.ByteSize())


async def _relay(endpoint: str, count: Callable[[int], None]) -> int:
    """Forward connections to `endpoint`, and count each byte of the requests on the wire."""
    port = int(endpoint.rpartition(":")[2])

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
    counts = Counts()
    with (
        CountingReceiver(counts) as http,
        CountingReceiver(counts) as grpc,
    ):
        ports = {
            name: await _relay(receiver.endpoint, lambda size: counts.add(wire_bytes=size))
            for name, receiver in {"http": http, "grpc": grpc}.items()
        }
        print(json.dumps(ports), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(counts.reset()), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
