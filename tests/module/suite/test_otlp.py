"""The encoder: requests parsed with the official protobuf messages equal the spans they encode."""

from collections.abc import Mapping
from typing import Any

import pytest

pytest.importorskip("opentelemetry.proto", reason="requires opentelemetry-proto")

from observability._export_queue import ExportQueue, partial_success
from observability._otlp import encode_request, encode_scope, encode_span
from observability._processor import TelemetryProcessor
from observability._settings import Settings
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, TracerProvider
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

SAMPLED = TraceFlags(TraceFlags.SAMPLED)
REMOTE = SpanContext(
    0x0AF7651916CD43DD8448EB211C80319C,
    0xB7AD6B7169203331,
    is_remote=True,
    trace_flags=SAMPLED,
    trace_state=TraceState([("ot", "th:e6666666666666"), ("vendor", "a:b")]),
)
LOCAL = SpanContext(1, 2, is_remote=False, trace_flags=SAMPLED)
# Bits of SpanFlags: it is known if a parent or a link is remote, and it is.
KNOWN, REMOTE_BIT = 0x100, 0x200
VALUES: dict[str, Any] = {
    "text": "Grüße, 世界 \N{PARTY POPPER}",
    "empty": "",
    "null character": "a\0b",
    "of 64 characters": "x" * 64,
    "of 65 characters": "x" * 65,
    "of 127 bytes": "x" * 127,
    "of 128 bytes": "x" * 128,
    "of the largest size": "x" * 65_535,
    "true": True,
    "false": False,
    "zero": 0,
    "one": 1,
    "127": 127,
    "128": 128,
    "minus one": -1,
    "largest": 2**63 - 1,
    "smallest": -(2**63),
    "float": 0.1,
    "whole float": 1.0,
    "tiny": -5e-324,
    "huge": 1.7976931348623157e308,
    "infinite": float("inf"),
    "bytes": bytes(range(256)),
    "no bytes": b"",
    "texts": ("a", "", "ü"),
    "numbers": (-1, 0, 2**40),
    "flags": (True, False),
    "floats": (0.0, -1.5),
    "nothing": (),
    "nested": ((1, 2), ("a", (b"\x00", 2.5)), ()),
    "map": {"a": 1, "b": {"c": (True, "d")}, "e": {}},
    "": "an empty name",
    "naïve name": "x",
    "n" * 300: "a long name",
}


# Longer names are truncated.
SHORT = {name: value for name, value in VALUES.items() if len(name) < 255}


def new_span(name: str = "work", *, parent: SpanContext | None = None, **arguments: Any) -> Span:
    provider = TracerProvider(
        resource=Resource({"service.name": "orders", "process.pid": 17}), shutdown_on_exit=False
    )
    tracer = provider.get_tracer("orders.intake", "1.2.3", attributes={"kind": "own"})
    context = trace.set_span_in_context(NonRecordingSpan(parent)) if parent else None
    span = tracer.start_span(name, context, **arguments)
    assert isinstance(span, Span)
    return span


def span_with(attributes: Mapping[str, Any]) -> ReadableSpan:
    """Create a span whose attributes the SDK has not validated, which differs between versions."""
    return ReadableSpan("work", LOCAL, resource=Resource({}), attributes=attributes)


def encoded(span: ReadableSpan) -> bytes:
    """Encode a request with `span` as its only one."""
    spans = [(encode_scope(span.instrumentation_scope), encode_span(span))]
    return encode_request(span.resource, spans)


def decoded(span: ReadableSpan) -> Any:
    return trace_pb2.Span.FromString(encode_span(span))


