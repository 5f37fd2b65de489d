"""LLM SDKs and frameworks: the installed instrumentation of each, enabled once it is imported."""

import os
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from typing import Any, Final

from .._settings import captures_content, is_disabled
from . import when_imported

# The module of each SDK, and its package after "opentelemetry-instrumentation-". The names of entry
# points are ambiguous: other packages use the same ones.
_INSTRUMENTATIONS: Final = {
    "agents": "genai-openai-agents",
    "anthropic": "genai-anthropic",
    "botocore.client": "genai-bedrock",
    "google.genai": "google-genai",
    "langchain_core.language_models.chat_models": "genai-langchain",
    "litellm": "litellm",
    "llama_index.core": "genai-llama-index",
    "openai": "genai-openai",
}
_EMIT_EVENT: Final = "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT"


def instrument_llm_sdks() -> None:
    """Trace the installed SDKs, except those in OTEL_PYTHON_DISABLED_INSTRUMENTATIONS. Never raises."""
    # Each has its own switch for content. Redaction does not depend on them.
    if captures_content():
        os.environ.setdefault("ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE", "content")
    os.environ.setdefault("TRACELOOP_TRACE_CONTENT", str(captures_content()).lower())
    if is_disabled("anthropic"):
        os.environ.setdefault("ANTHROPIC_OPEN_TELEMETRY", "false")
    when_imported("pydantic_ai", _instrument_pydantic_ai)
    for module in _INSTRUMENTATIONS:
        when_imported(module, _instrument)


def _instrument(sdk: Any) -> None:
    if sdk.__name__ == "openai" and find_spec("httpx2"):
        __import__("httpx2")  # half imported, by the thread that loads prices, it fails a call
    if sdk.__name__ == "anthropic" and find_spec("anthropic._tracing"):
        return  # the SDK creates spans itself
    name = _INSTRUMENTATIONS[sdk.__name__]
    with suppress(PackageNotFoundError):
        points = distribution(f"opentelemetry-instrumentation-{name}").entry_points
        [point] = points.select(group="opentelemetry_instrumentor")
        instrumentor = None if is_disabled(point.name) else point.load()()
        if instrumentor and not instrumentor.is_instrumented_by_opentelemetry:
            # Gemini's works with later versions than it allows, and enables log records for all SDKs.
            emit_event = os.environ.get(_EMIT_EVENT, "false")
            instrumentor.instrument(skip_dep_check=name == "google-genai")
            os.environ[_EMIT_EVENT] = emit_event


def _instrument_pydantic_ai(module: Any) -> None:
    if not (is_disabled("pydantic_ai") or getattr(module.Agent, "_instrument_default", False)):
        settings = module.models.instrumented.InstrumentationSettings
        module.Agent.instrument_all(settings(include_content=captures_content()))
