"""Traces of this service, sent to Honeycomb with OpenTelemetry.

    setup_observability()            once, before the application is made
    instrument_app(app)              right after it is made

    with traced("ir.generate", {"ir.model": model}) as span: ...
    with llm_call("anthropic", model) as call: ...; call.record_usage(message.usage)

Settings come from the environment: docs/observability.md lists them.
"""

from .llm import LLMCall, llm_call
from .pricing import TokenUsage
from .server import instrument_app
from .setup import flush, setup_observability
from .spans import get_tracer, traced

__all__ = [
    "LLMCall",
    "TokenUsage",
    "flush",
    "get_tracer",
    "instrument_app",
    "llm_call",
    "setup_observability",
    "traced",
]
