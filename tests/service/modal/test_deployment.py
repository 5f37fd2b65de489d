"""Deploying the service: its settings, its image, its files and its secret."""

import shutil
import subprocess
from pathlib import Path

import pytest
from modal_proto import api_pb2

from ...conftest import UV, Workshop
from ...fakes.modal import ControlPlane, Deployment
from .conftest import DEPLOY, INSTALL, KEY, SECRETS, build, deployed


def test_deployment_is_one_web_function_with_the_documented_settings(
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


def test_image_has_the_locked_versions_and_no_development_group(
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


def test_image_without_a_lock_file_is_not_built(
    project: Path, modal_python: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "project"
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns("uv.lock"))
    folder = tmp_path / "image"
    folder.mkdir()

    built = build(deployed(copy, modal_python), folder)

    assert built.returncode != 0
    assert "Unable to find lockfile at `uv.lock`" in built.stdout


def test_only_the_package_is_uploaded(deployment: Deployment, project: Path) -> None:
    package = project / "order_intake"

    assert deployment.files == {
        f"/root/{file.relative_to(project)}": file.read_bytes() for file in package.rglob("*.py")
    }


def test_image_and_upload_contain_no_key(deployment: Deployment) -> None:
    everything = (
        deployment.function.SerializeToString()
        + deployment.metadata.SerializeToString()
        + "\n".join(deployment.dockerfile).encode()
        + b"".join(deployment.context.values())
        + b"".join(deployment.files.values())
    )

    assert KEY.encode() not in everything


@pytest.mark.parametrize(
    ("secrets", "message"),
    [
        ({}, "Secret 'honeycomb-secrets' not found in environment 'main'"),
        (
            {"honeycomb-secrets": {"OTHER": "value"}},
            "Secret 'honeycomb-secrets' is missing keys: HONEYCOMB_API_KEY",
        ),
    ],
    ids=["no secret", "no key in the secret"],
)
def test_deployment_without_the_key_fails_and_one_documented_command_fixes_it(
    secrets: dict[str, dict[str, str]],
    message: str,
    project: Path,
    modal_python: Path,
    tmp_path: Path,
) -> None:
    editor = tmp_path / "editor"
    editor.write_text(f'#!/bin/sh\nprintf %s {KEY} > "$1"\n')
    editor.chmod(0o755)
    command = "modal secret create honeycomb-secrets HONEYCOMB_API_KEY=- --force"
    assert f"`uv run {command}`" in (project / "docs/observability.md").read_text()

    with ControlPlane(secrets) as plane:
        stopped = plane.modal(modal_python, project, *DEPLOY)
        made = plane.modal(modal_python, project, *command.split()[1:], EDITOR=str(editor))
        done = plane.modal(modal_python, project, *DEPLOY)

    assert (stopped.returncode, stopped.stdout) == (1, f"Error: {message}\n")
    assert made.returncode == 0, made.stdout
    assert KEY not in made.stdout
    assert done.returncode == 0, done.stdout
    assert plane.secrets == SECRETS


def test_import_of_the_app_needs_no_account_no_network_and_nothing_deprecated(
    workshop: Workshop, project: Path, tmp_path: Path
) -> None:
    program = """
import socket, sys, warnings

def refused(*arguments):
    raise OSError("no network")

socket.socket.connect = socket.getaddrinfo = refused
warnings.simplefilter("error")
import order_intake.modal_app
# A memory snapshot would contain these: nothing of the service, and so no telemetry.
print([name for name in sys.modules if name.startswith("order_intake")])
"""
    printed = workshop.python(project, program, HOME=str(tmp_path))

    assert printed == "['order_intake', 'order_intake.modal_app']\n"
