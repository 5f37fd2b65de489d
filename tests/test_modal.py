"""The service on Modal: deployed by its real client, served by its real container runtime."""

import os
import random
import shlex
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from modal_proto import api_pb2

from hooks.receiver import Receiver

from .conftest import UV, Render, Workshop
from .fake_modal import MODAL, Container, ControlPlane, Deployment
from .faulty_receiver import FaultyReceiver
from .test_losses import check_that_nothing_is_lost, load, wait_for
from .test_service import PROMPT, TREE, tree

KEY = "hcaik_" + "k" * 58
SECRETS = {"honeycomb-secrets": {"HONEYCOMB_API_KEY": KEY}}
INSTALL = (
    "RUN /.uv/uv sync --project=/.uv --no-install-workspace --compile-bytecode"
    " --frozen --no-default-groups"
)
DEPLOY = ("deploy", "-m", "order_intake.modal_app")


@pytest.fixture(scope="module")
def project(render: Render, workshop: Workshop) -> Path:
    project = render()
    workshop.install(project, MODAL)
    return project


@pytest.fixture(scope="module")
def modal_python(workshop: Workshop, project: Path) -> Path:
    """A Python that has Modal's client and the project's environment: who deploys."""
    return workshop.environment / "bin/python"


@pytest.fixture(scope="module")
def deployment(project: Path, modal_python: Path) -> Deployment:
    return deployed(project, modal_python)


def deployed(project: Path, python: Path, *arguments: str, **secret: str) -> Deployment:
    secrets = {"honeycomb-secrets": {"HONEYCOMB_API_KEY": KEY, **secret}}
    with ControlPlane(secrets) as plane:
        done = plane.modal(python, project, *DEPLOY, *arguments)
    assert done.returncode == 0, done.stdout
    assert "deprecat" not in done.stdout.lower()
    [deployment] = plane.deployments
    return deployment


