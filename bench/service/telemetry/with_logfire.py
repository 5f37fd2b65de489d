"""Logfire's SDK, exporting traces over OTLP; metrics and console output are off."""

import os
from typing import Any

import logfire
from fastapi import FastAPI
from sqlalchemy import Engine

from . import Usage


def set_up() -> None:
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = os.environ["RECEIVER_HTTP"]
    logfire.configure(
        service_name="bench-service", send_to_logfire=False, console=False, metrics=False
    )


def instrument(app: FastAPI, engine: Engine) -> None:
    logfire.instrument_fastapi(app)
    # As for the guide: otherwise the instrumentation does nothing on SQLAlchemy 2.1.
    logfire.instrument_sqlalchemy(engine, skip_dep_check=True)


def span(name: str, attributes: dict[str, Any]) -> Any:
    return logfire.span(name, **attributes)


def llm_call(provider: str, model: str) -> Any:
    attributes: dict[str, Any] = {
        "llm.provider": provider,
        "llm.model": model,
        "llm.temperature": 1.0,
    }
    return logfire.span("llm.call", **attributes)


def record_usage(call: logfire.LogfireSpan, usage: Usage) -> None:
    call.set_attribute("llm.input_tokens", usage.input_tokens)
    call.set_attribute("llm.output_tokens", usage.output_tokens)
    cost = usage.input_tokens * 0.000003 + usage.output_tokens * 0.000015
    call.set_attribute("llm.cost_usd", round(cost, 6))


def flush() -> None:
    logfire.force_flush()
