"""One deployment and one image of it, shared by all workers of a run."""

import os
import pickle
import shlex
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from filelock import FileLock

from ...conftest import UV, Workshop
from ...fakes.modal import MODAL, ControlPlane, Deployment

KEY: Final = "hcaik_" + "k" * 58
SECRETS: Final = {"honeycomb-secrets": {"HONEYCOMB_API_KEY": KEY}}
INSTALL: Final = (
    "RUN /.uv/uv sync --project=/.uv --no-install-workspace --compile-bytecode"
    " --frozen --no-default-groups"
)
DEPLOY: Final = ("deploy", "-m", "order_intake.modal_app")


@pytest.fixture(scope="module")
def modal_python(workshop: Workshop, project: Path) -> Path:
    """A Python with Modal's client and the project's packages, to deploy from."""
    return workshop.environment / "bin/python"


@pytest.fixture(scope="module")
def deployment(project: Path, modal_python: Path, shared: Path) -> Deployment:
    kept = shared / "modal-deployment.pickle"
    with FileLock(f"{kept}.lock"):
        if not kept.exists():
            kept.write_bytes(pickle.dumps(deployed(project, modal_python)))
        deployment: Deployment = pickle.loads(kept.read_bytes())
    return deployment


@pytest.fixture(scope="module")
def image(deployment: Deployment, shared: Path) -> Path:
    """The Python of an environment that the image's own recipe installs, with Modal's runtime."""
    folder = shared / "modal-image"
    python = folder / ".venv/bin/python"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            built = build(deployment, folder)
            assert built.returncode == 0, built.stdout
            # Modal mounts its runtime into every container.
            subprocess.run(
                [UV, "pip", "install", "--quiet", "--python", python, MODAL],
                check=True,
            )
    return python


def deployed(project: Path, python: Path, *arguments: str) -> Deployment:
    """Deploy `project` with the real `modal` command."""
    with ControlPlane(SECRETS) as plane:
        done = plane.modal(python, project, *DEPLOY, *arguments)
    assert done.returncode == 0, done.stdout
    assert "deprecat" not in done.stdout.lower()
    [deployment] = plane.deployments
    return deployment


def build(deployment: Deployment, folder: Path) -> subprocess.CompletedProcess[str]:
    """Copy and install the files of the image's recipe, in `folder`."""
    for line in deployment.dockerfile:
        if line.startswith("COPY /."):
            _, source, destination = line.split()
            (folder / Path(destination).name).write_bytes(deployment.context[source])
    assert INSTALL in deployment.dockerfile
    command = shlex.split(INSTALL.removeprefix("RUN /.uv/uv").replace("/.uv", str(folder)))
    if "TEST_IN_DEPTH" not in os.environ:
        # Compiling every module costs much more CPU than compiling the imported ones.
        command.remove("--compile-bytecode")
    variables: dict[str, Any] = {
        name: value for name, value in os.environ.items() if not name.startswith("VIRTUAL")
    }
    return subprocess.run(
        [UV, "--quiet", *command],
        check=False,
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