def python(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return tuple(python(item) for item in value.array_value.values)
        case "kvlist_value":
            return {pair.key: python(pair.value) for pair in value.kvlist_value.values}
        case None:
            return None
        case kind:
            return getattr(value, kind)


@pytest.mark.parametrize("name", VALUES, ids=lambda name: name[:20] or "empty name")
def test_attribute_keeps_its_value_and_type(name: str) -> None:
    [attribute] = decoded(span_with({name: VALUES[name]})).attributes

    assert attribute.key == name
    assert python(attribute.value) == VALUES[name]
    assert repr(python(attribute.value)) == repr(VALUES[name])


def test_attributes_of_all_types_keep_their_order() -> None:
    attributes = decoded(span_with(VALUES)).attributes

    assert [(pair.key, python(pair.value)) for pair in attributes] == list(VALUES.items())


def test_nan_attribute_remains_nan() -> None:
    [attribute] = decoded(span_with({"ratio": float("nan")})).attributes

    assert repr(python(attribute.value)) == "nan"


def test_cache_distinguishes_equal_values_of_different_types() -> None:
    for value in (True, 1, 1.0, "1", "True", b"1"):
        [attribute] = decoded(span_with({"same": value})).attributes
        assert repr(python(attribute.value)) == repr(value)


def test_surrogates_are_replaced_in_names_values_and_descriptions() -> None:
    text = "a\ud800b"
    span = new_span(text, attributes={text: text})
    span.set_status(StatusCode.ERROR, text)
    span.add_event(text)

    sent = decoded(span)

    assert sent.name == sent.status.message == sent.events[0].name == "a?b"
    assert [(pair.key, python(pair.value)) for pair in sent.attributes] == [("a?b", "a?b")]


def test_none_in_a_sequence_is_encoded_as_an_empty_value() -> None:
    span = new_span(attributes={"user.id": None, "parts": ("a", None)})

    sent = {pair.key: python(pair.value) for pair in decoded(span).attributes}

    assert sent.get("user.id") is None
    assert sent["parts"] == ("a", None)


def test_integer_of_more_than_64_bits_is_not_truncated() -> None:
    for number in (2**63, -(2**63) - 1, 2**64 + 5):
        [attribute] = decoded(span_with({"number": number})).attributes
        assert python(attribute.value) == str(number)


@pytest.mark.parametrize("kind", SpanKind, ids=lambda kind: kind.name)
def test_span_kind_is_encoded(kind: SpanKind) -> None:
    sent = decoded(new_span(kind=kind))

    assert trace_pb2.Span.SpanKind.Name(sent.kind) == f"SPAN_KIND_{kind.name}"


@pytest.mark.parametrize(
    "status",
    [
        Status(),
        Status(StatusCode.OK),
        Status(StatusCode.ERROR),
        Status(StatusCode.ERROR, ""),
        Status(StatusCode.ERROR, "ValueError: größer als 3"),
        Status(StatusCode.ERROR, "x" * 60_000),
    ],
    ids=lambda status: f"{status.status_code.name} {str(status.description)[:10]}".strip(),
)
def test_span_status_is_encoded(status: Status) -> None:
    sent = decoded(ReadableSpan("work", new_span().context, status=status))

    assert sent.status.code == status.status_code.value
    assert sent.status.message == (status.description or "")


def test_ids_and_times_keep_all_bits() -> None:
    span = new_span(start_time=1)
    span.end(end_time=2**63 + 1)

    sent = decoded(span)

    assert sent.trace_id.hex() == trace.format_trace_id(span.context.trace_id)
    assert sent.span_id.hex() == trace.format_span_id(span.context.span_id)
    assert (sent.start_time_unix_nano, sent.end_time_unix_nano) == (1, 2**63 + 1)


def test_ids_with_leading_zeros_keep_their_length() -> None:
    context = SpanContext(1, 2, is_remote=False)

    sent = decoded(ReadableSpan("work", context=context, parent=SpanContext(1, 3, is_remote=False)))

    assert (sent.trace_id, sent.span_id) == (b"\0" * 15 + b"\1", b"\0" * 7 + b"\2")
    assert sent.parent_span_id == b"\0" * 7 + b"\3"


def test_root_span_has_neither_parent_nor_trace_state() -> None:
    sent = decoded(new_span())

    assert sent.parent_span_id == b""
    assert sent.trace_state == ""
    assert sent.flags & (KNOWN | REMOTE_BIT) == KNOWN


def test_flags_distinguish_remote_and_local_parents() -> None:
    span = new_span(parent=REMOTE)
    child = new_span(parent=span.context)

    sent, below = decoded(span), decoded(child)

    assert sent.trace_id == below.trace_id == REMOTE.trace_id.to_bytes(16, "big")
    assert sent.parent_span_id == REMOTE.span_id.to_bytes(8, "big")
    assert below.parent_span_id == span.context.span_id.to_bytes(8, "big")
    assert sent.trace_state == below.trace_state == "ot=th:e6666666666666,vendor=a:b"
    assert sent.flags & 0xFF == below.flags & 0xFF == TraceFlags.SAMPLED
    assert sent.flags & (KNOWN | REMOTE_BIT) == KNOWN | REMOTE_BIT
    assert below.flags & (KNOWN | REMOTE_BIT) == KNOWN


def test_events_keep_their_names_times_attributes_and_order() -> None:
    span = new_span()
    for number in range(128):
        span.add_event(f"event {number}", {"number": number}, timestamp=number)
    span.add_event("", VALUES, timestamp=2**60)

    *sent, last = decoded(span).events

    # The SDK keeps the latest 128.
    assert [
        (event.name, event.time_unix_nano, [python(pair.value) for pair in event.attributes])
        for event in sent
    ] == [(f"event {number}", number, [number]) for number in range(1, 128)]
    assert (last.name, last.time_unix_nano) == ("", 2**60)
    # Older SDKs keep fewer types of values.
    assert {pair.key: python(pair.value) for pair in last.attributes} == dict(
        span.events[-1].attributes or {}
    )


def test_links_keep_their_context_and_attributes() -> None:
    span = new_span(links=[Link(REMOTE, {"link.kind": "cause"}), Link(LOCAL)])

    remote, local = decoded(span).links

    assert remote.trace_id == REMOTE.trace_id.to_bytes(16, "big")
    assert remote.span_id == REMOTE.span_id.to_bytes(8, "big")
    assert [(pair.key, python(pair.value)) for pair in remote.attributes] == [
        ("link.kind", "cause")
    ]
    assert remote.flags == TraceFlags.SAMPLED | KNOWN | REMOTE_BIT
    assert (local.trace_id, local.span_id) == (b"\0" * 15 + b"\1", b"\0" * 7 + b"\2")
    assert local.flags == TraceFlags.SAMPLED | KNOWN
    assert not local.attributes


def test_request_contains_the_resource_and_each_scope_once() -> None:
    one, two, three = (new_span(name) for name in ("one", "two", "three"))
    scope = encode_scope(one.instrumentation_scope)
    spans = [(scope, encode_span(one)), (encode_scope(None), encode_span(two))]
    spans.append((scope, encode_span(three)))

    request = ExportTraceServiceRequest.FromString(encode_request(one.resource, spans))

    [resource_spans] = request.resource_spans
    assert {pair.key: python(pair.value) for pair in resource_spans.resource.attributes} == {
        "service.name": "orders",
        "process.pid": 17,
    }
    ours, nameless = resource_spans.scope_spans
    assert (ours.scope.name, ours.scope.version) == ("orders.intake", "1.2.3")
    assert [(pair.key, python(pair.value)) for pair in ours.scope.attributes] == [("kind", "own")]
    assert [sent.name for sent in ours.spans] == ["one", "three"]
    assert nameless.scope.name == nameless.scope.version == ""
    assert [sent.name for sent in nameless.spans] == ["two"]


def test_large_request_contains_every_span() -> None:
    spans = [(b"", encode_span(span_with({"n": n}))) for n in range(3_000)]

    request = ExportTraceServiceRequest.FromString(encode_request(Resource({}), spans))

    [scope_spans] = request.resource_spans[0].scope_spans
    assert [python(span.attributes[0].value) for span in scope_spans.spans] == list(range(3_000))


def test_official_encoder_produces_the_same_messages() -> None:
    from opentelemetry.exporter.otlp.proto.common import trace_encoder as encoder

    limits = SpanLimits(max_span_attributes=1_000)
    provider = TracerProvider(resource=Resource({"a": 1}), span_limits=limits)
    tracer = provider.get_tracer("orders.intake", "1.2.3")
    context = trace.set_span_in_context(NonRecordingSpan(REMOTE))
    span = tracer.start_span(
        "work", context, SpanKind.CONSUMER, VALUES, [Link(REMOTE, SHORT), Link(REMOTE)]
    )
    assert isinstance(span, Span)
    span.add_event("event", VALUES)
    span.record_exception(ValueError("größer"))
    span.set_status(StatusCode.ERROR, "ValueError: größer")
    span.end()

    ours = ExportTraceServiceRequest.FromString(encoded(span))

    theirs = encoder.encode_spans([span])
    # The official encoder omits the trace flags; ours omits the counts of dropped items.
    sent = theirs.resource_spans[0].scope_spans[0].spans[0]
    for part in (sent, *sent.links):
        part.flags |= TraceFlags.SAMPLED
    for part in (sent, *sent.links, *sent.events):
        part.dropped_attributes_count = 0
    assert ours == theirs


@pytest.mark.parametrize("rejected", [0, 1, 127, 128, 2**40])
@pytest.mark.parametrize("message", ["", "too long", "ü" * 200])
def test_partial_success_is_decoded(rejected: int, message: str) -> None:
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = rejected
    response.partial_success.error_message = message

    error = partial_success(response.SerializeToString(), "receiver")

    if not rejected:
        assert error is None
        return
    assert error is not None
    assert error.rejected == rejected
    assert error.reason == f"receiver rejected {rejected} spans: {message[:100]!r}"


@pytest.mark.parametrize("response", [b"", b"\n\0", b"{}", b"\n\2\x08", b"\n\2\x08" + b"\xff" * 20])
def test_malformed_response_rejects_nothing(response: bytes) -> None:
    assert partial_success(response, "receiver") is None


@pytest.mark.parametrize("seconds", [None, 0.0, 0.5, 1.0, 3600.25])
def test_retry_delay_over_grpc_is_decoded(seconds: float | None) -> None:
    transport = pytest.importorskip("observability._grpc")
    details = pytest.importorskip("google.rpc.error_details_pb2")
    status = pytest.importorskip("google.rpc.status_pb2").Status(code=8, message="slow down")
    status.details.add().Pack(details.ErrorInfo(reason="quota"))
    if seconds is not None:
        retry_info = details.RetryInfo()
        retry_info.retry_delay.FromNanoseconds(int(seconds * 1e9))
        status.details.add().Pack(retry_info)

    assert transport._retry_delay(status.SerializeToString()) == seconds


class AcceptingTransport:
    """A transport for which every request succeeds."""

    def send(self, request: bytes, timeout: float) -> None:
        pass


@pytest.mark.parametrize(
    "arguments",
    [
        {"end_time": 1_700_000_000.5},
        {"start_time": 1_700_000_000.5},
        {"start_time": -1},
        {"name": None},
        {"event_time": 1_700_000_000.5},
    ],
    ids=str,
)
def test_span_that_cannot_be_encoded_is_dropped_with_one_warning(
    arguments: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1"}
    queue = ExportQueue(AcceptingTransport, Resource({}), Settings(variables=variables))
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(TelemetryProcessor(queue))
    tracer = provider.get_tracer("orders")

    for _ in range(2):
        span = tracer.start_span(
            arguments.get("name", "work"), start_time=arguments.get("start_time")
        )
        if "event_time" in arguments:
            span.add_event("event", timestamp=arguments["event_time"])
        span.end(arguments.get("end_time"))

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    tracer.start_span("next").end()
    assert queue.force_flush(60_000)
    queue.shutdown()
