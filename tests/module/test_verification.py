"""Honeycomb's published guidance for agents that verify telemetry: each of its checks is a test.

It starts the service once, configured by OTEL_* variables alone, sends real requests, also one that
fails, and reads what was received and printed: spans, log records and metrics.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from hooks.traces.otlp import Span
from hooks.traces.receiver import Receiver

from ..depth import in_depth
from ..environments import Environment

SERVICE: Final = """
import logging
import httpx, uvicorn
from fastapi import FastAPI
from observability import instrument_app, setup_observability, traced
from sqlalchemy import create_engine, text
from sqlalchemy.pool import StaticPool

setup_observability()
app = FastAPI()
instrument_app(app)
engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
logger = logging.getLogger("shop")
server = uvicorn.Server(uvicorn.Config(app, port=0))


@app.get("/orders/{number}")
def order(number: int) -> int:
    with traced("order.pack", {"order.number": number}):
        logger.warning("Order %s is late.", number)
        with engine.connect() as connection:
            connection.execute(text("SELECT :number"), {"number": number})
    port = server.servers[0].sockets[0].getsockname()[1]
    return httpx.get(f"http://127.0.0.1:{port}/stock?token=secret").json()


@app.get("/stock")
async def stock() -> int:
    return 7


@app.get("/fail")
async def fail() -> None:
    raise LookupError("no such order")


