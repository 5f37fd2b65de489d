"""Traces as JSON, for scripts and for the page."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from .assembly import Trace
from .figures import cost, input_tokens, model, output_tokens
from .otlp import Span


def trace_summary(trace: Trace) -> dict[str, Any]:
    """The figures of a trace as a whole. Durations are in milliseconds, `start` in ISO 8601."""
    spans = trace.spans.values()
    root = trace.root
    calls: dict[str, list[Span]] = {}
    for span in spans:
        if (name := model(span)) and (cost([span]) is not None or input_tokens([span]) is not None):
            calls.setdefault(name, []).append(span)
    return {
        "trace_id": trace.trace_id,
        "name": root.name if root else "",
        "service": trace.service,
        "start": _iso(trace.start),
        "duration_ms": (root.end - root.start) / 1e6 if root else 0.0,
        "status_code": root.attributes.get("http.response.status_code") if root else None,
        "has_error": trace.has_error,
        "is_complete": bool(trace.spans) and not trace.missing,
        "spans_count": len(spans) + trace.dropped,
        "input_tokens": input_tokens(spans),
        "output_tokens": output_tokens(spans),
        "cost_usd": cost(spans),
        "models": {
            name: {
                "calls": len(of_model),
                "input_tokens": input_tokens(of_model),
                "output_tokens": output_tokens(of_model),
                "cost_usd": cost(of_model),
            }
            for name, of_model in calls.items()
        },
    }


def trace_json(trace: Trace) -> dict[str, Any]:
    """A trace with its spans, ordered by start, and its log records, ordered by time."""
    return {
        **trace_summary(trace),
        "spans": [
            _span_json(span, trace)
            for span in sorted(trace.spans.values(), key=lambda span: span.start)
        ],
        "logs": [
            {
                "span_id": record.span_id,
                "time": _iso(record.time),
                "severity": record.severity,
                "body": record.body,
                "scope": record.scope,
                "attributes": record.attributes,
            }
            for record in sorted(trace.logs, key=lambda record: record.time)
        ],
    }


def _span_json(span: Span, trace: Trace) -> dict[str, Any]:
    fields = asdict(span)
    del fields["trace_id"], fields["start"], fields["end"], fields["events"]
    return fields | {
        "start_ms": (span.start - trace.start) / 1e6,
        "duration_ms": (span.end - span.start) / 1e6,
        "events": [
            {
                "name": event.name,
                "time_ms": (event.time - trace.start) / 1e6,
                "attributes": event.attributes,
            }
            for event in span.events
        ],
    }


def _iso(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="milliseconds")
