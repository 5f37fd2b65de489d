"""The span processor: one span per operation, one event per exception, cost of SDK spans."""

import logging
import time
from collections import OrderedDict
from contextlib import suppress
from typing import Any, Final, TypeVar

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span

from ._pricing import TokenUsage, cost_usd, price_loader
from ._redaction import copy_span, redact_event, redact_span
from ._sampling import TailSampler, head_weight
from ._settings import Settings
from .llm import is_call, usage_attributes
from .spans import shared_attributes

T = TypeVar("T")
logger = logging.getLogger(__name__)

# Attributes of a request or WebSocket whose client left before the end.
_CLIENT_LEFT: Final = frozenset({"request.client_disconnected", "websocket.close_code"})
_ASGI_MESSAGES: Final = (" http receive", " http send", " websocket receive", " websocket send")
# Attributes of an agent or conversation that most instrumentations set on its own span only.
_INHERITED: Final = ("gen_ai.agent.name", "gen_ai.conversation.id")
# Attributes that the span of a call has in common with a duplicate.
_OF_A_CALL: Final = ("gen_ai.", "anthropic.", "openai.", "http.request.resend_count")
# A span that outlives its parent leaves an entry that is never removed.
_MAX_REMEMBERED: Final = 1_000
_MAX_BELOW: Final = 100


