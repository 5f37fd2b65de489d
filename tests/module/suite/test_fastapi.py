"""FastAPI: one span per request, with route and status, and one event per exception."""

from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.testclient import TestClient
from observability import get_tracer, inject, instrument_app, traced
from opentelemetry.trace import SpanKind, StatusCode

from .conftest import FinishedSpans
from .programs import run


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
    assert (finished[0].attributes or {})["http.response.status_code"] == 500
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


TRACE_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("trusted", "state", "expected"),
    [
        ("false", "ot=th:8", {}),
        ("true", "ot=th:8", {"ot": "th:8"}),
        ("true", "ot=th:8,  a=1", {"ot": "th:8", "a": "1"}),
        ("true", "a=" + "1" * 600, {}),
    ],
)
def test_trace_state_of_a_client_is_accepted_only_if_it_is_trusted_and_short(
    trusted: str,
    state: str,
    expected: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    spans: FinishedSpans,
) -> None:
    monkeypatch.setenv("HONEYCOMB_TRUST_INCOMING", trusted)
    app = FastAPI()
    instrument_app(app)

    @app.get("/headers")
    async def headers() -> dict[str, str]:
        return inject()

    sent = {"traceparent": TRACE_PARENT, "tracestate": state, "baggage": "a=1" + "," * 9_000}
    propagated = TestClient(app).get("/headers", headers=sent).json()

    [span] = spans()
    assert span.parent is not None
    assert dict(span.parent.trace_state) == expected
    assert f"{span.parent.trace_id:032x}" in TRACE_PARENT
    assert propagated.get("traceparent", "")[3:35] == TRACE_PARENT[3:35]


EXISTING_PROVIDER = """
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from observability import instrument_app
from observability.testing import capture_spans

trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
app = FastAPI()
instrument_app(app)
with capture_spans() as spans:
    headers = {"traceparent": "%s", "tracestate": "ot=th:ffffffffffffff"}
    TestClient(app).get("/", headers=headers)
[span] = spans
print(dict(span.context.trace_state), dict(span.attributes).get("SampleRate"))
"""


def test_client_sets_no_weight_if_a_provider_exists() -> None:
    assert run(EXISTING_PROVIDER % TRACE_PARENT)[0] == "{} None"


def traced_paths(app: FastAPI, spans: FinishedSpans, *paths: str, host: str = "a") -> list[str]:
    """Request each path, and return those that have a span."""
    found = []
    for path in paths:
        before = len(spans())
        TestClient(app).get(path, headers={"host": host})
        if len(spans()) > before:
            found.append(path)
    return found


@pytest.mark.parametrize("host", ["a", "a/healthz?", "a/healthz#", "a://b/livez", "[::1"])
def test_health_checks_are_excluded_by_their_path_alone(host: str, spans: FinishedSpans) -> None:
    app = FastAPI()
    instrument_app(app)
    excluded = ("/healthz", "/health", "/livez", "/readyz", "/healthz?a=/orders")
    others = ("/", "/orders?path=/healthz", "/x://y/healthz", "/healthz/", "/a/livez", "/readyz%20")

    assert traced_paths(app, spans, *excluded, *others, host=host) == list(others)


@pytest.mark.parametrize("root", ["", "/api"])
def test_health_check_below_a_root_path_has_no_span(root: str, spans: FinishedSpans) -> None:
    app = FastAPI(root_path=root)
    instrument_app(app)
    paths = [f"{root}/healthz", f"{root}/orders", "/healthz/healthz"]

    assert traced_paths(app, spans, *paths) == paths[1:]


@pytest.mark.parametrize("name", ["OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", "OTEL_PYTHON_EXCLUDED_URLS"])
def test_standard_variable_excludes_the_paths_that_it_matches(
    name: str, monkeypatch: pytest.MonkeyPatch, spans: FinishedSpans
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_EXCLUDED_URLS", "/orders")
    monkeypatch.setenv(name, "^/internal/, /ping$,")
    app = FastAPI()
    instrument_app(app)
    excluded = ("/internal/jobs", "/a/ping", "/ping", "/healthz")
    others = ("/a/internal/jobs", "/pings", "/orders?a=/ping", "/" + "a" * 600 + "/ping")

    assert traced_paths(app, spans, *excluded, *others, host="internal/ping") == list(others)


def test_invalid_pattern_excludes_nothing_and_logs_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, spans: FinishedSpans
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")  # which needs no key
    monkeypatch.setenv("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", "(")
    app = FastAPI()
    instrument_app(app)

    assert traced_paths(app, spans, "/orders", "/healthz") == ["/orders"]
    [record] = caplog.records
    assert "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS" in record.message
