"""Redaction: values in exceptions and malformed keys are neither exported nor logged."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from observability import get_tracer, instrument_app, traced
from observability._settings import Settings
from opentelemetry.trace import SpanKind
from pydantic import BaseModel, Field
from sqlalchemy import create_engine, text

from .conftest import FinishedSpans

SECRET = "c4n4ry"


class Small(BaseModel):
    """Rejects a longer text with an error that quotes it."""

    text: str = Field(max_length=3)


@pytest.fixture
def quoting_client() -> TestClient:
    """An application whose libraries quote values in their exceptions."""
    app = FastAPI()
    instrument_app(app)
    engine = create_engine("sqlite://")

    @app.get("/sql/{how}")
    async def sql(how: str) -> None:
        with traced("work"), engine.connect() as connection:
            if how == "parameter":
                statement = "SELECT * FROM missing WHERE a = :a"
                connection.execute(text(statement), {"a": f"{SECRET}]\n{SECRET}"})
            connection.execute(text(f"SELECT * FROM missing WHERE a = '{SECRET}' -- {SECRET}"))

    @app.get("/pydantic")
    async def pydantic() -> None:
        with traced("work"):
            Small(text=SECRET)

    @app.get("/answer", response_model=Small)
    async def answer() -> dict[str, str]:
        return {"text": SECRET}

    return TestClient(app, raise_server_exceptions=False)


def exported(spans: FinishedSpans, caplog: pytest.LogCaptureFixture) -> str:
    finished = spans()
    assert finished
    return "".join(str(span.to_json()) for span in finished) + caplog.text


@pytest.mark.parametrize("path", ["/sql/parameter", "/sql/literal", "/pydantic", "/answer"])
def test_values_quoted_in_exceptions_are_redacted(
    path: str, quoting_client: TestClient, spans: FinishedSpans, caplog: pytest.LogCaptureFixture
) -> None:
    assert quoting_client.get(path).status_code == 500

    output = exported(spans, caplog)
    assert "exception.stacktrace" in output
    assert SECRET not in output


@pytest.mark.parametrize(
    "key",
    [f"{SECRET}\n", f"{SECRET}\nx: y", f'"{SECRET}"', f"{SECRET}é", f"'{SECRET}", f"{SECRET} x"],
)
def test_malformed_key_is_neither_logged_nor_in_the_representation(
    key: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(
        variables={
            "HONEYCOMB_API_KEY": key,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-tenant={SECRET},{SECRET}",
        }
    )

    assert SECRET not in repr(settings)
    assert SECRET not in caplog.text


def test_request_attributes_that_identify_people_are_not_exported(spans: FinishedSpans) -> None:
    attributes = {"url.query": SECRET, "client.address": SECRET, "user_agent.original": SECRET}
    old = ("client_ip", "flavor", "host", "scheme", "server_name", "target", "user_agent")
    server_only = {f"http.{name}": SECRET for name in old} | {"net.peer.port": 50_000}
    tracer = get_tracer("tests")
    for kind in (SpanKind.SERVER, SpanKind.CLIENT):
        given = attributes | (server_only if kind is SpanKind.SERVER else {})
        tracer.start_span("work", kind=kind, attributes={**given, "http.route": "/"}).end()

    server, client = (dict(span.attributes or {}) for span in spans())
    assert server == {"http.route": "/"}
    # Spans of outgoing requests keep the address of the other service.
    assert client == {
        "client.address": SECRET,
        "user_agent.original": SECRET,
        "http.route": "/",
    }


def test_own_attributes_of_a_client_or_server_are_exported(spans: FinishedSpans) -> None:
    attributes = {"client.id": "c1", "client.plan": "pro", "server.region": "ams"}
    get_tracer("tests").start_span("work", kind=SpanKind.SERVER, attributes=attributes).end()

    [span] = spans()
    assert dict(span.attributes or {}) == attributes
