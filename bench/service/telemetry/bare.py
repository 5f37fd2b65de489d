"""No telemetry at all: the control."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fastapi import FastAPI
from sqlalchemy import Engine

from . import Usage


class _NoSpan:
    def set_attribute(self, key: str, value: Any) -> None: ...


_no_span = nullcontext(_NoSpan())


def set_up() -> None: ...


def instrument(app: FastAPI, engine: Engine) -> None: ...


def span(name: str, attributes: dict[str, Any]) -> AbstractContextManager[Any]:
    return _no_span


def llm_call(provider: str, model: str) -> AbstractContextManager[Any]:
    return _no_span


def record_usage(call: Any, usage: Usage) -> None: ...


def flush() -> None: ...
