"""OTLP over HTTP and gRPC, as SDKs and hostile clients send it."""

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from hooks.traces.receiver import Receiver
from hooks.traces.server import OTLPServer

from ..environments import environment
from .exports import TRACE, log, logs_request, post, send, span, traces_request

EXPORTERS = (
    "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-sdk",
)
# Exports a trace over each protocol, without and with compression.
SDK_PROGRAM = """
import sys
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as over_grpc
from opentelemetry.exporter.otlp.proto.http import Compression, trace_exporter as over_http
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from grpc import Compression as GRPCCompression

endpoint = sys.argv[1]
for name, exporter in {
    "http": over_http.OTLPSpanExporter(f"{endpoint}/v1/traces"),
    "http-gzip": over_http.OTLPSpanExporter(f"{endpoint}/v1/traces", compression=Compression.Gzip),
    "grpc": over_grpc.OTLPSpanExporter(endpoint, insecure=True),
    "grpc-gzip": over_grpc.OTLPSpanExporter(
        endpoint, insecure=True, compression=GRPCCompression.Gzip
    ),
}.items():
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for number in range(3):
        with provider.get_tracer("test").start_as_current_span(f"{name} {number}") as span:
            span.set_attribute("padding", "x" * 100_000)
    provider.shutdown()
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_real_sdks_export_over_http_and_grpc_to_the_same_port(
    receiver: Receiver, shared: Path, tmp_path: Path
) -> None:
    done = environment(shared, "exporters", EXPORTERS).run(
        tmp_path, "-c", SDK_PROGRAM, receiver.endpoint
    )

    assert (done.returncode, done.stdout) == (0, "")
    assert [span.name for span in receiver.spans] == [
        f"{protocol} {number}"
        for protocol in ("http", "http-gzip", "grpc", "grpc-gzip")
        for number in range(3)
    ]
    assert {len(str(span.attributes["padding"])) for span in receiver.spans} == {100_000}


def test_json_has_hexadecimal_ids_and_enums_as_numbers(receiver: Receiver) -> None:
    exported = {
        "traceId": TRACE,
        "spanId": "00f067aa0ba902b7",
        "parentSpanId": "53995c3f42cd8ad8",
        "name": "GET /orders",
        "kind": 2,
        "startTimeUnixNano": "1700000000000000000",
        "endTimeUnixNano": "1700000000001000000",
        "attributes": [{"key": "http.response.status_code", "value": {"intValue": "200"}}],
        "status": {"code": 2, "message": "no"},
        "fieldOfALaterVersion": 1,
    }
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [exported]}]}]}

    status, answer = send(
        f"{receiver.endpoint}/v1/traces",
        json.dumps(body).encode(),
        {"content-type": "application/json; charset=utf-8"},
    )

    assert (status, answer) == (200, b"{}")
    [received] = receiver.spans
    assert (received.trace_id, received.span_id) == (TRACE, "00f067aa0ba902b7")
    assert (received.parent_id, received.kind) == ("53995c3f42cd8ad8", "server")
    assert (received.status, received.status_message) == ("error", "no")
    assert received.attributes == {"http.response.status_code": 200}


def test_log_records_and_metrics_are_accepted(receiver: Receiver) -> None:
    owner = span("work")
    post(receiver.endpoint, logs_request(log("pool exhausted", owner)))
    status, _ = send(f"{receiver.endpoint}/v1/metrics", b"{}", {"content-type": "application/json"})

    assert status == 200
    [record] = receiver.logs
    assert (record.severity, record.body) == ("WARN", "pool exhausted")
    assert (record.trace_id, record.span_id) == (TRACE, owner.span_id.hex())
    assert record.time == owner.start_time_unix_nano


def test_chunked_request_is_accepted(receiver: Receiver) -> None:
    body = traces_request(span("chunked")).SerializeToString()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:9], body[9:]))
    request = (
        b"POST /v1/traces HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/x-protobuf\r\n\r\n" + chunks + b"0\r\n\r\n"
    )

    assert raw(receiver, request).startswith(b"HTTP/1.1 200")
    assert [span.name for span in receiver.spans] == ["chunked"]


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (400, b"not protobuf", {}),
        (400, b"not gzip", {"content-encoding": "gzip"}),
        (400, gzip.compress(b"half of it", mtime=0)[:-5], {"content-encoding": "gzip"}),
        (400, gzip.compress(bytes(65 << 20), mtime=0), {"content-encoding": "gzip"}),
        (400, b'{"resourceSpans": 1}', {"content-type": "application/json"}),
        (400, b'{"resourceSpans": [{"traceId": "xyz"}]}', {"content-type": "application/json"}),
        (400, b"[" * 100_000, {"content-type": "application/json"}),
        (415, b"", {"content-type": "text/plain"}),
        (415, b"", {"content-encoding": "br"}),
        # A web page that the user visits must not be able to add spans.
        (403, b"", {"origin": "https://example.com"}),
    ],
)
def test_invalid_request_is_rejected_and_the_server_goes_on(
    receiver: Receiver, status: int, body: bytes, headers: dict[str, str]
) -> None:
    sent = {"content-type": "application/x-protobuf", **headers}
    assert send(f"{receiver.endpoint}/v1/traces", body, sent)[0] == status
    assert receiver.spans == []

    post(receiver.endpoint, traces_request(span("after")))
    assert [span.name for span in receiver.spans] == ["after"]


@pytest.mark.parametrize(
    "head", [b"Content-Length: 99999999999", b"Content-Length: -1", b"Content-Length: many"]
)
def test_invalid_length_is_rejected(receiver: Receiver, head: bytes) -> None:
    answer = raw(receiver, b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n" % head)

    assert answer.split()[1] in (b"400", b"413")


def test_unknown_path_is_not_found(receiver: Receiver) -> None:
    assert send(f"{receiver.endpoint}/v1/spans", b"", {})[0] == 404
    assert send(receiver.endpoint, None, {})[0] == 404


def test_grpc_call_of_an_unknown_method_or_with_an_invalid_message_fails(
    receiver: Receiver,
) -> None:
    with grpc.insecure_channel(receiver.endpoint.removeprefix("http://")) as channel:
        call: Any = channel.unary_unary
        with pytest.raises(grpc.RpcError) as failed:
            call("/acme.Service/Call")(b"", timeout=60)
        assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED

        export = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
        with pytest.raises(grpc.RpcError) as failed:
            call(export)(b"not protobuf", timeout=60)
        assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT

        stub = trace_service_pb2_grpc.TraceServiceStub(channel)  # type: ignore[no-untyped-call]
        stub.Export(traces_request(span("after")), timeout=60)
    assert [span.name for span in receiver.spans] == ["after"]


def test_broken_http2_connection_does_not_stop_the_server(receiver: Receiver) -> None:
    assert raw(receiver, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100)

    post(receiver.endpoint, traces_request(span("after")))
    assert [span.name for span in receiver.spans] == ["after"]


def test_only_the_loopback_interface_is_served() -> None:
    with OTLPServer() as server:
        port = int(server.endpoint.rpartition(":")[2])
        with socket.socket() as elsewhere:
            # Succeeds only if the server has not bound all addresses.
            elsewhere.bind(("127.0.0.2", port))


def raw(receiver: Receiver, request: bytes) -> bytes:
    """Send `request` and return the first bytes of the response."""
    port = int(receiver.endpoint.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        return connection.recv(1000)
