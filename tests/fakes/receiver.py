"""An OTLP receiver with faults that can be changed while it runs."""

import socket
from http.server import BaseHTTPRequestHandler
from threading import Event
from types import TracebackType
from typing import Final, Literal, TypeAlias, get_args

from hooks.traces.receiver import Receiver

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
    "one byte every 10 s",
    "200 for any path",
    "a web page for any path",
]

FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)[:-2]
"""The faults that fail an export."""
_GARBAGE: Final = b"\x1b[31m\x00\xff<html>\t" * 50
_RESPONSES: Final[dict[Fault, bytes]] = {
    "200 for any path": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "a web page for any path": b"HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\n"
    b"content-length: 7\r\n\r\nWelcome",
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
# Responses after which the connection stays open.
_COMPLETE: Final = ("302", "400", "401", "413", "429", "500")


class FaultyReceiver(Receiver):
    """Fails with `fault` while the block runs, and accepts spans while that is None.

    with FaultyReceiver("503") as receiver:
        ...  # export spans to receiver.endpoint
        receiver.fault = None
        receiver.wait_for(10)
    """

    def __init__(self, fault: Fault | None = None) -> None:
        super().__init__()
        self._fault = fault
        self._reserved: socket.socket | None = None
        self._stopped = Event()
        self._released = Event()
        self._released.set()

    @property
    def fault(self) -> Fault | None:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        refused = self._fault == "refuses"
        self._fault = fault
        port = int(self.endpoint.rpartition(":")[2])
        if fault == "refuses" and not refused:
            self._stop()
            self._refuse(port)
        elif refused and fault != "refuses":
            assert self._reserved is not None
            self._reserved.close()
            self._listen(port)

    def hold(self) -> None:
        """Delay all responses until `release` is called."""
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    def respond(self, request: BaseHTTPRequestHandler) -> bool:
        self._released.wait()
        fault = self._fault
        if fault is None:
            return False
        request.close_connection = fault not in _COMPLETE
        connection: socket.socket = request.connection
        match fault:
            case "black hole":
                # Returns as soon as either side closes the connection.
                connection.recv(1)
            case "one byte every 10 s":
                for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n":
                    connection.sendall(bytes((byte,)))
                    if self._stopped.wait(10):
                        break
            case "endless garbage":
                while not self._stopped.is_set():
                    connection.sendall(b"\x00garbage" * 10_000)
            case _:
                # A receiver that has begun to refuse connections does not respond to open ones.
                connection.sendall(_RESPONSES.get(fault, b""))
        return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self.release()
        if self._fault == "refuses":
            assert self._reserved is not None
            self._reserved.close()
        else:
            super().__exit__(kind, error, traceback)

    def _listen(self, port: int = 0) -> None:
        if self._fault == "refuses":
            self._refuse(port)
        else:
            super()._listen(port)

    def _refuse(self, port: int) -> None:
        # Bound but not listening: connections are refused, and no other process gets the port.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", port))
        self.endpoint = f"http://127.0.0.1:{self._reserved.getsockname()[1]}"
