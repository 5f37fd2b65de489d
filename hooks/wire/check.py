"""Check that a request to the application arrives as a SERVER span, as the service would send it."""

import json
import os
import subprocess
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ..interpreter import find_interpreter, site_packages
from ..terminal import progress
from .app_calls import AppCall
from .image.commands import uv_commands
from .image.environment import image_environment
from .image.errors import ImageNotBuilt, LockOutdated, NotInstalled
from .layout import Layout, laid_out
from .llm_calls import sdk_states
from .probe import MARK
from .project import Project
from .routes.find import Route, find_routes
from .shipping import dependency_files
from .wiring import dependency_files_of, service_of, used_sdks

_TIMEOUT: Final = 120
_PROBE: Final = Path(__file__).with_name("probe.py")
_MAX_ROUTES: Final = 3
_EXPECTED: Final = ("http.request.method", "http.route", "http.response.status_code")
_NO_ENVIRONMENT: Final = "the project has no virtual environment (.venv)"


@dataclass(frozen=True)
class Check:
    """The SERVER span of one request, or the reason why there is none."""

    app: str
    used: str = ""
    """The files and packages that were used, as `with the files and packages of Dockerfile:5`."""
    span: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    failure: str = ""
    missing: str = ""
    """The module that could not be imported, if that is the failure."""
    is_inconclusive: bool = False
    """True if the packages that `wire` added are not installed or locked yet, or the application
    cannot be created without the service."""
    llm_calls: tuple[str, ...] = ()
    """For each LLM SDK of the service, if its calls are traced with these packages."""
    packages: str = ""
    """The source of the packages; empty if they are not those of an image."""
    note: str = ""
    """The reason why the packages are not those of the image."""


def check(project: Project, app: AppCall, seconds: int = 0) -> list[Check]:
    """Import the application and send one request to it, in process.

    The files are those of each container that serves it. The packages are too, if they can be
    installed within `seconds` in all; otherwise they are those of the project's virtual environment. The
    spans are exported to a receiver on this machine.
    """
    python = find_interpreter(project.root, app.path.parent)
    routes = [route for route in find_routes(project)[0] if route.app == app]
    files = dependency_files_of(project, app, routes)
    used = used_sdks(service_of(project, routes), files)
    # A compose service often has the files and packages of its Dockerfile.
    distinct: dict[tuple[str, str], Route] = {}
    for each in routes:
        container = each.container
        key = (str(sorted(container.files.items())), str(container.installed))
        distinct.setdefault(key, each)
    found: list[Check] = []
    chosen: list[Route | None] = [*list(distinct.values())[:_MAX_ROUTES]]
    started = time.monotonic()
    for route in chosen or [None]:
        left = seconds and max(1, seconds - int(time.monotonic() - started))
        result = _check_route(project, app, route, python, used, left)
        if result not in found:
            found.append(result)
    return found


def _check_route(
    project: Project,
    app: AppCall,
    route: Route | None,
    local: Path | None,
    used: frozenset[str],
    seconds: int,
) -> Check:
    note = ""
    if route is not None and seconds:
        try:
            return _check_image(project, app, route, local, used, seconds)
        except ImageNotBuilt as error:
            text = f"with the files and packages of {route.place}"
            missing = error.missing if isinstance(error, LockOutdated) else ()
            is_inconclusive = any(map(_is_telemetry, missing))
            return Check(app.label, text, failure=str(error), is_inconclusive=is_inconclusive)
        except NotInstalled as error:
            note = f"the packages of {route.place} were not used: {error}"
    if local is None:
        return Check(app.label, failure=_NO_ENVIRONMENT, note=note)
    environment = local.parent.parent.name
    text = f"with the files of {route.place} and the packages of {environment}" if route else ""
    result = _checked(project, app, route, local, used)
    is_inconclusive = result.is_inconclusive or _is_telemetry(result.missing)
    return replace(result, used=text, note=note, is_inconclusive=is_inconclusive)


def _check_image(
    project: Project,
    app: AppCall,
    route: Route,
    local: Path | None,
    used: frozenset[str],
    seconds: int,
) -> Check:
    """Check the application with the packages of the image. Raises NotInstalled."""
    container = route.container
    image = image_environment(container, project.root, local, seconds)
    result = _checked(project, app, route, image.python, used)
    if result.missing and container.base:
        raise NotInstalled(
            f"{result.missing} is not among them, but may be in the image {container.base}"
        )
    packages = f"the {image.packages} that {_installing(route)}, with Python {image.version}"
    wanted = ".".join(map(str, container.python or ())) or image.version
    if wanted != image.version:
        packages += (
            f". The image has Python {wanted}, which this machine lacks; to use it, run"
            f" `uv python install {wanted}`"
        )
        if "SyntaxError" in result.failure:
            text = f"{result.failure}; the code may require Python {wanted}"
            result = replace(result, failure=text)
    result = _explained(project, route, result, image.python, local)
    return replace(result, used=f"with the files and packages of {route.place}", packages=packages)


