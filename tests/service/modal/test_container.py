"""A deployed container: its traces, its shutdown and its environment."""

import random
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest

from hooks.traces.otlp import Span
from hooks.traces.receiver import Receiver

from ...depth import in_depth
from ...fakes.modal import Container, ControlPlane, Deployment
from ...fakes.receiver import FaultyReceiver
from ..messages import FLUSH_FAILED
from ..process import wait_until
from ..traces import PROMPT, TREE, check_that_nothing_is_lost, load, tree
from .conftest import KEY, SECRETS, deployed


@dataclass(frozen=True)
class Served:
    """The responses, spans and log of a container."""

    bodies: list[Any]
    spans: list[Span]
    log: str


def serve(deployment: Deployment, image: Path, *, times: int = 1, **options: Any) -> Served:
    """Start a container, create `times` sessions, and scale it down."""
    with (
        Receiver() as receiver,
        Container(
            deployment, image, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **options
        ) as container,
    ):
        assert container.get("/healthz") == (200, {"status": "ok"})
        bodies = [container.post("/api/sessions", PROMPT) for _ in range(times)]
        container.stop()
    assert [status for status, _ in bodies] == [201] * times, container.log()
    assert (container.exit_code, container.failures) == (0, [])
    return Served([body for _, body in bodies], receiver.spans, container.log())


def test_uploaded_files_alone_serve_and_identify_themselves(
    deployment: Deployment, image: Path
) -> None:
    served = serve(deployment, image, times=2)

    traces: dict[str, list[Span]] = {}
    for span in sorted(served.spans, key=lambda span: span.start):
        traces.setdefault(span.trace_id, []).append(span)
    first, second = traces.values()
    assert [tree(trace) for trace in (first, second)] == [TREE, TREE]
    [server] = [span for span in first if span.kind == "server"]
    # The health check was the container's first request, and is not traced.
    [created] = [span for span in first if span.name == "session.create"]
    assert server.attributes == {
        "user.id": "anonymous",
        "gen_ai.conversation.id": created.attributes["session.id"],
        "http.request.method": "POST",
        "http.route": "/api/sessions",
        "http.response.status_code": 201,
        "faas.trigger": "http",
        "faas.invocation_id": "in-2",
        "modal.function_call_id": "fc-2",
        "faas.coldstart": True,
    }
    [server] = [span for span in second if span.kind == "server"]
    assert server.attributes["faas.invocation_id"] == "in-3"
    assert "faas.coldstart" not in server.attributes
    resource = server.resource
    image_id = deployment.function.image_id
    expected = {
        "service.name": "order-intake",
        "service.version": image_id,
        "service.instance.id": "ta-1",
        "deployment.environment.name": "main",
        "cloud.platform": "modal",
        "cloud.provider": "oracle_cloud",
        "cloud.region": "us-ashburn-1",
        "faas.name": "order-intake.serve",
        "faas.instance": "ta-1",
        "faas.version": image_id,
    }
    assert {name: resource[name] for name in resource if "sdk" not in name} == expected
    everything = repr(served)
    assert "an-identity-token" not in everything
    assert KEY not in everything


