"""The span processor: one span per operation, one event per exception, cost of SDK spans."""

from __future__ import annotations

from asyncio import CancelledError
from collections import OrderedDict
from contextlib import suppress
from typing import Any, Final

from opentelemetry.context import Context, get_value
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import Status, StatusCode, get_current_span

from ._pricing import TokenUsage, price_loader
from ._redaction import copy_span, redact_event, redact_span
from ._sampling import TailSampler, head_weight
from ._settings import Settings, warn_once
from .llm import is_call, usage_attributes
from .spans import SHARED, is_expected

# Older instrumentations create three or four such spans per request.
_ASGI_MESSAGES: Final = (" http receive", " http send", " websocket receive", " websocket send")
_OPERATION: Final = "gen_ai.operation.name"
_REASONS: Final = "gen_ai.response.finish_reasons"
# Attributes of an agent or conversation that most instrumentations set on its own span only.
_INHERITED: Final = ("gen_ai.agent.name", "gen_ai.conversation.id")
_OF_USAGE: Final = ("gen_ai.usage.", "llm.")
_OF_A_CALL: Final = ("gen_ai.", "anthropic.", "openai.", "http.request.resend_count")
_MAX_BELOW, _MAX_REMEMBERED = 100, 1_000  # spans that outlive their parents leave entries


class _Call:
    """A call of a model. Those below it, not of a tool, may be the same, and wait for its end."""

    def __init__(self, span_id: int, above: _Call | None) -> None:
        self.span_id, self.above = span_id, above
        self.below: list[_Call] | None = []  # None if they no longer wait
        self.has_children = False  # spans that are exported below it

    def end(self, span: ReadableSpan) -> None:
        self.span, self.attributes = span, dict(span.attributes or {})
        # Some frameworks put the provider before a model, and an alias of a model has the same usage.
        models = map(self.attributes.get, ("gen_ai.request.model", "gen_ai.response.model"))
        self.marks: set[object] = {str(model).rpartition("/")[2] for model in models if model}
        self.usage: TokenUsage | None = None
        usage: dict[str, Any] = {
            name.partition(".usage.")[2] or "service_tier": value
            for name, value in self.attributes.items()
            if ".usage." in name or name.endswith(".response.service_tier")
        }
        with suppress(KeyError, TypeError):
            scope = str(getattr(span.instrumentation_scope, "name", ""))
            if "bedrock" in scope and scope.startswith("opentelemetry."):
                # By the conventions, the input includes cached tokens; Bedrock's number does not.
                for each in ("cache_read", "cache_write", "cache_creation"):
                    usage["input_tokens"] += usage.get(f"{each}.input_tokens", 0)
            self.usage = TokenUsage.of(usage)
            self.marks.add((self.usage.input_tokens, self.usage.output_tokens))
        self.has_failed = span.status.status_code is StatusCode.ERROR
        if reason := self.attributes.get("anthropic.message.stop_reason"):
            self.attributes.setdefault(_REASONS, (reason,))
        if self.attributes.get(_REASONS) == ("error",) and not self.has_failed:
            del self.attributes[_REASONS]  # LangChain's, if the response names none

    def as_run(self) -> ReadableSpan:
        """Return the span without tokens and cost, which others for the same calls have."""
        kept = {k: v for k, v in self.attributes.items() if not k.startswith(_OF_USAGE)}
        return copy_span(self.span, attributes={**kept, _OPERATION: "invoke_agent"})


