"""Checks of the environment variables: switches, sampling, the key and the endpoint by their form."""

import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..honeycomb.auth import DEFECTS, KEYS_PAGE, QUOTES, kind_of
from ..project import resource_attributes, variable
from .findings import Case, Finding, ok, otlp_file, problem, warning

_CREATE_INGEST_KEY: Final = f"Create an ingest key {KEYS_PAGE}, Ingest, and set HONEYCOMB_API_KEY."
_PAGES: Final = ("ui.honeycomb.io", "ui.eu1.honeycomb.io", "honeycomb.io", "www.honeycomb.io")
VARIABLES: Final = frozenset(
    {
        "HONEYCOMB_API_ENDPOINT",
        "HONEYCOMB_API_KEY",
        "HONEYCOMB_CONFIG_KEY",
        "HONEYCOMB_DATASET",
        "HONEYCOMB_ENABLED",
        "HONEYCOMB_KEEP_COST_USD",
        "HONEYCOMB_KEEP_SLOW_MS",
        "HONEYCOMB_SAMPLE_RATE",
        "HONEYCOMB_TRUST_INCOMING",
    }
)
_FALSE: Final = ("false", "0", "no", "off")
_TRUE: Final = ("true", "1", "yes", "on")
_NOT_SET_UP: Final = "Could not set up telemetry"
_GRPC_PORT: Final = 4317
_HTTP_PORT: Final = 4318
# A pattern that matches both excludes every path.
_PATHS: Final = ("/", "/a1B2/c3")


def check_switches(case: Case) -> Iterator[Finding]:
    """Check if telemetry is enabled."""
    about, exporter = "enabled", case.self_check.exporter
    if (variable("HONEYCOMB_ENABLED") or "").lower() in _FALSE:
        yield problem(about, "HONEYCOMB_ENABLED disables telemetry. Unset it, or set it to true.")
    elif (variable("OTEL_SDK_DISABLED") or "").lower() in _TRUE:
        yield problem(about, "OTEL_SDK_DISABLED disables telemetry. Unset it.")
    elif variable("OTEL_TRACES_SAMPLER") == "always_off":
        yield problem(about, "OTEL_TRACES_SAMPLER=always_off drops every trace. Unset it.")
    elif not case.self_check.enabled:
        yield problem(about, "The module reports that telemetry is disabled.")
    elif exporter != "otlp" and case.self_check.accepted is None:
        effect = "are printed, not exported" if exporter == "console" else "are not exported"
        yield problem(about, f"OTEL_TRACES_EXPORTER={exporter}: spans {effect}. Unset it.")
    else:
        yield ok(about, "telemetry is enabled, and spans are exported")


def check_values(case: Case) -> Iterator[Finding]:
    """Check variables that the module warns of when it reads them."""
    for message in case.self_check.warnings:
        # Without its endpoint or without telemetry, the service exports nothing.
        if ("_ENDPOINT " in message and "URL" in message) or message.startswith(_NOT_SET_UP):
            yield problem("variables", message)
        # A malformed key is reported with the key, and a rejected span with the span.
        elif not message.startswith("HONEYCOMB_API_KEY") and message != case.self_check.reason:
            yield warning("variables", message)
    for name in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
        path = otlp_file(name)
        if path and not Path(case.project.root, path).is_file():
            text = f"OTEL_EXPORTER_OTLP_{name} names a file that does not exist: {path}"
            if case.url.scheme == "https":
                yield problem("variables", f"{text}. Correct or unset it.")
            else:
                yield warning("variables", f"{text}. The endpoint does not use TLS. Unset it.")


def check_names(_: Case) -> Iterator[Finding]:
    """Check for variables of Honeycomb that are not read because their name is mistyped."""
    unset = [name for name in VARIABLES if not variable(name)]
    for name in sorted(os.environ.keys() - VARIABLES):
        similar = difflib.get_close_matches(name, unset, n=1, cutoff=0.8)
        if name.startswith("HONEYCOMB") and similar:
            yield warning("variables", f"{name} is not read. Rename it to {similar[0]}.")


