"""Environment variables with types: a value that makes no sense is one warning and the default."""

import logging
import math
import os
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

logger = logging.getLogger(__name__)

_TRUE: Final = ("true", "1", "yes", "on")
_FALSE: Final = ("false", "0", "no", "off")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE: Final = re.compile(r"[ -~]+")


class Environment:
    """Reads variables. Of several names, the first that is set counts. No value is ever logged."""

    def __init__(self, variables: Mapping[str, str] = os.environ) -> None:
        self._variables = variables

    def text(self, *names: str) -> str | None:
        """The value without surrounding space, or None where it is empty or not set."""
        for name in names:
            if value := self._variables.get(name, "").strip():
                return value
        return None

    def flag(self, name: str, *, default: bool) -> bool:
        value = (self.text(name) or str(default)).lower()
        if value not in _TRUE + _FALSE:
            logger.warning("%s is neither true nor false; it counts as %s.", name, default)
            return default
        return value in _TRUE

    def number(self, *names: str, default: float, most: float = math.inf) -> float:
        """A number above 0, `most` at most."""
        for name in names:
            value = self.text(name)
            if value is None:
                continue
            try:
                number = float(value)
            except ValueError:
                number = math.nan
            if 0 < number <= most and number < math.inf:
                return number
            limit = f" and {most:g} at most" if most < math.inf else ""
            logger.warning("%s is not a number above 0%s; it counts as %g.", name, limit, default)
            break
        return default

    def whole_number(self, name: str, *, default: int) -> int:
        """A whole number above 0."""
        number = self.number(name, default=default)
        if number != int(number):
            logger.warning("%s is not a whole number; it counts as %d.", name, default)
            return default
        return int(number)

    def choice(self, *names: str, choices: tuple[str, ...], default: str) -> str:
        for name in names:
            value = self.text(name)
            if value in choices:
                return value
            if value is not None:
                known = " or ".join(choices)
                logger.warning("%s is not %s; it counts as %s.", name, known, default)
                break
        return default

    def url(self, name: str) -> str | None:
        """An http or https URL without credentials and without a slash at its end, or None."""
        value = self.text(name)
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_url = False
        if not is_url:
            logger.warning("%s is no URL such as https://host:4318; it is left out.", name)
            return None
        if "@" in parts.netloc:
            logger.warning(
                "%s holds a name or a password, which is left out: OTEL_EXPORTER_OTLP_HEADERS takes"
                " authorization=Basic%%20...",
                name,
            )
            value = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return value.rstrip("/")

    def headers(self, *names: str) -> dict[str, str]:
        """Headers as OTLP writes them, `name=value,name=value`, where a value may be URL-encoded."""
        headers: dict[str, str] = {}
        for member in filter(None, (self.text(*names) or "").split(",")):
            name, separator, value = (unquote(part.strip()) for part in member.partition("="))
            if separator and _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value):
                headers[name.lower()] = value
            else:
                # Not shown, as it may be half of a key. The SDK's own parser logs it.
                logger.warning("%s holds what is not name=value; that is left out.", names[-1])
        return headers
