"""Recorded OTLP requests, sent again to other programs."""

from collections.abc import Iterable
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from ..fakes.honeycomb import INGEST_KEY
from .services import Endpoints


def replay(requests: Iterable[bytes], shop: Endpoints, others: Endpoints | None = None) -> None:
    """Send recorded requests again: the spans of `shop` over gRPC, those of the others over HTTP."""
    with grpc.insecure_channel(str(urlsplit(shop.grpc).netloc)) as channel:
        export = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
        for body in requests:
            by_shop, by_others = ExportTraceServiceRequest(), ExportTraceServiceRequest()
            for spans in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = [each.value.string_value for each in spans.resource.attributes]
                (by_shop if "shop" in names else by_others).resource_spans.append(spans)
            export(by_shop, metadata=[("x-honeycomb-team", INGEST_KEY)])
            assert post(others or shop, body=by_others.SerializeToString()) == 200


def post(endpoints: Endpoints, key: str = INGEST_KEY, body: bytes = b"") -> int:
    """Send an OTLP request over HTTP, and return the status."""
    headers = {"content-type": "application/x-protobuf", "x-honeycomb-team": key}
    with closing(HTTPConnection(str(urlsplit(endpoints.http).netloc))) as connection:
        connection.request("POST", "/v1/traces", body, headers)
        return connection.getresponse().status
