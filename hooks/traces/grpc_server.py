"""OTLP over gRPC on a connection that begins with HTTP/2's preface.

One port then accepts both protocols, and the commands do not depend on grpcio. h2 implements HTTP/2;
this module adds the framing of unary gRPC calls.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError

from .otlp import decompress

PREFACE: Final = b"PRI * HTTP/2.0\r\n"
"""The first line that a client sends over HTTP/2."""

_READ_BYTES: Final = 1 << 16
# A length, after a byte that is 1 if the message is compressed.
_PREFIX_BYTES: Final = 5


class GRPCError(Exception):
    """A status of gRPC other than OK, with its message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


INVALID_ARGUMENT: Final = 3
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12

Call = Callable[[str, list[tuple[str, str]], bytes], bytes]
"""Answers a call of a path, with its headers and message. Raises GRPCError."""


class _Reader(Protocol):
    def read1(self, size: int = ..., /) -> bytes: ...


@dataclass
class _Stream:
    headers: list[tuple[str, str]]
    body: bytearray = field(default_factory=bytearray)


def serve_grpc(reader: _Reader, send: Callable[[bytes], object], call: Call, limit: int) -> None:
    """Answer calls until the client closes the connection, whose first line has been read.

    A message may have `limit` bytes.
    """
    connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    connection.initiate_connection()
    send(connection.data_to_send())
    streams: dict[int, _Stream] = {}
    data = PREFACE
    try:
        while data:
            for event in connection.receive_data(data):
                if isinstance(event, ConnectionTerminated):
                    return
                _handle(connection, streams, event, call, limit)
            send(connection.data_to_send())
            data = reader.read1(_READ_BYTES)
    except ProtocolError:
        # h2 has prepared the frame that describes the error.
        send(connection.data_to_send())


def _handle(
    connection: H2Connection, streams: dict[int, _Stream], event: Event, call: Call, limit: int
) -> None:
    if isinstance(event, RequestReceived):
        headers = [(str(name), str(value)) for name, value in event.headers or []]
        streams[event.stream_id or 0] = _Stream(headers)
    elif isinstance(event, DataReceived):
        stream_id = event.stream_id or 0
        if (stream := streams.get(stream_id)) is not None:
            stream.body += event.data or b""
            if len(stream.body) > limit + _PREFIX_BYTES:
                del streams[stream_id]
                _end(connection, stream_id, GRPCError(RESOURCE_EXHAUSTED, "message too large"))
        connection.acknowledge_received_data(event.flow_controlled_length or 0, stream_id)
    elif isinstance(event, StreamReset):
        streams.pop(event.stream_id or 0, None)
    elif isinstance(event, StreamEnded):
        stream_id = event.stream_id or 0
        if (ended := streams.pop(stream_id, None)) is not None:
            _answer(connection, stream_id, ended, call, limit)


def _answer(
    connection: H2Connection, stream_id: int, stream: _Stream, call: Call, limit: int
) -> None:
    try:
        path = next((value for name, value in stream.headers if name == ":path"), "")
        headers = [(name, value) for name, value in stream.headers if not name.startswith(":")]
        message = call(path, headers, _message(bytes(stream.body), limit))
    except GRPCError as error:
        _end(connection, stream_id, error)
        return
    connection.send_headers(stream_id, [(":status", "200"), ("content-type", "application/grpc")])
    connection.send_data(stream_id, b"\0" + len(message).to_bytes(4, "big") + message)
    connection.send_headers(stream_id, [("grpc-status", "0")], end_stream=True)


def _message(body: bytes, limit: int) -> bytes:
    """Return the message of a call, decompressed."""
    message = body[_PREFIX_BYTES:]
    if len(body) < _PREFIX_BYTES or len(message) != int.from_bytes(body[1:_PREFIX_BYTES], "big"):
        raise GRPCError(INVALID_ARGUMENT, "expected one message")
    if not body[0]:
        return message
    try:
        return decompress(message, limit)
    except ValueError as error:
        raise GRPCError(INVALID_ARGUMENT, str(error)) from None


def _end(connection: H2Connection, stream_id: int, error: GRPCError) -> None:
    connection.send_headers(
        stream_id,
        [
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", str(error.status)),
            ("grpc-message", str(error)),
        ],
        end_stream=True,
    )
