"""The span processor: one span per operation, one event per exception, cost of SDK spans."""

import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter

from ._pricing import TokenUsage, cost_usd, price_loader
from ._redaction import copy_span, redact_span
from ._sampling import KeepPolicy, TailSampler, head_weight
from .llm import open_calls

logger = logging.getLogger(__name__)

# Operations that are one call of a model. An agent's span repeats the usage of its calls.
_CALLS: Final = ("chat", "embeddings", "generate_content", "text_completion")
# A span that outlives its parent leaves an entry that is never removed.
_MAX_REMEMBERED: Final = 1_000


class TelemetryProcessor(SpanProcessor):
    """Pass each finished span to `exporter`, which must not block.

    With a `policy`, traces are buffered until they are complete and sampled then.
    """

    def __init__(self, exporter: SpanExporter, policy: KeepPolicy | None = None) -> None:
        self.exporter = exporter
        self._exceptions: OrderedDict[int, set[tuple[object, object]]] = OrderedDict()
        self._parents_of_calls: OrderedDict[int, bool] = OrderedDict()
        self._has_failed = False
        self._sampler = TailSampler(policy, self._export) if policy else None

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if self._sampler:
            self._sampler.on_start(span)

    def on_end(self, span: ReadableSpan) -> None:
        attributes = span.attributes or {}
        if "asgi.event.type" in attributes:
            # An ASGI message: older instrumentations create three or four spans per request.
            self._sample(span, is_duplicate=True)
        elif "gen_ai.operation.name" not in attributes or "llm.provider" in attributes:
            self._sample(span)
        elif span.parent is not None and span.parent.span_id in open_calls:
            # The SDK's span for a call that `llm_call` already traces.
            self._sample(span, is_duplicate=True)
        else:
            self._add_cost(span)

    def decide_all(self) -> None:
        """Sample open traces on the spans they have so far, because the process ends."""
        price_loader.wait(2.0)
        if self._sampler:
            self._sampler.decide_all()

    def shutdown(self) -> None:
        self.decide_all()
        self.exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        deadline = time.monotonic() + timeout_millis / 1_000
        price_loader.wait(timeout_millis / 1_000)
        return self.exporter.force_flush(max(0, int((deadline - time.monotonic()) * 1_000)))

    def _sample(self, span: ReadableSpan, *, is_duplicate: bool = False) -> None:
        if self._sampler:
            self._sampler.on_end(span, is_duplicate=is_duplicate)
        elif not is_duplicate and (weight := head_weight(span)):
            self._export(span, weight)

    def _export(self, span: ReadableSpan, weight: int) -> None:
        try:
            self.exporter.export([redact_span(span, self._events(span), weight)])
        except Exception as error:  # noqa: BLE001 - the span ends in the middle of a request
            if not self._has_failed:
                self._has_failed = True
                logger.warning("Could not export a span like %r: %s", span.name, error)

    def _add_cost(self, span: ReadableSpan) -> None:
        """Add model, tokens and cost to the span of an LLM SDK, as `llm_call` does to its own."""
        attributes: dict[str, Any] = dict(span.attributes or {})
        usage = _usage(attributes)
        if usage is None or self._is_parent_of_call(span):
            self._sample(span)
            return
        provider = str(attributes.get("gen_ai.provider.name") or attributes.get("gen_ai.system"))
        request_model = attributes.get("gen_ai.request.model")
        model = str(attributes.get("gen_ai.response.model") or request_model)
        attributes |= {"llm.provider": provider, "llm.model": str(request_model or model)}
        attributes["llm.input_tokens"] = usage.input_tokens
        attributes["llm.output_tokens"] = usage.output_tokens

        def add_cost() -> None:
            if (cost := cost_usd(provider, model, usage)) is not None:
                attributes["llm.cost_usd"] = float(cost)
            self._sample(copy_span(span, attributes=attributes))

        price_loader.when_loaded(add_cost)

    def _is_parent_of_call(self, span: ReadableSpan) -> bool:
        """Return true if a child span has this usage too: both the SDK and a wrapper are traced."""
        if self._parents_of_calls.pop(span.context.span_id, False):
            return True
        if span.parent is not None and not span.parent.is_remote:
            self._parents_of_calls[span.parent.span_id] = True
            if len(self._parents_of_calls) > _MAX_REMEMBERED:
                self._parents_of_calls.popitem(last=False)
        return False

    def _events(self, span: ReadableSpan) -> list[Event]:
        """Return the events of `span`, except exceptions that a child span has recorded.

        Every span that an exception crosses may record it, and Honeycomb bills each event. Children
        end before their parents, so the innermost span keeps the event.
        """
        recorded = self._exceptions.pop(span.context.span_id, set()) if self._exceptions else set()
        if not recorded and not span.events:
            return []
        events: list[Event] = []
        for event in span.events:
            if event.name == "exception":
                attributes = event.attributes or {}
                exception = attributes.get("exception.type"), attributes.get("exception.message")
                if exception in recorded:
                    continue
                recorded.add(exception)
            events.append(event)
        if recorded and span.parent is not None and not span.parent.is_remote:
            self._exceptions.setdefault(span.parent.span_id, set()).update(recorded)
            while len(self._exceptions) > _MAX_REMEMBERED:
                self._exceptions.popitem(last=False)
        return events


def _usage(attributes: Mapping[str, Any]) -> TokenUsage | None:
    is_call = attributes.get("gen_ai.operation.name") in _CALLS
    if not is_call or "gen_ai.usage.input_tokens" not in attributes:
        return None

    def tokens(name: str) -> int:
        value = attributes.get(name)
        return value if type(value) is int and value > 0 else 0

    # By the conventions, the input includes cached tokens, read or written.
    written = tokens("gen_ai.usage.cache_write.input_tokens")
    return TokenUsage(
        input_tokens=tokens("gen_ai.usage.input_tokens"),
        output_tokens=tokens("gen_ai.usage.output_tokens"),
        cache_read_tokens=tokens("gen_ai.usage.cache_read.input_tokens"),
        cache_write_tokens=written or tokens("gen_ai.usage.cache_creation.input_tokens"),
        cache_write_1h_tokens=tokens("anthropic.usage.cache_creation.ephemeral_1h_input_tokens"),
    )