def _installing(route: Route) -> str:
    """Return the places that install packages, with the verb."""
    places = list(dict.fromkeys(str(each.place) for each in uv_commands(route.container)))
    return f"{', '.join(places)} {'installs' if len(places) == 1 else 'install'}"


def _explained(
    project: Project, route: Route, result: Check, python: Path, local: Path | None
) -> Check:
    """Return the result with the remedy, if `python`, which has the packages of the image, lacks one."""
    name = result.missing.partition(".")[0]
    container, is_local = route.container, local is not None and _has_module(local, name)
    roots = container.import_path(route.start)
    if not name or any({root / name, root / f"{name}.py"} & container.paths for root in roots):
        return result
    own = [path for path in project.modules if name in (*path.parts[:-1], path.stem)]
    if own and not is_local:
        reason = f"{own[0]} is not in the image, or not on its import path"
        return replace(result, failure=f"{result.failure}; {reason}")
    if _has_module(python, name):
        remedy = (
            f"{_installing(route)} a version of {name} without it. Pin the one that the code needs"
        )
        return replace(result, failure=f"{result.failure}. {remedy}")
    found = dependency_files(project, route)
    paths = dict.fromkeys(str(each.path) for _, each in found)
    remedy = f"Add its package to {', '.join(paths)}" if paths else "Add its package"
    is_locked = any(each.command.is_locked for each, _ in found)
    if is_locked:
        remedy += " if it is not there, and update the lock file"
    failure = f"No module named '{result.missing}' in the packages that {_installing(route)}"
    if local is not None and is_local:
        failure += f", although {local.parent.parent.name} has it"
    is_inconclusive = is_locked and _is_telemetry(name)
    return replace(result, failure=f"{failure}. {remedy}", is_inconclusive=is_inconclusive)


def _is_telemetry(name: str) -> bool:
    return name.startswith("opentelemetry")


def _has_module(python: Path, name: str) -> bool:
    """Return True if a package in the environment of `python` contains the top-level module `name`."""
    libraries = site_packages(python.parent.parent)
    return any((path / name).exists() or (path / f"{name}.py").exists() for path in libraries)


def _checked(
    project: Project, app: AppCall, route: Route | None, python: Path, used: frozenset[str]
) -> Check:
    # The protobuf packages are needed for a check only.
    from ..traces.receiver import Receiver

    progress("Sending a request to the application ...")
    with laid_out(project, app, route) as layout, Receiver() as receiver:
        try:
            done = subprocess.run(
                # Not run by its path, which would put its folder on the import path.
                [python, "-c", _PROBE.read_text(), *probe_arguments(layout, app)],
                cwd=layout.folder,
                env=layout.variables | probe_environment(receiver.endpoint),
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Check(app.label, failure=f"{python} failed ({type(error).__name__})")
        result = _result(done.stdout)
        if result is None:
            last = (done.stderr.strip().splitlines() or ["it printed no result"])[-1]
            return Check(app.label, failure=last[:300])
        spans = [span for span in receiver.spans if span.kind == "server"]
    if "failure" in result:
        failure = result["failure"].replace(str(layout.top), "") if route else result["failure"]
        missing, is_inconclusive = result["missing"], result["is_inconclusive"]
        return Check(
            app.label, "", failure=failure, missing=missing, is_inconclusive=is_inconclusive
        )
    if not spans:
        reason = result["reason"] or f"no SERVER span arrived for the request to {result['path']}"
        return Check(app.label, failure=reason)
    attributes = {name: str(value) for name, value in spans[0].attributes.items()}
    missing = [each for each in _EXPECTED if each not in attributes]
    if missing:
        failure = (
            f"the span {spans[0].name} lacks {', '.join(missing)}; it has {', '.join(attributes)}"
        )
        return Check(app.label, failure=failure)
    ordered = {each: attributes[each] for each in _EXPECTED} | attributes
    llm_calls = tuple(sdk_states(used, result["versions"], result["enabled"]))
    return Check(app.label, "", spans[0].name, ordered, llm_calls=llm_calls)


def probe_arguments(layout: Layout, app: AppCall) -> list[str]:
    attribute = app.function or app.name
    names = (layout.served, layout.module, attribute, layout.observability)
    return [json.dumps(layout.paths), *names]


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
