"""Renderings of the template and environments to run them in, shared by all workers of a run."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path
from typing import Any

import copier
import pytest
from filelock import FileLock
from uv import find_uv_bin

from .environments import NEWEST, OLDER, OLDEST, Environment, environment

TEMPLATE = Path(__file__).parents[1]
UV = find_uv_bin()

# In the background of a shell, SIGINT is ignored, and so it would be by the services that tests stop.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Containers set it. Each process that a test starts would compile all its packages again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


class Render:
    """Renders the template without trust. Equal answers are rendered once per run, then copied."""

    def __init__(self, shared: Path, factory: pytest.TempPathFactory) -> None:
        self._shared = shared
        self._factory = factory

    def __call__(self, folder: str = "order-intake", **answers: Any) -> Path:
        """Return a new copy of the rendering with `answers`, in a folder named `folder`."""
        kept = self._shared / f"rendering-{_digest(folder, sorted(answers.items()))}"
        with FileLock(f"{kept}.lock"):
            if not kept.exists():
                _copy_template(kept.with_suffix(".unfinished") / folder, answers)
                kept.with_suffix(".unfinished").rename(kept)
        destination = self._factory.mktemp("rendered") / folder
        shutil.copytree(kept / folder, destination, symlinks=True)
        return destination

    def anew(self, folder: str = "order-intake", **answers: Any) -> Path:
        """Render again, even if there is a rendering with these answers."""
        destination = self._factory.mktemp("rendered") / folder
        _copy_template(destination, answers)
        return destination


def _copy_template(destination: Path, answers: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        # Uncommitted changes are rendered too.
        warnings.simplefilter("ignore", copier.errors.DirtyLocalWarning)
        copier.run_copy(
            str(TEMPLATE),
            destination,
            data=answers,
            defaults=True,
            unsafe=False,
            quiet=True,
            vcs_ref="HEAD",
        )


class Workshop:
    """Runs commands in a project, in the environment of the project that was installed last.

    Projects with the same dependencies share an environment. Tests must not change it.
    """

    environment: Path

    def __init__(self, shared: Path) -> None:
        self._shared = shared

    @property
    def variables(self) -> dict[str, str]:
        """The variables of a process in it: the machine's, without those that telemetry reads."""
        own = (
            *("ANTHROPIC_", "DATABASE_URL", "GEMINI_", "HONEYCOMB_", "MODAL_", "OPENAI_", "OTEL_"),
            *("PYTEST_", "VIRTUAL_"),
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        return kept | {
            "UV_PROJECT_ENVIRONMENT": str(self.environment),
            "MYPY_CACHE_DIR": str(self.environment.parent / "mypy"),
        }

    def install(self, project: Path, *overrides: str) -> None:
        """Install the dependencies of `project`, then the requirements `overrides` over them."""
        settings = tomllib.loads((project / "pyproject.toml").read_text())
        project_table = settings["project"]
        declared = (
            project_table["dependencies"],
            project_table.get("requires-python"),
            settings.get("dependency-groups"),
            settings.get("tool", {}).get("uv"),
        )
        folder = self._shared / f"environment-{_digest(declared, overrides)}"
        self.environment = folder / "venv"
        lock = folder / f"{project_table['name']}.lock"
        with FileLock(f"{folder}.lock"):
            if not (folder / "complete").exists():
                self.run(project, UV, "sync", "--quiet")
                if overrides:
                    python = str(self.environment / "bin/python")
                    self.run(project, UV, "pip", "install", "-q", "--python", python, *overrides)
                (folder / "complete").touch()
            elif lock.exists():
                shutil.copy(lock, project / "uv.lock")
            else:
                self.run(project, UV, "lock", "--quiet")
            shutil.copy(project / "uv.lock", lock)

    def run(self, project: Path, *command: str, **variables: str) -> str:
        """Run `command` in `project` and return its output. A failure fails the test."""
        done = subprocess.run(
            command,
            cwd=project,
            env=self.variables | variables,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
        return done.stdout

    def python(self, project: Path, program: str, *arguments: str, **variables: str) -> str:
        """Run the source text `program` with the environment's Python."""
        return self.tool(project, "python", "-c", program, *arguments, **variables)

    def tool(self, project: Path, name: str, *arguments: str, **variables: str) -> str:
        """Run an installed command, such as `ruff`."""
        return self.run(project, str(self.environment / "bin" / name), *arguments, **variables)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def render(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    return Render(shared, tmp_path_factory)


@pytest.fixture(scope="session")
def workshop(shared: Path) -> Workshop:
    return Workshop(shared)


@pytest.fixture(scope="session")
def oldest(shared: Path) -> Environment:
    return environment(shared, "oldest", OLDEST)


@pytest.fixture(scope="session")
def older(shared: Path) -> Environment:
    return environment(shared, "fastapi-0.115", OLDER)


@pytest.fixture(scope="session")
def newest(shared: Path) -> Environment:
    return environment(shared, "newest", NEWEST)
