"""What the environment says about telemetry: what to send, where, and with which key."""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import urlsplit

from . import defaults
from .environment import Environment

logger = logging.getLogger(__name__)

EXPORT_SECONDS: Final = 4.5
KEEP_SLOW_MS: Final = 10_000.0
KEEP_COST_USD: Final = 1.0
# Seconds. Python's locks and sockets refuse to wait for much longer, which would end the thread.
_LONGEST_WAIT: Final = 1e6
# A Classic key is told by its form: 32 hexadecimal digits, or an ingest key of the kind hc?ic_.
_CLASSIC_KEY: Final = re.compile(r"[0-9a-f]{32}|hc[a-z]ic_[0-9a-z]{58}")
_SAMPLERS: Final = (
    "always_on",
    "parentbased_always_on",
    "always_off",
    "traceidratio",
    "parentbased_traceidratio",
)
_CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
# <PACKAGE>_VERSION, of the package that holds this one.
_VERSION: Final = f"{(__package__ or 'service').split('.')[-2:][0].upper()}_VERSION"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where spans go and what they say of the service."""

    enabled: bool
    service_name: str
    service_version: str
    environment: str
    exporter: str
    """otlp, console or none."""
    protocol: str
    """http/protobuf or grpc."""
    endpoint: str
    """The URL that spans are sent to, with its path where the protocol is HTTP."""
    api_endpoint: str
    """Where Honeycomb itself is, whatever spans are sent to."""
    has_own_endpoint: bool
    """Whether spans are sent to an endpoint of one's own, such as a Collector."""
    has_destination: bool
    """Whether there is a key for Honeycomb, or an endpoint of one's own."""
    has_bad_key: bool = field(compare=False)
    """Whether there is a key that cannot be one, which is said already."""
    headers: Mapping[str, str] = field(repr=False)
    """Sent with each export. One of them is the key."""
    timeout: float
    """Seconds that one export may take, retries included."""
    compressed: bool
    certificate: str | None
    """File of the authorities that the other side's certificate is held against."""
    client_certificate: str | None
    client_key: str | None
    delay: float
    """Seconds after which spans are sent at the latest."""
    batch: int
    """Spans that are sent at once."""
    sample_rate: int
    """Of how many ordinary traces one is kept."""
    keep_slow_ms: float
    keep_cost_usd: float

    @classmethod
    def from_environment(
        cls, service_name: str | None = None, variables: Mapping[str, str] = os.environ
    ) -> Self:
        """Reads each variable once. OTEL_* variables win over HONEYCOMB_* ones. Never raises."""
        read = Environment(variables)
        service_name = service_name or defaults.SERVICE_NAME
        protocol = read.choice(
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            choices=("http/protobuf", "grpc"),
            default=defaults.OTLP_PROTOCOL,
        )
        key = _api_key(read)
        # The traces' own URL is complete; to the others, HTTP adds its path.
        endpoint = traces = read.url("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        endpoint = endpoint or read.url("OTEL_EXPORTER_OTLP_ENDPOINT")
        has_own_endpoint = endpoint is not None
        api_endpoint = (
            read.url("HONEYCOMB_API_ENDPOINT")
            or _honeycomb_of(endpoint)
            or defaults.HONEYCOMB_ENDPOINT
        )
        endpoint = endpoint or api_endpoint
        if protocol == "http/protobuf" and not traces:
            endpoint = f"{endpoint}/v1/traces"
        return cls(
            enabled=read.flag("HONEYCOMB_ENABLED", default=True)
            and not read.flag("OTEL_SDK_DISABLED", default=False)
            and read.text("OTEL_TRACES_SAMPLER") != "always_off",
            service_name=service_name,
            service_version=read.text(_VERSION, "MODAL_IMAGE_ID") or "dev",
            environment=read.text("ENVIRONMENT", "MODAL_ENVIRONMENT") or "development",
            exporter=read.choice(
                "OTEL_TRACES_EXPORTER", choices=("otlp", "console", "none"), default="otlp"
            ),
            protocol=protocol,
            endpoint=endpoint,
            api_endpoint=api_endpoint,
            has_own_endpoint=has_own_endpoint,
            has_destination=bool(key or has_own_endpoint),
            has_bad_key=key is None and read.text("HONEYCOMB_API_KEY") is not None,
            headers=_honeycomb_headers(key, read.text("HONEYCOMB_DATASET") or service_name)
            | read.headers("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"),
            timeout=read.number(
                "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
                "OTEL_EXPORTER_OTLP_TIMEOUT",
                default=EXPORT_SECONDS,
                most=_LONGEST_WAIT,
            ),
            compressed=read.choice(
                "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
                "OTEL_EXPORTER_OTLP_COMPRESSION",
                choices=("gzip", "none"),
                default="gzip",
            )
            == "gzip",
            certificate=_file(read, "CERTIFICATE"),
            client_certificate=_file(read, "CLIENT_CERTIFICATE"),
            client_key=_file(read, "CLIENT_KEY"),
            delay=read.number("OTEL_BSP_SCHEDULE_DELAY", default=5_000, most=_LONGEST_WAIT * 1_000)
            / 1_000,
            batch=read.whole_number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", default=512),
            sample_rate=_sample_rate(read),
            keep_slow_ms=read.number("HONEYCOMB_KEEP_SLOW_MS", default=KEEP_SLOW_MS),
            keep_cost_usd=read.number("HONEYCOMB_KEEP_COST_USD", default=KEEP_COST_USD),
        )


def _honeycomb_of(endpoint: str | None) -> str | None:
    """The address of Honeycomb that `endpoint` is a part of, where it is one."""
    url = urlsplit(endpoint or "")
    return f"https://{url.hostname}" if (url.hostname or "").endswith(".honeycomb.io") else None


def _file(read: Environment, name: str) -> str | None:
    return read.text(f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}")


def captures_content(variables: Mapping[str, str] = os.environ) -> bool:
    """Whether prompts and answers go on spans, which OpenTelemetry's own variable has to ask for."""
    if _CONTENT not in variables:  # asked for each LLM call
        return False
    content = Environment(variables).choice(
        _CONTENT,
        choices=("NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"),
        default="NO_CONTENT",
    )
    return content in ("SPAN_ONLY", "SPAN_AND_EVENT")


def _sample_rate(read: Environment) -> int:
    if read.text("OTEL_TRACES_SAMPLER") is None:
        return read.whole_number("HONEYCOMB_SAMPLE_RATE", default=1)
    sampler = read.choice("OTEL_TRACES_SAMPLER", choices=_SAMPLERS, default="parentbased_always_on")
    if not sampler.endswith("traceidratio"):
        return 1
    # The SDK's own sampler drops traces without saying how many each one stands for.
    ratio = read.number("OTEL_TRACES_SAMPLER_ARG", default=1.0)
    return max(1, round(min(1 / ratio, 1e9)))


def _api_key(read: Environment) -> str | None:
    key = read.text("HONEYCOMB_API_KEY")
    if key is not None and not re.fullmatch(r"[A-Za-z0-9_-]+", key):
        # Sent as it is, a line break in it would make the exporter log the whole key.
        logger.warning(
            "HONEYCOMB_API_KEY holds a character that no key has, such as a quote or a line break;"
            " it is left out, and nothing is sent with it."
        )
        return None
    return key


def _honeycomb_headers(key: str | None, dataset: str) -> dict[str, str]:
    if key is None:
        return {}
    headers = {"x-honeycomb-team": key}
    if _CLASSIC_KEY.fullmatch(key):
        # Newer keys find the dataset by service.name.
        headers["x-honeycomb-dataset"] = dataset
    return headers
