"""A tracer provider whose spans cost less than half of the SDK's. Optional.

It uses private fields of the SDK's spans. If this file is deleted, or a later SDK differs, the
SDK's own provider is used.
"""

import sys
from collections.abc import Mapping, Sequence
from threading import Lock
from time import time_ns
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes

# Types that the SDK stores unchanged; it validates, copies, truncates or rejects all others.
_PLAIN: Final = frozenset({str, bool, int, float})
_NAMES: Final = frozenset({str})
# The W3C flag of a random trace ID.
_RANDOM: Final = 0x02


def create_tracer_provider(
    sampler: Sampler, resource: Resource, id_generator: IdGenerator
) -> sdk.TracerProvider:
    """Create the provider. Raises an exception if it does not work with the installed SDK."""
    provider = TracerProvider(sampler, resource, id_generator)
    _check_fields(provider.get_tracer(__name__))
    return provider


def _check_fields(tracer: trace.Tracer) -> None:
    """Set each field of a span, and compare all of them through the SDK's public API."""
    outer = tracer.start_span("outer")
    span = tracer.start_span(
        "inner", trace.set_span_in_context(outer), SpanKind.CLIENT, {"a": 1}, start_time=1
    )
    span.set_attribute("b", [1])
    span.add_event("event", {"c": True}, 2)
    span.add_link(outer.get_span_context())
    span.set_status(StatusCode.ERROR, "failed")
    span.update_name("name")
    span.end(3)
    outer.end()
    parent, context = outer.get_span_context(), span.get_span_context()
    if not (
        isinstance(span, sdk.Span)
        and (span.name, span.start_time, span.end_time) == ("name", 1, 3)
        and (span.kind, span.context, span.parent) == (SpanKind.CLIENT, context, parent)
        and (context.trace_id, outer.is_recording()) == (parent.trace_id, False)
        and dict(span.attributes or {}) == {"a": 1, "b": (1,)}
        and [(event.name, event.timestamp) for event in span.events] == [("event", 2)]
        and [link.context for link in span.links] == [parent]
        and (span.status.status_code, span.status.description) == (StatusCode.ERROR, "failed")
        and getattr(span.instrumentation_scope, "name", None) == __name__
    ):
        raise RuntimeError("spans have other fields in this version of the SDK")


class TracerProvider(sdk.TracerProvider):
    """Create the SDK's spans without the parts that most of them do not need.

    Attributes are a dictionary until the SDK would have to validate one, events and links are
    created with the first of them, and a finished span is not copied for the span processors.
    """

    def __init__(self, sampler: Sampler, resource: Resource, ids: IdGenerator) -> None:
        limits = sdk.SpanLimits()
        processor = sdk.SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
        super().__init__(sampler, resource, False, processor, ids, limits)
        self._span_class = _span_class(sampler, processor, limits)
        # Older SDKs do not set the flag.
        self._random = _RANDOM * hasattr(IdGenerator, "is_trace_id_random")

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        tracer = super().get_tracer(*args, **kwargs)
        if type(tracer) is sdk.Tracer:
            ours: Any = tracer
            ours.__class__ = _Tracer
            ours.span_class, ours.random = self._span_class, self._random
        return tracer


class _Attributes(dict[str, Any]):
    # Set by the SDK when the span ends.
    __slots__ = ("_immutable",)


class _Span(sdk.Span):
    """A span with the SDK's fields. Those shared by all spans are on the class: see `_span_class`."""

    _most_attributes: int
    _attributes: Any

    def set_attribute(self, key: str, value: Any) -> None:
        if not self._store({key: value}):
            super().set_attribute(key, value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if not self._store(attributes):
            super().set_attributes(attributes)

    def add_event(
        self, name: str, attributes: Attributes = None, timestamp: int | None = None
    ) -> None:
        if not self._events:
            self._events = self._new_events()  # type: ignore[no-untyped-call]
        super().add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        if not self._links:
            self._links = self._new_links(())
        super().add_link(context, attributes)

    def _store(self, attributes: Mapping[str, Any]) -> bool:
        """Store `attributes` and return true if the SDK would store them unchanged."""
        with self._lock:
            known = self._attributes
            if type(known) is not _Attributes or self._end_time is not None:
                return False
            if (
                _PLAIN.issuperset(map(type, attributes.values()))
                and _NAMES.issuperset(map(type, attributes))
                and "" not in attributes
                and len(known) + len(attributes) <= self._most_attributes
            ):
                known.update(attributes)
                return True
            self._attributes = self._checked(known)
            return False

    def _checked(self, attributes: Attributes) -> BoundedAttributes:
        count, length = self._limits.max_span_attributes, self._limits.max_span_attribute_length
        return BoundedAttributes(count, attributes, immutable=False, max_value_len=length)

    def _readable_span(self) -> sdk.Span:
        return self


def _span_class(
    sampler: Sampler, processor: sdk.SynchronousMultiSpanProcessor, limits: sdk.SpanLimits
) -> type[_Span]:
    """Create the class of a provider's spans, which holds the initial fields of every span."""
    blank = object.__new__(_Span)
    empty: Any = {"context": None, "resource": Resource.get_empty()}
    sdk.Span.__init__(blank, "", **empty, sampler=sampler, span_processor=processor, limits=limits)
    most = sys.maxsize if limits.max_span_attributes is None else limits.max_span_attributes
    if limits.max_span_attribute_length is not None:
        most = 0
    initial = vars(blank) | {"_events": (), "_links": (), "_most_attributes": most}
    return type("_Span", (_Span,), initial)


class _Tracer(sdk.Tracer):
    span_class: type[_Span]
    random: int

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
        parent_span, ids = trace.get_current_span(context), self.id_generator
        above = parent_span.get_span_context()
        parent: SpanContext | None = above
        state: trace.TraceState | None
        if type(parent_span) is self.span_class:
            # A child follows the sampling decision of its local parent, as in ProbabilitySampler.
            trace_id, flags, state = above.trace_id, above.trace_flags, above.trace_state
        else:
            if above.is_valid:
                trace_id, random = above.trace_id, above.trace_flags & _RANDOM
            else:
                parent, trace_id, random = None, ids.generate_trace_id(), self.random
            result = self.sampler.should_sample(context, trace_id, name, kind, attributes, links)
            is_sampled = result.decision is Decision.RECORD_AND_SAMPLE
            flags, state = TraceFlags(is_sampled | random), result.trace_state
            if result.decision is Decision.DROP:
                return trace.NonRecordingSpan(
                    SpanContext(trace_id, ids.generate_span_id(), False, flags, state)
                )
        span: Any = object.__new__(self.span_class)
        span._name, span._kind, span._parent = name, kind, parent
        span._context = SpanContext(trace_id, ids.generate_span_id(), False, flags, state)
        span._resource, span._lock = self.resource, Lock()
        span._instrumentation_info = self.instrumentation_info
        span._instrumentation_scope = self._instrumentation_scope
        span._attributes = _Attributes()
        if attributes and not span._store(attributes):
            span._attributes = span._checked(attributes)
        if links:
            span._links = span._new_links(links)
        if not record_exception:
            span._record_exception = False
        if not set_status_on_exception:
            span._set_status_on_exception = False
        span._start_time = time_ns() if start_time is None else start_time
        self.span_processor.on_start(span, parent_context=context)
        return span
