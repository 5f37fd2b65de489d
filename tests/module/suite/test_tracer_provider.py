"""The tracer provider: its spans equal those of the SDK's own provider."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from observability import _tracer_provider
from observability._sampling import ProbabilitySampler, SnapshotSafeIdGenerator
from observability._tracer_provider import TracerProvider as ModuleTracerProvider
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ReadableSpan,
    Span,
    SpanLimits,
    SpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
)

from .provider import create_provider

RESOURCE = Resource({"service.name": "orders"})
REMOTE = SpanContext(7, 8, True, TraceFlags(1), TraceState([("vendor", "1")]))
UNSAMPLED = SpanContext(7, 9, True, TraceFlags(0))
LOCAL = SpanContext(7, 10, False, TraceFlags(1))
# Older SDKs do not set the flag of a random trace ID.
COMPARED_FLAGS = 3 if hasattr(IdGenerator, "is_trace_id_random") else 1


def module_provider(rate: int = 1) -> TracerProvider:
    provider = create_provider(rate, RESOURCE)
    assert type(provider) is ModuleTracerProvider
    return provider


def sdk_provider(rate: int = 1) -> TracerProvider:
    return TracerProvider(
        sampler=ProbabilitySampler(rate), resource=RESOURCE, shutdown_on_exit=False
    )


class Unsupported:
    def __repr__(self) -> str:
        return "unsupported"


def plain_attributes(tracer: Tracer) -> None:
    span = tracer.start_span("name", attributes={"a": "x", "b": 1, "c": 1.5, "d": True})
    span.set_attribute("e", "y")
    span.set_attributes({"a": "z", "f": 2})
    span.end()


def unsupported_attributes(tracer: Tracer) -> None:
    attributes: Any = {
        "list": [1, 2],
        "none": None,
        "mixed": ["a", 1],
    }
    invalid: Any = {"": 1, 5: "number", "object": Unsupported()}
    tracer.start_span("at the start", attributes=attributes | invalid).end()
    span = tracer.start_span("later", attributes={"a": 1})
    for key, value in attributes.items():
        span.set_attribute(key, value)
    span.set_attribute("b", 2)
    span.set_attributes({"c": ["x"], "d": 3})
    span.end()


def changed_list(tracer: Tracer) -> None:
    values = [1]
    span = tracer.start_span("name", attributes={"list": values})
    values.append(2)
    span.end()


def too_many_attributes(tracer: Tracer) -> None:
    many = {f"a{number}": number for number in range(130)}
    tracer.start_span("at once", attributes=many).end()
    span = tracer.start_span("one by one")
    for key, value in many.items():
        span.set_attribute(key, value)
    span.end()


def long_text(tracer: Tracer) -> None:
    tracer.start_span("name", attributes={"text": "x" * 2_000, "number": 1}).end()
    span = tracer.start_span("name")
    span.set_attribute("text", "x" * 2_000)
    span.end()


def events_and_links(tracer: Tracer) -> None:
    link = Link(LOCAL, {"b": [2]})
    span = tracer.start_span("name", links=[link, Link(trace.INVALID_SPAN_CONTEXT)])
    attributes: Any = {"a": 1, "b": [Unsupported()]}
    span.add_event("first", attributes, 1)
    span.add_event("second", timestamp=2)
    span.add_link(REMOTE, {"a": 1})
    span.add_link(trace.INVALID_SPAN_CONTEXT)
    span.end()
    later = tracer.start_span("name")
    later.add_link(REMOTE)
    later.end()


def too_many_events(tracer: Tracer) -> None:
    span = tracer.start_span("name")
    for number in range(130):
        span.add_event("event", {"number": number}, number)
        span.add_link(REMOTE, {"number": number})
    span.end()


def statuses(tracer: Tracer) -> None:
    span = tracer.start_span("name")
    span.set_status(StatusCode.ERROR, "failed")
    span.set_status(Status(StatusCode.OK))
    span.set_status(StatusCode.ERROR, "too late")
    span.update_name("another")
    span.end()


def exceptions(tracer: Tracer) -> None:
    for quiet in (False, True):
        for start in (tracer.start_span, tracer.start_as_current_span):
            with (
                pytest.raises(ValueError),
                start("name", record_exception=not quiet, set_status_on_exception=not quiet),
            ):
                raise ValueError("failed")


def after_the_end(tracer: Tracer) -> None:
    span = tracer.start_span("name", attributes={"a": 1})
    span.end()
    span.set_attribute("b", 2)
    span.set_attributes({"c": [3]})
    span.add_event("late", timestamp=1)
    span.add_link(REMOTE)
    span.set_status(StatusCode.ERROR)
    span.update_name("late")
    assert not span.is_recording()
    span.end()


def parents(tracer: Tracer) -> None:
    with tracer.start_as_current_span("outer", kind=SpanKind.SERVER):
        with tracer.start_as_current_span("inner", start_time=5, end_on_exit=False) as inner:
            tracer.start_span("innermost").end()
        tracer.start_span("another root", Context()).end()
        inner.end(6)
    for parent in (REMOTE, UNSAMPLED, LOCAL):
        context = trace.set_span_in_context(NonRecordingSpan(parent), Context())
        span = tracer.start_span("child", context)
        tracer.start_span("grandchild", trace.set_span_in_context(span, context)).end()
        assert span.get_span_context().trace_id == 7
        span.end()


ACTIONS = [
    plain_attributes,
    unsupported_attributes,
    changed_list,
    too_many_attributes,
    long_text,
    events_and_links,
    too_many_events,
    statuses,
    exceptions,
    after_the_end,
    parents,
]


class Collector(SpanProcessor):
    """Collects finished spans, unsampled ones too."""

    def __init__(self, finished: list[ReadableSpan]) -> None:
        self._finished = finished

    def on_end(self, span: ReadableSpan) -> None:
        self._finished.append(span)


def exported(provider: TracerProvider, act: Callable[[Tracer], None]) -> list[Any]:
    """Return everything an exporter can read of the spans that `act` creates, with numbered IDs."""
    finished: list[ReadableSpan] = []
    provider.add_span_processor(Collector(finished))
    act(provider.get_tracer("tests", "1.0", attributes={"scope": True}))
    ids: dict[str, str] = {}
    contents = []
    for span in finished:
        text = re.sub(
            r"0x[0-9a-f]+",
            lambda found: ids.setdefault(found[0], f"id {len(ids)}"),
            span.to_json(indent=None),
        )
        content = json.loads(text)
        for field in ("start_time", "end_time"):
            content[field] = content[field] if content[field].startswith("1970") else "now"
        for event in content["events"]:
            event["timestamp"] = "now" if event["name"] == "exception" else event["timestamp"]
        flags = span.context.trace_flags & COMPARED_FLAGS
        dropped = (span.dropped_events, span.dropped_links)
        contents.append((content, flags, dropped, span.instrumentation_scope, span.resource))
    return contents


@pytest.mark.parametrize("act", ACTIONS, ids=lambda act: act.__name__)
@pytest.mark.parametrize("rate", [1, 10**12])
@pytest.mark.parametrize(
    "limits",
    [{}, {"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "3"}, {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "2"}],
    ids=["no limit", "short", "few"],
)
def test_exported_span_equals_the_span_of_the_sdk(
    act: Callable[[Tracer], None],
    rate: int,
    limits: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in limits.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(_tracer_provider, "_LIMITS", SpanLimits())
    spans = exported(module_provider(rate), act)
    warnings = [record.getMessage() for record in caplog.records]
    caplog.clear()

    assert spans == exported(sdk_provider(rate), act)
    assert spans
    assert warnings == [record.getMessage() for record in caplog.records]


def test_span_processor_can_set_attributes_on_start_and_read_them_on_end() -> None:
    class Enricher(Collector):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            span.set_attribute("tenant", "one")
            span.set_attribute("roles", ["a", "b"])

    ended: list[ReadableSpan] = []
    provider = module_provider()
    provider.add_span_processor(Enricher(ended))

    with provider.get_tracer("tests").start_as_current_span("name") as span:
        assert isinstance(span, Span)
        assert span.is_recording()

    [finished] = ended
    assert isinstance(finished, ReadableSpan)
    assert dict(finished.attributes or {}) == {"tenant": "one", "roles": ("a", "b")}
    attributes: Any = finished.attributes
    with pytest.raises(TypeError):
        attributes["tenant"] = "two"


def circular_list() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def circular_map() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["itself"] = value
    return value


@pytest.mark.parametrize(
    "value",
    # JSON that a client sends may be as deep.
    [circular_list(), circular_map(), json.loads("[" * 900 + "]" * 900)],
    ids=["circular list", "circular map", "deep list"],
)
def test_value_that_is_too_deep_to_be_copied_is_dropped(value: Any) -> None:
    finished: list[ReadableSpan] = []
    provider = module_provider()
    provider.add_span_processor(Collector(finished))

    tracer = provider.get_tracer("tests")
    with tracer.start_as_current_span("work", attributes={"a": value}) as span:
        span.set_attribute("b", value)
        span.set_attributes({"c": value})
        span.set_attribute("d", 1)

    [work] = finished
    assert dict(work.attributes or {}) == {"d": 1}


def test_each_tracer_sets_its_instrumentation_scope() -> None:
    finished: list[ReadableSpan] = []
    provider = module_provider()
    provider.add_span_processor(Collector(finished))

    for name in ("one", "other", "one"):
        provider.get_tracer(name).start_span("span").end()

    scopes = [span.instrumentation_scope for span in finished]
    assert [scope and scope.name for scope in scopes] == ["one", "other", "one"]


@pytest.mark.parametrize("field", ["_name", "_kind", "_parent", "_context"])
def test_incompatible_sdk_falls_back_to_the_provider_of_the_sdk(
    field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    initialize = ReadableSpan.__init__

    def initialize_renamed(span: Any, *args: Any, **kwargs: Any) -> None:
        initialize(span, *args, **kwargs)
        span._renamed = vars(span)[field]

    monkeypatch.setattr(ReadableSpan, "__init__", initialize_renamed)
    monkeypatch.setattr(ReadableSpan, "to_json", lambda span: str(span._renamed))

    provider = create_provider(1, RESOURCE)

    assert type(provider) is TracerProvider
    assert isinstance(provider.sampler, ProbabilitySampler)
    assert isinstance(provider.id_generator, SnapshotSafeIdGenerator)
    assert provider.resource.attributes["service.name"] == "orders"
