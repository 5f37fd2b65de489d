"""What the environment says: switches, values, sampling, the key and the endpoint by their form."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from opentelemetry.sdk.resources import OTELResourceDetector

from .. import defaults
from ..honeycomb.keys import WHERE_KEYS_ARE, kind_of
from .findings import Case, Finding, ok, problem, warning

_MAKE_AN_INGEST_KEY: Final = (
    f"Make an ingest key {WHERE_KEYS_ARE}, Ingest, and set HONEYCOMB_API_KEY."
)
_PAGES: Final = ("ui.honeycomb.io", "ui.eu1.honeycomb.io", "honeycomb.io", "www.honeycomb.io")
_GRPC_PORT: Final = 4317
_HTTP_PORT: Final = 4318


def check_switches(case: Case) -> Iterator[Finding]:
    """Whether telemetry is switched on."""
    read, about = case.read, "switched on"
    if not read.flag("HONEYCOMB_ENABLED", default=True):
        yield problem(
            about, "HONEYCOMB_ENABLED switches telemetry off. Unset it, or set it to true."
        )
    elif read.flag("OTEL_SDK_DISABLED", default=False):
        yield problem(about, "OTEL_SDK_DISABLED switches telemetry off. Unset it.")
    elif read.text("OTEL_TRACES_SAMPLER") == "always_off":
        yield problem(about, "OTEL_TRACES_SAMPLER=always_off keeps no trace. Unset it.")
    elif case.settings.exporter != "otlp":
        where = "are printed" if case.settings.exporter == "console" else "are not made"
        yield problem(
            about,
            f"OTEL_TRACES_EXPORTER={case.settings.exporter}: spans {where} and not sent. Unset it.",
        )
    else:
        yield ok(about, "telemetry is on, and spans are sent")


def check_values(case: Case) -> Iterator[Finding]:
    """What the service warns of when it reads its variables."""
    for said in case.said:
        # Without its endpoint, spans go somewhere else. A bad key is told with the key.
        if "_ENDPOINT is no URL" in said:
            yield problem("variables", said)
        elif not said.startswith("HONEYCOMB_API_KEY"):
            yield warning("variables", said)
    for name in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
        variable = f"OTEL_EXPORTER_OTLP_{name}"
        path = getattr(case.settings, name.lower())
        if path and not Path(path).is_file():
            yield problem("variables", f"{variable} names a file that is not there: {path}")


def check_sampling(case: Case) -> Iterator[Finding]:
    """What is kept, and whether Honeycomb can tell how much it stands for."""
    about, rate, read = "sampling", case.settings.sample_rate, case.read
    given = OTELResourceDetector().detect().attributes
    if {"SampleRate", "sampleRate"} & given.keys():
        yield warning(
            about,
            "OTEL_RESOURCE_ATTRIBUTES has a SampleRate: Honeycomb multiplies each span by it, kept"
            " or not. Take it out; HONEYCOMB_SAMPLE_RATE weighs by itself.",
        )
    sampler = read.text("OTEL_TRACES_SAMPLER")
    if sampler and read.text("HONEYCOMB_SAMPLE_RATE"):
        yield warning(about, "OTEL_TRACES_SAMPLER wins over HONEYCOMB_SAMPLE_RATE. Set one.")
    if sampler and sampler.endswith("traceidratio"):
        ratio = read.number("OTEL_TRACES_SAMPLER_ARG", default=1.0)
        if abs(1 / ratio - rate) > 0.01:
            yield warning(
                about,
                f"OTEL_TRACES_SAMPLER_ARG={ratio:g} is no 1 in N: it counts as 1 in {rate}."
                " HONEYCOMB_SAMPLE_RATE takes N itself.",
            )
    if rate == 1:
        yield ok(about, "every trace is kept")
        return
    yield ok(
        about,
        f"1 in {rate} ordinary traces is kept, and each that failed, was slow or expensive;"
        " Honeycomb multiplies, so that counts are right",
    )
    if not case.is_honeycomb:
        yield warning(
            about,
            "traces are sampled before they reach your Collector: if it or Refinery samples too,"
            " let one of them decide.",
        )


def check_service_name(case: Case) -> Iterator[Finding]:
    """Which dataset spans go into, and who says so."""
    name = case.service_name
    if name == defaults.SERVICE_NAME:
        yield ok("service name", f"{name}, which is the dataset too")
        return
    by = "OTEL_SERVICE_NAME" if case.read.text("OTEL_SERVICE_NAME") else "OTEL_RESOURCE_ATTRIBUTES"
    yield warning(
        "service name",
        f"{by} makes it {name!r}, and not {defaults.SERVICE_NAME!r}: traces are in the dataset"
        f" {name!r}, and so are the boards that apply makes.",
    )


def check_key(case: Case) -> Iterator[Finding]:
    """The key, by its form; no request is made."""
    about = "key"
    given = case.read.text("HONEYCOMB_API_KEY")
    if case.settings.has_bad_key and given is not None:
        yield problem(about, _bad_key(given))
    elif case.key is None:
        if case.is_honeycomb:
            yield problem(about, _no_key(case))
        else:
            yield ok(
                about, f"none, and none is needed: spans go to your own endpoint, {case.origin}"
            )
    elif not case.settings.has_destination:
        yield problem(
            about,
            "There is a key in OTEL_EXPORTER_OTLP_HEADERS, which counts only where"
            " OTEL_EXPORTER_OTLP_ENDPOINT is set too. Set HONEYCOMB_API_KEY to it.",
        )
    else:
        if given is not None and given != case.key:
            yield warning(
                about,
                "OTEL_EXPORTER_OTLP_HEADERS has another key in x-honeycomb-team, and it wins over"
                " HONEYCOMB_API_KEY. Take it out of there, unless it is meant.",
            )
        yield _kind_of_key(case, case.key)


def _kind_of_key(case: Case, key: str) -> Finding:
    about = "key"
    kind = kind_of(key)
    match kind:
        case "ingest":
            return ok(about, "an ingest key, by its form")
        case "Classic":
            dataset = case.settings.headers.get("x-honeycomb-dataset", "")
            return ok(about, f"a Classic key, by its form; spans go to the dataset {dataset!r}")
        case "configuration":
            return warning(
                about,
                "a configuration key, by its form. It works if it may send events; an ingest key,"
                " which may do nothing else, is safer in a service.",
            )
        case "management":
            return problem(
                about, f"It is a management key, which sends no spans. {_MAKE_AN_INGEST_KEY}"
            )
        case "placeholder":
            return problem(about, f"It is still a placeholder. {_MAKE_AN_INGEST_KEY}")
        case "ingest key's id" | "configuration key's id":
            return problem(
                about,
                f"It is the {kind}, without its secret. A whole ingest key has 64 characters; its"
                f" secret is shown once. {_MAKE_AN_INGEST_KEY}",
            )
        case _:
            return warning(
                about,
                f"has {len(key)} characters, and the form of no key of Honeycomb that is known",
            )


def _bad_key(given: str) -> str:
    if any(quote in given for quote in "\"'`“”‘’"):
        what = "a quote: whatever set it kept the quotes of the file. Set it again without them"
    elif kind_of(given) == "placeholder":
        return f"HONEYCOMB_API_KEY is still a placeholder. {_MAKE_AN_INGEST_KEY}"
    elif re.search(r"[\r\n]", given):
        what = "a line break. Copy it again, in one line"
    elif re.search(r"\s", given):
        what = "a space. Copy it again"
    else:
        what = "a character that no key has. Copy it again"
    return f"HONEYCOMB_API_KEY holds {what}. The service sends nothing with such a key."


def _no_key(case: Case) -> str:
    dotenv = Path(".env")
    named = re.compile(r"^\s*(export\s+)?HONEYCOMB_API_KEY\s*=\s*\S", re.MULTILINE)
    try:
        in_file = bool(named.search(dotenv.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        in_file = False
    if in_file:
        return (
            "HONEYCOMB_API_KEY is not set here. The file .env has one, which is not read by itself:"
            " begin this command with uv run --env-file .env, and the service's too unless it loads"
            " the file."
        )
    return f"HONEYCOMB_API_KEY is not set, so nothing is sent. {_MAKE_AN_INGEST_KEY}"


def check_endpoint(case: Case) -> Iterator[Finding]:
    """Where spans go, by its form; no request is made."""
    about, url, protocol = "endpoint", case.url, case.settings.protocol
    host, path = url.hostname or "", url.path.rstrip("/")
    is_grpc = protocol == "grpc"
    if path.endswith("/v1/traces/v1/traces") or (is_grpc and path.endswith("/v1/traces")):
        yield problem(
            about,
            "The endpoint ends with /v1/traces, which is "
            + ("not for gRPC" if is_grpc else "added to it")
            + ": take it away, and leave https://host.",
        )
    elif host in _PAGES:
        region = "api.eu1" if "eu1" in host else "api"
        yield problem(
            about, f"{host} is the page for people; spans go to https://{region}.honeycomb.io"
        )
    elif host.endswith(".honeycomb.io") and url.scheme == "http":
        yield problem(about, f"{host} takes https:// only, and not http://")
    elif host.endswith(".honeycomb.io") and url.port not in (None, 443):
        yield problem(about, f"Honeycomb has no port {url.port}: take it out of the endpoint.")
    elif not is_grpc and not path and case.read.text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        yield problem(
            about,
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is used as it is: add /v1/traces to it.",
        )
    else:
        port = {_GRPC_PORT: "gRPC", _HTTP_PORT: "HTTP"}.get(url.port or 0)
        if port and (port == "gRPC") is not is_grpc:
            yield warning(
                about,
                f"{url.port} is the port for {port}, and OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}."
                f" Use {_GRPC_PORT if is_grpc else _HTTP_PORT}, or the other protocol.",
            )
        if url.scheme == "http" and case.key and host not in ("localhost", "127.0.0.1", "::1"):
            yield warning(about, f"the key goes to {host} in the clear: use https://")
        yield ok(about, f"{case.origin} over {protocol}")