# Modal scales down by a message and preempts by SIGINT; SIGTERM is not documented.
@pytest.mark.parametrize("how", ["scale-down", "SIGINT", pytest.param("SIGTERM", marks=in_depth)])
def test_container_that_stops_under_load_loses_no_span(
    how: Any, deployment: Deployment, image: Path
) -> None:
    count = random.randint(1, 60)
    with (
        Receiver() as receiver,
        Container(deployment, image, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as container,
        load(container) as sessions,
    ):
        wait_until(lambda: len(sessions) >= count, f"{count} sessions")
        container.stop(how)

    check_that_nothing_is_lost(sessions, receiver.spans)
    assert (container.exit_code, container.failures) == (0, []), container.log()


@dataclass
class Router:
    """Routes requests to the newest container, as Modal does once a new version is deployed."""

    newest: Container

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        return self.newest.post(path, body)


def test_redeployment_under_load_loses_no_span(deployment: Deployment, image: Path) -> None:
    with Receiver() as receiver:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        with (
            Container(deployment, image, task_id="ta-old", **variables) as old,
            load(router := Router(old)) as sessions,
        ):
            wait_until(lambda: len(sessions) > 20, "sessions of the old container")
            with Container(deployment, image, task_id="ta-new", **variables) as new:
                assert new.get("/healthz")[0] == 200
                router.newest = new
                old.stop()
                before = len(sessions)
                wait_until(lambda: len(sessions) > before + 20, "sessions of the new container")
                new.stop()

    check_that_nothing_is_lost(sessions, receiver.spans)
    instances = {span.resource["service.instance.id"] for span in receiver.spans}
    assert instances == {"ta-old", "ta-new"}


@pytest.mark.parametrize("how", ["scale-down", pytest.param("SIGINT", marks=in_depth)])
def test_container_does_not_wait_for_a_receiver_that_does_not_respond(
    how: Any, deployment: Deployment, image: Path
) -> None:
    variables = {
        # Longer than this test waits for the container to exit.
        "OTEL_EXPORTER_OTLP_TIMEOUT": "600",
    }
    with (
        FaultyReceiver("black hole") as receiver,
        Container(
            deployment, image, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **variables
        ) as container,
    ):
        assert container.post("/api/sessions", PROMPT)[0] == 201
        container.stop(how)

    assert (container.exit_code, container.failures) == (0, [])


def test_error_during_a_flush_is_not_a_failure_of_the_container(
    deployment: Deployment, image: Path
) -> None:
    server = "/root/order_intake/api/server.py"
    broken = b"""
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor

class Broken(SpanProcessor):
    def force_flush(self, timeout_millis=0):
        raise RuntimeError("The disk is full.")

trace.get_tracer_provider().add_span_processor(Broken())
"""
    files = {**deployment.files, server: deployment.files[server] + broken}

    served = serve(replace(deployment, files=files), image)

    assert tree(served.spans) == TREE
    [line] = [line for line in served.log.splitlines() if "The disk is full." in line]
    assert FLUSH_FAILED in line
    assert "Traceback" not in served.log


def test_preempted_request_ends_its_spans_with_the_reason(
    deployment: Deployment, image: Path
) -> None:
    with (
        Receiver() as receiver,
        socket.create_server(("127.0.0.1", 0)) as never_responds,
        Container(
            deployment,
            image,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            ANTHROPIC_API_KEY="a-key-for-tests",
            ANTHROPIC_BASE_URL=f"http://127.0.0.1:{never_responds.getsockname()[1]}",
        ) as container,
    ):
        client = Thread(target=lambda: _interrupted(container))
        client.start()
        never_responds.settimeout(120)
        connection, _ = never_responds.accept()
        container.stop("SIGINT")
        client.join()
        connection.close()

    ended = [
        (span.name, span.status, span.status_message or span.attributes["error.type"])
        for span in receiver.spans
        # The session is stored as failed in the remaining time.
        if not span.name.isupper()
    ]
    assert ended == [
        ("llm.call", "error", "CancelledError"),
        ("ir.generate", "error", "CancelledError"),
        ("session.create", "error", "CancelledError"),
        ("POST /api/sessions", "error", "asyncio.exceptions.CancelledError"),
    ]


def _interrupted(container: Container) -> None:
    with pytest.raises(OSError):
        container.post("/api/sessions", PROMPT)


def test_containers_restored_from_one_snapshot_have_different_ids(
    project: Path, modal_python: Path, image: Path, tmp_path: Path
) -> None:
    # A memory snapshot contains the state of Python's random numbers.
    copy = tmp_path / "project"
    shutil.copytree(project, copy)
    app = copy / "order_intake/modal_app.py"
    text = app.read_text().replace(
        "    timeout=150,", "    timeout=150,\n    enable_memory_snapshot=True,"
    )
    app.write_text(f"{text}\n\nimport random\n\nrandom.seed(7)\n")
    deployment = deployed(copy, modal_python)
    assert deployment.function.checkpointing_enabled

    containers = [
        serve(deployment, image, task_id=task_id, restored_from="ta-snapshot")
        for task_id in ("ta-1", "ta-2")
    ]

    first, second = (container.spans for container in containers)
    assert [tree(first), tree(second)] == [TREE, TREE]
    assert {span.resource["service.instance.id"] for span in first} == {"ta-1"}
    assert {span.resource["service.instance.id"] for span in second} == {"ta-2"}
    assert not {span.trace_id for span in first} & {span.trace_id for span in second}
    assert not {span.span_id for span in first} & {span.span_id for span in second}
    assert containers[0].bodies[0]["id"] != containers[1].bodies[0]["id"]


def environments(deployment: Deployment, image: Path, secret: Mapping[str, str]) -> set[Any]:
    """Return the environment names of the spans of a container whose secret also has `secret`."""
    variables = {**deployment.variables, **secret}
    served = serve(replace(deployment, variables=variables), image)
    return {span.resource["deployment.environment.name"] for span in served.spans}


QA: Final = {"ENVIRONMENT": "qa"}


# That a deployment without arguments is "main" is asserted above.
@pytest.mark.parametrize(
    ("secret", "environment"), [({}, "staging"), (QA, "qa")], ids=["-e staging", "ENVIRONMENT"]
)
def test_deployment_environment_is_modals_unless_it_is_set(
    secret: dict[str, str],
    environment: str,
    project: Path,
    modal_python: Path,
    image: Path,
) -> None:
    deployment = deployed(project, modal_python, "-e", "staging")

    assert environments(deployment, image, secret) == {environment}


@pytest.mark.parametrize(
    ("secret", "suffix", "environment"),
    [
        pytest.param({}, "", "development", id="modal serve", marks=in_depth),
        pytest.param({}, "ada", "development", id="custom suffix"),
        pytest.param(QA, "", "qa", id="ENVIRONMENT", marks=in_depth),
    ],
)
def test_modal_serve_runs_as_development_unless_it_is_set(
    secret: dict[str, str],
    suffix: str,
    environment: str,
    project: Path,
    modal_python: Path,
    image: Path,
) -> None:
    with ControlPlane(SECRETS) as plane:
        served = plane.modal(
            modal_python,
            project,
            *("serve", "-m", "order_intake.modal_app", "--timeout", "1"),
            MODAL_DEV_SUFFIX=suffix,
        )
    assert plane.deployments, served.stdout
    [deployment] = plane.deployments
    assert deployment.app_name == ""

    assert environments(deployment, image, secret) == {environment}
