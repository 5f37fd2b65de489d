"""Recorded OTLP requests, sent again to other programs."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from itertools import chain
from typing import Final
from urllib.parse import urlsplit

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Gauge,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

from ..fakes.honeycomb import INGEST_KEY
from .services import Endpoints

_TRACES_IN_A_REQUEST: Final = 200


def regroup(requests: Iterable[bytes]) -> Iterator[bytes]:
    """Yield requests with the same spans, in which each trace is complete.

    However slowly they are sent, no trace is decided before all its spans have arrived.
    """
    by_trace: dict[bytes, list[tuple[bytes, bytes, Span]]] = defaultdict(list)
    for body in requests:
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = of_resource.resource.SerializeToString()
            for of_scope in of_resource.scope_spans:
                scope = of_scope.scope.SerializeToString()
                for span in of_scope.spans:
                    by_trace[span.trace_id].append((resource, scope, span))
    traces = list(by_trace.values())
    for first in range(0, len(traces), _TRACES_IN_A_REQUEST):
        spans: dict[tuple[bytes, bytes], list[Span]] = defaultdict(list)
        for resource, scope, span in chain.from_iterable(traces[first:][:_TRACES_IN_A_REQUEST]):
            spans[resource, scope].append(span)
        request = ExportTraceServiceRequest()
        for (resource, scope), each in spans.items():
            of_scope = ScopeSpans(scope=InstrumentationScope.FromString(scope), spans=each)
            request.resource_spans.add(
                resource=Resource.FromString(resource), scope_spans=[of_scope]
            )
        yield request.SerializeToString()


def replay(requests: Iterable[bytes], shop: Endpoints, others: Endpoints | None = None) -> None:
    """Send recorded requests again: the spans of `shop` over gRPC, those of the others over HTTP."""
    with grpc.insecure_channel(str(urlsplit(shop.grpc).netloc)) as channel:
        export = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
        for body in requests:
            by_shop, by_others = ExportTraceServiceRequest(), ExportTraceServiceRequest()
            for spans in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = [each.value.string_value for each in spans.resource.attributes]
                (by_shop if "shop" in names else by_others).resource_spans.append(spans)
            assert post(others or shop, body=by_others.SerializeToString()) == 200
            # The root spans are last.
            export(by_shop, metadata=[("x-honeycomb-team", INGEST_KEY)])


def post(
    endpoints: Endpoints, key: str = INGEST_KEY, body: bytes = b"", path: str = "/v1/traces"
) -> int:
    """Send an OTLP request over HTTP, and return the status."""
    headers = {"content-type": "application/x-protobuf", "x-honeycomb-team": key}
    with closing(HTTPConnection(str(urlsplit(endpoints.http).netloc))) as connection:
        connection.request("POST", path, body, headers)
        return connection.getresponse().status


def post_log_and_metric(endpoints: Endpoints) -> None:
    """Send a log record, outside a trace, and a metric."""
    service = Resource(
        attributes=[KeyValue(key="service.name", value=AnyValue(string_value="shop"))]
    )
    log = LogRecord(body=AnyValue(string_value="sold out"))
    logs = ResourceLogs(resource=service, scope_logs=[ScopeLogs(log_records=[log])])
    metric = Metric(name="sales", gauge=Gauge(data_points=[NumberDataPoint(as_int=7)]))
    metrics = ResourceMetrics(resource=service, scope_metrics=[ScopeMetrics(metrics=[metric])])
    for path, body in (
        ("/v1/logs", ExportLogsServiceRequest(resource_logs=[logs])),
        ("/v1/metrics", ExportMetricsServiceRequest(resource_metrics=[metrics])),
    ):
        assert post(endpoints, body=body.SerializeToString(), path=path) == 200
