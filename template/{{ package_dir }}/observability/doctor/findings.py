"""What the doctor looks at, and what it finds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

from opentelemetry.sdk.resources import Resource

from ..environment import Environment
from ..settings import Settings


@dataclass(frozen=True)
class Finding:
    """One line."""

    about: str
    """What was looked at, in a word or two."""
    level: Literal["ok", "warning", "problem"]
    text: str
    """What is found; where it is wrong, what to do too."""


def ok(about: str, text: str) -> Finding:
    return Finding(about, "ok", text)


def warning(about: str, text: str) -> Finding:
    return Finding(about, "warning", text)


def problem(about: str, text: str) -> Finding:
    """Something that keeps traces from arriving: nothing after it is looked at."""
    return Finding(about, "problem", text)


@dataclass
class Case:
    """A process as the service would be, with what is learnt on the way."""

    variables: Mapping[str, str] = field(repr=False)
    settings: Settings
    resource: Resource
    said: tuple[str, ...]
    """What reading the variables logged."""
    auth: Mapping[str, Any] | None = None
    """What Honeycomb says of the key that spans are sent with."""

    @property
    def read(self) -> Environment:
        return Environment(self.variables)

    @property
    def key(self) -> str | None:
        """The key that spans are sent with, wherever it comes from."""
        return self.settings.headers.get("x-honeycomb-team")

    @property
    def url(self) -> SplitResult:
        return urlsplit(self.settings.endpoint)

    @property
    def origin(self) -> str:
        """The endpoint without its path, and without what may be secret in a URL."""
        port = f":{self.url.port}" if self.url.port else ""
        return f"{self.url.scheme}://{self.url.hostname}{port}"

    @property
    def is_honeycomb(self) -> bool:
        """Whether spans go to Honeycomb itself, and not to a Collector."""
        host = self.url.hostname or ""
        return not self.settings.has_own_endpoint or host.endswith(".honeycomb.io")

    @property
    def service_name(self) -> str:
        return str(self.resource.attributes["service.name"])
