"""The rendered service as its user starts it, and the spans that an OTLP receiver gets."""

import os
import sqlite3

import pytest

from hooks.traces.receiver import Receiver

from ..conftest import Render, Workshop
from ..depth import in_depth
from .messages import NO_INSTRUMENTATION, NO_KEY
from .process import Service
from .traces import PROMPT, check_trace


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_request_is_one_trace_at_the_receiver(
    protocol: str, render: Render, workshop: Workshop
) -> None:
    project = render(otlp_protocol=protocol, honeycomb_region="eu")
    workshop.install(project)

    with (
        Receiver() as receiver,
        Service(
            workshop,
            project,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            HONEYCOMB_API_KEY="a-key-for-tests",
            ENVIRONMENT="test",
            ORDER_INTAKE_VERSION="1.2.3",
        ) as service,
    ):
        status, session = service.post("/api/sessions", PROMPT)
        service.stop()

    assert status == 201
    assert session["status"] == "validated"
    check_trace(receiver.spans)
    assert {request["x-honeycomb-team"] for request in receiver.requests} == {"a-key-for-tests"}
    resource = receiver.spans[0].resource
    assert resource.pop("service.instance.id")
    assert {name for name in resource if name.startswith("telemetry.sdk.")}
    assert {
        name: value for name, value in resource.items() if not name.startswith("telemetry.sdk.")
    } == {
        "service.name": "order-intake",
        "service.version": "1.2.3",
        "deployment.environment.name": "test",
    }
    assert "WARNING" not in service.log()
    assert "a-key-for-tests" not in service.log()


# FastAPI traces itself from 0.142. These are the environments in which the tests of a rendering run.
@pytest.mark.parametrize(
    "requirements",
    [
        # tests/module covers this version for the module.
        pytest.param(("fastapi==0.141.*", "opentelemetry-instrumentation-fastapi"), marks=in_depth),
        ("fastapi==0.115.*", "opentelemetry-instrumentation-fastapi", "httpx"),
    ],
    ids=" ".join,
)
def test_trace_is_the_same_with_a_fastapi_that_does_not_trace_itself(
    requirements: tuple[str, ...], render: Render, workshop: Workshop
) -> None:
    project = render()
    workshop.install(project, *requirements)

    with (
        Receiver() as receiver,
        Service(workshop, project, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as service,
    ):
        service.get("/healthz")
        service.post("/api/sessions", PROMPT)
        service.stop()

    check_trace(receiver.spans)


def test_older_fastapi_without_its_instrumentation_logs_one_warning(
    render: Render, workshop: Workshop
) -> None:
    project = render()
    workshop.install(project, "fastapi==0.141.*")

    with (
        Receiver() as receiver,
        Service(workshop, project, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as service,
    ):
        assert service.post("/api/sessions", PROMPT)[0] == 201
        service.stop()

    assert service.log().count(NO_INSTRUMENTATION) == 1


def test_unconfigured_service_starts_with_one_warning(render: Render, workshop: Workshop) -> None:
    project = render()
    workshop.install(project)

    development = ("fastapi", "dev", "--host=127.0.0.1", "--port={port}", "--no-reload")
    with Service(workshop, project, *development) as service:
        status, session = service.post("/api/sessions", PROMPT)
        assert status == 201
    with Service(workshop, project) as restarted:
        assert restarted.get(f"/api/sessions/{session['id']}") == (200, session)
        assert restarted.get("/api/sessions/unknown")[0] == 404
        assert restarted.post("/api/sessions", {"prompt": " "})[0] == 422

    assert service.log().count(NO_KEY) == 1
    assert "Traceback" not in service.log() + restarted.log()
    with sqlite3.connect(project / "sessions.db") as database:
        assert database.execute("SELECT count(*) FROM sessions").fetchone() == (1,)


def test_invalid_database_url_stops_the_service_with_one_sentence(
    render: Render, workshop: Workshop
) -> None:
    project = render()
    workshop.install(project)

    with (
        pytest.raises(AssertionError, match="DATABASE_URL must be postgresql:") as stopped,
        Service(workshop, project, DATABASE_URL="mysql://user:a-secret@host/db"),
    ):
        pass
    assert "a-secret" not in str(stopped.value)


@pytest.mark.skipif(
    "TEST_DATABASE_URL" not in os.environ,
    reason="TEST_DATABASE_URL is not set to a PostgreSQL database",
)
def test_postgresql_stores_sessions_and_is_traced(render: Render, workshop: Workshop) -> None:
    project = render()
    workshop.install(project)

    with Receiver() as receiver:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "DATABASE_URL": os.environ["TEST_DATABASE_URL"],
        }
        with Service(workshop, project, **variables) as service:
            status, session = service.post("/api/sessions", PROMPT)
            service.stop()
        assert status == 201
        check_trace(receiver.spans)
        queries = [span for span in receiver.spans if "db.system.name" in span.attributes]
        assert {span.attributes["db.system.name"] for span in queries} == {"postgresql"}
        assert all("hello" not in str(span.attributes["db.query.text"]) for span in queries)
        with Service(workshop, project, **variables) as restarted:
            assert restarted.get(f"/api/sessions/{session['id']}") == (200, session)
    assert not (project / "sessions.db").exists()
