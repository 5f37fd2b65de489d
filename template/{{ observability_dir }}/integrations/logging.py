"""Standard logging: the IDs of the trace on every record, and export of records if it is enabled."""

import logging
from contextlib import suppress
from typing import Any, Final

from opentelemetry import context, trace
from opentelemetry.trace import format_span_id, format_trace_id

from .._redaction import describe_exception, redact_attributes, redact_text

# Of the fields of a record, those that `extra` adds are exported.
_STANDARD: Final = {*vars(logging.makeLogRecord({})), "asctime", "message", "span_id", "trace_id"}
# Below WARNING, they log the parameters of queries, or headers and bodies of requests.
_CLIENTS = ("anthropic.", "botocore.", "httpcore.", "openai.", "pymongo.", "sqlalchemy.engine.")


def add_trace_to_log_records() -> None:
    """Set `trace_id` and `span_id` on each record, empty outside a trace, for use in formats."""
    # With a record factory, `extra={"trace_id": ...}` would raise KeyError.
    make_record = logging.Logger.makeRecord

    def make_record_with_trace(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        span = trace.get_current_span().get_span_context()
        vars(record).setdefault("trace_id", format_trace_id(span.trace_id) if span.is_valid else "")
        vars(record).setdefault("span_id", format_span_id(span.span_id) if span.is_valid else "")
        return record

    logging.Logger.makeRecord = make_record_with_trace  # type: ignore[method-assign]


def export_log_records(exporters: list[Any], resource: Any) -> Any:
    """Export each record that a logger accepts. Return the SDK's provider of loggers."""
    from opentelemetry.sdk._logs import LoggerProvider, export

    provider = LoggerProvider(resource, shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_log_record_processor(export.BatchLogRecordProcessor(exporter))
    # Not through a handler: `logging.basicConfig` has no effect if there is one.
    call_handlers = logging.Logger.callHandlers

    def call_handlers_and_export(logger: logging.Logger, record: logging.LogRecord) -> None:
        call_handlers(logger, record)
        with suppress(Exception):  # logging reports arguments that do not fit the format
            # The exporters' own records would never end, and access logs contain addresses and queries.
            is_private = record.name.startswith("opentelemetry.") or record.name.endswith(".access")
            is_private |= record.levelno < logging.WARNING and record.name.startswith(_CLIENTS)
            if not is_private and not context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY):
                provider.get_logger(record.name).emit(_encode(record, resource))

    logging.Logger.callHandlers = call_handlers_and_export  # type: ignore[assignment]
    return provider


def _encode(record: logging.LogRecord, resource: Any) -> Any:
    from opentelemetry._logs import LogRecord, SeverityNumber

    own = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    attributes: dict[str, Any] = {k: v for k, v in own.items() if isinstance(v, str | int | float)}
    body = record.getMessage()
    if record.exc_info and (error := record.exc_info[1]):
        attributes |= describe_exception(error)
        with suppress(Exception):  # a broken __str__ in the application
            body = body.replace(str(error) or "\0", attributes["exception.message"])
    span = trace.get_current_span().get_span_context()
    encoded: Any = LogRecord(
        timestamp=int(record.created * 1e9),
        trace_id=span.trace_id,
        span_id=span.span_id,
        trace_flags=span.trace_flags,
        severity_text=record.levelname,
        # DEBUG is 5, INFO 9, WARNING 13, ERROR 17, CRITICAL 21.
        severity_number=SeverityNumber(min(max(record.levelno // 10 * 4 + 1, 1), 21)),
        body=redact_text(body).encode(errors="replace").decode(),  # a surrogate fails the export
        attributes=redact_attributes(attributes),
    )
    encoded.resource, encoded.dropped_attributes = resource, 0  # as older SDKs expect
    return encoded
