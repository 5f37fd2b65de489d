"""Packages that break tracing, or tell the same thing twice."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from .findings import Case, Finding, ok, problem, warning

# FastAPI and Anthropic's SDK trace themselves from these versions on.
_FASTAPI: Final = (0, 142)
_ANTHROPIC: Final = (1, 17)
_SQLALCHEMY_UNKNOWN_TO_CONTRIB: Final = (2, 1)
# They set up a provider of their own, or are for that.
_OTHERS: Final = ("opentelemetry-distro", "logfire", "ddtrace", "honeycomb-opentelemetry")


def check_packages(case: Case) -> Iterator[Finding]:
    """What is installed beside the service, by its version."""
    about = "packages"
    found = list(_findings(case, about))
    if any(finding.level == "problem" for finding in found):
        yield from sorted(found, key=lambda finding: finding.level == "problem")
        return
    yield from found
    sdk = _installed("opentelemetry-sdk")
    yield ok(
        about, f"opentelemetry-sdk {sdk}" + ("" if found else ", and nothing that disturbs it")
    )


def _findings(case: Case, about: str) -> Iterator[Finding]:
    api, sdk = _installed("opentelemetry-api"), _installed("opentelemetry-sdk")
    if _number(api) != _number(sdk):
        yield problem(
            about,
            f"opentelemetry-api {api} and opentelemetry-sdk {sdk} do not fit: they are made in"
            " pairs. Lock both again, with ranges such as opentelemetry-sdk>=1.43,<2.",
        )
    if case.settings.protocol == "grpc" and not _installed("grpcio"):
        yield problem(
            about,
            "gRPC needs grpcio, which is not installed. Add it, or set"
            " OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf.",
        )
    yield from _fastapi(about)
    yield from _database(about)
    yield from _llm(about)
    for name in _OTHERS:
        if _installed(name):
            yield warning(
                about,
                f"{name} is installed: where it sets up a tracer provider of its own, it sends each"
                " span too, and decides on sampling.",
            )
    for name in ("httpx", "protobuf"):
        installed = _installed(name) or ""
        if re.search(r"(dev|rc|a|b)\d", installed):
            yield warning(
                about,
                f"{name} {installed} is a pre-release: it came in with --prerelease=allow, which"
                " no package here needs. Lock again without.",
            )


def _fastapi(about: str) -> Iterator[Finding]:
    fastapi = _installed("fastapi")
    contrib = _installed("opentelemetry-instrumentation-fastapi")
    if fastapi is None:
        return
    if _number(fastapi) < _FASTAPI and contrib is None:
        yield problem(
            about,
            f"FastAPI {fastapi} does not trace itself: no request is a span. Upgrade it to 0.142, or"
            " add opentelemetry-instrumentation-fastapi.",
        )
    elif _number(fastapi) >= _FASTAPI and contrib is not None:
        yield warning(
            about,
            f"FastAPI {fastapi} traces itself; where your code calls FastAPIInstrumentor, its spans"
            " come instead, with other names and several events a request. Take the call out.",
        )


def _database(about: str) -> Iterator[Finding]:
    sqlalchemy = _installed("sqlalchemy")
    if sqlalchemy is None or _installed("opentelemetry-instrumentation-sqlalchemy") is None:
        return
    does = "does nothing"
    if _number(sqlalchemy) < _SQLALCHEMY_UNKNOWN_TO_CONTRIB:
        does = "makes a second span of each query"
    yield warning(
        about,
        f"opentelemetry-instrumentation-sqlalchemy {does} on SQLAlchemy {sqlalchemy}: queries are"
        " traced without it. Take SQLAlchemyInstrumentor out of your code.",
    )


def _llm(about: str) -> Iterator[Finding]:
    anthropic = _installed("anthropic")
    if _installed("genai-prices") is None:
        yield warning(about, "genai-prices is not installed: LLM calls have no cost. Add it.")
    if _installed("opentelemetry-instrumentation-anthropic"):
        yield warning(
            about,
            "opentelemetry-instrumentation-anthropic sends prompts and answers unless it is told not"
            " to, and counts calls twice. Take it out.",
        )
    if (
        anthropic
        and _number(anthropic) >= _ANTHROPIC
        and _installed("opentelemetry-instrumentation-genai-anthropic")
    ):
        yield warning(
            about,
            f"anthropic {anthropic} traces itself: outside llm_call, each call is two spans with"
            " opentelemetry-instrumentation-genai-anthropic. Take it out.",
        )
    if anthropic and _installed("opentelemetry-instrumentation-httpx"):
        transport = "httpx2, which HTTPXClientInstrumentor does not see"
        if _number(anthropic) < (1, 0):
            transport = "httpx"
        yield warning(
            about,
            f"anthropic {anthropic} talks over {transport}; where your code instruments that, each"
            " LLM call has a second span for its HTTP request.",
        )


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _number(installed: str | None) -> tuple[int, int]:
    numbers = re.match(r"(\d+)\.(\d+)", installed or "")
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
