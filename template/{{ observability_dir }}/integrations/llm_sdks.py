"""LLM SDKs and frameworks: the installed instrumentation of each, enabled once it is imported."""

import os
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution
from importlib.util import find_spec
from typing import Any, Final

from .._settings import captures_content, is_disabled
from . import when_imported

# Packages of instrumentations, by preference, and the module of the SDK that each patches. Several
# have the same entry point name, so that the name alone does not identify one.
_INSTRUMENTATIONS: Final = {
    "opentelemetry-instrumentation-genai-anthropic": "anthropic",
    "opentelemetry-instrumentation-genai-bedrock": "botocore.client",
    "opentelemetry-instrumentation-genai-langchain": "langchain_core.callbacks",
    "opentelemetry-instrumentation-genai-llama-index": "llama_index.core",
    "opentelemetry-instrumentation-genai-openai": "openai",
    "opentelemetry-instrumentation-genai-openai-agents": "agents",
    "opentelemetry-instrumentation-google-genai": "google.genai",
    "opentelemetry-instrumentation-litellm": "litellm",
    "opentelemetry-instrumentation-openai-v2": "openai",
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
    if not is_disabled("pydantic_ai"):
        when_imported("pydantic_ai", _instrument_pydantic_ai)
    for module in dict.fromkeys(_INSTRUMENTATIONS.values()):
        when_imported(module, _instrument)


def _instrument(sdk: Any) -> None:
    for package, module in _INSTRUMENTATIONS.items():
        if module == sdk.__name__ and (entry_point := _entry_point(package)):
            _enable(entry_point)
            return


def _entry_point(package: str) -> EntryPoint | None:
    try:
        found = distribution(package).entry_points.select(group="opentelemetry_instrumentor")
    except PackageNotFoundError:
        return None
    return next((each for each in found if not is_disabled(each.name)), None)


def _enable(entry_point: EntryPoint) -> None:
    if entry_point.name == "anthropic" and find_spec("anthropic._tracing"):
        return  # the SDK creates spans itself
    instrumentor = entry_point.load()()
    if not instrumentor.is_instrumented_by_opentelemetry:
        variables = {_EMIT_EVENT: os.environ.get(_EMIT_EVENT, "false")}
        # The one for Gemini works with later versions than it allows, and enables log records of each
        # call, for all instrumentations.
        instrumentor.instrument(skip_dep_check=entry_point.name == "google-genai")
        os.environ.update(variables)


def _instrument_pydantic_ai(module: Any) -> None:
    from pydantic_ai.models.instrumented import (  # type: ignore[import-not-found, unused-ignore]
        InstrumentationSettings,
    )

    if not getattr(module.Agent, "_instrument_default", False):
        module.Agent.instrument_all(InstrumentationSettings(include_content=captures_content()))
