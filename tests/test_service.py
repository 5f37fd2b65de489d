"""The rendered service as its user starts it, and what a real OTLP receiver gets from it."""

import os
import signal
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from hooks.receiver import Receiver, Span

from .conftest import Render, Workshop
from .service import Service, free_port

PROMPT = {"prompt": "Write a hello world function in Python"}
TREE = """\
POST /api/sessions
  session.create
    ir.generate
      llm.call
      ir.validate
    INSERT
  code.generate
    llm.call
    code.validate
  UPDATE
"""
SPANS = len(TREE.splitlines())


def tree(spans: Sequence[Span], parent: str | None = None, indent: str = "") -> str:
    """The names of `spans`, each below its parent, in the order in which they started."""
    return "".join(
        f"{indent}{span.name}\n{tree(spans, span.span_id, indent + '  ')}"
        for span in sorted(spans, key=lambda span: span.start)
        if span.parent_id == parent
    )


def check_the_trace(spans: Sequence[Span]) -> None:
    assert tree(spans) == TREE
    assert len({span.trace_id for span in spans}) == 1
    [server] = [span for span in spans if span.kind == "server"]
    assert server.attributes == {
        "http.request.method": "POST",
        "http.route": "/api/sessions",
        "http.response.status_code": 201,
    }
    assert {span.status for span in spans} == {"unset"}
    assert not any(span.events for span in spans)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_request_is_one_trace_at_the_receiver(
    protocol: str, render: Render, workshop: Workshop
) -> None:
    project = render(otlp_protocol=protocol, honeycomb_region="eu")
    workshop.install(project)

    with (
        Receiver("grpc" if protocol == "grpc" else "http/protobuf") as receiver,
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
    check_the_trace(receiver.spans)
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


@pytest.mark.parametrize("version", ["fastapi==0.141.*", "fastapi==0.115.*"])
def test_with_a_fastapi_that_does_not_trace_itself_the_trace_is_the_same(
    version: str, render: Render, workshop: Workshop
) -> None:
    project = render()
    workshop.install(project, version, "opentelemetry-instrumentation-fastapi")

    with (
        Receiver() as receiver,
        Service(workshop, project, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as service,
    ):
        service.get("/healthz")
        service.post("/api/sessions", PROMPT)
        service.stop()

    check_the_trace(receiver.spans)


def test_an_older_fastapi_without_its_instrumentation_is_one_warning(
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

    assert service.log().count("install opentelemetry-instrumentation-fastapi") == 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_what_is_not_sent_yet_is_sent_when_the_service_stops(
    how: signal.Signals, render: Render, workshop: Workshop
) -> None:
    project = render()
    workshop.install(project)

    with (
        Receiver() as receiver,
        Service(
            workshop,
            project,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_BSP_SCHEDULE_DELAY="60000",
        ) as service,
    ):
        for _ in range(20):
            service.post("/api/sessions", PROMPT)
        assert not receiver.spans
        seconds = service.stop(how)

    assert len(receiver.spans) == 20 * SPANS
    assert seconds < 5


def test_nothing_configured_serves_at_once_with_one_warning(
    render: Render, workshop: Workshop
) -> None:
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

    assert service.log().count("HONEYCOMB_API_KEY is not set: no traces are sent.") == 1
    assert "Traceback" not in service.log() + restarted.log()
    with sqlite3.connect(project / "sessions.db") as database:
        assert database.execute("SELECT count(*) FROM sessions").fetchone() == (1,)


def test_a_receiver_that_is_not_there_changes_no_answer(render: Render, workshop: Workshop) -> None:
    project = render()
    workshop.install(project)

    with Service(
        workshop,
        project,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}",
        OTEL_BSP_SCHEDULE_DELAY="100",
    ) as service:
        assert service.post("/api/sessions", PROMPT)[0] == 201
        assert service.stop() < 8


def test_a_database_url_that_is_none_stops_the_service_with_one_sentence(
    render: Render, workshop: Workshop
) -> None:
    project = render()
    workshop.install(project)

    with (
        pytest.raises(AssertionError, match="DATABASE_URL is neither") as stopped,
        Service(workshop, project, DATABASE_URL="mysql://user:a-secret@host/db"),
    ):
        pass
    assert "a-secret" not in str(stopped.value)


@pytest.mark.skipif(
    "TEST_DATABASE_URL" not in os.environ,
    reason="TEST_DATABASE_URL names no PostgreSQL database",
)
def test_postgresql_keeps_sessions_and_is_traced(render: Render, workshop: Workshop) -> None:
    project: Path = render()
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
        check_the_trace(receiver.spans)
        queries = [span for span in receiver.spans if "db.system.name" in span.attributes]
        assert {span.attributes["db.system.name"] for span in queries} == {"postgresql"}
        assert all("hello" not in str(span.attributes["db.query.text"]) for span in queries)
        with Service(workshop, project, **variables) as restarted:
            assert restarted.get(f"/api/sessions/{session['id']}") == (200, session)
    assert not (project / "sessions.db").exists()
