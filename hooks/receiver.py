"""A receiver of spans on 127.0.0.1, for tests and the demo: OTLP over HTTP or over gRPC."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

Protocol: TypeAlias = Literal["http/protobuf", "grpc"]
AttributeValue: TypeAlias = "str | bool | int | float | list[AttributeValue]"
Attributes: TypeAlias = dict[str, AttributeValue]
StatusCode: TypeAlias = Literal["unset", "ok", "error"]

_STATUS_CODES: Final[tuple[StatusCode, ...]] = ("unset", "ok", "error")


@dataclass(frozen=True)
class SpanEvent:
    """Something that happened while a span ran, such as an exception."""

    name: str
    attributes: Attributes


@dataclass(frozen=True)
class Span:
    """A span as it arrived. Ids are hexadecimal; times are nanoseconds since 1970."""

    name: str
    kind: str
    """In lower case: server, client, internal, producer, consumer."""
    trace_id: str
    span_id: str
    parent_id: str | None
    """None for a root."""
    start: int
    end: int
    status: StatusCode
    status_message: str
    attributes: Attributes
    resource: Attributes
    scope: str
    """The name of the instrumentation that made the span."""
    events: tuple[SpanEvent, ...]


class Receiver:
    """Takes the spans that are sent to `endpoint` while the block runs, and keeps them.

        with Receiver() as receiver:
            ...  # something that exports to receiver.endpoint
            [span] = receiver.wait_for(1)

    What arrived can still be read after the block; nothing is taken any more.
    """

    endpoint: str
    """Where it listens while the block runs: http://127.0.0.1:43121, of either protocol."""

    def __init__(self, protocol: Protocol = "http/protobuf") -> None:
        self._protocol = protocol
        self._changed = Condition()
        self._spans: list[Span] = []
        self._requests: list[dict[str, str]] = []

    def __enter__(self) -> Self:
        serve = _serve_grpc if self._protocol == "grpc" else _serve_http
        self.endpoint, self._stop = serve(self._add_request, self._add_spans)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def spans(self) -> list[Span]:
        """The spans so far, in the order in which they arrived."""
        with self._changed:
            return list(self._spans)

    @property
    def requests(self) -> list[dict[str, str]]:
        """The headers of each request so far, refused ones too; their names are in lower case."""
        with self._changed:
            return [dict(headers) for headers in self._requests]

    def wait_for(self, count: int, timeout: float = 10.0) -> list[Span]:
        """The spans so far, as soon as there are `count` of them.

        Raises TimeoutError, naming those that came, when they are fewer after `timeout` seconds.
        """
        with self._changed:
            if self._changed.wait_for(lambda: len(self._spans) >= count, timeout):
                return list(self._spans)
            names = ", ".join(span.name for span in self._spans)
            raise TimeoutError(
                f"{len(self._spans)} of {count} spans came within {timeout:g} s"
                f"{f': {names}' if names else ''}."
            )

    def clear(self) -> None:
        """Forgets the spans and requests so far."""
        with self._changed:
            self._spans.clear()
            self._requests.clear()

    def _add_request(self, headers: Iterable[tuple[str, str | bytes]]) -> None:
        named = {
            name.lower(): value if isinstance(value, str) else value.decode(errors="replace")
            for name, value in headers
        }
        with self._changed:
            self._requests.append(named)

    def _add_spans(self, request: ExportTraceServiceRequest) -> None:
        spans = spans_in(request)
        with self._changed:
            self._spans.extend(spans)
            self._changed.notify_all()


_AddRequest: TypeAlias = Callable[[Iterable[tuple[str, str | bytes]]], None]
_AddSpans: TypeAlias = Callable[[ExportTraceServiceRequest], None]
_Served: TypeAlias = tuple[str, Callable[[], None]]


def _serve_http(add_request: _AddRequest, add_spans: _AddSpans) -> _Served:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            add_request(self.headers.items())
            self._not_found()

        def do_POST(self) -> None:
            add_request(self.headers.items())
            try:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path != "/v1/traces":
                    self._not_found()
                    return
                if self.headers["content-encoding"] == "gzip":
                    body = gzip.decompress(body)
                add_spans(ExportTraceServiceRequest.FromString(body))
            except (DecodeError, EOFError, OSError, TypeError, ValueError, zlib.error):
                self._answer(400, "text/plain", b"The body is no OTLP in protobuf.\n")
                return
            answer = ExportTraceServiceResponse().SerializeToString()
            self._answer(200, "application/x-protobuf", answer)

        def _not_found(self) -> None:
            self._answer(404, "text/plain", b"Spans are taken by POST at /v1/traces.\n")

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,), name="otlp-receiver", daemon=True).start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return f"http://127.0.0.1:{server.server_port}", stop


def _serve_grpc(add_request: _AddRequest, add_spans: _AddSpans) -> _Served:
    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

    class Servicer:
        def Export(
            self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
        ) -> ExportTraceServiceResponse:
            add_request(context.invocation_metadata())
            add_spans(request)
            return ExportTraceServiceResponse()

    pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="otlp-receiver")
    server = grpc.server(pool)
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]
        Servicer(), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    def stop() -> None:
        server.stop(grace=None).wait()
        pool.shutdown()

    return f"http://127.0.0.1:{port}", stop


def spans_in(request: ExportTraceServiceRequest) -> list[Span]:
    """The spans of a request, in its order."""
    return [
        _span(
            span, resource=_attributes(of_resource.resource.attributes), scope=of_scope.scope.name
        )
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def _span(span: trace_pb2.Span, *, resource: Attributes, scope: str) -> Span:
    return Span(
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        status=_STATUS_CODES[span.status.code],
        status_message=span.status.message,
        attributes=_attributes(span.attributes),
        resource=resource,
        scope=scope,
        events=tuple(SpanEvent(event.name, _attributes(event.attributes)) for event in span.events),
    )


def _attributes(pairs: Iterable[KeyValue]) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> AttributeValue:
    """`value` as Python has it. Bytes come as hexadecimal text, and a map as JSON."""
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "bytes_value":
            return value.bytes_value.hex()
        case "kvlist_value":
            return json.dumps(_attributes(value.kvlist_value.values))
        case _:
            return ""
