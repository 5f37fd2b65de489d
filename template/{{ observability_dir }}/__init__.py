"""Tracing of this service, exported to Honeycomb with OpenTelemetry.

    setup_observability()            once, before the application is created
    instrument_app(app)              right after it is created

    with traced("ir.generate", {"ir.model": model}) as span: ...
    with llm_call("anthropic", model) as call: ...; call.record_usage(message.usage)
    with span_attributes(user_id=user.id, conversation_id=thread.id): ...
    queue.put(inject())              in another process: with extract(carrier), traced("job"): ...

Settings come from the environment; docs/observability-reference.md lists them.
"""

from opentelemetry.trace import get_tracer

from ._pricing import TokenUsage
from ._setup import flush, setup_observability
from .integrations.fastapi import instrument_app
from .llm import LLMCall, llm_call, record_evaluation
from .spans import extract, inject, span_attributes, traced

__all__ = ["LLMCall", "TokenUsage", "extract", "flush", "get_tracer", "inject", "instrument_app"]
__all__ += ["llm_call", "record_evaluation", "setup_observability", "span_attributes", "traced"]
