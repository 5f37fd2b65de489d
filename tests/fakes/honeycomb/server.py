"""The fake's server: authentication, permissions, faults, and the routes of the API and of OTLP."""

import gzip
import json
import re
import socket
import struct
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

import grpc
from google.protobuf import json_format
from google.protobuf.json_format import ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from hooks.traces.otlp import Span, spans_in

from .faults import Fault
from .keys import KEYS, Key, Plan
from .rules import Invalid
from .store import Body, Refusal, Store

_PERMISSIONS: Final = {
    "datasets": "createDatasets",
    "dataset_definitions": "createDatasets",
    "columns": "columns",
    "derived_columns": "columns",
    "queries": "columns",
    "query_annotations": "columns",
    "query_results": "columns",
    "slos": "slos",
    "burn_alerts": "slos",
    "triggers": "triggers",
    "boards": "boards",
    "markers": "markers",
    "recipients": "recipients",
}
_UNKNOWN_KEY: Final = "unknown API key - check your credentials, region, and API URL"


@dataclass(frozen=True)
class Exchange:
    """A request to the API and its response."""

    method: str
    path: str
    body: Any
    status: int
    answer: Any

    @property
    def writes(self) -> bool:
        return self.method != "GET"


class FakeHoneycomb:
    """Listens at `url` while the block runs, and for gRPC at `grpc_url`.

    with FakeHoneycomb(plan="pro") as honeycomb:
        ...  # send requests to honeycomb.url
        honeycomb.store.boards
    """

    url: str
    grpc_url: str

    def __init__(
        self,
        plan: Plan = "enterprise",
        keys: Mapping[str, Key] = KEYS,
        *,
        host: str = "127.0.0.1",
    ) -> None:
        self._host = host
        self.store = Store(plan)
        self.keys = dict(keys)
        self.spans: list[Span] = []
        self.exchanges: list[Exchange] = []
        """Requests to the API so far, including rejected ones."""
        self.fault: Fault | None = None
        self.requests = 0
        """Requests to the API since the fault was set."""
        self.ingest_status = 200
        """Status of responses to OTLP over HTTP."""
        self.drops_spans = False
        """Accept spans without storing them."""
        self.before: Callable[[str, str], None] | None = None
        """Called with method and path before a request to the API is executed."""
        self._lock = Lock()
        self._stack = ExitStack()

    def plant(self, fault: Fault | None) -> None:
        """Inject `fault`, and restart the count of requests."""
        self.fault = fault
        self.requests = 0

    def __enter__(self) -> Self:
        is_ipv6 = ":" in self._host
        server = (_IPv6Server if is_ipv6 else ThreadingHTTPServer)((self._host, 0), _handler(self))
        server.daemon_threads = True
        self.url = f"http://{f'[{self._host}]' if is_ipv6 else self._host}:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self._stack.callback(server.server_close)
        self._stack.callback(server.shutdown)
        pool = self._stack.enter_context(ThreadPoolExecutor(2))
        over_grpc = grpc.server(pool)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]
            _Servicer(self), over_grpc
        )
        self.grpc_url = f"http://127.0.0.1:{over_grpc.add_insecure_port('127.0.0.1:0')}"
        over_grpc.start()
        self._stack.callback(lambda: over_grpc.stop(grace=None).wait())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def take(self, key: str | None, request: ExportTraceServiceRequest) -> str | None:
        """Accept spans, or return the reason why they are rejected."""
        if not key:
            return "missing 'x-honeycomb-team' header"
        known = self.keys.get(key)
        if known is None or not (known.type == "ingest" or "events" in known.access):
            return _UNKNOWN_KEY
        with self._lock:
            for span in spans_in(request):
                self.spans.append(span)
                built_in = {
                    "name": span.name,
                    "duration_ms": (span.end - span.start) / 1e6,
                    "span.kind": span.kind,
                    "status_code": 0,
                    "trace.trace_id": span.trace_id,
                    "trace.span_id": span.span_id,
                    "meta.signal_type": "trace",
                    "library.name": span.scope,
                }
                if span.parent_id:
                    built_in["trace.parent_id"] = span.parent_id
                if span.status == "error":
                    built_in["error"] = True
                name = str(span.resource.get("service.name", "unknown_service"))
                columns = {**built_in, **span.resource, **span.attributes}
                columns.pop("SampleRate", None)
                if self.drops_spans or not self._may_store(known, name):
                    self.spans.pop()
                    continue
                self.store.take_span(name, columns)
        return None

    def _may_store(self, key: Key, dataset: str) -> bool:
        if key.type != "ingest" or "createDatasets" in key.access:
            return True
        return any(one["name"] == dataset for one in self.store.datasets.values())

    def answer(self, method: str, path: str, key: str | None, content: bytes) -> tuple[int, Any]:
        """Execute a request to the API."""
        body: Any = None
        with self._lock:
            try:
                if content:
                    try:
                        body = json.loads(content)
                    except ValueError:
                        raise Refusal(400, "the body is not JSON", "bad-request") from None
                status, answer = self._route(method, path, self._key(key), body)
            except Refusal as refusal:
                status, answer = refusal.status, refusal.body
            except Invalid as invalid:
                title = "The provided input is invalid."
                status = 422
                answer = Refusal(status, title, "validation-failed", [invalid.detail]).body
            answer = json.loads(json.dumps(answer))
            self.exchanges.append(Exchange(method, path, body, status, answer))
        return status, answer

    def _key(self, key: str | None) -> Key:
        known = self.keys.get(key or "")
        if known is None:
            raise Refusal(401, _UNKNOWN_KEY, "unauthorized")
        return known

    def _route(self, method: str, path: str, key: Key, body: Any) -> tuple[int, Any]:
        url = urlsplit(path)
        _, version, resource, *rest = url.path.split("/")
        if version != "1":
            raise Refusal(404, "not found", "not-found")
        if resource == "auth" and method == "GET" and not rest:
            return 200, key.auth()
        needed = _PERMISSIONS.get(resource)
        if needed is None:
            raise Refusal(404, "not found", "not-found")
        if key.type == "ingest" or needed not in key.access:
            raise Refusal(403, f"the key lacks the permission {needed}", "forbidden")
        if resource in ("slos", "burn_alerts") and self.store.plan == "free":
            raise Refusal(403, "SLOs are not part of your plan", "forbidden")
        if method in ("POST", "PUT", "PATCH") and not isinstance(body, dict):
            raise Refusal(400, "the body is not a JSON object", "bad-request")
        return self._carry_out(method, resource, rest, body, parse_qs(url.query))

    def _carry_out(
        self,
        method: str,
        resource: str,
        rest: list[str],
        body: Body,
        query: Mapping[str, list[str]],
    ) -> tuple[int, Any]:
        store = self.store
        if resource == "datasets":
            match method, rest:
                case "GET", []:
                    return 200, list(store.datasets.values())
                case "GET", [slug]:
                    return 200, store.dataset(slug)
                case "POST", []:
                    return store.make_dataset(body)
            raise Refusal(405, "method not allowed")
        if resource == "boards":
            return self._objects(
                method,
                rest,
                body,
                store.boards,
                lambda: store.make_board(body),
                lambda known: store.change_board(known, body),
            )
        if resource == "recipients":
            return self._objects(
                method, rest, body, store.recipients, lambda: store.make_recipient(body), None
            )
        if not rest:
            raise Refusal(404, "not found", "not-found")
        slug, *rest = rest
        store.dataset(slug)
        if resource == "dataset_definitions":
            if method == "PATCH":
                return 200, store.change_definitions(slug, body)
            return 200, store.definitions[slug]
        if resource == "queries":
            if method == "POST":
                return 200, _shown(store.make_query(slug, body))
            if rest and rest[0] in store.queries[slug]:
                return 200, _shown(store.queries[slug][rest[0]])
            raise Refusal(404, "query not found", "not-found")
        if resource == "query_results":
            if store.plan != "enterprise":
                raise Refusal(403, "the Query Data API is not part of your plan", "forbidden")
            if method == "POST":
                return 201, {
                    "id": body["query_id"],
                    "query_id": body["query_id"],
                    "complete": False,
                }
            rows = [{"data": {"COUNT": self._count(store.queries[slug][rest[0]])}}]
            return 200, {"id": rest[0], "complete": True, "data": {"results": rows}}
        if resource == "burn_alerts" and method == "GET" and not rest:
            if "slo_id" not in query:
                raise Invalid("slo_id", "is required", "missing")
            return 200, [
                {name: value for name, value in alert.items() if name != "recipients"}
                for alert in store.burn_alerts[slug].values()
                if alert["slo"]["id"] == query["slo_id"][0]
            ]
        if resource == "query_annotations" and method == "GET" and not rest:
            with_boards = query.get("include_board_annotations") == ["true"]
            return 200, [
                one
                for one in store.query_annotations[slug].values()
                if with_boards or one["source"] != "board"
            ]
        make: dict[str, Callable[[], Body]] = {
            "columns": lambda: store.make_column(slug, body),
            "derived_columns": lambda: store.make_derived_column(slug, body),
            "query_annotations": lambda: store.make_annotation(slug, body),
            "slos": lambda: store.make_slo(slug, body),
            "burn_alerts": lambda: store.make_burn_alert(slug, body),
            "triggers": lambda: store.make_trigger(slug, body),
            "markers": lambda: store.make_marker(slug, body),
        }
        change: dict[str, Callable[[Body], Body]] = {
            "columns": lambda known: store.change_column(slug, known, body),
            "derived_columns": lambda known: store.change_derived_column(slug, known, body),
            "query_annotations": lambda known: store.change_annotation(slug, known, body),
            "slos": lambda known: store.change_slo(slug, known, body),
            "burn_alerts": lambda known: store.change_burn_alert(slug, known, body),
            "triggers": lambda known: store.change_trigger(slug, known, body),
        }
        delete: dict[str, Callable[[Body], None]] = {
            "derived_columns": lambda known: store.delete_derived_column(slug, known),
            "slos": lambda known: store.delete_slo(slug, known),
        }
        among: dict[str, Body] = getattr(store, resource)[slug]
        return self._objects(
            method, rest, body, among, make[resource], change.get(resource), delete.get(resource)
        )

    def _count(self, query: Body) -> int:
        """The spans of the trace that a query filters by."""
        [filter_] = query["filters"]
        assert (filter_["column"], filter_["op"]) == ("trace.trace_id", "=")
        return sum(span.trace_id == filter_["value"] for span in self.spans)

    def _objects(
        self,
        method: str,
        rest: list[str],
        body: Body,
        among: dict[str, Body],
        make: Callable[[], Body],
        change: Callable[[Body], Body] | None,
        delete: Callable[[Body], None] | None = None,
    ) -> tuple[int, Any]:
        if not rest:
            if method == "GET":
                return 200, list(among.values())
            if method == "POST":
                return 201, make()
            raise Refusal(405, "method not allowed")
        known = among.get(rest[0])
        if known is None:
            raise Refusal(404, "not found", "not-found")
        if method == "GET":
            return 200, known
        if method == "PUT" and change is not None:
            return 200, change(known)
        if method == "DELETE":
            if delete is not None:
                delete(known)
            else:
                del among[rest[0]]
            return 204, None
        raise Refusal(405, "method not allowed")


