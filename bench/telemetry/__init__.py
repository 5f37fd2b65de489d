"""The ways of tracing that are compared. The application runs with exactly one of them."""

import importlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, cast

from fastapi import FastAPI
from sqlalchemy import Engine


@dataclass(frozen=True)
class Usage:
    """Tokens of one call, as an SDK tells them."""

    input_tokens: int
    output_tokens: int


class Telemetry(Protocol):
    """What a module of this package offers."""

    def set_up(self) -> None:
        """Called once, before the application is made."""

    def instrument(self, app: FastAPI, engine: Engine) -> None:
        """Called once, right after it is made."""

    def span(self, name: str, attributes: dict[str, Any]) -> AbstractContextManager[Any]:
        """A span around a block, which gets something with `set_attribute`."""

    def llm_call(self, provider: str, model: str) -> AbstractContextManager[Any]:
        """A span around an LLM call, which gets what `record_usage` takes."""

    def record_usage(self, call: Any, usage: Usage) -> None:
        """Gives the span of a call its tokens and cost."""

    def flush(self) -> None:
        """Returns when everything that was traced so far is sent."""


def telemetry(name: str) -> Telemetry:
    """The module `name` of this package, imported with all that it needs."""
    return cast(Telemetry, importlib.import_module(f".{name}", __name__))