@pytest.fixture(scope="module")
def image(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that the image's own recipe makes, with what Modal adds."""
    folder = tmp_path_factory.mktemp("image")
    built = build(deployment, folder)
    assert built.returncode == 0, built.stdout
    python = folder / ".venv/bin/python"
    # Modal mounts its runtime into every container.
    subprocess.run(
        [UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, MODAL],
        check=True,
    )
    return python


def build(deployment: Deployment, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs what the image's recipe copies and installs, in `folder`."""
    for line in deployment.dockerfile:
        if line.startswith("COPY /."):
            _, source, destination = line.split()
            (folder / Path(destination).name).write_bytes(deployment.context[source])
    assert INSTALL in deployment.dockerfile
    command = shlex.split(INSTALL.removeprefix("RUN /.uv/uv").replace("/.uv", str(folder)))
    return subprocess.run(
        [UV, "--quiet", *command],
        check=False,
        cwd=folder,
        env={name: os.environ[name] for name in os.environ if not name.startswith("VIRTUAL")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_deployment_is_one_web_function_with_the_documented_settings(
    deployment: Deployment, project: Path
) -> None:
    function = deployment.function

    assert deployment.app_name == "order-intake"
    assert deployment.metadata.web_url == "https://acme--order-intake-serve.modal.run"
    assert function.module_name == "order_intake.modal_app"
    assert function.function_name == "serve"
    assert function.webhook_config.type == api_pb2.WEBHOOK_TYPE_ASGI_APP
    assert function.max_concurrent_inputs == 100
    assert function.target_concurrent_inputs == 50
    assert function.autoscaler_settings.scaledown_window == 300
    assert function.timeout_secs == 150
    assert not function.checkpointing_enabled
    assert deployment.variables == {"HONEYCOMB_API_KEY": KEY}
    documented = (project / "docs/observability.md").read_text()
    for setting in ("100 requests at once", "within 150 seconds", "300 seconds"):
        assert setting in documented


def test_the_image_holds_the_locked_versions_and_no_development_group(
    deployment: Deployment, project: Path, image: Path
) -> None:
    own = deployment.dockerfile[deployment.dockerfile.index('CMD ["sleep", "172800"]') + 1 :]
    installed = subprocess.run(
        [UV, "pip", "list", "--python", image, "--format", "freeze"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert deployment.dockerfile[0] == "FROM python:3.13-slim-trixie"
    assert own == [
        "COPY --from=ghcr.io/astral-sh/uv:0.13.9 /uv /.uv/uv",
        "COPY /.pyproject.toml /.uv/pyproject.toml",
        "COPY /.uv.lock /.uv/uv.lock",
        INSTALL,
        "ENV PATH=/.uv/.venv/bin:$PATH",
    ]
    assert deployment.context == {
        "/.pyproject.toml": (project / "pyproject.toml").read_bytes(),
        "/.uv.lock": (project / "uv.lock").read_bytes(),
    }
    assert "fastapi==" in installed
    assert not {"pytest==", "mypy==", "ruff=="} & set(installed.replace("==", "== ").split())


def test_an_image_without_a_lock_is_not_built(
    project: Path, modal_python: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "project"
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns("uv.lock"))
    folder = tmp_path / "image"
    folder.mkdir()

    built = build(deployed(copy, modal_python), folder)

    assert built.returncode != 0
    assert "Unable to find lockfile at `uv.lock`" in built.stdout


def test_the_package_is_uploaded_and_nothing_else(deployment: Deployment, project: Path) -> None:
    package = project / "order_intake"

    assert deployment.files == {
        f"/root/{file.relative_to(project)}": file.read_bytes() for file in package.rglob("*.py")
    }


def test_no_key_is_in_what_is_built_or_uploaded(deployment: Deployment) -> None:
    everything = (
        deployment.function.SerializeToString()
        + deployment.metadata.SerializeToString()
        + "\n".join(deployment.dockerfile).encode()
        + b"".join(deployment.context.values())
        + b"".join(deployment.files.values())
    )

    assert KEY.encode() not in everything


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        ({}, "Secret 'honeycomb-secrets' not found in environment 'main'"),
        (
            {"honeycomb-secrets": {"OTHER": "value"}},
            "Secret 'honeycomb-secrets' is missing keys: HONEYCOMB_API_KEY",
        ),
    ],
    ids=["no secret", "no key in it"],
)
def test_a_deployment_without_the_key_stops_and_one_documented_command_mends_it(
    secrets: dict[str, dict[str, str]],
    said: str,
    project: Path,
    modal_python: Path,
    tmp_path: Path,
) -> None:
    editor = tmp_path / "editor"
    editor.write_text(f'#!/bin/sh\nprintf %s {KEY} > "$1"\n')
    editor.chmod(0o755)
    command = "modal secret create honeycomb-secrets HONEYCOMB_API_KEY=- --force"
    assert f"    uv run {command}\n" in (project / "docs/observability.md").read_text()

    with ControlPlane(secrets) as plane:
        stopped = plane.modal(modal_python, project, *DEPLOY)
        made = plane.modal(modal_python, project, *command.split()[1:], EDITOR=str(editor))
        done = plane.modal(modal_python, project, *DEPLOY)

    assert (stopped.returncode, stopped.stdout) == (1, f"Error: {said}\n")
    assert made.returncode == 0, made.stdout
    assert KEY not in made.stdout
    assert done.returncode == 0, done.stdout
    assert plane.secrets == SECRETS


def test_importing_the_app_needs_no_account_no_network_and_nothing_deprecated(
    workshop: Workshop, project: Path, tmp_path: Path
) -> None:
    program = """
import socket, sys, warnings

def refused(*arguments):
    raise OSError("There is no network.")

socket.socket.connect = socket.getaddrinfo = refused
warnings.simplefilter("error")
import order_intake.modal_app
# What a memory snapshot would hold: nothing of the service, and so no telemetry that has begun.
print([name for name in sys.modules if name.startswith("order_intake")])
"""
    printed = workshop.run(
        project, str(workshop.environment / "bin/python"), "-c", program, HOME=str(tmp_path)
    )

    assert printed == "['order_intake', 'order_intake.modal_app']\n"


@dataclass(frozen=True)
class Answered:
    """What requests to a container gave."""

    bodies: list[Any]
    spans: list[Any]
    log: str


def asked(deployment: Deployment, image: Path, *, times: int = 1, **options: Any) -> Answered:
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
    return Answered([body for _, body in bodies], receiver.spans, container.log())


def test_the_uploaded_files_alone_serve_and_say_where_they_run(
    deployment: Deployment, image: Path
) -> None:
    answered = asked(deployment, image, times=2)

    traces: dict[str, list[Any]] = {}
    for span in sorted(answered.spans, key=lambda span: span.start):
        traces.setdefault(span.trace_id, []).append(span)
    first, second = traces.values()
    assert [tree(trace) for trace in (first, second)] == [TREE, TREE]
    [server] = [span for span in first if span.kind == "server"]
    # The health check was the container's first request, and is not traced.
    assert server.attributes == {
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
    everything = repr(answered)
    assert "an-identity-token" not in everything
    assert KEY not in everything


@pytest.mark.parametrize("how", ["scale-down", "SIGINT", "SIGTERM"])
def test_a_container_that_stops_under_load_loses_nothing(
    how: Any, deployment: Deployment, image: Path
) -> None:
    with (
        Receiver() as receiver,
        Container(deployment, image, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as container,
        load(container) as answered,
    ):
        wait_for(lambda: bool(answered))
        time.sleep(random.uniform(0, 1.5))
        container.stop(how)

    check_that_nothing_is_lost(answered, receiver.spans)
    assert (container.exit_code, container.failures) == (0, []), container.log()


@dataclass
class Router:
    """Hands requests to the newest container, as Modal does once a new version is deployed."""

    newest: Container

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        return self.newest.post(path, body)


def test_a_redeployment_under_load_loses_nothing(deployment: Deployment, image: Path) -> None:
    with Receiver() as receiver:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        with (
            Container(deployment, image, task_id="ta-old", **variables) as old,
            load(router := Router(old)) as answered,
        ):
            wait_for(lambda: len(answered) > 20)
            with Container(deployment, image, task_id="ta-new", **variables) as new:
                assert new.get("/healthz")[0] == 200
                router.newest = new
                old.stop()
                before = len(answered)
                wait_for(lambda: len(answered) > before + 20)
                new.stop()

    check_that_nothing_is_lost(answered, receiver.spans)
    instances = {span.resource["service.instance.id"] for span in receiver.spans}
    assert instances == {"ta-old", "ta-new"}


@pytest.mark.parametrize("how", ["scale-down", "SIGINT"])
def test_a_collector_that_answers_nothing_holds_a_stop_up_for_6_seconds_at_most(
    how: Any, deployment: Deployment, image: Path
) -> None:
    with (
        FaultyReceiver("black hole") as receiver,
        Container(deployment, image, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as container,
    ):
        assert container.post("/api/sessions", PROMPT)[0] == 201
        # What the machine is slow at beside it is not the collector's fault.
        assert container.stop(how) < 7

    assert (container.exit_code, container.failures) == (0, [])


def test_an_error_while_spans_are_flushed_is_no_failure_of_the_container(
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

    answered = asked(replace(deployment, files=files), image)

    assert tree(answered.spans) == TREE
    assert "What waits to be sent could not be sent: The disk is full." in answered.log
    assert "Traceback" not in answered.log


def test_a_preempted_request_ends_its_spans_with_the_reason(
    deployment: Deployment, image: Path
) -> None:
    with (
        Receiver() as receiver,
        socket.create_server(("127.0.0.1", 0)) as never_answers,
        Container(
            deployment,
            image,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            ANTHROPIC_API_KEY="a-key-for-tests",
            ANTHROPIC_BASE_URL=f"http://127.0.0.1:{never_answers.getsockname()[1]}",
        ) as container,
    ):
        client = Thread(target=lambda: _interrupted(container))
        client.start()
        never_answers.settimeout(20)
        connection, _ = never_answers.accept()
        container.stop("SIGINT")
        client.join()
        connection.close()

    ended = [
        (span.name, span.status, span.status_message or span.attributes["error.type"])
        for span in receiver.spans
        # The session is kept as failed in the time that is left.
        if not span.name.isupper()
    ]
    assert ended == [
        ("llm.call", "error", "cancelled"),
        ("ir.generate", "error", "cancelled"),
        ("session.create", "error", "cancelled"),
        ("POST /api/sessions", "error", "asyncio.exceptions.CancelledError"),
    ]


def _interrupted(container: Container) -> None:
    with pytest.raises(OSError):
        container.post("/api/sessions", PROMPT)


@pytest.fixture(scope="module")
def with_snapshots(
    project: Path, modal_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Deployment:
    """A deployment with memory snapshots, each of which holds Python's random state."""
    copy = tmp_path_factory.mktemp("snapshots") / "project"
    shutil.copytree(project, copy)
    app = copy / "order_intake/modal_app.py"
    text = app.read_text().replace(
        "    timeout=150,", "    timeout=150,\n    enable_memory_snapshot=True,"
    )
    app.write_text(f"{text}\n\nimport random\n\nrandom.seed(7)\n")
    deployment = deployed(copy, modal_python)
    assert deployment.function.checkpointing_enabled
    return deployment


def test_containers_that_are_restored_from_one_snapshot_have_ids_of_their_own(
    with_snapshots: Deployment, image: Path
) -> None:
    containers = [
        asked(with_snapshots, image, task_id=task_id, restored_from="ta-snapshot")
        for task_id in ("ta-1", "ta-2")
    ]

    first, second = (container.spans for container in containers)
    assert [tree(first), tree(second)] == [TREE, TREE]
    assert {span.resource["service.instance.id"] for span in first} == {"ta-1"}
    assert {span.resource["service.instance.id"] for span in second} == {"ta-2"}
    assert not {span.trace_id for span in first} & {span.trace_id for span in second}
    assert not {span.span_id for span in first} & {span.span_id for span in second}
    assert containers[0].bodies[0]["id"] != containers[1].bodies[0]["id"]


@pytest.mark.parametrize(
    ("arguments", "secret", "environment"),
    [
        ((), {}, "main"),
        (("-e", "staging"), {}, "staging"),
        (("-e", "staging"), {"ENVIRONMENT": "qa"}, "qa"),
    ],
    ids=["deployed", "deployed to an environment", "ENVIRONMENT"],
)
def test_a_deployment_says_which_environment_it_is(
    arguments: tuple[str, ...],
    secret: dict[str, str],
    environment: str,
    project: Path,
    modal_python: Path,
    image: Path,
) -> None:
    deployment = deployed(project, modal_python, *arguments, **secret)

    assert environments(deployment, image) == {environment}


@pytest.mark.parametrize(
    ("secret", "suffix", "environment"),
    [({}, "", "development"), ({}, "ada", "development"), ({"ENVIRONMENT": "qa"}, "", "qa")],
    ids=["modal serve", "with a suffix of one's own", "with ENVIRONMENT"],
)
def test_what_modal_serve_runs_is_development(
    secret: dict[str, str],
    suffix: str,
    environment: str,
    project: Path,
    modal_python: Path,
    image: Path,
) -> None:
    with ControlPlane({"honeycomb-secrets": {"HONEYCOMB_API_KEY": KEY, **secret}}) as plane:
        served = plane.modal(
            modal_python,
            project,
            *("serve", "-m", "order_intake.modal_app", "--timeout", "1"),
            MODAL_DEV_SUFFIX=suffix,
        )
    assert plane.deployments, served.stdout
    [deployment] = plane.deployments
    assert deployment.app_name == ""

    assert environments(deployment, image) == {environment}


def environments(deployment: Deployment, image: Path) -> set[Any]:
    answered = asked(deployment, image)
    return {span.resource["deployment.environment.name"] for span in answered.spans}
