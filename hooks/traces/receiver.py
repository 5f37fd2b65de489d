"""An OTLP server that keeps the spans, log records and requests it accepts."""

from collections.abc import Iterable
from threading import Condition
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .otlp import LogRecord, Span, logs_in, spans_in
from .server import OTLPServer

PATIENCE: Final = 60.0
"""Seconds to wait for spans by default, so that a busy machine does not look like a lost span."""


class Receiver(OTLPServer):
    """Accepts exports at `endpoint` while the block runs, and keeps them.

        with Receiver() as receiver:
            ...  # export spans to receiver.endpoint
            [span] = receiver.wait_for(1)

    The spans can still be read after the block.
    """

    def __init__(self) -> None:
        super().__init__()
        self._changed = Condition()
        self._spans: list[Span] = []
        self._logs: list[LogRecord] = []
        self._requests: list[dict[str, str]] = []
        self._paths: list[str] = []

    @property
    def spans(self) -> list[Span]:
        """The spans accepted so far, in the order of their arrival."""
        with self._changed:
            return list(self._spans)

    @property
    def logs(self) -> list[LogRecord]:
        """The log records accepted so far, in the order of their arrival."""
        with self._changed:
            return list(self._logs)

    @property
    def requests(self) -> list[dict[str, str]]:
        """The headers of each request so far, including rejected ones. Names are in lower case."""
        with self._changed:
            return [dict(headers) for headers in self._requests]

    @property
    def paths(self) -> list[str]:
        """The path of each request so far, over HTTP."""
        with self._changed:
            return list(self._paths)

    def wait_for(self, count: int, timeout: float = PATIENCE) -> list[Span]:
        """Return the spans so far, as soon as there are `count`.

        Raise TimeoutError with their names if there are fewer after `timeout` seconds.
        """
        with self._changed:
            if self._changed.wait_for(lambda: len(self._spans) >= count, timeout):
                return list(self._spans)
            names = ", ".join(span.name for span in self._spans)
            raise TimeoutError(
                f"Received {len(self._spans)} of {count} spans within {timeout:g} s"
                f"{f': {names}' if names else ''}."
            )

    def wait_for_requests(self, count: int, timeout: float = PATIENCE) -> int:
        """Return the number of requests so far, as soon as there are `count`, or raise TimeoutError."""
        with self._changed:
            if self._changed.wait_for(lambda: len(self._requests) >= count, timeout):
                return len(self._requests)
            raise TimeoutError(
                f"Received {len(self._requests)} of {count} requests within {timeout:g} s."
            )

    def clear(self) -> None:
        """Forget the spans, log records and requests so far."""
        with self._changed:
            self._spans.clear()
            self._logs.clear()
            self._requests.clear()
            self._paths.clear()

    def add_request(self, headers: Iterable[tuple[str, str]], path: str) -> None:
        with self._changed:
            self._requests.append({name.lower(): value for name, value in headers})
            self._paths.append(path)
            self._changed.notify_all()

    def add_spans(self, request: ExportTraceServiceRequest) -> None:
        spans = spans_in(request)
        with self._changed:
            self._spans.extend(spans)
            self._changed.notify_all()

    def add_logs(self, request: ExportLogsServiceRequest) -> None:
        records = logs_in(request)
        with self._changed:
            self._logs.extend(records)
            self._changed.notify_all()
