"""A receiver of spans on 127.0.0.1 that fails in a way that can be changed while it runs."""

import gzip
import socket
from collections.abc import Callable
from threading import Condition, Event, Thread
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias, get_args

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .service import free_port

Fault: TypeAlias = Literal[
    "refuses",
    "black hole",
    "302",
    "400",
    "401",
    "413",
    "429",
    "429, retry after 1 s",
    "429, retry after 1 h",
    "500",
    "503",
    "half a status line",
    "half a body",
    "no answer",
    "garbage",
    "endless garbage",
    "one byte a second",
]

FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
_GARBAGE: Final = b"\x1b[31m\x00\xff<html>\t" * 50
_ANSWERS: Final[dict[Fault | None, bytes]] = {
    None: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "302": b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n",
    "400": b"HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\nbad\n",
    "401": b'HTTP/1.1 401 Unauthorized\r\ncontent-length: 21\r\n\r\n{"message":"unknown"}',
    "413": b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n",
    "429": b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n",
    "429, retry after 1 s": b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\n"
    b"content-length: 0\r\n\r\n",
    "429, retry after 1 h": b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 3600\r\n"
    b"content-length: 0\r\n\r\n",
    "500": b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
    "503": b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\ngone for now",
    "half a status line": b"HTTP/1.1 20",
    "half a body": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + b"\x0a" * 50,
    "no answer": b"",
    "garbage": _GARBAGE + b"\n" + _GARBAGE,
}


class FaultyReceiver:
    """Fails as `fault` says while the block runs, and takes spans where that is None.

    with FaultyReceiver("503") as receiver:
        ...  # something that exports to receiver.endpoint
        receiver.fault = None
        receiver.wait_for(10)
    """

    def __init__(self, fault: Fault | None = None) -> None:
        self._fault = fault
        self._port = free_port()
        self._changed = Condition()
        self._listener: socket.socket | None = None
        self._stopped = Event()
        self.paths: list[str] = []
        """Of each request so far."""
        self.spans = 0
        """How many were taken."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def fault(self) -> Fault | None:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        self._fault = fault
        if (fault == "refuses") is not (self._listener is None):
            self._refuse() if fault == "refuses" else self._listen()

    def wait_for(self, spans: int, timeout: float = 10.0) -> int:
        """How many spans were taken, as soon as there are `spans` or after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.spans >= spans, timeout)
            return self.spans

    def wait_for_requests(self, count: int, timeout: float = 10.0) -> int:
        """How many requests came, as soon as there are `count` or after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.paths) >= count, timeout)
            return len(self.paths)

    def __enter__(self) -> Self:
        if self._fault != "refuses":
            self._listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        if self._listener is not None:
            self._refuse()

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=128)
        _start(self._accept, self._listener)

    def _refuse(self) -> None:
        assert self._listener is not None
        # Wakes the thread that accepts; closing alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            _start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            try:
                while line := reader.readline():
                    headers = dict(
                        header.lower().split(b": ", 1)
                        for header in iter(lambda: reader.readline().strip(), b"")
                    )
                    body = reader.read(int(headers.get(b"content-length", 0)))
                    fault = self._fault
                    if fault is None:
                        self._take(body)
                    with self._changed:
                        self.paths.append(line.split()[1].decode())
                        self._changed.notify_all()
                    self._answer(connection, fault)
                    if fault not in (None, "302", "400", "401", "413", "429", "500"):
                        return
            except OSError:
                pass

    def _take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(gzip.decompress(body))
        with self._changed:
            self.spans += sum(
                len(of_scope.spans)
                for of_resource in request.resource_spans
                for of_scope in of_resource.scope_spans
            )
            self._changed.notify_all()

    def _answer(self, connection: socket.socket, fault: Fault | None) -> None:
        match fault:
            case "black hole":
                # Until the other side gives up.
                connection.settimeout(60)
                connection.recv(1)
            case "one byte a second":
                for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n":
                    connection.sendall(bytes((byte,)))
                    if self._stopped.wait(1):
                        return
            case "endless garbage":
                while not self._stopped.is_set():
                    connection.sendall(b"\x00garbage" * 10_000)
            case _:
                connection.sendall(_ANSWERS[fault])


def _start(run: Callable[[socket.socket], None], of: socket.socket) -> None:
    Thread(target=run, args=[of], name="faulty-receiver", daemon=True).start()