server.run()
"""
EXPORTERS: Final = ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER")
# Current names that the requests must have, and the former ones that nothing may have.
CURRENT: Final = {
    *("http.request.method", "http.response.status_code", "http.route", "url.full"),
    *("server.address", "server.port", "db.query.text", "db.system.name"),
}
LEGACY: Final = {
    *("http.method", "http.status_code", "http.url", "http.target", "http.host", "http.scheme"),
    *("http.flavor", "http.user_agent", "net.peer.ip", "net.peer.port", "net.host.port"),
    *("db.statement", "db.system", "db.name", "enduser.id"),
}


@dataclass
class Telemetry(Receiver):
    """What was received, and what was printed."""

    metrics: list[Any] = field(default_factory=list)  # of each export, with its resource
    printed: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def add_metrics(self, request: Any) -> None:
        self.metrics.extend(request.resource_metrics)

    def span(self, name: str) -> Span:
        [span] = [span for span in self.spans if span.name == name]
        return span

    def points(self) -> Iterator[tuple[str, Any]]:
        """The name of each metric and its data points."""
        for resource in self.metrics:
            for metric in chain.from_iterable(each.metrics for each in resource.scope_metrics):
                data = getattr(metric, metric.WhichOneof("data"))
                yield from ((metric.name, point) for point in data.data_points)


def serve(python: Environment, rendering: Path, folder: Path, variables: dict[str, str]) -> str:
    """Serve and stop the service as its users do. Return what it prints."""
    own = ("HONEYCOMB_", "OTEL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    with (folder / "telemetry.log").open("w+") as log:
        with subprocess.Popen(
            [python.python, "-W", "ignore", "-c", SERVICE],
            cwd=rendering,
            env={**kept, "OTEL_SERVICE_NAME": "orders", "PYTHONUNBUFFERED": "1", **variables},
            stdout=log,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            found = (re.search(r"http://127.0.0.1:\d+", line) for line in process.stderr)
            url = next(match[0] for match in found if match)
            assert urlopen(f"{url}/orders/5", timeout=60).read() == b"7"
            with pytest.raises(HTTPError, match="500"):
                urlopen(f"{url}/fail", timeout=60)
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
        return (folder / "telemetry.log").read_text()


def objects(text: str) -> list[dict[str, Any]]:
    """Parse the JSON objects in `text`, each of several lines."""
    decoder, found = json.JSONDecoder(), []
    while (start := text.find("{")) >= 0:
        parsed, end = decoder.raw_decode(text, start)
        found.append(parsed)
        text = text[end:]
    return found


@pytest.fixture(scope="module")
def telemetry(
    newest: Environment, rendering: Path, tmp_path_factory: pytest.TempPathFactory
) -> Telemetry:
    """The variables are those of the guidance, which receives gRPC."""
    with Telemetry() as telemetry:
        variables = {
            **dict.fromkeys(EXPORTERS, "otlp,console"),
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_ENDPOINT": telemetry.endpoint,
            "OTEL_METRIC_EXPORT_INTERVAL": "10000",
        }
        folder = tmp_path_factory.mktemp("verification")
        telemetry.printed = serve(newest, rendering, folder, variables)
    return telemetry


def test_each_operation_has_a_span(telemetry: Telemetry) -> None:
    assert {(span.name, span.kind) for span in telemetry.spans} == {
        ("GET /orders/{number}", "server"),
        ("order.pack", "internal"),
        ("SELECT", "client"),
        ("GET", "client"),
        ("GET /stock", "server"),
        ("GET /fail", "server"),
    }


def test_names_are_those_of_the_current_conventions(telemetry: Telemetry) -> None:
    names = set(chain.from_iterable(span.attributes for span in telemetry.spans))
    assert names >= CURRENT
    names |= set(chain.from_iterable(record.attributes for record in telemetry.logs))
    for _, point in telemetry.points():
        names |= {each.key for each in point.attributes}
    assert not names & LEGACY
    assert not [name for name in LEGACY if f'"{name}"' in telemetry.printed]


def test_resource_of_each_signal_identifies_the_service(telemetry: Telemetry) -> None:
    resources: list[Any] = [span.resource for span in telemetry.spans]
    resources += [record.resource for record in telemetry.logs]
    for each in telemetry.metrics:
        resources.append({a.key: a.value.string_value for a in each.resource.attributes})
    assert {(each["service.name"], each["service.version"]) for each in resources} == {
        ("orders", "dev")
    }


def test_business_attributes_are_on_their_span(telemetry: Telemetry) -> None:
    assert telemetry.span("order.pack").attributes["order.number"] == 5


def test_trace_of_a_request_is_connected(telemetry: Telemetry) -> None:
    parents = {span.span_id: span for span in telemetry.spans}
    failed = telemetry.span("GET /fail")
    links = {
        (parents[span.parent_id].name, span.name)
        for span in telemetry.spans
        if span.parent_id is not None
    }
    assert links == {
        ("GET /orders/{number}", "order.pack"),
        ("order.pack", "SELECT"),
        ("GET /orders/{number}", "GET"),
        ("GET", "GET /stock"),
    }
    assert {span.trace_id for span in telemetry.spans if span is not failed} == {
        telemetry.span("order.pack").trace_id
    }


def test_exception_is_on_the_span_of_its_request(telemetry: Telemetry) -> None:
    failed = telemetry.span("GET /fail")
    assert (failed.status, failed.attributes["error.type"]) == ("error", "LookupError")
    [event] = failed.events
    assert event.attributes["exception.message"] == "no such order"
    assert {span.status for span in telemetry.spans if span is not failed} == {"unset"}


def test_metrics_have_data_points(telemetry: Telemetry) -> None:
    counts = {
        attributes["http.route"]: point.count
        for name, point in telemetry.points()
        if name == "http.server.request.duration"
        for attributes in [{each.key: each.value.string_value for each in point.attributes}]
    }
    assert counts == {"/orders/{number}": 1, "/stock": 1, "/fail": 1}
    assert {name for name, _ in telemetry.points()} >= {"process.cpu.time", "process.thread.count"}


def test_log_record_has_a_severity_a_body_and_the_ids_of_its_span(telemetry: Telemetry) -> None:
    [record] = [record for record in telemetry.logs if record.scope == "shop"]
    span = telemetry.span("order.pack")
    assert (record.severity, record.body) == ("WARNING", "Order 5 is late.")
    assert (record.trace_id, record.span_id) == (span.trace_id, span.span_id)


def test_all_signals_are_printed_too(telemetry: Telemetry) -> None:
    printed = objects(telemetry.printed)
    spans = {each["context"]["span_id"][2:] for each in printed if "parent_id" in each}
    assert spans == {span.span_id for span in telemetry.spans}
    assert [each["body"] for each in printed if each.get("severity_text") == "WARNING"] == [
        "Order 5 is late."
    ]
    assert [each for each in printed if "resource_metrics" in each]


@in_depth  # the same exporters as above, but alone
def test_all_signals_are_printed_without_a_receiver(
    newest: Environment, http_rendering: Path, tmp_path: Path
) -> None:
    text = serve(newest, http_rendering, tmp_path, dict.fromkeys(EXPORTERS, "console"))

    printed = objects(text)
    assert len([each for each in printed if "parent_id" in each]) == 6
    assert [each for each in printed if each.get("severity_text") == "WARNING"]
    assert [each for each in printed if "resource_metrics" in each]
