"""FastAPI: one span per request, with route and status, and one event per exception."""

from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.testclient import TestClient
from observability import get_tracer, instrument_app, traced
from opentelemetry.trace import SpanKind, StatusCode

from .conftest import FinishedSpans


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    instrument_app(app)

    @app.get("/orders/{number}")
    async def order(number: int) -> int:
        return number

    @app.get("/healthz")
    async def healthz() -> str:
        return "ok"

    return TestClient(app)


def test_request_has_one_span(client: TestClient, spans: FinishedSpans) -> None:
    client.get("/orders/7?token=a-secret")

    [span] = spans()
    assert span.name == "GET /orders/{number}"
    assert span.kind is SpanKind.SERVER
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/orders/{number}",
        "http.response.status_code": 200,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert not span.events


def test_wrapped_application_logs_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrapped: Any = GZipMiddleware(FastAPI())

    instrument_app(wrapped)

    [record] = caplog.records
    assert record.message.startswith("Could not trace requests: ")


def test_health_check_has_no_span(client: TestClient, spans: FinishedSpans) -> None:
    client.get("/healthz")
    client.get("/healthz?probe=1")

    assert spans() == []


def test_path_with_the_prefix_of_the_health_check_has_a_span(
    client: TestClient, spans: FinishedSpans
) -> None:
    client.get("/healthz-of-something-else")

    assert len(spans()) == 1


@pytest.fixture
def failing_client() -> TestClient:
    app = FastAPI()
    instrument_app(app)

    @app.get("/bare")
    async def bare() -> None:
        raise RuntimeError("unhandled")

    @app.get("/deep")
    async def deep() -> None:
        tracer = get_tracer(__name__)
        with traced("one"), traced("two"), tracer.start_as_current_span("three"):
            raise RuntimeError("unhandled")

    @app.get("/forbidden")
    async def forbidden() -> None:
        with traced("check"):
            raise HTTPException(403, "forbidden")

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("path", "innermost", "count"), [("/bare", "GET /bare", 1), ("/deep", "three", 4)]
)
def test_exception_has_one_event_and_sets_error_status_on_every_span_it_crosses(
    path: str, innermost: str, count: int, failing_client: TestClient, spans: FinishedSpans
) -> None:
    assert failing_client.get(path).status_code == 500

    finished = spans()
    assert len(finished) == count
    assert all(span.status.status_code is StatusCode.ERROR for span in finished)
    [(name, event)] = [(span.name, event) for span in finished for event in span.events]
    assert name == innermost
    assert (event.attributes or {})["exception.message"] == "unhandled"


def test_http_exception_below_500_is_not_an_error(
    failing_client: TestClient, spans: FinishedSpans
) -> None:
    assert failing_client.get("/forbidden").status_code == 403

    finished = spans()
    assert [span.name for span in finished] == ["GET /forbidden", "check"]
    assert all(span.status.status_code is StatusCode.UNSET for span in finished)
    assert not any(span.events for span in finished)
