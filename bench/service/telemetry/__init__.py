"""The ways of tracing that are compared. The application runs with exactly one of them."""

import importlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, cast

from fastapi import FastAPI
from sqlalchemy import Engine


@dataclass(frozen=True)
class Usage:
    """Tokens of one call, as an SDK reports them."""

    input_tokens: int
    output_tokens: int


class Telemetry(Protocol):
    """The interface of each module of this package."""

    def set_up(self) -> None:
        """Called once, before the application is created."""

    def instrument(self, app: FastAPI, engine: Engine) -> None:
        """Called once, right after it is created."""

    def span(self, name: str, attributes: dict[str, Any]) -> AbstractContextManager[Any]:
        """A span around a block; yields an object with `set_attribute`."""

    def llm_call(self, provider: str, model: str) -> AbstractContextManager[Any]:
        """A span around an LLM call; yields the `call` that `record_usage` accepts."""

    def record_usage(self, call: Any, usage: Usage) -> None:
        """Set the tokens and cost of a call on its span."""

    def flush(self) -> None:
        """Return when every finished span is exported."""


def telemetry(name: str) -> Telemetry:
    """Import the module `name` of this package, with everything that it needs."""
    return cast(Telemetry, importlib.import_module(f".{name}", __name__))
