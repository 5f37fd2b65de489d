"""Show the traces of further requests, until Ctrl+C."""

from http.server import BaseHTTPRequestHandler
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console

from ..traces.assembly import TraceAssembler
from ..traces.filters import Filter, completed
from ..traces.otlp import spans_in
from ..traces.output import TreeOutput
from ..traces.page import Page
from ..traces.receiver import Receiver

_KEPT_TRACES: Final = 100
_WAIT_SECONDS: Final = 5.0


class FollowedReceiver(Receiver):
    """Keeps what it receives, and shows it on a page."""

    def __init__(self) -> None:
        super().__init__()
        self.assembler = TraceAssembler(keep=_KEPT_TRACES, wait=_WAIT_SECONDS)
        self._page = Page(self.assembler, keep=_KEPT_TRACES)

    def add_spans(self, request: ExportTraceServiceRequest) -> None:
        super().add_spans(request)
        self.assembler.add(spans=spans_in(request))

    def respond(self, request: BaseHTTPRequestHandler) -> bool:
        return self._page.respond(request)


def follow(console: Console, receiver: FollowedReceiver, command: str) -> None:
    """Print `command`, which sends a request, and show each trace that arrives."""
    console.print("The service and the receiver are still running. Send a request of your own:\n")
    console.print(f"    {command}\n", soft_wrap=True)
    console.print(f"Its trace appears here and at {receiver.endpoint}/\n", soft_wrap=True)
    receiver.assembler.remaining()
    output = TreeOutput()
    try:
        for trace in completed(receiver.assembler, Filter()):
            output.show(trace)
    except KeyboardInterrupt:
        pass
    finally:
        output.close()
