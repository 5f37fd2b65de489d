"""LLM SDKs: spans for calls outside `llm_call`."""

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import Final

logger = logging.getLogger(__name__)

# SDK, module of its instrumentation, and the class in that module.
_INSTRUMENTATIONS: Final = (
    ("anthropic", "genai.anthropic", "AnthropicInstrumentor"),
    ("openai", "genai.openai", "OpenAIInstrumentor"),
    ("openai", "openai_v2", "OpenAIInstrumentor"),
)
# A module that an SDK contains if it creates spans itself.
_NATIVE_TRACING: Final = {"anthropic": "anthropic._tracing"}


def instrument_llm_sdks() -> None:
    """Enable the installed instrumentation of each SDK that has no native tracing. Never raises."""
    done: set[str] = set()
    for sdk, name, instrumentor in _INSTRUMENTATIONS:
        module = f"opentelemetry.instrumentation.{name}"
        try:
            if sdk in done or not _is_installed(sdk) or not _is_installed(module):
                continue
            if sdk in _NATIVE_TRACING and _is_installed(_NATIVE_TRACING[sdk]):
                continue
            instrumentation = getattr(import_module(module), instrumentor)()
            if not instrumentation.is_instrumented_by_opentelemetry:
                instrumentation.instrument()
            done.add(sdk)
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            logger.warning("Could not trace calls of %s: %s", sdk, error)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
