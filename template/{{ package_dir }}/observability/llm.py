"""The span of one LLM call: its model, tokens and cost, and its content only where it is asked for."""

import json
import logging
import time
from types import TracebackType
from typing import Any, Final, Self

from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from . import pricing
from .pricing import TokenUsage
from .settings import captures_content
from .spans import enter_span, leave_span

logger = logging.getLogger(__name__)

# Ids of the spans of calls that are under way. What an SDK tells of such a call by itself is a
# child of one of them and would count it twice: pipeline.py leaves it out.
open_calls: Final[set[int]] = set()


class LLMCall:
    """One LLM call while it runs: a context manager, sync or async. Made by `llm_call`."""

    def __init__(self, provider: str, model: str, attributes: dict[str, Any]) -> None:
        self._provider = provider
        self._model = model
        self._attributes = attributes
        self._span: Span = INVALID_SPAN
        self._usage: TokenUsage | None = None

    @property
    def span(self) -> Span:
        """The call's span, for attributes of your own."""
        return self._span

    def record_usage(self, usage: Any, *, model: str | None = None) -> None:
        """Keeps the tokens of the call, from which its cost comes when the block ends.

        `usage` is the response's own usage object, of Anthropic's or OpenAI's SDK, or a
        `TokenUsage`; of a stream, that of the final message. `model` is the one that answered,
        where the response names it. Called again, the last one counts.

        Something else than a usage is one warning, and the call has no tokens and no cost.
        """
        try:
            self._usage = TokenUsage.of(usage)
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            logger.warning("Tokens and cost of a call of %s are missing: %s", self._model, error)
            return
        self._span.set_attributes(
            {
                "llm.input_tokens": self._usage.input_tokens,
                "llm.output_tokens": self._usage.output_tokens,
                "gen_ai.usage.input_tokens": self._usage.input_tokens,
                "gen_ai.usage.output_tokens": self._usage.output_tokens,
            }
        )
        if self._usage.cache_read_tokens:
            self._span.set_attribute(
                "gen_ai.usage.cache_read.input_tokens", self._usage.cache_read_tokens
            )
        if self._usage.cache_write_tokens:
            # Renamed in the conventions of 2026; Honeycomb's own estimate reads the older name.
            for name in ("cache_write", "cache_creation"):
                self._span.set_attribute(
                    f"gen_ai.usage.{name}.input_tokens", self._usage.cache_write_tokens
                )
        if model:
            self._model = model
            self._span.set_attribute("gen_ai.response.model", model)

    def record_content(self, prompt: str, answer: str, *, system: str | None = None) -> None:
        """Puts the texts of the call on its span, where the environment asks for content.

        It does with OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY. Otherwise, this
        does nothing.
        """
        if not captures_content():
            return
        self._span.set_attributes(
            {
                "gen_ai.input.messages": _message("user", prompt),
                "gen_ai.output.messages": _message("assistant", answer),
            }
        )
        if system:
            self._span.set_attribute("gen_ai.system_instructions", json.dumps([_text(system)]))

    def __enter__(self) -> Self:
        pricing.start_loading()
        self._usage = None
        self._span, self._before = enter_span("llm.call", self._attributes, kind=SpanKind.CLIENT)
        open_calls.add(self._span.get_span_context().span_id)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        leave_span(self._span, self._before, error)
        open_calls.discard(self._span.get_span_context().span_id)
        # A failed call ends at once, before the spans that its exception is on the way to.
        is_priced = self._usage is not None and (error is None or pricing.is_loaded())
        if not is_priced or not self._span.is_recording():
            self._span.end()
            return
        ended = time.time_ns()
        # Only in the first moments of a process are prices not there yet; the span then waits for
        # them on the loading thread, so that the event loop does not.
        pricing.when_loaded(lambda: self._end_with_cost(ended))

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _end_with_cost(self, ended: int) -> None:
        assert self._usage is not None
        cost = pricing.cost_usd(self._provider, self._model, self._usage)
        if cost is not None:
            self._span.set_attribute("llm.cost_usd", float(cost))
        self._span.end(end_time=ended)


def _message(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [_text(text)]}])


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "content": text}


def llm_call(
    provider: str,
    model: str,
    *,
    temperature: float | None = None,
    operation: str = "chat",
    conversation_id: str | None = None,
) -> LLMCall:
    """The span of one LLM call, retries of the SDK included.

        with llm_call("anthropic", model, conversation_id=session.id) as call:
            message = await client.messages.create(...)
            call.record_usage(message.usage, model=message.model)

    `provider` and `operation` are OpenTelemetry's names: anthropic, openai, aws.bedrock; chat,
    embeddings. Spans that the SDK makes of the same call are left out.
    """
    attributes: dict[str, Any] = {
        "llm.provider": provider,
        "llm.model": model,
        "gen_ai.provider.name": provider,
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": model,
    }
    if temperature is not None:
        attributes["llm.temperature"] = float(temperature)
    if conversation_id is not None:
        attributes["gen_ai.conversation.id"] = conversation_id
    return LLMCall(provider, model, attributes)
