"""Spans as Honeycomb stores them: events with flat columns.

A span is one event, and so is each event and each link in it. The rules are those of husky,
Honeycomb's decoder of OTLP: https://github.com/honeycombio/husky, otlp/traces.go.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode
from opentelemetry.trace.span import format_span_id, format_trace_id

Event = dict[str, Any]
_COPIED_TO_THE_SPAN: Final = (
    "exception.type",
    "exception.message",
    "exception.stacktrace",
    "exception.escaped",
)


def events_of(span: ReadableSpan, resource: Resource) -> Iterator[Event]:
    """The events that Honeycomb creates from `span`, exported by `resource`."""
    is_error = span.status.status_code is StatusCode.ERROR
    trace = {"trace.trace_id": format_trace_id(span.context.trace_id), "meta.signal_type": "trace"}
    shared = _columns(resource.attributes)
    if span.instrumentation_scope:
        shared |= _columns(
            {
                "library.name": span.instrumentation_scope.name,
                "library.version": span.instrumentation_scope.version,
            }
        )

    kind = span.kind.name.lower()
    event = trace | {
        "trace.span_id": format_span_id(span.context.span_id),
        "type": kind,
        "span.kind": kind,
        "name": span.name,
        "duration_ms": ((span.end_time or 0) - (span.start_time or 0)) / 1_000_000,
        "status_code": span.status.status_code.value,
        "span.num_links": len(span.links),
        "span.num_events": len(span.events),
    }
    if span.parent:
        event["trace.parent_id"] = format_span_id(span.parent.span_id)
    if span.status.description:
        event["status_message"] = span.status.description
    # `error` is absent from a span that did not fail, never false.
    if is_error:
        event["error"] = True
    for each in span.events:
        if each.name == "exception":
            exception = _columns(each.attributes or {})
            event |= {name: exception[name] for name in _COPIED_TO_THE_SPAN if name in exception}
            break
    # The last value wins: an attribute called `name` would hide the name of the span.
    event |= shared | _columns(span.attributes or {})
    # Not a column: the weight of the event.
    event.pop("SampleRate", None)
    yield event

    annotation = trace | {
        "trace.parent_id": format_span_id(span.context.span_id),
        "parent_name": span.name,
    }
    error = {"error": True} if is_error else {}
    for each in span.events:
        about = {"name": each.name, "meta.annotation_type": "span_event"}
        yield annotation | about | shared | _columns(each.attributes or {}) | error
    for link in span.links:
        about = {
            "trace.link.trace_id": format_trace_id(link.context.trace_id),
            "trace.link.span_id": format_span_id(link.context.span_id),
            "meta.annotation_type": "link",
        }
        yield annotation | about | shared | _columns(link.attributes or {}) | error


def _columns(attributes: Mapping[str, Any]) -> Event:
    """A list becomes its JSON, as text."""
    return {
        name: json.dumps(value) if isinstance(value, tuple) else value
        for name, value in attributes.items()
        if value is not None
    }
