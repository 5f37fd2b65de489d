"""The proof: the application is imported in its own environment, asked once, and its span is shown."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..interpreter import find_interpreter
from .find import Creation
from .project import Project

SECONDS = 120

# Runs in the project's own interpreter, with nothing but what is installed there.
_PROGRAM = """
import asyncio, importlib, json, logging, sys

def tell(**what):
    print("\\nwire " + json.dumps(what))
    sys.stdout.flush()
    sys.exit(0)

root, module, attribute, ours = sys.argv[1:5]
sys.path.insert(0, root)
lines = []
class Keep(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())

try:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
except ImportError as error:
    tell(why=f"OpenTelemetry is not installed there ({error}): install the packages above")
exporter = InMemorySpanExporter()
try:
    logging.getLogger(ours).addHandler(Keep())
    pipeline = importlib.import_module(ours + ".pipeline")
    export = importlib.import_module(ours + ".export")
except Exception as error:
    tell(why=f"{ours} cannot be imported ({type(error).__name__}: {error})")
provider = TracerProvider(shutdown_on_exit=False)
trace.set_tracer_provider(provider)
provider.add_span_processor(pipeline.Pipeline(export.ExporterSink(exporter)))
try:
    app = getattr(importlib.import_module(module), attribute)
except BaseException as error:
    tell(why=f"{module} cannot be imported here ({type(error).__name__}: {error})")
try:
    from fastapi import FastAPI
    if not callable(getattr(app, "build_middleware_stack", None)) and not isinstance(app, FastAPI):
        made = app() if callable(app) and not hasattr(app, "app") else app
        app = made
except Exception as error:
    tell(why=f"{module}.{attribute} cannot be called without arguments ({type(error).__name__}: {error})")

inner = app
while not hasattr(inner, "openapi_url") and hasattr(inner, "app"):
    inner = inner.app
path = getattr(inner, "openapi_url", None) or "/"
statuses = []

async def ask():
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80), "state": {},
    }
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
    await app(scope, receive, send)

try:
    asyncio.run(asyncio.wait_for(ask(), 30))
except Exception as error:
    lines.append(f"the request failed ({type(error).__name__}: {error})")
if not getattr(getattr(inner, "state", None), "is_observed", False):
    tell(why="; ".join(lines[:2]) or "instrument_app was not called on this application")
servers = [span for span in exporter.get_finished_spans() if span.kind is trace.SpanKind.SERVER]
if servers:
    span = servers[0]
    tell(name=span.name, count=len(servers), attributes={k: str(v) for k, v in span.attributes.items()})
tell(why="; ".join(lines[:2]) or f"the request for {path} made no SERVER span")
"""


@dataclass(frozen=True)
class Checked:
    """What one request showed."""

    span: str = ""
    attributes: dict[str, str] | None = None
    why_not: str = ""


def check(project: Project, app: Creation, module: str) -> Checked:
    """Asks the application once, in process. `module` is the observability package as it imports it."""
    python = find_interpreter(project.root, app.path.parent)
    if python is None:
        return Checked(why_not="there is no environment (.venv) of the project's to run it in")
    if module.startswith("."):
        module = project.module
        root, name = _root_and_name(project, app.path)
    else:
        root, name = _import_path(project, app.path, module)
    own = ("HONEYCOMB_", "OTEL_", "VIRTUAL_ENV", "PYTHONPATH")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    attribute = app.function or app.name
    try:
        done = subprocess.run(
            [python, "-c", _PROGRAM, str(root), name, attribute, module],
            # Where its settings look for a file of variables.
            cwd=root if (root / ".env").exists() else project.root,
            env=environment,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Checked(why_not=f"it could not be run ({type(error).__name__})")
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("wire {"):
            told = json.loads(line.removeprefix("wire "))
            if "why" in told:
                return Checked(why_not=told["why"])
            return Checked(span=told["name"], attributes=told["attributes"])
    last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    return Checked(why_not=last[:300])


def _root_and_name(project: Project, server: Path) -> tuple[Path, str]:
    depth = len(project.import_name.split(".")) if project.import_name else 0
    parts = project.package_dir.parts
    base = Path(*parts[: len(parts) - depth])
    return project.root / base, _dotted(
        server.relative_to(base) if server.is_relative_to(base) else server
    )


def _import_path(project: Project, server: Path, module: str) -> tuple[Path, str]:
    parts = module.split(".")
    folder = project.module_dir.parts
    base = Path(*folder[: len(folder) - len(parts)])
    if server.is_relative_to(base):
        return project.root / base, _dotted(server.relative_to(base))
    return project.root, _dotted(server)


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
