"""The span of one LLM call: model, tokens and cost, and its content only if that is enabled."""

import json
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Self

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

from ._pricing import TokenUsage, copy_usage, cost_usd, price_loader
from ._settings import captures_content, warn_once
from .spans import traced


class LLMCall:
    """One LLM call, including the SDK's retries: a sync and async context manager.

        with llm_call("anthropic", model, conversation_id=session.id) as call:
            message = await client.messages.create(...)
            call.record_usage(message.usage, model=message.model)

    `provider` and `operation` are OpenTelemetry's names: anthropic, openai, gcp.gemini, aws.bedrock;
    chat, embeddings. The SDK's own span for the same call is merged into this one, with its usage if
    `record_usage` is not called. Any other call inside the block has a span.
    """

    def __init__(
        self,
        provider: str,
        model: str,
        *,
        temperature: float | None = None,
        operation: str = "chat",
        conversation_id: str | None = None,
        agent_name: str | None = None,
    ) -> None:
        self.span: Span = trace.INVALID_SPAN  # open inside the block, for custom attributes
        self._provider, self._model = provider, str(model)
        self._usage: Any = None
        self._started = 0.0
        attributes = {
            "llm.provider": provider,
            "llm.model": model,
            "llm.temperature": None if temperature is None else float(temperature),
            "gen_ai.provider.name": provider,
            "gen_ai.operation.name": operation,
            "gen_ai.request.model": model,
            "gen_ai.conversation.id": conversation_id,
            "gen_ai.agent.name": agent_name,
        }
        self._attributes = {k: v for k, v in attributes.items() if v is not None}

    def record_usage(
        self,
        usage: Any,
        *,
        model: str | None = None,
        finish_reason: str | None = None,
        service_tier: str | None = None,
    ) -> None:
        """Record the tokens of the call. Its cost is computed from them when the block ends.

        `usage` is the usage object of the response of any SDK or framework, or a `TokenUsage`; for a
        stream, that of the final message. `model`, `finish_reason` and `service_tier` are those of
        the response, if it names them. The last call wins. An unsupported object logs one warning.
        """
        # Copied, because some frameworks add up the usage of all calls in one object.
        self._usage = usage if isinstance(usage, TokenUsage) else copy_usage(usage, service_tier)
        if model:
            self._model = str(model)
            self.span.set_attribute("gen_ai.response.model", model)
        if finish_reason:
            self.span.set_attribute("gen_ai.response.finish_reasons", [str(finish_reason)])

    def record_first_chunk(self) -> None:
        """Record the time until now as `gen_ai.response.time_to_first_chunk`, in seconds, once."""
        if self._started:
            seconds, self._started = time.perf_counter() - self._started, 0.0
            self.span.set_attribute("gen_ai.response.time_to_first_chunk", seconds)

    def record_content(self, prompt: str, answer: str, *, system: str | None = None) -> None:
        """Record the texts, if OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT enables it."""
        if captures_content():
            for name, role, text in (("input", "user", prompt), ("output", "assistant", answer)):
                message = {"role": role, "parts": [{"type": "text", "content": text}]}
                self.span.set_attribute(f"gen_ai.{name}.messages", json.dumps([message]))
            if system:
                texts = json.dumps([{"type": "text", "content": system}])
                self.span.set_attribute("gen_ai.system_instructions", texts)

    def __enter__(self) -> Self:
        self._usage, self._started = None, time.perf_counter()
        self._block = traced("llm.call", self._attributes, kind=SpanKind.CLIENT)
        self.span = self._block.__enter__()
        if self.span.is_recording():
            price_loader.start_loading()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._block.leave(error)
        end = partial(self._end, self.span, self._usage, time.time_ns())
        if self._usage is None or error is not None or not self.span.is_recording():
            end()  # a failed call ends before the spans that its exception propagates to
        else:
            # In the first second of a process the span waits for prices, on the loading thread.
            price_loader.when_loaded(end)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.__exit__(kind, error, traceback)

    def _end(self, span: Span, usage: Any, end_time: int) -> None:
        if usage is not None:
            try:
                tokens = TokenUsage.of(usage, self._provider)
                span.set_attributes(usage_attributes(self._provider, self._model, tokens))
            except Exception as error:  # noqa: BLE001 - telemetry never raises
                warn_once("No tokens and no cost for calls of %s: %s.", self._model, str(error))
        span.end(end_time)


llm_call: Final = LLMCall


def record_evaluation(
    name: str, score: float | None = None, label: str | None = None, *, call: LLMCall | None = None
) -> None:
    """Record a score of an LLM call, as OpenTelemetry's `gen_ai.evaluation.result`.

    It is an event of the span of `call`, or of the current span; or if that has ended, a span below it.
    """
    given = {"name": name, "score.value": score, "score.label": label}
    attributes = {f"gen_ai.evaluation.{k}": v for k, v in given.items() if v is not None}
    span, event = call.span if call else trace.get_current_span(), "gen_ai.evaluation.result"
    if span.is_recording():
        span.add_event(event, attributes)
    else:
        above = trace.set_span_in_context(span)
        trace.get_tracer(__name__).start_span(event, above, attributes=attributes).end()


def is_call(attributes: Mapping[str, Any]) -> bool:
    """Return true for the attributes of one call of a model, and false for those of an agent."""
    operation = attributes.get("gen_ai.operation.name")
    return operation in ("chat", "embeddings", "generate_content", "text_completion")


def usage_attributes(provider: str, model: str, usage: TokenUsage) -> dict[str, Any]:
    """Return the attributes of a call for its tokens, and for its cost if that is known."""
    cost = cost_usd(provider, model, usage)
    reasoning = int(usage.others.get("output_reasoning_tokens", 0))
    attributes = {
        "llm.input_tokens": usage.input_tokens,
        "llm.output_tokens": usage.output_tokens,
        "llm.cost_usd": float(cost) if cost else None,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens or None,
        # Renamed in the conventions of 2026; Honeycomb's own estimate reads the older name.
        "gen_ai.usage.cache_write.input_tokens": usage.cache_write_tokens or None,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens or None,
        "gen_ai.usage.reasoning.output_tokens": reasoning or None,
    }
    return {name: value for name, value in attributes.items() if value is not None}
