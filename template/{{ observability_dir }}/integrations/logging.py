"""Standard logging: `trace_id` and `span_id` on every log record."""

import logging
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import format_span_id, format_trace_id


def add_trace_to_log_records() -> None:
    """Set `trace_id` and `span_id` on each record, empty outside a trace, for use in formats."""
    # With a record factory, `extra={"trace_id": ...}` would raise KeyError.
    make_record = logging.Logger.makeRecord

    def make_record_with_trace(
        logger: logging.Logger, *args: Any, **kwargs: Any
    ) -> logging.LogRecord:
        record = make_record(logger, *args, **kwargs)
        context = trace.get_current_span().get_span_context()
        fields = vars(record)
        fields.setdefault("trace_id", format_trace_id(context.trace_id) if context.is_valid else "")
        fields.setdefault("span_id", format_span_id(context.span_id) if context.is_valid else "")
        return record

    logging.Logger.makeRecord = make_record_with_trace  # type: ignore[assignment]