class TelemetryProcessor(SpanProcessor):
    """Pass each finished span to `exporter`, which must not block.

    With `sampling` settings, traces are buffered until they are complete and sampled then.
    """

    def __init__(self, exporter: SpanExporter, sampling: Settings | None = None) -> None:
        self.exporter = exporter
        self._exceptions: OrderedDict[int, set[tuple[object, object]]] = OrderedDict()
        self._calls_above: OrderedDict[int, ReadableSpan] = OrderedDict()
        self._calls_below: OrderedDict[int, list[ReadableSpan]] = OrderedDict()
        self._has_failed = False
        self.sampler = TailSampler(sampling, self._export) if sampling else None

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        parent: Any = get_current_span(parent_context)
        above, own = getattr(parent, "attributes", None) or {}, span.attributes or {}
        if shared := shared_attributes(parent_context):
            # Some frameworks invent a conversation for each run.
            is_framework = "gen_ai.operation.name" in own and "llm.provider" not in own
            span.set_attributes({k: v for k, v in shared.items() if is_framework or k not in own})
        if "gen_ai.operation.name" in above:
            of_agent = {k: above[k] for k in _INHERITED if k in above and k not in own}
            span.set_attributes(of_agent)
        if self._calls_above or "gen_ai.operation.name" in above:
            call = parent if is_call(above) else self._calls_above.get(_id(parent))
            if call is not None:
                _remember(self._calls_above, _id(span), call)
        if self.sampler:
            self.sampler.start(span)

    def on_end(self, span: ReadableSpan) -> None:
        attributes = span.attributes or {}
        call_above = self._calls_above.pop(_id(span), None) if self._calls_above else None
        if span.kind is SpanKind.SERVER and not _CLIENT_LEFT.isdisjoint(attributes):
            # FastAPI and the contrib package record this as an error of the service.
            status_code = attributes.get("http.response.status_code")
            if not isinstance(status_code, int) or status_code < 500:
                attributes = {name: attributes[name] for name in attributes if name != "error.type"}
                events = [event for event in span.events if event.name != "exception"]
                span = copy_span(span, attributes=attributes, events=events, status=Status())
            self._sample(span)
        elif "asgi.event.type" in attributes or str(span.name).endswith(_ASGI_MESSAGES):
            # Older instrumentations create three or four spans per request.
            self._sample(span, is_duplicate=True)
        elif not is_call(attributes):
            self._sample(span)
        else:
            for each in self._merge_duplicate(span):
                if call_above is not None and call_above.end_time is None:
                    self._hold(each, call_above)
                else:
                    self._add_cost(each)

    def decide_all(self) -> None:
        """Sample open traces on the spans they have so far, because the process ends."""
        # Ends calls that wait for their price, which finds the duplicates below them.
        price_loader.finish(1.0)
        for call_id in list(self._calls_below):
            for span in self._calls_below.pop(call_id, ()):
                self._add_cost(span)
        if self.sampler:
            self.sampler.decide_all()

    def shutdown(self) -> None:
        self.decide_all()
        self.exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        deadline = time.monotonic() + timeout_millis / 1_000
        price_loader.finish(timeout_millis / 2_000)
        return self.exporter.force_flush(max(0, int((deadline - time.monotonic()) * 1_000)))

    def reset(self) -> None:
        """Forget all spans. After a fork, the parent process exports them."""
        for remembered in (self._exceptions, self._calls_above, self._calls_below):
            remembered.clear()
        if self.sampler:
            self.sampler.reset()

    def _sample(self, span: ReadableSpan, *, is_duplicate: bool = False) -> None:
        if self.sampler:
            context = span.context
            self.sampler.end(context.trace_id, context.span_id, None if is_duplicate else span)
        elif not is_duplicate and (weight := head_weight(span)):
            self._export(span, weight)

    def _export(self, span: ReadableSpan, weight: int) -> None:
        try:
            self.exporter.export([redact_span(span, self._events(span), weight)])
        except Exception as error:  # noqa: BLE001 - the span ends in the middle of a request
            if not self._has_failed:
                self._has_failed = True
                logger.warning("Could not export a span like %r: %s", span.name, error)

    def _hold(self, span: ReadableSpan, call_above: ReadableSpan) -> None:
        """Keep `span` until the call above it ends, which shows whether both are the same call."""
        below = [*self._calls_below.get(_id(call_above), ()), span]
        oldest = _remember(self._calls_below, _id(call_above), below[-_MAX_BELOW:])
        for each in (*below[:-_MAX_BELOW], *(oldest or ())):
            self._add_cost(each)

    def _merge_duplicate(self, span: ReadableSpan) -> list[ReadableSpan]:
        """Return the calls below `span`, and `span` itself, without duplicates.

        `llm_call`, a framework and an SDK may each create a span for one call. The outermost is kept,
        with the attributes that only the inner one has. Other calls below it remain.
        """
        below = self._calls_below.pop(_id(span), None)
        if not below:
            return [span]
        usage, outer = _tokens(span), dict(span.attributes or {})
        same = [each for each in below if usage and _tokens(each) == usage]
        sums = [sum(numbers) for numbers in zip(*filter(None, map(_tokens, below)), strict=True)]
        if not same and usage and sums == [*usage]:
            # An agent's run inside `llm_call`, with the usage of all its calls.
            kept = {k: v for k, v in outer.items() if not k.startswith(("gen_ai.usage.", "llm."))}
            kept["gen_ai.operation.name"] = "invoke_agent"
            return [*below, copy_span(span, attributes=kept)]
        same = same or [each for each in below if _models(span) & _models(each)]
        if not same:
            return [*below, span]
        # An attempt in `llm_call` may fail, and the next succeed.
        has_failed = span.status.status_code is StatusCode.ERROR
        same.sort(key=lambda each: (each.status.status_code is StatusCode.ERROR) is not has_failed)
        duplicate = same[0]
        below.remove(duplicate)
        self._sample(duplicate, is_duplicate=True)
        inner = dict(duplicate.attributes or {})
        if (reported := _usage(duplicate)) is not None:
            inner |= usage_attributes(reported)
            if "llm.provider" not in outer:
                # Frameworks lose usage, for example of streams, that the SDK reports.
                outer = {k: v for k, v in outer.items() if not k.startswith("gen_ai.usage.")}
        inner = {name: each for name, each in inner.items() if name.startswith(_OF_A_CALL)}
        return [*below, copy_span(span, attributes={**inner, **outer})]

    def _add_cost(self, span: ReadableSpan) -> None:
        """Add model, tokens and cost, if `llm_call` has not."""
        attributes: dict[str, Any] = dict(span.attributes or {})
        if "llm.input_tokens" in attributes or (usage := _usage(span)) is None:
            self._sample(span)
            return
        provider = str(attributes.get("gen_ai.provider.name") or attributes.get("gen_ai.system"))
        request_model = attributes.get("gen_ai.request.model")
        model = str(attributes.get("gen_ai.response.model") or request_model)
        attributes = {
            "llm.provider": provider,
            "llm.model": str(request_model or model),
            **attributes,
            **usage_attributes(usage),
        }
        reason = attributes.get("anthropic.message.stop_reason")
        if reason and "gen_ai.response.finish_reasons" not in attributes:
            attributes["gen_ai.response.finish_reasons"] = (reason,)

        def add_cost() -> None:
            cost = cost_usd(provider, model, usage) if price_loader.is_loaded else None
            if cost is not None:
                attributes["llm.cost_usd"] = float(cost)
            self._sample(copy_span(span, attributes=attributes))

        price_loader.when_loaded(add_cost)

    def _events(self, span: ReadableSpan) -> list[Event]:
        """Return the events of `span`, except exceptions that a child span has recorded.

        Every span that an exception crosses may record it, and Honeycomb bills each event. Children
        end before their parents, so the innermost span keeps the event.
        """
        recorded = self._exceptions.pop(span.context.span_id, set()) if self._exceptions else set()
        if not recorded and not span.events:
            return []
        events: list[Event] = []
        for event in filter(None, map(redact_event, span.events)):
            if event.name == "exception":
                attributes = event.attributes or {}
                exception = attributes.get("exception.type"), attributes.get("exception.message")
                # OpenTelemetry's own code records a group beside its members.
                is_group = str(exception[0]).endswith("ExceptionGroup")
                if exception in recorded or (recorded and is_group):
                    continue
                recorded.add(exception)
            events.append(event)
        if recorded and span.parent is not None and not span.parent.is_remote:
            others = self._exceptions.get(span.parent.span_id, set())
            _remember(self._exceptions, span.parent.span_id, others | recorded)
        return events


