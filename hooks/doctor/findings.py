"""Findings of the doctor, and the case that it examines."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from ..project import Project, variable
from .self_check import SelfCheck

Level: TypeAlias = Literal["ok", "warning", "unknown", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of output."""

    about: str
    """The subject, in a word or two."""
    level: Level
    text: str
    """The finding; the remedy too, if something is wrong."""


def ok(about: str, text: str) -> Finding:
    return Finding(about, "ok", text)


def warning(about: str, text: str) -> Finding:
    return Finding(about, "warning", text)


def unknown(about: str, text: str) -> Finding:
    """Something that may keep traces from arriving, and that could not be checked."""
    return Finding(about, "unknown", text)


def problem(about: str, text: str) -> Finding:
    """Something that keeps traces from arriving; the checks after it do not run."""
    return Finding(about, "problem", text)


@dataclass
class Case:
    """A project, its self-check, and facts that the checks find out."""

    project: Project
    self_check: SelfCheck
    packages: Mapping[str, str]
    """Versions of the packages in the project's environment."""
    import_errors: Mapping[str, str]
    """Errors of importing packages that create spans, by package."""
    started: float
    """Time before the self-check, in seconds since the epoch."""
    auth: Mapping[str, Any] | None = None
    """Honeycomb's description of the key that spans are sent with."""
    ahead: float = 0.0
    """Seconds by which this machine's clock is ahead of Honeycomb's."""

    @property
    def key(self) -> str | None:
        """The key that spans are sent with."""
        if "x-honeycomb-team" not in self.self_check.headers:
            return None
        return self.key_in_headers or variable("HONEYCOMB_API_KEY")

    @property
    def key_in_headers(self) -> str | None:
        """The key in OTEL_EXPORTER_OTLP_HEADERS, which takes precedence over HONEYCOMB_API_KEY."""
        headers = variable("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or variable(
            "OTEL_EXPORTER_OTLP_HEADERS"
        )
        key = None
        for member in (headers or "").split(","):
            name, _, value = (unquote(part.strip()) for part in member.partition("="))
            if name.lower() == "x-honeycomb-team":
                key = value
        return key

    @property
    def url(self) -> SplitResult:
        """The URL that spans are sent to."""
        return urlsplit(self.self_check.endpoint)

    @property
    def origin(self) -> str:
        """The endpoint without its path and without credentials."""
        return f"{self.url.scheme}://{self.url.netloc.rpartition('@')[2]}"

    @property
    def has_own_endpoint(self) -> bool:
        """True if spans are sent to a configured endpoint, such as a Collector."""
        names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        return any(variable(name) for name in names)

    @property
    def is_honeycomb(self) -> bool:
        """True if spans are sent to Honeycomb directly."""
        host = self.url.hostname or ""
        return not self.has_own_endpoint or host.endswith(".honeycomb.io")

    @property
    def service_name(self) -> str:
        return self.self_check.service_name


def otlp_file(name: str) -> str | None:
    """A file that OTEL_EXPORTER_OTLP_<name> names, such as CERTIFICATE."""
    return variable(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or variable(f"OTEL_EXPORTER_OTLP_{name}")
