"""An OTLP server that adds the spans and log records it receives to the assembled traces."""

from http.server import BaseHTTPRequestHandler

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .assembly import TraceAssembler
from .otlp import logs_in, spans_in
from .page import Page
from .server import OTLPServer


class Collector(OTLPServer):
    """Accepts exports at `endpoint`, on `port` of 127.0.0.1, while the block runs.

    If there is a page, it is served at `endpoint` too.
    """

    def __init__(self, assembler: TraceAssembler, port: int = 0, page: Page | None = None) -> None:
        super().__init__(port)
        self._assembler = assembler
        self._page = page

    def add_spans(self, request: ExportTraceServiceRequest) -> None:
        self._assembler.add(spans=spans_in(request))

    def add_logs(self, request: ExportLogsServiceRequest) -> None:
        self._assembler.add(logs=logs_in(request))

    def respond(self, request: BaseHTTPRequestHandler) -> bool:
        return self._page is not None and self._page.respond(request)
