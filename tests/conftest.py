"""What tests share: the template, renderings of it, and one environment to run them in."""

import os
import subprocess
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import copier
import pytest
from uv import find_uv_bin

from .environments import NEWEST, OLDEST, Environment, environment

TEMPLATE = Path(__file__).parents[1]
UV = find_uv_bin()

Render = Callable[..., Path]


@pytest.fixture(scope="session")
def render(tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Renders the template with the given answers, without trust, into a folder named `folder`."""

    def rendered(folder: str = "order-intake", **answers: Any) -> Path:
        destination = tmp_path_factory.mktemp("rendered") / folder
        with warnings.catch_warnings():
            # What is not committed yet is rendered too.
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
        return destination

    return rendered


@dataclass(frozen=True)
class Workshop:
    """An environment that rendered projects are installed into, one after the other."""

    environment: Path

    @property
    def variables(self) -> dict[str, str]:
        """The variables of a process in it: the machine's, less what telemetry would read."""
        own = ("ANTHROPIC_", "DATABASE_URL", "HONEYCOMB_", "MODAL_", "OTEL_", "PYTEST_", "VIRTUAL_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        return kept | {
            "UV_PROJECT_ENVIRONMENT": str(self.environment),
            "MYPY_CACHE_DIR": str(self.environment.parent / "mypy"),
        }

    def install(self, project: Path, *instead: str) -> None:
        """Installs what `project` depends on, then the requirements `instead` over it."""
        self.run(project, UV, "sync", "--quiet")
        if instead:
            python = str(self.environment / "bin/python")
            self.run(project, UV, "pip", "install", "--quiet", "--python", python, *instead)

    def run(self, project: Path, *command: str, **variables: str) -> str:
        """Runs `command` in `project`; the test fails with what it printed where it fails."""
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

    def tool(self, project: Path, name: str, *arguments: str) -> str:
        """Runs an installed command, such as `ruff`."""
        return self.run(project, str(self.environment / "bin" / name), *arguments)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    yield Workshop(tmp_path_factory.mktemp("environment") / "venv")


@pytest.fixture(scope="session")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return environment(tmp_path_factory.getbasetemp().parent, "oldest", OLDEST)


@pytest.fixture(scope="session")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return environment(tmp_path_factory.getbasetemp().parent, "newest", NEWEST)
