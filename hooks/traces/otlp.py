"""Spans decoded from an OTLP export request."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

AttributeValue: TypeAlias = "str | bool | int | float | list[AttributeValue]"
Attributes: TypeAlias = dict[str, AttributeValue]
StatusCode: TypeAlias = Literal["unset", "ok", "error"]

_STATUS_CODES: Final[tuple[StatusCode, ...]] = ("unset", "ok", "error")


@dataclass(frozen=True)
class SpanEvent:
    """An event of a span, such as an exception."""

    name: str
    attributes: Attributes


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


def spans_in(request: ExportTraceServiceRequest) -> list[Span]:
    """Decode the spans of `request`, in its order."""
    return [
        _span(
            span, resource=_attributes(of_resource.resource.attributes), scope=of_scope.scope.name
        )
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def _span(span: trace_pb2.Span, *, resource: Attributes, scope: str) -> Span:
    return Span(
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        status=_STATUS_CODES[span.status.code],
        status_message=span.status.message,
        attributes=_attributes(span.attributes),
        resource=resource,
        scope=scope,
        events=tuple(SpanEvent(event.name, _attributes(event.attributes)) for event in span.events),
    )


def _attributes(pairs: Iterable[KeyValue]) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> AttributeValue:
    """Convert `value` to Python. Bytes become hexadecimal text, and a map becomes JSON."""
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "bytes_value":
            return value.bytes_value.hex()
        case "kvlist_value":
            return json.dumps(_attributes(value.kvlist_value.values))
        case _:
            return ""