def check_requests(_: Case) -> Iterator[Finding]:
    """Check variables by which requests have no span."""
    about, switch = "requests", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
    if not {"*", "fastapi"}.isdisjoint(_members(switch)):
        yield warning(
            about,
            f"{switch} disables fastapi, so requests have no span. Remove it, unless something else"
            " traces them.",
        )
    names = ("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", "OTEL_PYTHON_EXCLUDED_URLS")
    name = next(filter(variable, names), names[0])
    try:
        pattern = re.compile("|".join(_members(name)) or "(?!)")
    except re.error as error:
        yield warning(about, f"{name} is not a valid regular expression and is ignored: {error}")
        return
    if all(map(pattern.search, _PATHS)):
        yield warning(
            about,
            f"{name} excludes every path, so requests have no span. Name single paths, such as"
            " ^/internal/",
        )


def check_sampling(case: Case) -> Iterator[Finding]:
    """Check the sample rate, and if Honeycomb can weight the sampled traces."""
    about, rate = "sampling", case.self_check.sample_rate
    if {"SampleRate", "sampleRate"} & resource_attributes().keys():
        yield warning(
            about,
            "OTEL_RESOURCE_ATTRIBUTES contains a SampleRate, by which Honeycomb multiplies every"
            " span. Remove it; HONEYCOMB_SAMPLE_RATE sets the weights itself.",
        )
    sampler = variable("OTEL_TRACES_SAMPLER")
    if sampler and variable("HONEYCOMB_SAMPLE_RATE"):
        yield warning(
            about, "OTEL_TRACES_SAMPLER takes precedence over HONEYCOMB_SAMPLE_RATE. Set one."
        )
    if sampler and sampler.endswith("traceidratio"):
        ratio = _number(variable("OTEL_TRACES_SAMPLER_ARG"), default=1.0)
        # The module itself warns about others.
        if ratio > 0 and abs(1 / ratio - rate) > 0.01:
            yield warning(
                about,
                f"OTEL_TRACES_SAMPLER_ARG={ratio:g} is not 1 in N; using 1 in {rate}."
                " HONEYCOMB_SAMPLE_RATE accepts N itself.",
            )
    if rate == 1:
        yield ok(about, "every trace is kept")
        return
    yield ok(
        about,
        f"1 in {rate} traces is kept; failed, slow and expensive traces are always kept. Honeycomb"
        " weights them, so counts are right",
    )


def check_service_name(case: Case) -> Iterator[Finding]:
    """Check which dataset receives the spans."""
    name, expected = case.service_name, case.project.answers["project_name"]
    dataset = variable("HONEYCOMB_DATASET")
    if dataset not in (None, name) and case.key and kind_of(case.key) != "Classic":
        yield warning(
            "dataset",
            f"HONEYCOMB_DATASET is used with a Classic key only; the dataset is {name!r}, the name of"
            " the service. Unset it.",
        )
    if name == expected:
        yield ok("service name", f"{name} (also the dataset)")
        return
    by = "OTEL_SERVICE_NAME" if os.environ.get("OTEL_SERVICE_NAME") else "OTEL_RESOURCE_ATTRIBUTES"
    yield warning(
        "service name",
        f"{by} sets it to {name!r} instead of {expected!r}: traces are in the dataset {name!r}, and"
        " so are the boards that apply creates.",
    )


def check_key(case: Case) -> Iterator[Finding]:
    """Check the key by its form; no request is sent."""
    about, configured = "key", variable("HONEYCOMB_API_KEY")
    if case.key is not None:
        if configured is not None and configured != case.key:
            yield warning(
                about,
                "OTEL_EXPORTER_OTLP_HEADERS contains another key in x-honeycomb-team, which takes"
                " precedence over HONEYCOMB_API_KEY. Remove it, unless that is intended.",
            )
        if configured is None and not case.has_own_endpoint:
            yield problem(about, _key_without_endpoint())
        else:
            yield _kind_of_key(case, case.key)
    elif configured is not None:
        yield problem(about, _malformed_key(configured))
    elif case.is_honeycomb:
        yield problem(about, _missing_key(case))
    else:
        yield ok(about, f"none needed: spans are sent to your own endpoint, {case.origin}")


def _key_without_endpoint() -> str:
    return (
        "OTEL_EXPORTER_OTLP_HEADERS contains a key, which is used only if"
        " OTEL_EXPORTER_OTLP_ENDPOINT is set too. Set HONEYCOMB_API_KEY to that key."
    )


