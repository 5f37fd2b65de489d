"""Spans and log records decoded from OTLP export requests, in protobuf or JSON."""

import base64
import json
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

AttributeValue: TypeAlias = "str | bool | int | float | list[AttributeValue]"
Attributes: TypeAlias = dict[str, AttributeValue]
StatusCode: TypeAlias = Literal["unset", "ok", "error"]

Request = TypeVar("Request", bound=Message)

_STATUS_CODES: Final[tuple[StatusCode, ...]] = ("unset", "ok", "error")
_SEVERITIES: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_IDS: Final = {"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"}


@dataclass(frozen=True)
class SpanEvent:
    """An event of a span, such as an exception."""

    name: str
    attributes: Attributes
    time: int
    """Nanoseconds since 1970."""


@dataclass(frozen=True)
class Span:
    """A span as it was received. Ids are hexadecimal; times are nanoseconds since 1970."""

    name: str
    kind: str
    """In lower case: server, client, internal, producer, consumer."""
    trace_id: str
    span_id: str
    parent_id: str | None
    """None for a root span."""
    start: int
    end: int
    status: StatusCode
    status_message: str
    attributes: Attributes
    resource: Attributes
    scope: str
    """The name of the instrumentation scope."""
    events: tuple[SpanEvent, ...]


@dataclass(frozen=True)
class LogRecord:
    """A log record as it was received."""

    trace_id: str
    """Empty outside a trace."""
    span_id: str
    time: int
    """Nanoseconds since 1970."""
    severity: str
    """In upper case, such as WARN or WARNING; empty if it has none."""
    body: str
    attributes: Attributes
    resource: Attributes
    scope: str
    """The name of the logger."""


def decompress(body: bytes, limit: int) -> bytes:
    """Decompress gzip or zlib. Raises ValueError if it is broken or longer than `limit` bytes."""
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        content = decoder.decompress(body, limit)
    except zlib.error as error:
        raise ValueError(f"not valid gzip: {error}") from None
    if not decoder.eof:
        raise ValueError("truncated gzip" if len(content) < limit else "too large")
    return content


def parse(request: type[Request], body: bytes, *, is_json: bool) -> Request:
    """Decode the body of an export request. Raises ValueError if it is not valid."""
    try:
        if not is_json:
            return request.FromString(body)
        content = _with_base64_ids(json.loads(body))
        return json_format.ParseDict(content, request(), ignore_unknown_fields=True)
    except (DecodeError, json_format.ParseError, RecursionError) as error:
        raise ValueError(str(error)) from error


def spans_in(request: ExportTraceServiceRequest) -> list[Span]:
    """Decode the spans of `request`, in its order."""
    return [
        _span(span, resource=resource, scope=of_scope.scope.name)
        for of_resource in request.resource_spans
        for resource in [_attributes(of_resource.resource.attributes)]
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def logs_in(request: ExportLogsServiceRequest) -> list[LogRecord]:
    """Decode the log records of `request`, in its order."""
    return [
        _log(record, resource=resource, scope=of_scope.scope.name)
        for of_resource in request.resource_logs
        for resource in [_attributes(of_resource.resource.attributes)]
        for of_scope in of_resource.scope_logs
        for record in of_scope.log_records
    ]


def _with_base64_ids(content: Any) -> Any:
    """Replace hexadecimal ids, as OTLP has them in JSON, by base64, as protobuf expects them."""
    if isinstance(content, list):
        return [_with_base64_ids(item) for item in content]
    if not isinstance(content, dict):
        return content
    return {
        key: base64.b64encode(bytes.fromhex(value)).decode()
        if key in _IDS and isinstance(value, str)
        else _with_base64_ids(value)
        for key, value in content.items()
    }


def _span(span: trace_pb2.Span, *, resource: Attributes, scope: str) -> Span:
    return Span(
        name=span.name,
        kind=_enum_name(trace_pb2.Span.SpanKind, span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        start=span.start_time_unix_nano,
        end=max(span.end_time_unix_nano, span.start_time_unix_nano),
        status=_STATUS_CODES[span.status.code] if span.status.code < 3 else "unset",
        status_message=span.status.message,
        attributes=_attributes(span.attributes),
        resource=resource,
        scope=scope,
        events=tuple(
            SpanEvent(event.name, _attributes(event.attributes), event.time_unix_nano)
            for event in span.events
        ),
    )


def _log(record: logs_pb2.LogRecord, *, resource: Attributes, scope: str) -> LogRecord:
    number = record.severity_number
    severity = record.severity_text or (_SEVERITIES[(number - 1) // 4] if 0 < number <= 24 else "")
    body = _value(record.body)
    return LogRecord(
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
        time=record.time_unix_nano or record.observed_time_unix_nano,
        severity=severity.upper(),
        body=body if isinstance(body, str) else json.dumps(body),
        attributes=_attributes(record.attributes),
        resource=resource,
        scope=scope,
    )


def _enum_name(enum: Any, number: int) -> str:
    """The name of `number`, or an empty text if a later version of OTLP added it."""
    return str(enum.Name(number)) if number in enum.values() else ""


def _attributes(pairs: Iterable[KeyValue]) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> AttributeValue:
    """Convert `value` to Python. Bytes become hexadecimal, a map JSON, and NaN and infinity text."""
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            # JSON has no infinity and no NaN.
            number = value.double_value
            return number if math.isfinite(number) else str(number)
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "bytes_value":
            return value.bytes_value.hex()
        case "kvlist_value":
            return json.dumps(_attributes(value.kvlist_value.values))
        case _:
            return ""
