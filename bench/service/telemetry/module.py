"""The rendered observability module, configured by the environment."""

import os
from typing import Any

from bench_service import observability
from fastapi import FastAPI
from sqlalchemy import Engine

from . import Usage


def set_up() -> None:
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = os.environ["RECEIVER_HTTP"]
    observability.setup_observability()


def instrument(app: FastAPI, engine: Engine) -> None:
    observability.instrument_app(app)


def span(name: str, attributes: dict[str, Any]) -> Any:
    return observability.traced(name, attributes)


def llm_call(provider: str, model: str) -> Any:
    return observability.llm_call(provider, model, temperature=1.0)


def record_usage(call: Any, usage: Usage) -> None:
    call.record_usage(usage)


def flush() -> None:
    # Long enough for a process that runs under valgrind.
    observability.flush(60)