class TelemetryProcessor(SpanProcessor):
    """Pass each finished span to `exporter`, which must not block.

    With `sampling` settings, traces are buffered until they are complete and sampled then.
    """

    def __init__(self, exporter: SpanExporter, sampling: Settings | None = None) -> None:
        self.exporter = exporter
        self._exceptions: OrderedDict[int, set[tuple[object, object]]] = OrderedDict()
        # The innermost call at or above each open span, if there is one.
        self._calls: OrderedDict[int, _Call] = OrderedDict()
        self.sampler = TailSampler(sampling, self._export) if sampling else None

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        parent: Any = get_current_span(parent_context)
        above = getattr(parent, "attributes", None) or {}
        shared: Any = get_value(SHARED, parent_context) or {}
        if shared or _OPERATION in above:
            own = span.attributes or {}
            # Some frameworks invent a conversation for each run.
            is_framework = _OPERATION in own and "llm.provider" not in own
            added = {k: v for k, v in shared.items() if is_framework or k not in own}
            inherited = {k: above[k] for k in _INHERITED if k in above and k not in own}
            span.set_attributes(inherited | added)
        if (self._calls or _OPERATION in above) and above.get(_OPERATION) != "execute_tool":
            parent_id = parent.get_span_context().span_id
            call = self._calls.get(parent_id)
            if is_call(above) and (call is None or call.span_id != parent_id):
                call = self._calls[parent_id] = _Call(parent_id, call)
            if call is not None:
                self._calls[span.get_span_context().span_id] = call
                while len(self._calls) > _MAX_REMEMBERED:
                    self._release(self._calls.popitem(last=False)[1])
        if self.sampler:
            self.sampler.start(span, getattr(parent, "_trace", None))

    def on_end(self, span: ReadableSpan) -> None:
        attributes: Any = span.attributes or {}
        call = self._calls.pop(span.context.span_id, None) if self._calls else None
        has_left = "request.client_disconnected" in attributes
        if "error.type" in attributes and not has_left:
            kind, description = str(attributes["error.type"]), span.status.description
            closed = kind.endswith("GeneratorExit") or description == "abandoned stream"
            has_left = closed or (kind.endswith("CancelledError") and is_expected(CancelledError()))
        if has_left and not str(attributes.get("http.response.status_code")).startswith("5"):
            # Instrumentations record it as an error if a client leaves or a stream is not read on.
            attributes = {k: v for k, v in attributes.items() if k != "error.type"}
            events = [event for event in span.events if event.name != "exception"]
            span = copy_span(span, attributes=attributes, events=events, status=Status())
        is_llm = _OPERATION in attributes and is_call(attributes)
        if is_llm and (call is not None or "llm.input_tokens" not in attributes):
            if call is None or call.span_id != span.context.span_id:
                call = _Call(span.context.span_id, call)
            call.end(span)
            return self._end_call(call)
        if call is not None and span.parent and span.parent.span_id == call.span_id:
            call.has_children = True
        return self._sample(span, is_duplicate=str(span.name).endswith(_ASGI_MESSAGES))

    def decide_all(self) -> None:
        """Sample open traces on the spans they have so far, because the process ends."""
        price_loader.finish(1.0)  # ends calls that wait for their price, with their duplicates
        for call in [*self._calls.values()]:
            self._release(call)
        if self.sampler:
            self.sampler.decide_all()

    def shutdown(self) -> None:
        self.decide_all()
        self.exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        price_loader.finish(timeout_millis / 2_000)
        return self.exporter.force_flush(timeout_millis)

    def reset(self) -> None:
        """Forget all spans. After a fork, the parent process exports them."""
        self._exceptions.clear()
        self._calls.clear()
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
            warn_once("Could not export a span: %s.", type(error).__name__)

    def _end_call(self, call: _Call) -> None:
        """Merge `call` and its duplicate, and add costs, or wait for the end of the call above."""
        # Spans of `llm_call`, a framework and an SDK for one call are merged into the outermost; others
        # below it remain. If several may be that call, it is an agent's run, and they have the cost.
        below, call.below = call.below or [], None
        same = [each for each in below if call.marks & each.marks]
        succeeded = [each for each in same if not each.has_failed]
        inputs = [each.usage.input_tokens for each in below if each.usage]
        is_sum = call.usage is not None and sum(inputs) == call.usage.input_tokens
        if len(succeeded) > 1 or (len(inputs) > 1 and is_sum):
            call.span = call.as_run()
            call.attributes = dict(call.span.attributes or {})
            call.usage, call.marks = None, set()
        elif same := succeeded or same * call.has_failed:
            inner = same[-1]
            below.remove(inner)
            self._sample(inner.as_run(), is_duplicate=not inner.has_children)
            if inner.usage and "llm.input_tokens" not in call.attributes:
                call.usage = inner.usage  # frameworks lose usage, for example of streams
            added = {k: v for k, v in inner.attributes.items() if k.startswith(_OF_A_CALL)}
            call.attributes = {**added, **call.attributes}
        call.has_children |= bool(below)
        above = call.above.below if call.above else None
        waiting, limit = ([], 0) if above is None else (above, _MAX_BELOW)
        waiting += [*below, call]
        while len(waiting) > limit:
            self._add_cost(waiting.pop(0))

    def _release(self, call: _Call) -> None:
        below, call.below = call.below or [], None
        for each in below:
            self._add_cost(each)

    def _add_cost(self, call: _Call) -> None:
        """Sample `call` with its model, tokens and cost, if `llm_call` has not added them."""
        span, attributes, usage = call.span, call.attributes, call.usage
        if usage is None or "llm.input_tokens" in attributes:
            return self._sample(copy_span(span, attributes=attributes))
        provider = str(attributes.get("gen_ai.provider.name") or attributes.get("gen_ai.system"))
        requested = attributes.get("gen_ai.request.model")
        model = str(attributes.get("gen_ai.response.model") or requested)
        defaults: dict[str, Any] = {"llm.provider": provider, "llm.model": requested or model}

        def add_cost() -> None:
            cost = usage_attributes(provider, model, usage)
            self._sample(copy_span(span, attributes={**defaults, **attributes, **cost}))

        return price_loader.when_loaded(add_cost)

    def _events(self, span: ReadableSpan) -> list[Event] | None:
        """Return the events of `span`, if there are any, except exceptions that a child has recorded."""
        # Each span that an exception crosses may record it. Children end first and keep the event.
        events, recorded = [], self._exceptions.pop(span.context.span_id, set())
        if not recorded and not span.events:
            return None
        for event in filter(None, (redact_event(each, span) for each in span.events)):
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
            self._exceptions.setdefault(span.parent.span_id, set()).update(recorded)
            if len(self._exceptions) > _MAX_REMEMBERED:
                self._exceptions.popitem(last=False)
        return events
