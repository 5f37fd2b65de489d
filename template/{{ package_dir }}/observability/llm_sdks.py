"""LLM calls that no `llm_call` is around: the spans that SDKs and their instrumentations make."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.util.types import AttributeValue

from . import pricing
from .pricing import TokenUsage

logger = logging.getLogger(__name__)

# SDK, module of its instrumentation, and the class in it.
_INSTRUMENTATIONS: Final = (
    ("anthropic", "genai.anthropic", "AnthropicInstrumentor"),
    ("openai", "genai.openai", "OpenAIInstrumentor"),
    ("openai", "openai_v2", "OpenAIInstrumentor"),
)
# What an SDK has that makes spans by itself.
_OWN_TRACING: Final = {"anthropic": "anthropic._tracing"}
# Not those of an agent, which sum up what is told of each call.
_CALLS: Final = ("chat", "embeddings", "generate_content", "text_completion")


def instrument_llm_sdks() -> None:
    """Turns on the instrumentation of each SDK that makes no spans by itself, where it is installed.

    Never raises.
    """
    done: set[str] = set()
    for sdk, name, instrumentor in _INSTRUMENTATIONS:
        module = f"opentelemetry.instrumentation.{name}"
        try:
            if sdk in done or not _is_there(sdk) or not _is_there(module):
                continue
            if sdk in _OWN_TRACING and _is_there(_OWN_TRACING[sdk]):
                continue
            instrumentation = getattr(import_module(module), instrumentor)()
            if not instrumentation.is_instrumented_by_opentelemetry:
                instrumentation.instrument()
            done.add(sdk)
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            logger.warning("Calls of %s are not traced: %s", sdk, error)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


class SDKCalls:
    """Gives such a span the model, tokens and cost that `llm_call` gives to its own."""

    # Where an instrumentation is around an SDK that makes spans too, both tell of the same call.
    _REMEMBERED = 1000

    def __init__(self) -> None:
        self._told_below: OrderedDict[int, None] = OrderedDict()

    def complete(self, span: ReadableSpan, then: Callable[[ReadableSpan], None]) -> None:
        """Calls `then` with the completed span: now, or once prices are loaded."""
        attributes = dict(span.attributes or {})
        usage = _usage(attributes)
        if usage is None or self._is_told_below(span):
            then(span)
            return
        provider = str(attributes.get("gen_ai.provider.name") or attributes.get("gen_ai.system"))
        model = str(
            attributes.get("gen_ai.response.model") or attributes.get("gen_ai.request.model")
        )
        attributes["llm.provider"] = provider
        attributes["llm.model"] = str(attributes.get("gen_ai.request.model", model))
        attributes["llm.input_tokens"] = usage.input_tokens
        attributes["llm.output_tokens"] = usage.output_tokens

        def add_cost() -> None:
            cost = pricing.cost_usd(provider, model, usage)
            if cost is not None:
                attributes["llm.cost_usd"] = float(cost)
            then(_with_attributes(span, attributes))

        pricing.when_loaded(add_cost)

    def _is_told_below(self, span: ReadableSpan) -> bool:
        if span.context.span_id in self._told_below:
            del self._told_below[span.context.span_id]
            return True
        if span.parent is not None and not span.parent.is_remote:
            self._told_below[span.parent.span_id] = None
            if len(self._told_below) > self._REMEMBERED:
                self._told_below.popitem(last=False)
        return False


def _with_attributes(span: ReadableSpan, attributes: Mapping[str, AttributeValue]) -> ReadableSpan:
    """As `span`, whose own attributes cannot be changed any more."""
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _usage(attributes: Mapping[str, Any]) -> TokenUsage | None:
    if "gen_ai.usage.input_tokens" not in attributes or "llm.provider" in attributes:
        return None
    if attributes.get("gen_ai.operation.name") not in _CALLS:
        return None

    def tokens(*names: str) -> int:
        return next((n for name in names if type(n := attributes.get(name)) is int and n > 0), 0)

    # By the conventions, the input includes what was read from a cache or written to it.
    return TokenUsage(
        input_tokens=tokens("gen_ai.usage.input_tokens"),
        output_tokens=tokens("gen_ai.usage.output_tokens"),
        cache_read_tokens=tokens("gen_ai.usage.cache_read.input_tokens"),
        cache_write_tokens=tokens(
            "gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens"
        ),
        cache_write_1h_tokens=tokens("anthropic.usage.cache_creation.ephemeral_1h_input_tokens"),
    )
