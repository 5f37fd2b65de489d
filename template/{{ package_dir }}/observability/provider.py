"""A tracer provider whose spans cost less than half of the SDK's, where nobody has set another."""

import logging
import sys
from collections.abc import Mapping, Sequence
from threading import Lock
from time import time_ns
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, SpanLimits, SynchronousMultiSpanProcessor, Tracer
from opentelemetry.sdk.trace import TracerProvider as SDKTracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace import Span as AnySpan
from opentelemetry.trace import Tracer as AnyTracer
from opentelemetry.util.types import Attributes

from .ids import FreshIds
from .sampling import TraceSampler

logger = logging.getLogger(__name__)

# Values that the SDK takes as they are. Whatever else there is, it checks, copies, cuts or refuses.
_PLAIN: Final = frozenset({str, bool, int, float})
_NAMES: Final = frozenset({str})
# The flag of a trace whose id is random throughout.
_RANDOM: Final = 0x02


def new_provider(sampler: TraceSampler, resource: Resource) -> SDKTracerProvider:
    """The provider of this module; the SDK's own where the SDK has changed too much for that."""
    ids = FreshIds()
    try:
        provider = TracerProvider(sampler, resource=resource, id_generator=ids)
        if _is_as_the_sdk_makes_it(provider.get_tracer(__name__)):
            return provider
    except Exception as error:  # noqa: BLE001 - whatever a later SDK does otherwise
        logger.debug("Spans are made by the SDK: %r", error)
    return SDKTracerProvider(
        sampler=sampler, resource=resource, id_generator=ids, shutdown_on_exit=False
    )


def _is_as_the_sdk_makes_it(tracer: AnyTracer) -> bool:
    """Tries each field once, through what is public: the fields themselves are the SDK's affair."""
    outer = tracer.start_span("outer")
    span = tracer.start_span(
        "inner", set_span_in_context(outer), SpanKind.CLIENT, {"a": 1}, start_time=1
    )
    span.set_attribute("b", [1])
    span.add_event("event", {"c": True}, 2)
    span.add_link(outer.get_span_context())
    span.set_status(StatusCode.ERROR, "failed")
    span.update_name("name")
    span.end(3)
    outer.end()
    above, context = outer.get_span_context(), span.get_span_context()
    return (
        isinstance(span, Span)
        and isinstance(outer, Span)
        and not outer.is_recording()
        and (span.name, span.kind, span.start_time, span.end_time)
        == ("name", SpanKind.CLIENT, 1, 3)
        and (context.trace_id, span.context, span.parent) == (above.trace_id, context, above)
        and dict(span.attributes or {}) == {"a": 1, "b": (1,)}
        and [(event.name, event.timestamp) for event in span.events] == [("event", 2)]
        and [link.context for link in span.links] == [above]
        and (span.status.status_code, span.status.description) == (StatusCode.ERROR, "failed")
        and getattr(span.instrumentation_scope, "name", None) == __name__
    )


class TracerProvider(SDKTracerProvider):
    """Makes the SDK's own spans, without what hardly any of them needs.

    Attributes are a dictionary until there is one that the SDK would have to look at, events and
    links are lists once there is one, and a span that has ended is handed on rather than a copy.
    """

    def __init__(
        self,
        sampler: TraceSampler,
        *,
        resource: Resource | None = None,
        id_generator: IdGenerator | None = None,
    ) -> None:
        limits = SpanLimits()
        processor = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
        super().__init__(
            sampler=sampler,
            resource=resource,
            shutdown_on_exit=False,
            active_span_processor=processor,
            id_generator=id_generator,
            span_limits=limits,
        )
        self._span_class = _span_class(sampler, processor, limits)
        # Older SDKs know nothing of it, and set no flag.
        is_known = hasattr(IdGenerator, "is_trace_id_random")
        self._ids_are_random = is_known and self.id_generator.is_trace_id_random()

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> AnyTracer:
        tracer = super().get_tracer(
            instrumenting_module_name, instrumenting_library_version, schema_url, attributes
        )
        if type(tracer) is Tracer:
            ours: Any = tracer
            ours.__class__ = _Tracer
            ours.span_class = self._span_class
            ours.random = _RANDOM * self._ids_are_random
        return tracer


class _Attributes(dict[str, Any]):
    # Set by the SDK when the span ends.
    __slots__ = ("_immutable",)


class _Span(Span):
    """Fields are the SDK's. Those that are equal for all spans are on the class: see `_span_class`."""

    _most_attributes: int
    _attributes: Any

    def fill(
        self,
        tracer: Any,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Attributes,
    ) -> None:
        self._name = name
        self._context = context
        self._parent = parent
        self._kind = kind
        self._resource = tracer.resource
        self._instrumentation_info = tracer.instrumentation_info
        self._instrumentation_scope = tracer._instrumentation_scope
        self._lock = Lock()
        self._attributes = _Attributes()
        if attributes and not self._takes(attributes):
            self._attributes = self._checked(attributes)

    def set_attribute(self, key: str, value: Any) -> None:
        with self._lock:
            known = self._attributes
            if (
                type(value) in _PLAIN
                and type(key) is str
                and key
                and type(known) is _Attributes
                and len(known) < self._most_attributes
                and self._end_time is None
            ):
                known[key] = value
                return
        if not self._takes({key: value}):
            super().set_attribute(key, value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if not self._takes(attributes):
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

    def _takes(self, attributes: Mapping[str, Any]) -> bool:
        """Adds `attributes`, where the SDK would add them as they are."""
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
        limits = self._limits
        return BoundedAttributes(
            limits.max_span_attributes,
            attributes,
            immutable=False,
            max_value_len=limits.max_span_attribute_length,
        )

    def _readable_span(self) -> Span:
        return self


def _span_class(
    sampler: TraceSampler, processor: SynchronousMultiSpanProcessor, limits: SpanLimits
) -> type[_Span]:
    """The class of a provider's spans, which holds what every span of the SDK begins with."""
    blank = object.__new__(_Span)
    Span.__init__(
        blank,
        "",
        None,  # type: ignore[arg-type]
        sampler=sampler,
        resource=Resource.get_empty(),
        span_processor=processor,
        limits=limits,
    )
    most = limits.max_span_attributes
    if limits.max_span_attribute_length is not None:
        most = 0
    return type(
        "_Span",
        (_Span,),
        vars(blank)
        | {"_events": (), "_links": (), "_most_attributes": sys.maxsize if most is None else most},
    )


class _Tracer(Tracer):
    span_class: type[_Span]
    random: int

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> AnySpan:
        parent_span = get_current_span(context)
        above = parent_span.get_span_context()
        parent: SpanContext | None = above
        state: TraceState | None
        ids = self.id_generator
        if type(parent_span) is self.span_class:
            # As TraceSampler says: what was decided of the first span here holds for the others.
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
                return NonRecordingSpan(
                    SpanContext(trace_id, ids.generate_span_id(), False, flags, state)
                )
        span = object.__new__(self.span_class)
        span.fill(
            self,
            name,
            SpanContext(trace_id, ids.generate_span_id(), False, flags, state),
            parent,
            kind,
            attributes,
        )
        if links:
            span._links = span._new_links(links)
        if not record_exception:
            span._record_exception = False
        if not set_status_on_exception:
            span._set_status_on_exception = False
        span._start_time = time_ns() if start_time is None else start_time
        self.span_processor.on_start(span, parent_context=context)
        return span
