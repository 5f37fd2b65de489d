"""Check that a request to the application arrives as a SERVER span, as the service would send it."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from ..interpreter import find_interpreter
from .app_calls import AppCall
from .llm_calls import sdk_states
from .probe import MARK
from .project import Project
from .routes.find import Route, find_routes
from .server import imported_module
from .wiring import dependency_files_of, module_name, service_of, used_sdks

_TIMEOUT: Final = 120
_PROBE: Final = Path(__file__).with_name("probe.py")
_MAX_FILE: Final = 5_000_000
_EXPECTED: Final = ("http.request.method", "http.route", "http.response.status_code")


@dataclass(frozen=True)
class Check:
    """The SERVER span of one request, or the reason why there is none."""

    app: str
    route: str = ""
    """The route whose files were used; empty if those of the repository were."""
    span: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    failure: str = ""
    llm_calls: tuple[str, ...] = ()
    """For each LLM SDK of the service, if its calls are traced in this interpreter."""


def check(project: Project, app: AppCall) -> list[Check]:
    """Import the application in the project's interpreter and send one request to it, in process.

    The files are those of each container that serves it, without the packages: these are the
    interpreter's. The spans are exported to a receiver on this machine.
    """
    python = find_interpreter(project.root, app.path.parent)
    if python is None:
        return [Check(app.label, failure="the project has no virtual environment (.venv)")]
    routes = [route for route in find_routes(project)[0] if route.app == app]
    files = dependency_files_of(project, app, routes)
    used = used_sdks(service_of(project, routes), files)
    # A compose service often has the files of its Dockerfile.
    distinct = {str(sorted(route.container.files.items())): route for route in routes}
    if not distinct:
        return [_checked(project, app, None, python, used)]
    found = [_checked(project, app, route, python, used) for route in list(distinct.values())[:3]]
    return [each for number, each in enumerate(found) if each not in found[:number]]


def _checked(
    project: Project, app: AppCall, route: Route | None, python: Path, used: frozenset[str]
) -> Check:
    # The protobuf packages are needed for a check only.
    from ..traces.receiver import Receiver

    place = str(route.place) if route else ""
    with laid_out(project, app, route) as (folder, arguments), Receiver() as receiver:
        try:
            done = subprocess.run(
                # Not run by its path, which would put its folder on the import path.
                [python, "-c", _PROBE.read_text(), *arguments],
                cwd=folder,
                env=probe_environment(receiver.endpoint),
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Check(app.label, place, failure=f"{python} failed ({type(error).__name__})")
        result = _result(done.stdout)
        if result is None:
            last = (done.stderr.strip().splitlines() or ["it printed no result"])[-1]
            return Check(app.label, place, failure=last[:300])
        spans = [span for span in receiver.spans if span.kind == "server"]
    if "failure" in result:
        return Check(app.label, place, failure=result["failure"])
    if not spans:
        reason = result["reason"] or f"no SERVER span arrived for the request to {result['path']}"
        return Check(app.label, place, failure=reason)
    attributes = {name: str(value) for name, value in spans[0].attributes.items()}
    missing = [each for each in _EXPECTED if each not in attributes]
    if missing:
        failure = (
            f"the span {spans[0].name} lacks {', '.join(missing)}; it has {', '.join(attributes)}"
        )
        return Check(app.label, place, failure=failure)
    ordered = {each: attributes[each] for each in _EXPECTED} | attributes
    llm_calls = tuple(sdk_states(used, result["versions"], result["enabled"]))
    return Check(app.label, place, spans[0].name, ordered, llm_calls=llm_calls)


@contextmanager
def laid_out(
    project: Project, app: AppCall, route: Route | None
) -> Iterator[tuple[Path, list[str]]]:
    """Yield the working directory and the arguments of the probe.

    With a route, the files are laid out as in its container, in a temporary folder.
    """
    if route is None:
        root, name = _root_and_name(project, app)
        folder = root if (root / ".env").exists() else project.root
        yield folder, _arguments(project, app, [str(root)], name)
        return
    container = route.container
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        for path, source in container.files.items():
            original = project.root / source
            if original.stat().st_size < _MAX_FILE:
                target = top / path.relative_to("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(original, target)
        folder = top / route.start.folder.relative_to("/")
        folder.mkdir(parents=True, exist_ok=True)
        for settings in (project.root / app.path.parent / ".env", project.root / ".env"):
            if settings.exists() and not (folder / ".env").exists():
                shutil.copy(settings, folder)
        roots = container.import_path(route.start)
        paths = [str(top / root.relative_to("/")) for root in roots]
        yield folder, _arguments(project, app, paths, _name_on(route, app, roots))


def _arguments(project: Project, app: AppCall, paths: list[str], name: str) -> list[str]:
    module = _absolute_module(project, app, name)
    return [json.dumps(paths), name, app.function or app.name, module]


def _name_on(route: Route, app: AppCall, roots: list[PurePosixPath]) -> str:
    """Return the name by which the application's file is imported in the container."""
    for root in roots:
        for path in route.paths_of(app.path):
            if path.is_relative_to(root):
                return _dotted(path.relative_to(root))
    return _dotted(app.path)


def _absolute_module(project: Project, app: AppCall, name: str) -> str:
    """Return the absolute name of the module that the application's file, imported as `name`, uses."""
    imported = imported_module(project, app.path) or module_name(project, app, [])
    if not imported.startswith("."):
        return imported
    dots = len(imported) - len(imported.lstrip("."))
    is_package = app.path.name == "__init__.py"
    parts = name.split(".")
    parts = parts[: len(parts) - dots + int(is_package)]
    return ".".join([*parts, imported.lstrip(".")])


def _result(output: str) -> dict[str, Any] | None:
    for line in reversed(output.splitlines()):
        if line.startswith(MARK):
            result: dict[str, Any] = json.loads(line.removeprefix(MARK))
            return result
    return None


def probe_environment(endpoint: str) -> dict[str, str]:
    """Return the environment without the machine's telemetry settings, with `endpoint` as receiver.

    Every trace is kept, and nothing is sent elsewhere, even if a .env file sets otherwise.
    """
    prefixes = ("HONEYCOMB_", "OTEL_", "VIRTUAL_ENV", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    variables = {
        "HONEYCOMB_API_ENDPOINT": endpoint,
        "HONEYCOMB_ENABLED": "true",
        "HONEYCOMB_SAMPLE_RATE": "1",
        "NO_PROXY": "127.0.0.1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{endpoint}/v1/traces",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_SDK_DISABLED": "false",
        "OTEL_TRACES_EXPORTER": "otlp",
        "no_proxy": "127.0.0.1",
    }
    return kept | variables


def _root_and_name(project: Project, app: AppCall) -> tuple[Path, str]:
    """Return the folder that the application's file is imported from, and its name there."""
    imported = imported_module(project, app.path) or module_name(project, app, [])
    folder = project.module_dir.parts
    depth = (
        len(imported.split("."))
        if not imported.startswith(".")
        else 1 + len(project.import_name.split(".") if project.import_name else [])
    )
    base = Path(*folder[: len(folder) - depth])
    if app.path.is_relative_to(base):
        return project.root / base, _dotted(app.path.relative_to(base))
    return project.root, _dotted(app.path)


def _dotted(path: Path | PurePosixPath) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
