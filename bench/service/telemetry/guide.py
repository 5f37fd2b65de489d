"""The quick start guide that this project started from, with the fewest fixes that make it run.

Fixed: HTTPXInstrumentor is named HTTPXClientInstrumentor, SQLAlchemyInstrumentor is called at all
(and accepts SQLAlchemy 2.1), the endpoint is the receiver's. Everything else is as in the guide,
gRPC without compression included.
"""

import os
from typing import Any

from fastapi import FastAPI
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, get_tracer, get_tracer_provider, set_tracer_provider
from sqlalchemy import Engine

from . import Usage

tracer = get_tracer(__name__)


def set_up() -> None:
    resource = Resource.create(
        {
            "service.name": "bench-service",
            "service.version": "dev",
            "deployment.environment": "production",
        }
    )
    provider = TracerProvider(resource=resource)
    exporter = OTLPSpanExporter(
        endpoint=os.environ["RECEIVER_GRPC"],
        headers={"x-honeycomb-team": "key", "x-honeycomb-dataset": "bench-service"},
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    set_tracer_provider(provider)
    HTTPXClientInstrumentor().instrument()


def instrument(app: FastAPI, engine: Engine) -> None:
    FastAPIInstrumentor.instrument_app(app)
    SQLAlchemyInstrumentor().instrument(engine=engine, skip_dep_check=True)


def span(name: str, attributes: dict[str, Any]) -> Any:
    # Records exceptions and sets the status; the guide does both again by hand.
    return tracer.start_as_current_span(name, attributes=attributes)


def llm_call(provider: str, model: str) -> Any:
    return tracer.start_as_current_span(
        "llm.call",
        attributes={"llm.provider": provider, "llm.model": model, "llm.temperature": 1.0},
    )


def record_usage(call: Span, usage: Usage) -> None:
    call.set_attribute("llm.input_tokens", usage.input_tokens)
    call.set_attribute("llm.output_tokens", usage.output_tokens)
    cost = usage.input_tokens * 0.000015 + usage.output_tokens * 0.000075
    call.set_attribute("llm.cost_usd", round(cost, 6))


def flush() -> None:
    provider = get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    provider.force_flush()
