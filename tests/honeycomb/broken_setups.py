"""Broken set-ups, and what doctor reports: the first line that is not ok, and the exit status."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from hooks.demo.process import free_port

from ..fakes.honeycomb import CONFIGURATION_KEY, INGEST_KEY, FakeHoneycomb, Fault, Key

OTHER_KEY: Final = INGEST_KEY[:-1] + "z"
FREE: Final = f"127.0.0.1:{free_port()}"


@dataclass(frozen=True)
class Broken:
    """A broken set-up.

    {honeycomb}, {grpc} and {tls} in variables stand for URLs of the fake.
    """

    name: str
    found: str
    """The first line that is not ok, without its level, or a part of it."""
    variables: Mapping[str, str] = field(default_factory=dict)
    code: int = 1
    level: str = "problem"
    prepare: Callable[[FakeHoneycomb], None] = lambda _: None

    def __str__(self) -> str:
        return self.name


def key(name: str, value: str, found: str, code: int = 1, level: str = "problem") -> Broken:
    return Broken(name, found, {"HONEYCOMB_API_KEY": value}, code, level)


def warns(name: str, found: str, **variables: str) -> Broken:
    return Broken(name, found, variables, 0, "warning")


def endpoint(name: str, url: str, found: str, **variables: str) -> Broken:
    return Broken(name, found, {"HONEYCOMB_API_ENDPOINT": url, **variables})


def at_honeycomb(
    name: str,
    prepare: Callable[[FakeHoneycomb], None],
    found: str,
    code: int = 1,
    level: str = "problem",
    variables: Mapping[str, str] = {},
) -> Broken:
    return Broken(name, found, variables, code, level, prepare)


def responds(status: int) -> Callable[[FakeHoneycomb], None]:
    """Let Honeycomb respond to the first request to its API with `status`."""
    return lambda honeycomb: honeycomb.plant(Fault(1, 1, status=status))


def rejects(status: int) -> Callable[[FakeHoneycomb], None]:
    """Let Honeycomb respond to spans with `status`."""

    def prepare(honeycomb: FakeHoneycomb) -> None:
        honeycomb.ingest_status = status

    return prepare


def drops(honeycomb: FakeHoneycomb) -> None:
    """A dataset that was last written to 517 hours ago, and in which spans do not arrive."""
    honeycomb.store.take_span("order-intake", {"trace.trace_id": "1"})
    written = datetime.now(UTC) - timedelta(hours=517)
    honeycomb.store.datasets["order-intake"]["last_written_at"] = written.isoformat()
    honeycomb.drops_spans = True


def busy(honeycomb: FakeHoneycomb) -> None:
    """Another service writes to the dataset, but the test span does not arrive."""
    honeycomb.store.take_span("order-intake", {"trace.trace_id": "1"})
    honeycomb.drops_spans = True


def creates_no_datasets(honeycomb: FakeHoneycomb) -> None:
    honeycomb.keys[INGEST_KEY] = Key("ingest", frozenset())


def other_environment(honeycomb: FakeHoneycomb) -> None:
    honeycomb.keys[INGEST_KEY] = Key("ingest", frozenset({"createDatasets"}), "Test")


def sends_no_events(honeycomb: FakeHoneycomb) -> None:
    honeycomb.keys[CONFIGURATION_KEY] = Key(access=frozenset({"boards"}))


def clock(seconds: float) -> Callable[[FakeHoneycomb], None]:
    def prepare(honeycomb: FakeHoneycomb) -> None:
        honeycomb.store.ahead = seconds

    return prepare


_CONFIGURED: Final = {"HONEYCOMB_CONFIG_KEY": CONFIGURATION_KEY}
_GRPC: Final = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
_DISABLES: Final = "HONEYCOMB_ENABLED disables telemetry. Unset it, or set it to true."
_SDK: Final = "OTEL_SDK_DISABLED disables telemetry. Unset it."
_PLACEHOLDER: Final = "is still a placeholder. Create an ingest key"
_REFERENCE: Final = "is a reference that was not replaced by the key"
_OUTAGE: Final = "has an outage: it returns {} for /1/auth. See https://status.honeycomb.io"

SET_UPS: Final = (
    # Switches
    *(
        Broken(f"HONEYCOMB_ENABLED={value}", _DISABLES, {"HONEYCOMB_ENABLED": value})
        for value in ("false", "0", "no", "OFF")
    ),
    *(
        Broken(f"OTEL_SDK_DISABLED={value}", _SDK, {"OTEL_SDK_DISABLED": value})
        for value in ("true", "TRUE")
    ),
    Broken("sampler off", "OTEL_TRACES_SAMPLER=always_off", {"OTEL_TRACES_SAMPLER": "always_off"}),
    Broken("exporter none", "OTEL_TRACES_EXPORTER=none", {"OTEL_TRACES_EXPORTER": "none"}),
    Broken("exporter console", "are printed, not exported", {"OTEL_TRACES_EXPORTER": "console"}),
    *(
        warns(
            f"{name} disabled",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS disables fastapi, so requests have no span.",
            OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=name,
        )
        for name in ("fastapi", "openai, *")
    ),
    *(
        warns(
            f"excluded by {name}",
            f"{name} excludes every path, so requests have no span.",
            **{name: "^/internal/, /"},
        )
        for name in ("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", "OTEL_PYTHON_EXCLUDED_URLS")
    ),
    warns(
        "invalid exclusion",
        "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS is not a valid regular expression and is ignored",
        OTEL_PYTHON_FASTAPI_EXCLUDED_URLS="(",
    ),
    Broken(
        "invalid limit",
        "Could not set up telemetry; the service runs without it: OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "-5"},
    ),
    Broken(
        "unknown propagator",
        "ValueError: Propagator jaegger not found. It is either misspelled or not installed. Install",
        {"OTEL_PROPAGATORS": "jaegger"},
    ),
    # Misspelt names
    Broken(
        "misspelt key",
        "HONEYCOMB_APIKEY is not read. Rename it to HONEYCOMB_API_KEY.",
        {"HONEYCOMB_API_KEY": "", "HONEYCOMB_APIKEY": INGEST_KEY},
        level="warning",
    ),
    warns(
        "misspelt rate",
        "HONEYCOMB_SAMPLERATE is not read. Rename it to HONEYCOMB_SAMPLE_RATE.",
        HONEYCOMB_SAMPLERATE="10",
    ),
    # Keys that are not there
    key("no key", "", "HONEYCOMB_API_KEY is not set, so nothing is sent. Create an ingest key"),
    key(
        "blank key", "  ", "HONEYCOMB_API_KEY is not set, so nothing is sent. Create an ingest key"
    ),
    Broken(
        "key in the headers alone",
        "which is used only if OTEL_EXPORTER_OTLP_ENDPOINT is set too",
        {"HONEYCOMB_API_KEY": "", "OTEL_EXPORTER_OTLP_HEADERS": f"x-honeycomb-team={INGEST_KEY}"},
    ),
    # Keys with something around or in them
    key("double quotes", f'"{INGEST_KEY}"', "HONEYCOMB_API_KEY contains a quote"),
    key("single quotes", f"'{INGEST_KEY}'", "HONEYCOMB_API_KEY contains a quote"),
    key("typographic quotes", f"“{INGEST_KEY}”", "HONEYCOMB_API_KEY contains a quote"),
    key("two lines", f"{INGEST_KEY}\nx", "HONEYCOMB_API_KEY contains a line break"),
    key("broken in two", f"{INGEST_KEY[:30]}\r\n{INGEST_KEY[30:]}", "contains a line break"),
    key("a space in it", f"{INGEST_KEY} x", "HONEYCOMB_API_KEY contains a space"),
    key("a tab in it", f"{INGEST_KEY}\tx", "HONEYCOMB_API_KEY contains a space"),
    key("a dash of a document", f"{INGEST_KEY}–", "a character that is invalid in a key"),
    key("a zero-width space", f"{INGEST_KEY}\u200b", "a character that is invalid in a key"),
    key("an umlaut", "Schlüssel", "a character that is invalid in a key"),
    key("a whole header", f"x-honeycomb-team={INGEST_KEY}", "is a whole header: keep only the key"),
    key("a header with a colon", f"x-honeycomb-team: {INGEST_KEY}", "is a whole header"),
    key("a bearer token", f"Bearer {INGEST_KEY}", "is a whole header: keep only the key"),
    key("a whole assignment", f"HONEYCOMB_API_KEY={INGEST_KEY}", "is a whole assignment"),
    key("an export", f"export HONEYCOMB_API_KEY={INGEST_KEY}", "is a whole assignment"),
    # Keys that nobody filled in
    *(
        key(f"placeholder {value}", value, _PLACEHOLDER)
        for value in (
            "<paste-your-api-key-here>",
            "your-api-key",
            "YOUR_API_KEY",
            "change-me",
            "changeme",
            "xxxxxxxx",
            "TODO",
            "[api key]",
            "...",
            "an-example-key",
        )
    ),
    *(
        key(f"reference {value}", value, _REFERENCE)
        for value in (
            "${HONEYCOMB_API_KEY}",
            "$HONEYCOMB_API_KEY",
            "%HONEYCOMB_API_KEY%",
            "{{ honeycomb_api_key }}",
            "op://Private/Honeycomb/credential",
            "vault:secret/honeycomb#key",
        )
    ),
    key("masked with stars", "hcaik_01j1824********", "is masked: Honeycomb shows a key once"),
    key("masked with an ellipsis", "hcaik_01j1824…", "is masked: Honeycomb shows a key once"),
    key("URL", "https://ui.honeycomb.io/acme", "HONEYCOMB_API_KEY is a URL. Create an ingest key"),
    # Other kinds of keys
    key("id of an ingest key", INGEST_KEY[:32], "It is the ingest key's id, without its secret"),
    key("id:secret", f"{INGEST_KEY[:32]}:{INGEST_KEY[32:]}", "join them without the character"),
    key("incomplete ingest key", INGEST_KEY[:-3], "It is not a complete ingest key"),
    key("ingest key twice", INGEST_KEY + INGEST_KEY, "It is not a complete ingest key"),
    key("uppercase", INGEST_KEY.upper(), "It is an ingest key in uppercase"),
    key("management key", "hcamk_" + "a" * 26, "It is a management key"),
    key("management id:secret", f"hcamk_{'a' * 26}:{'b' * 32}", "is a management key"),
    key("EU management key", "hcbmk_" + "a" * 26, "It is a management key"),
    key("id of a configuration key", "hcalk_" + "a" * 26, "It is the configuration key's id"),
    key("unknown key", OTHER_KEY, "does not know the key (401): it is mistyped, deleted or"),
    key("a word", "hunter2", "has 7 characters, and does not look like any kind", 1, "warning"),
    key(
        "configuration key", CONFIGURATION_KEY, "an ingest key, which can do nothing", 0, "warning"
    ),
    warns(
        "exchanged keys",
        "HONEYCOMB_API_KEY is a configuration key and HONEYCOMB_CONFIG_KEY an ingest key: exchange",
        HONEYCOMB_API_KEY=CONFIGURATION_KEY,
        HONEYCOMB_CONFIG_KEY=INGEST_KEY,
    ),
    warns(
        "another key in the headers",
        "OTEL_EXPORTER_OTLP_HEADERS contains another key in x-honeycomb-team",
        HONEYCOMB_API_KEY=OTHER_KEY,
        OTEL_EXPORTER_OTLP_HEADERS=f"x-honeycomb-team={INGEST_KEY}",
    ),
    # Endpoints
    endpoint("no scheme", "api.honeycomb.io", "URL"),
    endpoint("another scheme", "ftp://api.honeycomb.io", "URL"),
    endpoint("a space", "https://api honeycomb.io", "must be a URL such as https://"),
    endpoint("an invalid port", "https://api.honeycomb.io:99999", "URL"),
    endpoint("path twice", "{honeycomb}/v1/traces", "The endpoint ends with /v1/traces, which is"),
    endpoint(
        "path for gRPC", "{grpc}/v1/traces", "which is not used with gRPC. Remove it.", **_GRPC
    ),
    Broken(
        "another path",
        "HONEYCOMB_API_ENDPOINT contains /1/events, which Honeycomb does not have. Remove it",
        {"HONEYCOMB_API_ENDPOINT": "{honeycomb}/1/events"},
        level="warning",
    ),
    Broken(
        "a query",
        "HONEYCOMB_API_ENDPOINT contains ?team=acme, which Honeycomb does not have. Remove it",
        {"HONEYCOMB_API_ENDPOINT": "{honeycomb}?team=acme"},
        level="warning",
    ),
    warns(
        "proxy that only the doctor uses",
        "The test span was accepted, but the key was not checked.",
        ALL_PROXY=f"http://{FREE}",
        no_proxy="",
    ),
    Broken(
        "no path",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is used unchanged: append /v1/traces to it.",
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "{honeycomb}"},
    ),
    endpoint("page", "https://ui.honeycomb.io", "send spans to https://api.honeycomb.io"),
    endpoint("EU page", "https://ui.eu1.honeycomb.io", "send spans to https://api.eu1.honeycomb"),
    endpoint("website", "https://www.honeycomb.io", "is Honeycomb's web page"),
    endpoint("plain HTTP", "http://api.honeycomb.io", "api.honeycomb.io requires https://"),
    endpoint("port of a Collector", "https://api.honeycomb.io:4318", "not listen on port 4318"),
    endpoint("unknown name", "https://hc.invalid", "hc.invalid cannot be resolved"),
    endpoint("closed port", f"http://{FREE}", "refuses the connection: nothing listens"),
    endpoint("closed port of IPv6", f"http://[::1]:{FREE[10:]}", "nothing listens on that port"),
    endpoint("TLS to plain HTTP", "{tls}", "does not support TLS"),
    Broken("dead proxy", "The proxy 127.0.0.1", {"http_proxy": f"http://{FREE}", "no_proxy": ""}),
    *(
        endpoint(
            f"missing {name}",
            "{tls}",
            f"OTEL_EXPORTER_OTLP_{name} names a file that does not exist: /no/such.pem",
            **{f"OTEL_EXPORTER_OTLP_{name}": "/no/such.pem"},
        )
        for name in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
    ),
    endpoint(
        "invalid CERTIFICATE",
        "{tls}",
        "OTEL_EXPORTER_OTLP_CERTIFICATE does not name a file of certificates in PEM",
        OTEL_EXPORTER_OTLP_CERTIFICATE=__file__,
    ),
    endpoint(
        "invalid CLIENT_CERTIFICATE",
        "{tls}",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY do not name a certificate and its key in PEM",
        OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=__file__,
    ),
    warns(
        "missing certificate without TLS",
        "names a file that does not exist: /no/such.pem. The endpoint does not use TLS. Unset it.",
        OTEL_EXPORTER_OTLP_CERTIFICATE="/no/such.pem",
    ),
    Broken(
        "gRPC to a port for HTTP",
        "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        {**_GRPC, "OTEL_EXPORTER_OTLP_ENDPOINT": "{honeycomb}"},
    ),
    Broken(
        "HTTP to a port for gRPC",
        "set OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "{grpc}"},
    ),
    Broken(
        "unknown key over gRPC",
        "API key rejected (UNAUTHENTICATED)",
        {"HONEYCOMB_API_KEY": OTHER_KEY, **_GRPC, "OTEL_EXPORTER_OTLP_ENDPOINT": "{grpc}"},
    ),
    # Names and sampling
    warns("another name", "OTEL_SERVICE_NAME sets it to 'other'", OTEL_SERVICE_NAME="other"),
    warns("blank name", "OTEL_SERVICE_NAME sets it to '  ' instead", OTEL_SERVICE_NAME="  "),
    warns(
        "dataset without a Classic key",
        "HONEYCOMB_DATASET is used with a Classic key only; the dataset is 'order-intake'",
        HONEYCOMB_DATASET="other",
    ),
    warns(
        "another name by the resource",
        "OTEL_RESOURCE_ATTRIBUTES sets it to 'other'",
        OTEL_RESOURCE_ATTRIBUTES="service.name=other",
    ),
    *(
        warns(
            f"{name} on every span",
            "contains a SampleRate, by which Honeycomb multiplies every span",
            OTEL_RESOURCE_ATTRIBUTES=f"{name}=10",
        )
        for name in ("SampleRate", "sampleRate")
    ),
    *(
        warns(f"rate {rate}", "must be a whole number above 0", HONEYCOMB_SAMPLE_RATE=rate)
        for rate in ("0", "-1", "1.5", "ten")
    ),
    warns(
        "odd ratio",
        "OTEL_TRACES_SAMPLER_ARG=0.3 is not 1 in N; using 1 in 3.",
        OTEL_TRACES_SAMPLER="traceidratio",
        OTEL_TRACES_SAMPLER_ARG="0.3",
    ),
    warns(
        "two samplers",
        "OTEL_TRACES_SAMPLER takes precedence over HONEYCOMB_SAMPLE_RATE. Set one.",
        OTEL_TRACES_SAMPLER="always_on",
        HONEYCOMB_SAMPLE_RATE="10",
    ),
    warns("unknown sampler", "OTEL_TRACES_SAMPLER", OTEL_TRACES_SAMPLER="jaeger_remote"),
    # Other variables
    *(
        warns(f"{name}={value}", name, **{name: value})
        for name, value in (
            ("HONEYCOMB_KEEP_SLOW_MS", "soon"),
            ("HONEYCOMB_KEEP_COST_USD", "-1"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "never"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
            ("OTEL_BSP_SCHEDULE_DELAY", "often"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "no-value"),
        )
    ),
    # Honeycomb's responses to the key
    *(
        at_honeycomb(f"{status}", responds(status), _OUTAGE.format(status))
        for status in (500, 502, 503)
    ),
    at_honeycomb("403 for the key", responds(403), "is not Honeycomb's API: it returns 403"),
    at_honeycomb("407", responds(407), "The proxy from the environment requires a name and a"),
    at_honeycomb("429 for the key", responds(429), "so the key was not checked", 0, "warning"),
    at_honeycomb("404 for the key", responds(404), "does not have /1/auth (404)", 0, "warning"),
    # Responses to spans
    *(
        at_honeycomb(f"{status} for spans", rejects(status), f"returned {status}")
        for status in (400, 404, 413, 415, 429, 500, 502, 503)
    ),
    at_honeycomb("403 for spans", rejects(403), "API key rejected (403)"),
    # Permissions, datasets and arrival
    at_honeycomb(
        "key that sends no events",
        sends_no_events,
        "a configuration key, by its form",
        1,
        "warning",
        {"HONEYCOMB_API_KEY": CONFIGURATION_KEY},
    ),
    at_honeycomb(
        "unknown dataset",
        creates_no_datasets,
        "HONEYCOMB_API_KEY may not create datasets: unless 'order-intake' exists, spans are accepted",
        2,
        "unknown",
    ),
    at_honeycomb(
        "missing dataset",
        creates_no_datasets,
        "The dataset 'order-intake' does not exist, so spans are dropped: HONEYCOMB_API_KEY may not",
        variables=_CONFIGURED,
    ),
    at_honeycomb(
        "spans that do not arrive",
        drops,
        "order-intake, last written to 517 hours ago: Honeycomb accepted the test span, but it has",
        variables=_CONFIGURED,
    ),
    at_honeycomb(
        "span that no query finds",
        busy,
        "Honeycomb accepted the test span, but it has not arrived within",
        variables=_CONFIGURED,
    ),
    at_honeycomb(
        "keys of two environments",
        other_environment,
        "HONEYCOMB_API_KEY belongs to Acme, Test and HONEYCOMB_CONFIG_KEY to Acme, Production",
        0,
        "warning",
        variables=_CONFIGURED,
    ),
    *(
        warns(f"{name} for apply", found, HONEYCOMB_CONFIG_KEY=value)
        for name, value, found in (
            ("ingest key", INGEST_KEY, "HONEYCOMB_CONFIG_KEY is an ingest key, which can only"),
            ("placeholder", "your-key", "HONEYCOMB_CONFIG_KEY is still a placeholder."),
            ("quotes", f'"{CONFIGURATION_KEY}"', "HONEYCOMB_CONFIG_KEY contains a quote"),
            ("management key", "hcamk_01:23", "HONEYCOMB_CONFIG_KEY is a management key"),
            ("unknown key", "A" * 22, "Honeycomb rejected the key (401 to GET /1/auth"),
        )
    ),
    at_honeycomb("clock ahead", clock(-7200), "clock is 120 minutes ahead of", 0, "warning"),
    at_honeycomb("clock behind", clock(7200), "clock is 120 minutes behind", 0, "warning"),
)
