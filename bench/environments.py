"""The ways of tracing that are compared, and an environment for each of them."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import copier
from copier.errors import DirtyLocalWarning

ROOT: Final = Path(__file__).resolve().parents[1]
PROJECT: Final = "bench-service"

_SERVICE: Final = ("fastapi", "uvicorn", "sqlalchemy[asyncio]>=2.1,<3")
GUIDE_PACKAGES: Final = (
    "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry-instrumentation-fastapi",
    "opentelemetry-instrumentation-httpx",
    "opentelemetry-instrumentation-sqlalchemy",
    # The guide's service gets it with its LLM SDK.
    "httpx",
)
# Variables that would redirect or slow down the measured processes.
_FOREIGN: Final = ("HONEYCOMB_", "LOGFIRE_", "MODAL_", "OTEL_", "PYTHON", "VIRTUAL_ENV")
_REPORTED: Final = ("fastapi", "logfire", "opentelemetry-sdk", "sqlalchemy", "starlette", "uvicorn")


@dataclass(frozen=True)
class Variant:
    """A way of tracing the application."""

    name: str
    module: str
    """A module of `bench.service.telemetry`; variants with the same one share an environment."""
    packages: tuple[str, ...] = ()
    """Required in addition to those of the application."""
    variables: Mapping[str, str] = field(default_factory=dict)


BARE: Final = Variant("bare", "bare")
GUIDE: Final = Variant("guide", "guide", GUIDE_PACKAGES)
LOGFIRE: Final = Variant("logfire", "with_logfire", ("logfire[fastapi,sqlalchemy]",))
MODULE: Final = Variant("module", "module")
SAMPLED: Final = Variant("module, 1 in 10", "module", variables={"HONEYCOMB_SAMPLE_RATE": "10"})


class Environments:
    """Virtual environments in `folder`, and the rendering of `template` that is measured."""

    def __init__(self, folder: Path, template: str) -> None:
        self._folder = folder
        self._project = render(template, folder / PROJECT)

    def make(self, variant: Variant) -> dict[str, str]:
        """Install the packages of `variant` and return the versions that a report names."""
        python = self.python(variant)
        if not python.exists():
            uv("venv", "--python", sys.executable, str(self._folder / variant.module))
            requirements = [*_SERVICE, *variant.packages]
            if variant.module == MODULE.module:
                requirements += ["-r", str(self._project / "pyproject.toml")]
            uv("pip", "install", "--compile-bytecode", f"--python={python}", *requirements)
        listed = json.loads(uv("pip", "list", "--format=json", f"--python={python}"))
        versions = {package["name"]: package["version"] for package in listed}
        return {name: versions[name] for name in _REPORTED if name in versions}

    def python(self, variant: Variant) -> Path:
        return self._folder / variant.module / "bin" / "python"

    def variables(self, variant: Variant, ports: Mapping[str, Any]) -> dict[str, str]:
        """Variables of the measured process, which exports to a receiver on `ports`."""
        return {
            "RECEIVER_HTTP": f"http://127.0.0.1:{ports['http']}",
            "RECEIVER_GRPC": f"http://127.0.0.1:{ports['grpc']}",
            # Used by `module` only; no other variant has a package of that name.
            "PYTHONPATH": str(self._project),
            **variant.variables,
        }


def render(template: str, project: Path) -> Path:
    """Render `template`, uncommitted changes included, with the default answers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DirtyLocalWarning)
        copier.run_copy(
            template,
            project,
            data={"project_name": PROJECT},
            defaults=True,
            vcs_ref="HEAD",
            quiet=True,
        )
    return project


def uv(*arguments: str, **variables: str) -> str:
    """Run uv and return its output. Raises SystemExit with its errors if it fails."""
    command = os.environ.get("UV") or shutil.which("uv") or "uv"
    done = subprocess.run(
        [command, *arguments],
        env=clean_environment() | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"uv {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def clean_environment() -> dict[str, str]:
    """The environment without variables that configure telemetry or Python."""
    return {
        name: value for name, value in os.environ.items() if not name.upper().startswith(_FOREIGN)
    }