def _kind_of_key(case: Case, key: str) -> Finding:
    about = "key"
    kind = kind_of(key)
    if kind in DEFECTS:
        return problem(about, f"It {DEFECTS[kind]}. {_CREATE_INGEST_KEY}")
    if kind == "ingest":
        return ok(about, "an ingest key, by its form")
    if kind == "Classic":
        dataset = variable("HONEYCOMB_DATASET") or case.service_name
        return ok(about, f"a Classic key, by its form; spans are sent to the dataset {dataset!r}")
    if kind == "configuration" and kind_of(variable("HONEYCOMB_CONFIG_KEY") or "") == "ingest":
        return warning(
            about,
            "HONEYCOMB_API_KEY is a configuration key and HONEYCOMB_CONFIG_KEY an ingest key: exchange"
            " them.",
        )
    if kind == "configuration":
        return warning(
            about,
            "a configuration key, by its form. It works if it may send events; an ingest key,"
            " which can do nothing else, is safer in a service.",
        )
    return warning(
        about, f"has {len(key)} characters, and does not look like any kind of Honeycomb key"
    )


def _malformed_key(key: str) -> str:
    if not QUOTES.isdisjoint(key):
        reason = "a quote: the quotes of a file became part of it. Set it again without them"
    elif (kind := kind_of(key)) in DEFECTS:
        return f"HONEYCOMB_API_KEY {DEFECTS[kind]}. {_CREATE_INGEST_KEY}"
    elif re.search(r"[\r\n]", key):
        reason = "a line break. Set it again in one line"
    elif re.search(r"\s", key):
        reason = "a space. Copy it again"
    else:
        reason = "a character that is invalid in a key. Copy it again"
    return f"HONEYCOMB_API_KEY contains {reason}. The service sends nothing with such a key."


def _missing_key(case: Case) -> str:
    named = re.compile(r"^\s*(export\s+)?HONEYCOMB_API_KEY\s*=\s*\S", re.MULTILINE)
    try:
        text = (case.project.root / ".env").read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = ""
    if named.search(text):
        return (
            "HONEYCOMB_API_KEY is not set. The file .env contains one, but is not read automatically: add"
            " --env-file .env to this command, and start the service with `uv run --env-file .env`,"
            " unless it loads the file."
        )
    return f"HONEYCOMB_API_KEY is not set, so nothing is sent. {_CREATE_INGEST_KEY}"


def check_endpoint(case: Case) -> Iterator[Finding]:
    """Check the endpoint by its form; no request is sent."""
    about, url, protocol = "endpoint", case.url, case.self_check.protocol
    host, path = url.hostname or "", url.path.rstrip("/")
    is_grpc = protocol == "grpc"
    if path.endswith("/v1/traces/v1/traces") or (is_grpc and path.endswith("/v1/traces")):
        reason = "which is not used with gRPC" if is_grpc else "which is added to it"
        yield problem(about, f"The endpoint ends with /v1/traces, {reason}. Remove it.")
    elif host in _PAGES:
        region = "api.eu1" if "eu1" in host else "api"
        yield problem(
            about, f"{host} is Honeycomb's web page; send spans to https://{region}.honeycomb.io"
        )
    elif host.endswith(".honeycomb.io") and url.scheme == "http":
        yield problem(about, f"{host} requires https:// instead of http://")
    elif host.endswith(".honeycomb.io") and url.port not in (None, 443):
        yield problem(
            about, f"Honeycomb does not listen on port {url.port}. Remove it from the endpoint."
        )
    elif not is_grpc and not path and variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        yield problem(
            about,
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is used unchanged: append /v1/traces to it.",
        )
    else:
        rest = url._replace(scheme="", netloc="").geturl().removesuffix("/v1/traces")
        if rest and case.is_honeycomb:
            yield warning(
                about,
                f"HONEYCOMB_API_ENDPOINT contains {rest}, which Honeycomb does not have. Remove"
                " it, unless your proxy requires it.",
            )
        port = {_GRPC_PORT: "gRPC", _HTTP_PORT: "HTTP"}.get(url.port or 0)
        if port and (port == "gRPC") is not is_grpc:
            yield warning(
                about,
                f"{url.port} is the port for {port}, but OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}."
                f" Use {_GRPC_PORT if is_grpc else _HTTP_PORT}, or the other protocol.",
            )
        if url.scheme == "http" and case.key and host not in ("localhost", "127.0.0.1", "::1"):
            yield warning(about, f"the key is sent to {host} unencrypted: use https://")
        yield ok(about, f"{case.origin} over {protocol}")


def _members(name: str) -> list[str]:
    """The members of a variable that are separated by commas."""
    return [each for part in (variable(name) or "").split(",") if (each := part.strip())]


def _number(text: str | None, *, default: float) -> float:
    try:
        return float(text or default)
    except ValueError:
        return default