def _remember(entries: OrderedDict[int, T], key: int, entry: T) -> T | None:
    """Add an entry, and return the oldest one if there are too many."""
    entries[key] = entry
    return entries.popitem(last=False)[1] if len(entries) > _MAX_REMEMBERED else None


def _id(span: Any) -> int:
    return int(span.get_span_context().span_id)


def _tokens(span: ReadableSpan) -> tuple[int, int] | None:
    usage = _usage(span)
    return (usage.input_tokens, usage.output_tokens) if usage else None


def _models(span: ReadableSpan) -> set[str]:
    """Return the models of a call, without the provider that some frameworks put before them."""
    attributes = span.attributes or {}
    models = (attributes.get(f"gen_ai.{each}.model") for each in ("request", "response"))
    return {str(model).rpartition("/")[2] for model in models if model}


def _usage(span: ReadableSpan) -> TokenUsage | None:
    attributes = span.attributes or {}
    if "gen_ai.usage.input_tokens" not in attributes:
        return None
    usage: dict[str, Any] = {
        name.partition(".usage.")[2] or "service_tier": value
        for name, value in attributes.items()
        if ".usage." in name or name.endswith(".response.service_tier")
    }
    scope = getattr(span.instrumentation_scope, "name", "")
    if "bedrock" in scope or "botocore" in scope:
        # By the conventions, the input includes cached tokens; these pass on Bedrock's number.
        for each in ("cache_read", "cache_write", "cache_creation"):
            usage["input_tokens"] += usage.get(f"{each}.input_tokens", 0)
    with suppress(TypeError):
        return TokenUsage.of(usage)
    return None
