"""Spans and log records as OTLP requests, and a client that sends them."""

import itertools
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, TypeAlias
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
START: Final = 1_700_000_000_000_000_000
MS: Final = 1_000_000
Attributes: TypeAlias = Mapping[str, str | float | bool]

_KINDS: Final = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_ids = itertools.count(1)


def span(
    name: str,
    parent: Span | str | None = None,
    *,
    at: float = 0,
    ms: float = 1,
    kind: str = "internal",
    trace: str = TRACE,
    error: str | None = None,
    attributes: Attributes | None = None,
) -> Span:
    """A span that begins `at` milliseconds after START and lasts `ms`."""
    parent_id = bytes.fromhex(parent) if isinstance(parent, str) else parent and parent.span_id
    return Span(
        trace_id=bytes.fromhex(trace),
        span_id=next(_ids).to_bytes(8, "big"),
        parent_span_id=parent_id or b"",
        name=name,
        kind=_KINDS[kind],  # type: ignore[arg-type]
        start_time_unix_nano=START + int(at * MS),
        end_time_unix_nano=START + int((at + ms) * MS),
        status=Status(code=Status.STATUS_CODE_ERROR, message=error) if error is not None else None,
        attributes=_pairs(attributes or {}),
    )


def log(body: str, owner: Span, severity: int = 13) -> LogRecord:
    """A log record of the span `owner`."""
    return LogRecord(
        trace_id=owner.trace_id,
        span_id=owner.span_id,
        time_unix_nano=owner.start_time_unix_nano,
        severity_number=severity,  # type: ignore[arg-type]
        body=AnyValue(string_value=body),
    )


def traces_request(*spans: Span, service: str = "order-intake") -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    of_resource = request.resource_spans.add()
    of_resource.resource.attributes.extend(_pairs({"service.name": service}))
    of_resource.scope_spans.add().spans.extend(spans)
    return request


def logs_request(*records: LogRecord) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.extend(records)
    return request


def post(
    endpoint: str, request: ExportTraceServiceRequest | ExportLogsServiceRequest, **headers: str
) -> None:
    """Export `request` over HTTP."""
    signal = "traces" if isinstance(request, ExportTraceServiceRequest) else "logs"
    sent = {"content-type": "application/x-protobuf", **headers}
    status, body = send(f"{endpoint}/v1/{signal}", request.SerializeToString(), sent)
    assert status == HTTPStatus.OK, body


def send(url: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """GET `url`, or POST `body`; return the status and the body of the response."""
    opener = build_opener(ProxyHandler({}))
    request = Request(url, data=body, headers=dict(headers))
    try:
        with opener.open(request, timeout=60) as response:
            return response.status, response.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def _pairs(attributes: Attributes) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in attributes.items()]


def _value(value: str | float | bool) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case _:
            return AnyValue(string_value=value)