class _IPv6Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6


def _from_json(content: bytes) -> ExportTraceServiceRequest:
    """A request in OTLP's JSON, in which IDs are in hexadecimal digits instead of base64."""

    def base64_of(match: re.Match[bytes]) -> bytes:
        return match[1] + b64encode(bytes.fromhex(match[2].decode())) + b'"'

    content = re.sub(rb'("(?:traceId|spanId|parentSpanId)": ?")([0-9a-f]+)"', base64_of, content)
    return json_format.Parse(content, ExportTraceServiceRequest())


def _shown(query: Body) -> Body:
    return {name: value for name, value in query.items() if not name.startswith("_")}


def _handler(honeycomb: FakeHoneycomb) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Avoids a delay of the body until the headers are acknowledged.
        wbufsize = -1
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"] or 0))
            if self.path == "/v1/traces":
                self._take(content)
                return
            if honeycomb.before is not None:
                honeycomb.before(self.command, self.path)
            honeycomb.requests += 1
            fault = honeycomb.fault
            if fault is None or not fault.hits(honeycomb.requests):
                self._send(*honeycomb.answer(*self._request(content)))
                return
            if fault.how == "reset after" or (
                fault.works_last and honeycomb.requests == fault.first
            ):
                honeycomb.answer(*self._request(content))
            if fault.how == "answer":
                refusal = Refusal(fault.status, "planted", "planted")
                self._send(fault.status, refusal.body, fault.headers)
            else:
                self._reset()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        def _request(self, content: bytes) -> tuple[str, str, str | None, bytes]:
            return self.command, self.path, self.headers["x-honeycomb-team"], content

        def _take(self, content: bytes) -> None:
            if honeycomb.ingest_status != 200:
                self._send(honeycomb.ingest_status, {"message": "planted"})
                return
            types = ("application/protobuf", "application/x-protobuf", "application/json")
            if self.headers["content-type"] not in types:
                self._send(415, {"message": "unsupported content-type"})
                return
            try:
                if self.headers["content-encoding"] == "gzip":
                    content = gzip.decompress(content)
                if self.headers["content-type"] == "application/json":
                    request = _from_json(content)
                else:
                    request = ExportTraceServiceRequest.FromString(content)
            except (DecodeError, ParseError, OSError, EOFError):
                self._send(400, {"message": "unable to parse the body"})
                return
            problem = honeycomb.take(self.headers["x-honeycomb-team"], request)
            if problem:
                self._send(401, {"message": problem})
                return
            self._send(200, None)

        def _send(self, status: int, answer: Any, headers: Mapping[str, str] | None = None) -> None:
            content = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def _reset(self) -> None:
            # With SO_LINGER 0, close() sends a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

        def finish(self) -> None:
            with suppress(OSError, ValueError):
                super().finish()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time.time() + honeycomb.store.ahead)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


class _Servicer:
    def __init__(self, honeycomb: FakeHoneycomb) -> None:
        self._honeycomb = honeycomb

    def Export(
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        sent = {name.lower(): value for name, value in context.invocation_metadata()}
        key = sent.get("x-honeycomb-team")
        problem = self._honeycomb.take(key if isinstance(key, str) else None, request)
        if problem:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, problem)
        return ExportTraceServiceResponse()
