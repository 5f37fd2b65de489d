"""Measure the cold start of a container on Modal: with telemetry, without, and with the guide's.

    uv run bench/cold_start.py [--quick] [--json FILE]

Modal's own container runtime serves the deployed files, in an environment like that of the image
with compiled bytecode, against a control plane on this machine. Each round starts all variants, in
a different order each time. Modal's own part, such as starting the machine, is not included.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from rich import box
from rich.progress import track
from rich.table import Table

from bench.environments import GUIDE_PACKAGES, PROJECT, ROOT, render, uv
from bench.report import conditions, new_console, save
from hooks.traces.receiver import Receiver
from tests.fakes.modal import MODAL, Container, ControlPlane, Deployment

SERVE: Final = "    from bench_service.api.server import app as api\n"
# The application without telemetry, set up as in service/telemetry/guide.py.
GUIDE: Final = """
    import anthropic
    import guide
    guide.set_up()
    from bench_service.api.server import app as api
    guide.instrument(api, api.state.store._engine.sync_engine)
"""


@dataclass(frozen=True)
class Variant:
    """A way of serving the application."""

    name: str
    serve: str = SERVE
    """The import of the application in `serve`."""
    variables: Mapping[str, str] = field(default_factory=dict, hash=False)


OFF: Final = {"HONEYCOMB_ENABLED": "false"}
VARIANTS: Final = (
    Variant("telemetry off", variables=OFF),
    Variant("as rendered"),
    Variant("nothing deferred", f"    import anthropic, genai_prices, http.client\n{SERVE}"),
    Variant("the guide", GUIDE, OFF),
)
COLUMNS: Final = {
    "ready": "s until a request is answered",
    "session": "s until a session is answered",
    "cpu": "s of CPU until then",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the numbers to FILE")
    options = parser.parse_args()
    rounds = 3 if options.quick else 11
    console = new_console()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cold-start-")))
        with console.status("Making the image"):
            project = render(str(ROOT), folder / PROJECT)
            deployment, python = _deployed(project), _image(folder, project)
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": stack.enter_context(Receiver()).endpoint,
            "RECEIVER_GRPC": stack.enter_context(Receiver()).endpoint,
            "ANTHROPIC_API_KEY": "a-key-for-the-bench",
            "ANTHROPIC_BASE_URL": stack.enter_context(_messages_api(project, python)),
        }
        deployments = {variant: _of(deployment, variant) for variant in VARIANTS}

        def start(variant: Variant) -> dict[str, float]:
            return _start(deployments[variant], python, variables | dict(variant.variables))

        for variant in VARIANTS:
            # Discarded: includes one-time work.
            start(variant)
        measured: list[dict[str, dict[str, float]]] = []
        for number in track(range(rounds), "Measuring", console=console, transient=True):
            first = number % len(VARIANTS)
            order = VARIANTS[first:] + VARIANTS[:first]
            measured.append({variant.name: start(variant) for variant in order})
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
    about = {**conditions(), "rounds": rounds}
    console.print(", ".join(f"{name} {value}" for name, value in about.items()))
    save({**about, "summary": summary, "measured": measured}, options.json)


def _deployed(project: Path) -> Deployment:
    """Deploy `project` to a fake control plane."""
    uv("sync", "--project", str(project))
    uv("pip", "install", f"--python={project}/.venv/bin/python", MODAL)
    with ControlPlane({"honeycomb-secrets": {"HONEYCOMB_API_KEY": "a-key"}}) as plane:
        done = plane.modal(
            project / ".venv/bin/python", project, "deploy", "-m", "bench_service.modal_app"
        )
    if done.returncode:
        raise SystemExit(done.stdout)
    return plane.deployments[0]


def _image(folder: Path, project: Path) -> Path:
    """The Python of an environment like the image's, with Modal's runtime and the guide's packages."""
    uv(
        *("sync", "--frozen", "--compile-bytecode", "--no-default-groups"),
        *("--project", str(project)),
        UV_PROJECT_ENVIRONMENT=str(folder / "image"),
    )
    python = folder / "image/bin/python"
    packages = (MODAL, *GUIDE_PACKAGES)
    uv("pip", "install", "--compile-bytecode", f"--python={python}", *packages)
    return python


@contextmanager
def _messages_api(project: Path, python: Path) -> Iterator[str]:
    """Run a fake of Anthropic's API, and yield its URL."""
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


def _of(deployment: Deployment, variant: Variant) -> Deployment:
    """`deployment` with the import of `variant` in its `serve`."""
    app = "/root/bench_service/modal_app.py"
    source = deployment.files[app].decode()
    if SERVE not in source:
        raise SystemExit(f"{app} does not import the application as expected: {SERVE.strip()}")
    served = source.replace(SERVE, variant.serve.lstrip("\n"))
    guide = (ROOT / "bench/service/telemetry/guide.py").read_text()
    return replace(
        deployment,
        files={
            **deployment.files,
            app: served.encode(),
            "/root/guide.py": guide.replace("from . import Usage", "Usage = object").encode(),
        },
    )


def _start(deployment: Deployment, python: Path, variables: Mapping[str, str]) -> dict[str, float]:
    """Start a container, and return the seconds until its first requests are answered."""
    begin = time.monotonic()
    with Container(deployment, python, **variables) as container:
        assert container.get("/healthz")[0] == 200, container.log()
        ready = time.monotonic() - begin
        assert container.post("/api/sessions", {"prompt": "Say hello"})[0] == 201, container.log()
        session = time.monotonic() - begin
        return {"ready": ready, "session": session, "cpu": container.cpu_seconds()}


if __name__ == "__main__":
    main()
