"""Log records and metrics: off by default, and with the privacy of spans if they are enabled."""

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import pytest

from .programs import run

PROGRAM: Final = """
import logging, sys
from observability import flush, instrument_app, setup_observability, traced
setup_observability()
logging.basicConfig(level="INFO", stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")
logger = logging.getLogger("shop")

class NoText(Exception):
    def __str__(self):
        raise RuntimeError("no text")

from fastapi import FastAPI
app = FastAPI()
instrument_app(app)

@app.get("/orders/{number}")
def order(number: int) -> int:
    with traced("pack") as span:
        print(f"{span.get_span_context().trace_id:032x}")
        own = {"carrier": "post", "box": object(), "callback_url": "https://host?token=secret"}
        logger.warning("Order %s is late.", number, extra=own)
        try:
            import sqlite3
            sqlite3.connect(":memory:").execute("SELECT secret FROM nowhere")
        except Exception:
            logger.exception("Could not pack.")
        logger.error("Odd.", exc_info=NoText())
        logger.debug("not enabled")
    return number

from fastapi.testclient import TestClient
TestClient(app).get("/orders/7?token=secret")
logger.warning("An order of \\ud800.")  # a client may send it in JSON
logging.getLogger("sqlalchemy.engine.Engine").info("[generated in 0.0001s] ('secret',)")  # echo
logging.getLogger("httpcore.http11").info("('set-cookie', 'secret')")
logging.getLogger("openai_gateway").info("a package of the application")
logging.getLogger().handle(logging.makeLogRecord({"msg": "without a name", "levelno": 20}))
logging.getLogger("uvicorn.access").info('"GET /orders/7?token=secret"')
logging.getLogger("opentelemetry.exporter").warning("not exported")
from opentelemetry import context
context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))  # by an exporter
logging.getLogger("urllib3").warning("not exported")
print(flush())
"""


class Receiver(ThreadingHTTPServer):
    """Keeps the body of each request, by its path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: dict[str, list[bytes]] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"

    def decoded(self, path: str, message: Any) -> list[Any]:
        return [message.FromString(body) for body in self.bodies.get(path, [])]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.bodies.setdefault(self.path, []).append(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        threading.Thread(target=receiver.serve_forever, args=[0.01], daemon=True).start()
        yield receiver
        receiver.shutdown()


def exported(receiver: Receiver, **variables: str) -> list[str]:
    """Run the program, and return the lines that it prints."""
    output, _ = run(
        PROGRAM,
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            **variables,
        },
    )
    return output.splitlines()


def test_only_spans_are_exported_by_default(receiver: Receiver) -> None:
    assert exported(receiver)[-1] == "True"

    assert receiver.bodies.keys() == {"/v1/traces"}


def test_enabled_log_records_are_in_their_trace_and_redacted(receiver: Receiver) -> None:
    message = pytest.importorskip(
        "opentelemetry.proto.collector.logs.v1.logs_service_pb2"
    ).ExportLogsServiceRequest
    trace_id, *printed = exported(receiver, OTEL_LOGS_EXPORTER="console, otlp")

    # The application's own handlers work as before.
    assert printed[0] == "WARNING shop Order 7 is late."
    requests = receiver.decoded("/v1/logs", message)
    scopes = [scope for each in requests for scope in each.resource_logs[0].scope_logs]
    records = {
        record.body.string_value: (scope.scope.name, record)
        for scope in scopes
        for record in scope.log_records
    }
    late, failed = "Order 7 is late.", "Could not pack."
    assert {text for text, (scope, _) in records.items() if scope == "shop"} == {
        late,
        failed,
        "Odd.",
        "An order of ?.",
    }
    assert records["a package of the application"][0] == "openai_gateway"
    assert "not exported" not in records
    scope, record = records[late]
    assert (scope, record.severity_text, record.severity_number) == ("shop", "WARNING", 13)
    assert record.trace_id.hex() == records[failed][1].trace_id.hex() == trace_id
    assert {each.key: each.value.string_value for each in record.attributes} == {
        "carrier": "post",
        "callback_url": "https://host",
    }
    attributes = {each.key: each.value.string_value for each in records["Odd."][1].attributes}
    assert attributes["exception.type"] == "__main__.NoText"
    _, record = records[failed]
    attributes = {each.key: each.value.string_value for each in record.attributes}
    assert attributes["exception.type"] == "sqlite3.OperationalError"
    assert "in order" in attributes["exception.stacktrace"]
    assert not [
        body
        for body in receiver.bodies["/v1/logs"]
        if b"secret" in body.replace(b"SELECT secret", b"")
    ]


def test_enabled_metrics_are_of_requests_and_of_the_process(receiver: Receiver) -> None:
    message = pytest.importorskip(
        "opentelemetry.proto.collector.metrics.v1.metrics_service_pb2"
    ).ExportMetricsServiceRequest
    exported(receiver, OTEL_METRICS_EXPORTER="otlp,console")

    requests = receiver.decoded("/v1/metrics", message)
    metrics = {
        metric.name: metric
        for each in requests
        for scope in each.resource_metrics[0].scope_metrics
        for metric in scope.metrics
    }
    [point] = metrics["http.server.request.duration"].histogram.data_points
    attributes = {each.key: each.value.string_value for each in point.attributes}
    assert (attributes["http.route"], point.count) == ("/orders/{number}", 1)
    assert {"process.cpu.time", "process.thread.count"} <= metrics.keys()
    assert b"token" not in b"".join(receiver.bodies["/v1/metrics"])


def test_log_records_and_metrics_are_exported_over_grpc() -> None:
    pytest.importorskip("observability._grpc")
    pytest.importorskip(
        "opentelemetry.exporter.otlp.proto.grpc",
        reason="requires opentelemetry-exporter-otlp-proto-grpc",
    )
    import grpc

    sent: dict[str, bytes] = {}

    class Services(grpc.GenericRpcHandler):
        def service(self, call: Any) -> Any:
            def export(request: bytes, context: object) -> bytes:
                sent[call.method] = request
                return b""

            return grpc.unary_unary_rpc_method_handler(export)

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Services()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    variables = {f"OTEL_{signal}_EXPORTER": "otlp" for signal in ("LOGS", "METRICS")}
    variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{port}"
    variables["OTEL_EXPORTER_OTLP_PROTOCOL"] = "grpc"
    output, _ = run(PROGRAM, variables)
    server.stop(0)

    assert output.endswith("True")
    logs, metrics, traces = (sent[name] for name in sorted(sent))
    assert b"Order 7 is late." in logs
    assert b"process.cpu.time" in metrics
    assert b"GET /orders/{number}" in traces


def test_missing_exporter_is_one_warning(receiver: Receiver) -> None:
    hide = (
        'import sys; sys.modules["opentelemetry.exporter.otlp.proto.http._log_exporter"] = None\n'
    )
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_LOGS_EXPORTER": "otlp"}
    variables["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    _, log = run(f"{hide}from observability import setup_observability as s; s()", variables)

    assert log == [
        "No log records and metrics are exported: install opentelemetry-exporter-otlp-proto-http."
    ]
