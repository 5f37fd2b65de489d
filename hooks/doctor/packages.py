"""Packages in the project's environment that break tracing or duplicate spans."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.version import Version

from ..llm_sdks import LLM_SDKS
from ..project import ProjectError
from ..terminal import printable
from .findings import Case, Finding, ok, problem, warning

# FastAPI creates spans itself since this version.
_FASTAPI: Final = (0, 142)
_SQLALCHEMY_UNSUPPORTED: Final = (2, 1)
# They configure a tracer provider, or are made for it.
_OTHERS: Final = ("opentelemetry-distro", "logfire", "ddtrace", "honeycomb-opentelemetry")
# Runs in the project's Python, with its standard library alone. Of two versions the first on the path wins.
_PROBE: Final = """
import json, sys
from importlib.metadata import distributions
versions = {}
for each in distributions():
    name = each.metadata["Name"]
    if name:
        versions.setdefault(name.lower().replace("_", "-"), each.version)
json.dump(versions, sys.stdout)
"""
# Instrumentors name their module and the library that they are for.
_IMPORTS: Final = """
import json, sys
from importlib import import_module
from importlib.metadata import entry_points
errors = {}
modules = {("genai-prices", "genai_prices", "")}
for each in entry_points(group="opentelemetry_instrumentor"):
    modules.add((each.dist.metadata["Name"].lower().replace("_", "-"), each.module, each.name))
for package, module, library in sorted(modules):
    try:
        import_module(module)
    except ImportError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in (library, module):
            errors[package] = f"{type(error).__name__}: {error}"
    except BaseException as error:
        errors[package] = f"{type(error).__name__}: {error}"
