"""A tracer provider whose spans cost less than half of the SDK's. Optional.

It uses private fields of the SDK's spans. If this file is deleted, or a later SDK differs, the
SDK's own provider is used.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Lock
from time import time_ns
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, format_span_id
from opentelemetry.util.types import Attributes

_LIMITS: Final = sdk.SpanLimits()
_VALUES, _NAMES = frozenset({str, bool, int, float}), frozenset({str})  # types stored as they are
_RANDOM: Final = 0x02  # the W3C flag of a random trace ID


def create_tracer_provider(**options: Any) -> sdk.TracerProvider:
    """Create a provider with the options of the SDK's. Raises an exception if its spans differ."""
    provider, reference = TracerProvider(**options), sdk.TracerProvider(**options)
    parent = provider.get_tracer(__name__).start_span("parent")

    def describe(provider: sdk.TracerProvider) -> str:
        tracer, context = provider.get_tracer(__name__), trace.set_span_in_context(parent)
        span: Any = tracer.start_span("span", context, SpanKind.CLIENT, {"a": 1}, start_time=1)
        span.set_attribute("b", [1])
        span.add_event("event", {"c": True}, 2)
        span.add_link(parent.get_span_context())
        span.end(3)
        return str(span.to_json()).replace(format_span_id(span.context.span_id), "")

    if describe(provider) != describe(reference):
        raise RuntimeError("spans have other fields in this version of the SDK")
    return provider


class TracerProvider(sdk.TracerProvider):
    """Create the SDK's spans without a lock for attributes, empty lists, and a copy at their end."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, span_limits=_LIMITS)
        blank: Any = object.__new__(_Span)  # its fields are the initial ones of all spans
        shared: Any = {"resource": self.resource, "span_processor": self._active_span_processor}
        sdk.Span.__init__(blank, "", None, limits=_LIMITS, **shared)  # type: ignore[arg-type]
        self._span_class = type("_Span", (_Span,), vars(blank) | {"_events": (), "_links": ()})

    def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
        tracer: Any = super().get_tracer(*args, **kwargs)
        if type(tracer) is sdk.Tracer:
            tracer.__class__, vars(tracer)["span_class"] = _Tracer, self._span_class
        return tracer


class _Attributes(dict[str, Any]):
    """The SDK's BoundedAttributes, used only for values that it would not store unchanged."""

    __slots__ = ("_immutable",)  # set by the SDK when the span ends

    def __setitem__(self, name: str, value: Any) -> None:
        self._set_items({name: value})

    def _set_items(self, attributes: Mapping[str, Any]) -> None:
        count, length = _LIMITS.max_span_attributes, _LIMITS.max_span_attribute_length
        if (
            length is None
            and (count is None or len(self) + len(attributes) <= count)
            and _VALUES.issuperset(map(type, attributes.values()))
            and _NAMES.issuperset(map(type, attributes))
            and "" not in attributes
        ):
            self.update(attributes)
        else:
            with suppress(RecursionError):  # a list that is too deep, or contains itself
                checked = dict(BoundedAttributes(count, {**self, **attributes}, False, length))
                self.clear()
                self.update(checked)


class _Span(sdk.Span):
    def _add_event(self, event: Any) -> None:
        self._events = self._events or self._new_events()  # type: ignore[no-untyped-call]
        super()._add_event(event)

    def _add_link(self, link: trace.Link) -> None:
        self._links = self._links or self._new_links(())
        super()._add_link(link)

    def _readable_span(self) -> sdk.Span:
        return self


class _Tracer(sdk.Tracer):
    span_class: type[_Span]

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[trace.Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Any:
        above, ids = trace.get_current_span(context), self.id_generator
        parent, span_id = above.get_span_context(), ids.generate_span_id()
        trace_id, flags, state = parent.trace_id, parent.trace_flags, parent.trace_state
        # A child follows the sampling decision of its local parent, as in ProbabilitySampler.
        if type(above) is not self.span_class:
            if not parent.is_valid:
                trace_id, flags = ids.generate_trace_id(), TraceFlags(_RANDOM)
            made: Any = self.sampler.should_sample(context, trace_id, name, kind, attributes, links)
            flags = TraceFlags(flags & _RANDOM | made.decision.is_sampled())
            state = made.trace_state
            if not made.decision.is_recording():
                return trace.NonRecordingSpan(SpanContext(trace_id, span_id, False, flags, state))
        span: Any = object.__new__(self.span_class)
        span._name, span._kind, span._lock = name, kind, Lock()
        span._context = SpanContext(trace_id, span_id, False, flags, state)
        span._parent = parent if parent.is_valid else None
        span._instrumentation_info = self.instrumentation_info
        span._instrumentation_scope = self._instrumentation_scope
        span._attributes = _Attributes()
        if attributes:
            span._attributes._set_items(attributes)
        if links:
            span._links = span._new_links(links)
        span._record_exception = record_exception
        span._set_status_on_exception = set_status_on_exception
        span._start_time = time_ns() if start_time is None else start_time
        self.span_processor.on_start(span, parent_context=context)
        return span
