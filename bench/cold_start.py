"""What a container on Modal needs until it answers: with telemetry, without, and with the guide's.

    uv run bench/cold_start.py [--quick] [--json FILE]

Modal's own container runtime serves the deployed files in an environment that the image's recipe
makes, bytecode compiled, against a server on this machine. Each round starts all variants, in
another order than the one before. Modal's own start, such as that of the machine, is not in it.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import copier
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from hooks.demo.receiver import Receiver
from tests.fakes.modal import MODAL, Container, ControlPlane, Deployment

REPOSITORY: Final = Path(__file__).resolve().parents[1]
SERVE: Final = "    from bench_service.api.server import app as api\n"
# Bare application, and the guide set up in it as it is written; see service/telemetry/guide.py.
GUIDE: Final = """
    import anthropic
    import guide
    guide.set_up()
    from bench_service.api.server import app as api
    guide.instrument(api, api.state.store._engine.sync_engine)
"""
GUIDES_PACKAGES: Final = (
    "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry-instrumentation-fastapi",
    "opentelemetry-instrumentation-httpx",
    "opentelemetry-instrumentation-sqlalchemy",
    "httpx",
)


@dataclass(frozen=True)
class Variant:
    name: str
    serve: str = SERVE
    """What `serve` does to import the application."""
    variables: Mapping[str, str] = field(default_factory=dict)


OFF: Final = {"HONEYCOMB_ENABLED": "false"}
VARIANTS: Final = (
    Variant("telemetry off", variables=OFF),
    Variant("as rendered"),
    Variant("nothing put off", f"    import anthropic, genai_prices, http.client\n{SERVE}"),
    Variant("the guide", GUIDE, OFF),
)
COLUMNS: Final = {
    "ready": "s until a request is answered",
    "session": "s until a session is answered",
    "cpu": "s of CPU until then",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the numbers go besides")
    options = parser.parse_args()
    rounds = 3 if options.quick else 11
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cold-start-")))
        with console.status("Making the image"):
            project = _render(folder / "bench-service")
            deployment, python = _deployed(project), _image(folder, project)
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": stack.enter_context(Receiver()).endpoint,
            "RECEIVER_GRPC": stack.enter_context(Receiver("grpc")).endpoint,
            "ANTHROPIC_API_KEY": "a-key-for-the-bench",
            "ANTHROPIC_BASE_URL": stack.enter_context(_messages_api(project, python)),
        }
        for variant in VARIANTS:
            # Not measured: whatever happens once on a machine.
            _started(_of(deployment, variant), python, variables | dict(variant.variables))
        measured: list[dict[str, dict[str, float]]] = []
        for number in track(range(rounds), "Measuring", console=console, transient=True):
            first = number % len(VARIANTS)
            measured.append(
                {
                    variant.name: _started(
                        _of(deployment, variant), python, variables | dict(variant.variables)
                    )
                    for variant in VARIANTS[first:] + VARIANTS[:first]
                }
            )
    summary = {
        variant.name: {
            column: statistics.median(each[variant.name][column] for each in measured)
            for column in COLUMNS
        }
        for variant in VARIANTS
    }
    table = Table(box=box.MARKDOWN)
    table.add_column("")
    for title in COLUMNS.values():
        table.add_column(title, justify="right")
    for name, values in summary.items():
        table.add_row(name, *(f"{values[column]:.2f}" for column in COLUMNS))
    console.print(table)
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "rounds": rounds,
    }
    console.print(", ".join(f"{name} {value}" for name, value in about.items()))
    if options.json:
        report = {**about, "summary": summary, "measured": measured}
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def _render(project: Path) -> Path:
    with warnings.catch_warnings():
        # What is not committed yet is measured too.
        warnings.simplefilter("ignore", copier.errors.DirtyLocalWarning)
        copier.run_copy(str(REPOSITORY), project, defaults=True, quiet=True, vcs_ref="HEAD")
    return project


def _deployed(project: Path) -> Deployment:
    _uv("sync", "--quiet", "--project", project)
    _uv("pip", "install", "--quiet", f"--python={project}/.venv/bin/python", MODAL)
    with ControlPlane({"honeycomb-secrets": {"HONEYCOMB_API_KEY": "a-key"}}) as plane:
        done = plane.modal(
            project / ".venv/bin/python", project, "deploy", "-m", "bench_service.modal_app"
        )
    if done.returncode:
        raise SystemExit(done.stdout)
    return plane.deployments[0]


def _image(folder: Path, project: Path) -> Path:
    """The Python of an environment as the image's, with Modal's runtime and the guide's packages."""
    _uv(
        *("sync", "--quiet", "--frozen", "--compile-bytecode", "--no-default-groups"),
        *("--project", project),
        UV_PROJECT_ENVIRONMENT=str(folder / "image"),
    )
    python = folder / "image/bin/python"
    _uv(
        *("pip", "install", "--quiet", "--compile-bytecode", f"--python={python}"),
        *(MODAL, *GUIDES_PACKAGES),
    )
    return python


@contextmanager
def _messages_api(project: Path, python: Path) -> Iterator[str]:
    """Where a stand-in for Anthropic listens while the block runs."""
    with subprocess.Popen(
        [python, "-m", "tests.providers.messages_api"],
        cwd=project,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def _uv(*arguments: str | Path, **variables: str) -> None:
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("VIRTUAL")}
    subprocess.run(["uv", *arguments], check=True, env=environment | variables)


def _of(deployment: Deployment, variant: Variant) -> Deployment:
    app = "/root/bench_service/modal_app.py"
    served = deployment.files[app].decode().replace(SERVE, variant.serve.lstrip("\n"))
    guide = (REPOSITORY / "bench/service/telemetry/guide.py").read_text()
    return replace(
        deployment,
        files={
            **deployment.files,
            app: served.encode(),
            "/root/guide.py": guide.replace("from . import Usage", "Usage = object").encode(),
        },
    )


def _started(
    deployment: Deployment, python: Path, variables: Mapping[str, str]
) -> dict[str, float]:
    """Seconds until a new container has answered its first requests."""
    begin = time.monotonic()
    with Container(deployment, python, **variables) as container:
        assert container.get("/healthz")[0] == 200, container.log()
        ready = time.monotonic() - begin
        assert container.post("/api/sessions", {"prompt": "Say hello"})[0] == 201, container.log()
        session = time.monotonic() - begin
        return {"ready": ready, "session": session, "cpu": container.cpu_seconds()}


if __name__ == "__main__":
    main()