json.dump(errors, sys.stdout)
"""
_PROBE_TIMEOUT: Final = 60.0


def versions(python: Path) -> dict[str, str]:
    """Versions of the packages that `python` finds, by name. Raises ProjectError if it fails."""
    return _run(python, _PROBE)


def import_errors(python: Path) -> dict[str, str]:
    """Errors of importing packages that create spans. Raises ProjectError if it cannot be tried."""
    return _run(python, _IMPORTS)


def _run(python: Path, program: str) -> dict[str, str]:
    try:
        done = subprocess.run(
            [python, "-c", program],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT,
        )
        # A package may print something when it is imported.
        found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise ProjectError(f"The packages of {python} could not be listed: {error}.") from None
    return found


def check_packages(case: Case) -> Iterator[Finding]:
    """Check the versions of installed packages."""
    about = "packages"
    found = list(_findings(case, about))
    if any(finding.level == "problem" for finding in found):
        yield from sorted(found, key=lambda finding: finding.level == "problem")
        return
    yield from found
    sdk = case.packages.get("opentelemetry-sdk")
    conflicts = any(finding.level == "warning" for finding in found)
    yield ok(about, f"opentelemetry-sdk {sdk}" + ("" if conflicts else ", no conflicting packages"))


def _findings(case: Case, about: str) -> Iterator[Finding]:
    packages = case.packages
    api, sdk = packages.get("opentelemetry-api"), packages.get("opentelemetry-sdk")
    if _number(api) != _number(sdk):
        yield problem(
            about,
            f"opentelemetry-api {api} and opentelemetry-sdk {sdk} do not match: they are released in"
            " pairs. Lock both again, with ranges such as opentelemetry-sdk>=1.43,<2.",
        )
    if case.self_check.protocol == "grpc" and "grpcio" not in packages:
        yield problem(
            about,
            "gRPC needs grpcio, which is not installed. Add it, or set"
            " OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf.",
        )
    yield from _fastapi(packages, about)
    yield from _imports(case, about)
    yield from _database(packages, about)
    yield from _llm(packages, about)
    for name in _OTHERS:
        if name in packages:
            yield warning(
                about,
                f"{name} is installed: if it configures a tracer provider, it exports each span too, and"
                " samples.",
            )
    for name in ("httpx", "protobuf"):
        installed = packages.get(name, "")
        if re.search(r"(dev|rc|a|b)\d", installed):
            yield warning(
                about,
                f"{name} {installed} is a pre-release, installed because of --prerelease=allow, which"
                " the service does not need. Lock again without it.",
            )


def _imports(case: Case, about: str) -> Iterator[Finding]:
    for package, error in case.import_errors.items():
        text = (
            f"{package} {case.packages.get(package)} cannot be imported ({printable(error)[:200]})"
        )
        is_needed = package == "opentelemetry-instrumentation-fastapi"
        if is_needed and _number(case.packages.get("fastapi")) < _FASTAPI:
            yield problem(
                about, f"{text}, so requests are not traced. Install the missing package."
            )
        elif package == "genai-prices":
            yield warning(about, f"{text}, so LLM calls have no cost. Install the missing package.")
        else:
            yield warning(
                about, f"{text}, so it creates no spans. Install the missing package, or remove it."
            )


def _fastapi(packages: Mapping[str, str], about: str) -> Iterator[Finding]:
    fastapi = packages.get("fastapi")
    contrib = packages.get("opentelemetry-instrumentation-fastapi")
    if fastapi is None:
        return
    if _number(fastapi) < _FASTAPI and contrib is None:
        yield problem(
            about,
            f"FastAPI {fastapi} does not create spans, so requests are not traced. Upgrade it to 0.142,"
            " or add opentelemetry-instrumentation-fastapi.",
        )
    elif _number(fastapi) >= _FASTAPI and contrib is not None:
        yield warning(
            about,
            f"FastAPI {fastapi} creates spans itself. If your code calls FastAPIInstrumentor, its spans"
            " replace them, with other names and several events per request. Remove the call.",
        )


def _database(packages: Mapping[str, str], about: str) -> Iterator[Finding]:
    sqlalchemy = packages.get("sqlalchemy")
    if sqlalchemy is None or "opentelemetry-instrumentation-sqlalchemy" not in packages:
        return
    does = "does nothing"
    if _number(sqlalchemy) < _SQLALCHEMY_UNSUPPORTED:
        does = "creates a second span for each query"
    yield warning(
        about,
        f"opentelemetry-instrumentation-sqlalchemy {does} on SQLAlchemy {sqlalchemy}: queries are"
        " traced without it. Remove SQLAlchemyInstrumentor from your code.",
    )


def _llm(packages: Mapping[str, str], about: str) -> Iterator[Finding]:
    anthropic = packages.get("anthropic")
    if "genai-prices" not in packages:
        yield warning(about, "genai-prices is not installed: LLM calls have no cost. Add it.")
    if "opentelemetry-instrumentation-anthropic" in packages:
        yield warning(
            about,
            "opentelemetry-instrumentation-anthropic exports prompts and completions unless configured"
            " otherwise, and counts calls twice. Remove it.",
        )
    yield from _llm_sdks(packages, about)
    if anthropic and "opentelemetry-instrumentation-httpx" in packages:
        transport = "httpx2, which HTTPXClientInstrumentor does not support"
        if _number(anthropic) < (1, 0):
            transport = "httpx"
        yield warning(
            about,
            f"anthropic {anthropic} uses {transport}. If your code instruments it, each LLM call has a"
            " second span for its HTTP request.",
        )


def _llm_sdks(packages: Mapping[str, str], about: str) -> Iterator[Finding]:
    """List the installed SDKs that are traced, and warn about the others."""
    traced: list[str] = []
    for sdk in LLM_SDKS:
        version = next((packages[each] for each in sdk.all_packages if each in packages), None)
        if version is None:
            continue
        name, package = f"{sdk.name} {version}", Requirement(sdk.instrumentation or "none").name
        is_native = sdk.traced_since is not None and Version(version) >= sdk.traced_since
        if is_native and package in packages:
            yield warning(
                about,
                f"{name} creates spans itself; {package} is not needed. If your code"
                " enables it, each call has a second span. Remove it.",
            )
        if is_native:
            traced.append(f"{name} traces itself")
        elif package in packages:
            traced.append(f"{name} is traced by {package} {packages[package]}")
        elif not sdk.marker:  # others are seldom used for LLM calls
            remedy = f"Add {package}." if sdk.instrumentation else "Wrap its calls in llm_call."
            yield warning(about, f"{name} is not traced. {remedy}")
        if sdk.warning:
            yield warning(about, sdk.warning)
    if traced:
        yield ok(about, f"LLM SDKs: {', '.join(traced)}")


def _number(installed: str | None) -> tuple[int, int]:
    numbers = re.match(r"(\d+)\.(\d+)", installed or "")
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
