"""Finished spans as bytes: the protobuf messages of OTLP, written by hand.

Bytes can wait in a queue without the garbage collector walking over them, and requests are made by
joining them. The message and field numbers are those of opentelemetry/proto/trace/v1/trace.proto.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status

_fixed64: Final = Struct("<Q").pack
_fixed32: Final = Struct("<I").pack
_double: Final = Struct("<d").pack
_REMOTE_KNOWN: Final = 0x100
_REMOTE: Final = 0x200


def encode_span(
    span: ReadableSpan, attributes: Mapping[str, Any], events: Iterable[Event], status: Status
) -> bytes:
    """One Span message, with what is given in the place of the span's own."""
    context = span.context
    parent = span.parent
    flags = int(context.trace_flags) | _REMOTE_KNOWN
    parts = [
        b"\x0a\x10",
        context.trace_id.to_bytes(16, "big"),
        b"\x12\x08",
        context.span_id.to_bytes(8, "big"),
    ]
    if context.trace_state:
        parts.append(_text(b"\x1a", context.trace_state.to_header()))
    if parent is not None:
        parts += (b"\x22\x08", parent.span_id.to_bytes(8, "big"))
        if parent.is_remote:
            flags |= _REMOTE
    parts += (
        _name_and_kind(span.name, span.kind.value),
        b"\x39",
        _fixed64(span.start_time or 0),
        b"\x41",
        _fixed64(span.end_time or 0),
        _attributes(b"\x4a", attributes),
    )
    parts += (_field(b"\x5a", _event(event)) for event in events)
    parts += (_field(b"\x6a", _link(link)) for link in span.links)
    if status.status_code.value:
        message = _text(b"\x12", status.description) if status.description else b""
        parts.append(_field(b"\x7a", message + b"\x18" + _varint(status.status_code.value)))
    parts += (b"\x85\x01", _fixed32(flags))
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _name_and_kind(name: str, kind: int) -> bytes:
    # In OTLP, 0 is no kind at all.
    return _text(b"\x2a", name) + b"\x30" + _varint(kind + 1)


def encode_resource(resource: Resource) -> bytes:
    """A Resource as a field of ResourceSpans."""
    return _field(b"\x0a", _attributes(b"\x0a", resource.attributes))


def encode_scope(scope: InstrumentationScope | None) -> bytes:
    """An InstrumentationScope as a field of ScopeSpans."""
    if scope is None:
        return b""
    parts = _text(b"\x0a", scope.name)
    if scope.version:
        parts += _text(b"\x12", scope.version)
    return _field(b"\x0a", parts + _attributes(b"\x1a", scope.attributes or {}))


def encode_request(resource: bytes, spans_by_scope: Mapping[bytes, Sequence[bytes]]) -> bytes:
    """An ExportTraceServiceRequest of one resource."""
    scopes = b"".join(
        _field(b"\x12", scope + b"".join([_field(b"\x12", span) for span in spans]))
        for scope, spans in spans_by_scope.items()
    )
    return _field(b"\x0a", resource + scopes)


def _event(event: Event) -> bytes:
    return b"".join(
        (
            b"\x09",
            _fixed64(event.timestamp),
            _text(b"\x12", event.name),
            _attributes(b"\x1a", event.attributes or {}),
        )
    )


def _link(link: Link) -> bytes:
    context: SpanContext = link.context
    return b"".join(
        (
            b"\x0a\x10",
            context.trace_id.to_bytes(16, "big"),
            b"\x12\x08",
            context.span_id.to_bytes(8, "big"),
            _attributes(b"\x22", link.attributes or {}),
            b"\x35",
            _fixed32(int(context.trace_flags) | _REMOTE_KNOWN | (_REMOTE * context.is_remote)),
        )
    )


def _attributes(tag: bytes, attributes: Mapping[str, Any]) -> bytes:
    return b"".join(
        [
            _attribute(tag, name, value)
            if type(value) is not str or len(value) > 64
            else _short_attribute(tag, name, value)
            for name, value in attributes.items()
        ]
    )


def _attribute(tag: bytes, name: str, value: Any) -> bytes:
    return _field(tag, _key(name) + _field(b"\x12", _value(value)))


# Most attributes are one of a few: a route, a model, a status.
_short_attribute = lru_cache(maxsize=2048)(_attribute)


@lru_cache(maxsize=1024)
def _key(name: str) -> bytes:
    return _text(b"\x0a", name)


def _value(value: Any) -> bytes:
    """An AnyValue."""
    if isinstance(value, str):
        return _text(b"\x0a", value)
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return b"\x18" + _varint(value)
    if isinstance(value, float):
        return b"\x21" + _double(value)
    if isinstance(value, bytes):
        return _field(b"\x3a", value)
    if isinstance(value, Mapping):
        return _field(b"\x32", _attributes(b"\x0a", value))
    if isinstance(value, Sequence):
        return _field(b"\x2a", b"".join([_field(b"\x0a", _value(item)) for item in value]))
    return b"" if value is None else _text(b"\x0a", str(value))


def _text(tag: bytes, text: str) -> bytes:
    return _field(tag, text.encode(errors="replace"))


def _field(tag: bytes, content: bytes) -> bytes:
    length = len(content)
    return tag + (_SMALL[length] if length < 128 else _varint(length)) + content


_SMALL: Final = [bytes((number,)) for number in range(128)]


def _varint(number: int) -> bytes:
    # A negative number is written as its two's complement of 64 bits.
    number &= 0xFFFFFFFFFFFFFFFF
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
