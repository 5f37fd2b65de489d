"""The span of one LLM call: model, tokens and cost, and its content only if that is enabled."""

import json
import logging
import time
from typing import Any, Final, Self

from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from ._pricing import TokenUsage, cost_usd, price_loader
from ._settings import captures_content
from .spans import enter_span, leave_span

logger = logging.getLogger(__name__)

# IDs of the spans of open calls. The span processor drops an SDK's own span below one of them.
open_calls: Final[set[int]] = set()


class LLMCall:
    """One LLM call, including the SDK's retries: a sync and async context manager.

        with llm_call("anthropic", model, conversation_id=session.id) as call:
            message = await client.messages.create(...)
            call.record_usage(message.usage, model=message.model)

    `provider` and `operation` are OpenTelemetry's names: anthropic, openai, aws.bedrock; chat,
    embeddings. The SDK's own span for the same call is dropped.
    """

    def __init__(
        self,
        provider: str,
        model: str,
        *,
        temperature: float | None = None,
        operation: str = "chat",
        conversation_id: str | None = None,
    ) -> None:
        self.span: Span = INVALID_SPAN  # open inside the block, for custom attributes
        self._provider = provider
        self._model = model
        self._usage: TokenUsage | None = None
        self._attributes: dict[str, Any] = {
            "llm.provider": provider,
            "llm.model": model,
            "gen_ai.provider.name": provider,
            "gen_ai.operation.name": operation,
            "gen_ai.request.model": model,
        }
        if temperature is not None:
            self._attributes["llm.temperature"] = float(temperature)
        if conversation_id is not None:
            self._attributes["gen_ai.conversation.id"] = conversation_id

    def record_usage(self, usage: Any, *, model: str | None = None) -> None:
        """Record the tokens of the call. Its cost is computed from them when the block ends.

        `usage` is the response's usage object, of Anthropic's or OpenAI's SDK, or a `TokenUsage`;
        for a stream, that of the final message. `model` is the model that responded, if the
        response names it. If called more than once, the last call wins.

        An unsupported usage object logs one warning; the span then has no tokens and no cost.
        """
        try:
            self._usage = TokenUsage.of(usage)
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            logger.warning("No tokens and no cost for a call of %s: %s.", self._model, error)
            return
        tokens = self._usage
        attributes: dict[str, Any] = {
            "llm.input_tokens": tokens.input_tokens,
            "llm.output_tokens": tokens.output_tokens,
            "gen_ai.usage.input_tokens": tokens.input_tokens,
            "gen_ai.usage.output_tokens": tokens.output_tokens,
        }
        if tokens.cache_read_tokens:
            attributes["gen_ai.usage.cache_read.input_tokens"] = tokens.cache_read_tokens
        if tokens.cache_write_tokens:
            # Renamed in the conventions of 2026; Honeycomb's own estimate reads the older name.
            attributes["gen_ai.usage.cache_write.input_tokens"] = tokens.cache_write_tokens
            attributes["gen_ai.usage.cache_creation.input_tokens"] = tokens.cache_write_tokens
        if model:
            self._model = model
            attributes["gen_ai.response.model"] = model
        self.span.set_attributes(attributes)

    def record_content(self, prompt: str, answer: str, *, system: str | None = None) -> None:
        """Record the texts of the call, if OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT is
        SPAN_ONLY or SPAN_AND_EVENT. Otherwise this does nothing.
        """
        if captures_content():
            self.span.set_attribute("gen_ai.input.messages", _message("user", prompt))
            self.span.set_attribute("gen_ai.output.messages", _message("assistant", answer))
            if system:
                texts = json.dumps([{"type": "text", "content": system}])
                self.span.set_attribute("gen_ai.system_instructions", texts)

    def __enter__(self) -> Self:
        price_loader.start_loading()
        self._usage = None
        self.span, self._previous = enter_span("llm.call", self._attributes, kind=SpanKind.CLIENT)
        open_calls.add(self.span.get_span_context().span_id)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        leave_span(self.span, self._previous, error)
        open_calls.discard(self.span.get_span_context().span_id)
        usage, end_time = self._usage, time.time_ns()
        # A failed call ends before the spans that its exception propagates to.
        has_price = error is None or price_loader.is_loaded
        if usage and has_price and self.span.is_recording():
            # In the first second of a process the span waits for prices, on the loading thread.
            price_loader.when_loaded(lambda: self._end_with_cost(usage, end_time))
        else:
            self.span.end(end_time)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.__exit__(kind, error, traceback)

    def _end_with_cost(self, usage: TokenUsage, end_time: int) -> None:
        if (cost := cost_usd(self._provider, self._model, usage)) is not None:
            self.span.set_attribute("llm.cost_usd", float(cost))
        self.span.end(end_time)


llm_call: Final = LLMCall


def _message(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])
