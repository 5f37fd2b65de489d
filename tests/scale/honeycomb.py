"""Honeycomb's ingest on 127.0.0.1: OTLP from services and Collectors, and the batches of Refinery."""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, ClassVar, NamedTuple, Self

import msgpack
import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from ..fakes.honeycomb.keys import INGEST_KEY, KEYS


class Event(NamedTuple):
    """A span as Honeycomb counts it."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    duration_ms: float
    is_error: bool
    cost_usd: float
    weight: int
    """The number of spans that this one stands for."""
    reason: str
    """The rule of Refinery, or the policy of the Collector, that kept the trace."""


class Trace(NamedTuple):
    """The events of one trace."""

    events: tuple[Event, ...]

    @property
    def root(self) -> Event:
        [root] = [event for event in self.events if event.parent_id is None]
        return root

    @property
    def is_error(self) -> bool:
        return any(event.is_error for event in self.events)

    @property
    def cost_usd(self) -> float:
        return sum(event.cost_usd for event in self.events)

    @property
    def span_ids(self) -> set[str]:
        return {event.span_id for event in self.events}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that was killed."""


class Ingest:
    """Accepts events at `url` while the block runs, and keeps them."""

    url: str

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.requests: list[bytes] = []
        """The bodies of OTLP requests with spans, as protobuf."""
        self.logs: list[str] = []
        self.metrics: list[tuple[str, str]] = []
        """Dataset and name."""
        self.status = 200
        """The status of every response; 200 accepts events."""
        self._lock = Lock()

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"ingest": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, events: Iterable[Event], request: bytes = b"") -> None:
        with self._lock:
            self.events.extend(events)
            if request:
                self.requests.append(request)

    @property
    def traces(self) -> dict[str, Trace]:
        """The events so far by trace ID."""
        return traces(self.events)


def traces(events: Iterable[Event]) -> dict[str, Trace]:
    by_id = defaultdict(list)
    for event in events:
        by_id[event.trace_id].append(event)
    return {trace_id: Trace(tuple(each)) for trace_id, each in by_id.items()}


def decode(requests: Iterable[bytes]) -> Iterator[Event]:
    """The events of OTLP requests."""
    for body in requests:
        yield from _spans(ExportTraceServiceRequest.FromString(body))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ingest: ClassVar[Ingest]

    def do_GET(self) -> None:
        if self.path != "/1/auth":
            self._respond(404)
        elif (key := KEYS.get(self.headers["x-honeycomb-team"])) is None:
            self._respond(401, {"error": "unknown API key"})
        else:
            self._respond(200, key.auth())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.ingest.status != 200:
            self._respond(self.ingest.status)
        elif self.headers["x-honeycomb-team"] != INGEST_KEY:
            self._respond(401, {"error": "unknown API key"})
        elif self.path == "/v1/traces":
            body = self._decompressed(body)
            self.ingest.add(_spans(ExportTraceServiceRequest.FromString(body)), body)
            self._respond(200, ExportTraceServiceResponse().SerializeToString())
        elif self.path == "/v1/logs":
            logs = ExportLogsServiceRequest.FromString(self._decompressed(body))
            self.ingest.logs += [
                log.body.string_value
                for of_resource in logs.resource_logs
                for of_scope in of_resource.scope_logs
                for log in of_scope.log_records
            ]
            self._respond(200)
        elif self.path == "/v1/metrics":
            metrics = ExportMetricsServiceRequest.FromString(self._decompressed(body))
            self.ingest.metrics += [
                (self.headers["x-honeycomb-dataset"] or "", metric.name)
                for of_resource in metrics.resource_metrics
                for of_scope in of_resource.scope_metrics
                for metric in of_scope.metrics
            ]
            self._respond(200)
        elif self.path.startswith("/1/batch/"):
            batch = msgpack.unpackb(
                zstandard.ZstdDecompressor().stream_reader(body).read(), timestamp=3
            )
            self.ingest.add(_refined(batch))
            events = [each["data"] for each in batch]
            self.ingest.logs += [event["body"] for event in events if "body" in event]
            self._respond(200, [{"status": 202}] * len(batch))
        else:
            self._respond(404)

    def _decompressed(self, body: bytes) -> bytes:
        return gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body

    def _respond(self, status: int, content: Any = b"") -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        is_json = body is not content
        self.send_header(
            "content-type", "application/json" if is_json else "application/x-protobuf"
        )
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _refined(batch: Iterable[Mapping[str, Any]]) -> Iterator[Event]:
    """The spans in a batch of Refinery."""
    for event in batch:
        data = event["data"]
        if "duration_ms" not in data:
            # A log record, or an event of a span, such as an exception.
            continue
        yield Event(
            service=data["service.name"],
            name=data["name"],
            trace_id=data["trace.trace_id"],
            span_id=data["trace.span_id"],
            parent_id=data.get("trace.parent_id"),
            duration_ms=data["duration_ms"],
            is_error=data.get("error", False),
            cost_usd=data.get("llm.cost_usd", 0.0),
            weight=event["samplerate"],
            reason=data.get("meta.refinery.reason", "").rpartition("/")[2],
        )


def _spans(request: ExportTraceServiceRequest) -> Iterator[Event]:
    for of_resource in request.resource_spans:
        resource = _values(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            scope = _values(of_scope.scope.attributes)
            for span in of_scope.spans:
                attributes = resource | scope | _values(span.attributes)
                yield Event(
                    service=attributes["service.name"],
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex() or None,
                    duration_ms=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e6,
                    is_error=span.status.code == Status.STATUS_CODE_ERROR,
                    cost_usd=attributes.get("llm.cost_usd", 0.0),
                    weight=_weight(attributes, span),
                    reason=attributes.get("tailsampling.policy", ""),
                )


def _weight(attributes: Mapping[str, Any], span: Span) -> int:
    """The weight by Honeycomb's rules: `SampleRate`, else the threshold in the trace state, else 1."""
    if "SampleRate" in attributes:
        return max(1, int(attributes["SampleRate"]))
    for member in span.trace_state.split(","):
        vendor, _, value = member.strip().partition("=")
        for part in value.split(";") if vendor == "ot" else ():
            if part.startswith("th:"):
                return round(1 / (1 - int(part[3:].ljust(14, "0"), 16) / 2**56))
    return 1


def _values(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, kind)
        for each in attributes
        if (kind := each.value.WhichOneof("value"))
    }
