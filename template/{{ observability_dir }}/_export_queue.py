"""The span exporter: a bounded queue of encoded spans, and a worker thread that sends batches."""

import logging
import os
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition, Event, Thread
from typing import Final, Protocol

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ._otlp import encode_request, encode_scope, encode_span

logger = logging.getLogger(__name__)

MAX_QUEUED_BYTES: Final = 16_000_000
_MAX_BATCH_BYTES: Final = 1_000_000
_MAX_BACKOFF_SECONDS: Final = 30.0
# A receiver that rejects a request this small rejects any; do not split further.
_MIN_SPLIT_BYTES: Final = 100_000
INVALID_KEY: Final = "API key rejected ({}). Set HONEYCOMB_API_KEY to an ingest key of this team."


@dataclass(frozen=True, kw_only=True)
class ExportError:
    """The reason why a request failed."""

    reason: str  # a sentence: what is wrong, and what to do
    retryable: bool
    retry_after: float | None = None  # seconds that the receiver asks to wait
    too_large: bool = False


class Transport(Protocol):
    def send(self, request: bytes) -> ExportError | None:
        """Return None on success. Bounded in time; never raises."""

    def close(self) -> None: ...


class ExportQueue(SpanExporter):
    """Encode and queue spans; export them in batches from a worker thread.

    When the queue is full, the oldest spans are dropped. Logs one warning when export starts
    failing, and one with the number of dropped spans when it recovers.
    """

    def __init__(
        self, connect: Callable[[], Transport], resource: bytes, *, delay: float, batch: int
    ) -> None:
        """Send a batch once it has `batch` spans, or `delay` seconds after its first."""
        self._connect = connect
        self._resource = resource
        self._delay = delay
        self._batch = batch
        self._scopes: dict[int, tuple[InstrumentationScope | None, bytes]] = {}
        self.dropped = 0
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._wait_for_imports, after_in_child=self._reset)

    def _reset(self) -> None:
        """Start with an empty queue. After a fork, the parent process exports what was queued."""
        self._changed = Condition()
        self._spans: deque[tuple[bytes, bytes]] = deque()
        self._bytes = 0
        self._in_flight = self._flushing = self._flushes = self._failures = 0
        self._is_failing = self._flush_failed = self._is_shut_down = False
        self._connected = Event()
        self._thread: Thread | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Queue `spans` and return at once."""
        encoded = [(self._scope(span.instrumentation_scope), encode_span(span)) for span in spans]
        with self._changed:
            if self._is_shut_down:
                return SpanExportResult.FAILURE
            self._spans += encoded
            self._bytes += sum(len(span) for _, span in encoded)
            while self._bytes > MAX_QUEUED_BYTES:
                self._bytes -= len(self._spans.popleft()[1])
                self.dropped += 1
            if self._thread is None:
                # Assigned before it starts, so that a fork waits for it.
                self._thread = Thread(target=self._run, name="span-export", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # out of threads: the next span tries again
                    self._thread = None
            if len(self._spans) == 1 or len(self._spans) == self._batch:
                self._changed.notify_all()
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return true if the queue was emptied, false on a timeout or a failed request."""
        with self._changed:
            failures = self._failures
            self._flushing += 1
            self._flushes += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(
                    lambda: self._is_empty() or self._failures > failures, timeout_millis / 1_000
                )
                timed_out = self._failures == failures and not self._is_empty()
                self._flush_failed = timed_out or self._failures > failures
            finally:
                self._flushing -= 1
        if timed_out and timeout_millis >= 1_000:
            # A single export may last longer than a flush waits for it.
            self._warn_once(f"no response within {timeout_millis / 1_000:g} s.")
        return not self._flush_failed

    def shutdown(self) -> None:
        """Flush, unless a flush has just failed, and stop."""
        if not self._flush_failed:
            self.force_flush(4_700)
        with self._changed:
            self._is_shut_down = True
            self._changed.notify_all()

    def _wait_for_imports(self) -> None:
        # A module that is half imported at a fork remains so in the child.
        if self._thread is not None:
            self._connected.wait(5.0)

    def _is_empty(self) -> bool:
        return not self._spans and not self._in_flight

    def _scope(self, scope: InstrumentationScope | None) -> bytes:
        # Keyed by identity: hashing a scope costs more than encoding it.
        known = self._scopes.get(id(scope))
        if known is None:
            known = self._scopes[id(scope)] = (scope, encode_scope(scope))
        return known[1]

    def _run(self) -> None:
        transport = self._connect()
        self._connected.set()
        while batch := self._next_batch():
            self._send(transport, batch)
            with self._changed:
                self._in_flight = 0
                self._changed.notify_all()
        transport.close()

    def _next_batch(self) -> list[tuple[bytes, bytes]]:
        """Wait for the next batch; an empty one means that the queue is shut down."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._spans) or self._is_shut_down)
            self._changed.wait_for(
                lambda: len(self._spans) >= self._batch or self._flushing or self._is_shut_down,
                self._delay,
            )
            batch: list[tuple[bytes, bytes]] = []
            size = 0
            while self._spans and len(batch) < self._batch and size < _MAX_BATCH_BYTES:
                batch.append(self._spans.popleft())
                size += len(batch[-1][1])
            self._bytes -= size
            self._in_flight = len(batch)
            return batch

    def _send(self, transport: Transport, batch: list[tuple[bytes, bytes]]) -> None:
        """Send `batch`, with retries and exponential backoff; drop it if retrying cannot help."""
        backoff = 1.0
        while True:
            request = encode_request(self._resource, batch)
            error = transport.send(request)
            if error is None:
                self._succeeded()
                return
            if error.too_large and len(batch) > 1 and len(request) > _MIN_SPLIT_BYTES:
                self._send(transport, batch[: len(batch) // 2])
                self._send(transport, batch[len(batch) // 2 :])
                return
            self._warn_once(error.reason)
            with self._changed:
                self._failures += 1
                self._changed.notify_all()
            if not error.retryable:
                self.dropped += len(batch)
                return
            self._pause(error.retry_after or backoff * random.uniform(0.5, 1.5))
            if self._is_shut_down:
                self.dropped += len(batch)
                return
            backoff = min(backoff * 2, _MAX_BACKOFF_SECONDS)

    def _pause(self, seconds: float) -> None:
        """Wait, unless another flush or a shutdown begins."""
        with self._changed:
            flushes, seconds = self._flushes, min(seconds, _MAX_BACKOFF_SECONDS)
            self._changed.wait_for(lambda: self._flushes > flushes or self._is_shut_down, seconds)

    def _warn_once(self, reason: str) -> None:
        if not self._is_failing:
            self._is_failing = True
            logger.warning("Trace export is failing: %s", reason)

    def _succeeded(self) -> None:
        self._flush_failed = False
        if not self._is_failing and self.dropped:
            self._warn_once(
                "the export queue is full; the oldest spans are being dropped. Set"
                " HONEYCOMB_SAMPLE_RATE to export fewer."
            )
        # While the queue is nearly full, more may be dropped.
        elif self._is_failing and self._bytes <= MAX_QUEUED_BYTES // 2:
            self._is_failing = False
            logger.warning("Trace export recovered; %d spans were dropped.", self.dropped)
            self.dropped = 0


def one_line(error: Exception) -> str:
    """Return the class of `error` and the first line of its message."""
    lines = str(error).splitlines()
    text = "".join(filter(str.isprintable, lines[0]))[:100] if lines else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
