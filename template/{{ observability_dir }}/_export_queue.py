"""The span exporter: a bounded queue of encoded spans, and a worker thread that sends batches."""

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from threading import Condition, Event, Thread
from typing import Final, Protocol

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ._otlp import decode_partial_success, encode_request, encode_scope, encode_span

logger = logging.getLogger(__name__)

MAX_QUEUED_BYTES: Final = 16_000_000
# Below gRPC's limit of 4 MiB. Large, so that a backlog drains to a receiver that responds slowly.
_MAX_BATCH_BYTES: Final = 3_500_000
_MAX_BACKOFF_SECONDS: Final = 30.0
_MAX_TIMEOUT_SECONDS: Final = 30.0
SHUTDOWN_SECONDS: Final = 4.7
# Failures of one span, with others accepted in between, before it is dropped.
_MAX_FAILURES: Final = 8
# A receiver that rejects everything is not sent each span by itself.
_MAX_REJECTIONS: Final = 20
INVALID_KEY: Final = "API key rejected ({}). Set HONEYCOMB_API_KEY to an ingest key of this team."


@dataclass(frozen=True, kw_only=True)
class ExportError:
    """The reason why a request failed, or why some of its spans were rejected."""

    reason: str  # a sentence: what is wrong, and what to do
    retryable: bool = False
    retry_after: float | None = None  # seconds that the receiver asks to wait
    splittable: bool = False  # the spans are the cause: fewer may be accepted
    timed_out: bool = False
    rejected: int = 0  # spans of a request that was accepted otherwise


class Transport(Protocol):
    def send(self, request: bytes, timeout: float) -> ExportError | None:
        """Return None on success. Takes at most `timeout` seconds."""

    def close(self) -> None: ...


@dataclass(slots=True)
class _Batch:
    spans: list[tuple[bytes, bytes]]
    size: int = 0
    failures: int = 0  # with other requests accepted in between
    accepted: float = inf  # number of those when it last failed


class ExportQueue(SpanExporter):
    """Encode and queue spans; export them in batches from a worker thread.

    When the queue is full, the oldest spans are dropped. Logs one warning when export starts
    failing, and one with the number of dropped spans when it recovers or stops.
    """

    def __init__(
        self,
        connect: Callable[[], Transport],
        resource: bytes,
        *,
        delay: float,
        batch: int,
        timeout: float,
    ) -> None:
        """Send a batch once it has `batch` spans, or `delay` seconds after its first.

        `timeout` limits a request, in seconds; it grows if the receiver responds later.
        """
        self._connect = connect
        self._resource = resource
        self._delay = delay
        self._batch = batch
        self._timeout = timeout
        self._scopes: dict[int, tuple[InstrumentationScope | None, bytes]] = {}
        self.reset()

    def reset(self) -> None:
        """Start with an empty queue. After a fork, the parent process exports what was queued."""
        self._changed = Condition()
        self._spans: deque[tuple[bytes, bytes]] = deque()
        self._failed: deque[_Batch] = deque()
        self._sending: _Batch | None = None
        self._bytes = self._dropped = self._accepted = self._failures = self._rejections = 0
        self._flushing = self._flushes = 0
        self._is_busy = self._is_retry = self._timed_out = False
        self._is_failing = self._is_shut_down = False
        self._backoff = 1.0
        self._transport: Transport | None = None
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
                oldest = self._failed.popleft() if self._failed else self._pop(1)
                self._bytes -= oldest.size
                self._dropped += len(oldest.spans)
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
                has_failed = self._failures > failures
                self._timed_out = not has_failed and not self._is_empty()
            finally:
                self._flushing -= 1
        if self._timed_out and timeout_millis >= 1_000:
            # A single export may last longer than a flush waits for it.
            self._warn_once(f"no response within {timeout_millis / 1_000:g} s.")
        return not has_failed and not self._timed_out

    def drain(self, timeout: float) -> None:
        """Flush and retry for `timeout` seconds, then drop the rest and log the number of spans."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0 and not self.force_flush(int(left * 1_000)):
            time.sleep(min(0.2, left))
        with self._changed:
            rest = [*self._failed, *filter(None, [self._sending])]
            dropped = self._dropped + len(self._spans) + sum(len(batch.spans) for batch in rest)
            self._spans.clear()
            self._failed.clear()
            self._sending = None
            self._bytes = self._dropped = 0
        if dropped:
            self._warn_once("no response before the shutdown.")
            self._log("Trace export stopped; %d spans were dropped.", dropped)

    def shutdown(self) -> None:
        """Drain, unless a flush has just waited in vain, and stop."""
        self.drain(0.0 if self._timed_out else SHUTDOWN_SECONDS)
        with self._changed:
            self._is_shut_down = True
            self._changed.notify_all()

    def wait_for_imports(self) -> None:
        """Wait before a fork: a module that is half imported then remains so in the child."""
        if self._thread is not None:
            self._connected.wait(5.0)

    def _is_empty(self) -> bool:
        return not (self._spans or self._failed or self._is_busy)

    def _scope(self, scope: InstrumentationScope | None) -> bytes:
        # Keyed by identity: hashing a scope costs more than encoding it.
        known = self._scopes.get(id(scope))
        if known is None:
            known = self._scopes[id(scope)] = (scope, encode_scope(scope))
        return known[1]

    def _run(self) -> None:
        try:
            with suppress(Exception):  # tried again with each request
                self._transport = self._connect()
            self._connected.set()
            while batch := self._next_batch():
                error = self._send(batch)
                with self._changed:
                    is_logged = self._settle(batch, error)
                if is_logged:
                    self._report(error)
                with self._changed:
                    self._is_busy = False
                    self._changed.notify_all()
                if error and error.retryable:
                    self._pause(error.retry_after or self._backoff * random.uniform(0.5, 1.5))
                    self._backoff = min(self._backoff * 2, _MAX_BACKOFF_SECONDS)
            with suppress(Exception):
                if self._transport:
                    self._transport.close()
        finally:
            # Whatever ended it, the next span starts another thread.
            with self._changed:
                self._thread, self._is_busy = None, False
                if self._sending:
                    self._requeue(self._sending)

    def _next_batch(self) -> _Batch | None:
        """Wait for the next batch; None means that the queue is shut down.

        Failed batches alternate with new ones, so that neither wait for the others to succeed.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._is_empty() or self._is_shut_down)
            self._changed.wait_for(
                lambda: (
                    len(self._spans) >= self._batch
                    or self._failed
                    or self._flushing
                    or self._is_shut_down
                ),
                self._delay,
            )
            self._is_retry = bool(self._failed) and not (self._is_retry and self._spans)
            batch = self._failed.popleft() if self._is_retry else self._pop(len(self._spans))
            self._bytes -= batch.size
            self._is_busy = bool(batch.spans)
            self._sending = batch if batch.spans else None
            return self._sending

    def _pop(self, most: int) -> _Batch:
        batch = _Batch([])
        while len(batch.spans) < most and batch.size < _MAX_BATCH_BYTES:
            batch.spans.append(self._spans.popleft())
            batch.size += len(batch.spans[-1][1])
        return batch

    def _send(self, batch: _Batch) -> ExportError | None:
        try:
            self._transport = self._transport or self._connect()
            request = encode_request(self._resource, batch.spans)
            return self._transport.send(request, self._timeout)
        except Exception as error:  # noqa: BLE001 - the worker thread must continue
            return ExportError(reason=f"{one_line(error)}.", retryable=True)

    def _settle(self, batch: _Batch, error: ExportError | None) -> bool:
        """Count `batch` as accepted, or retry, split or drop it. Return false if nothing is logged."""
        if self._sending is not batch:
            return False  # a shutdown has counted it as dropped
        self._sending = None
        if error is None or error.rejected:
            self._accepted += 1
            self._rejections = max(0, self._rejections - 1)
            self._backoff, self._timed_out = 1.0, False
            if error:
                self._failures += 1
                self._dropped += min(error.rejected, len(batch.spans))
            return True
        if error.timed_out:
            self._timeout = max(self._timeout, min(2 * self._timeout, _MAX_TIMEOUT_SECONDS))
        batch.failures += self._accepted > batch.accepted
        batch.accepted = self._accepted
        self._rejections += error.splittable
        is_retried = error.retryable and batch.failures < _MAX_FAILURES
        if len(batch.spans) > 1 and (
            error.retryable or error.splittable and self._rejections <= _MAX_REJECTIONS
        ):
            # One of the spans may be the cause.
            is_retried, middle = True, len(batch.spans) // 2
            half = _Batch(batch.spans[middle:], 0, batch.failures, batch.accepted)
            half.size = sum(len(span) for _, span in half.spans)
            del batch.spans[middle:]
            batch.size -= half.size
            self._requeue(half)
        if is_retried:
            self._requeue(batch)
        else:
            self._dropped += len(batch.spans)
        has_failed = error.retryable or not is_retried
        self._failures += has_failed
        return has_failed

    def _requeue(self, batch: _Batch) -> None:
        self._failed.append(batch)
        self._bytes += batch.size

    def _pause(self, seconds: float) -> None:
        """Wait, unless another flush or a shutdown begins."""
        with self._changed:
            flushes, seconds = self._flushes, min(seconds, _MAX_BACKOFF_SECONDS)
            self._changed.wait_for(lambda: self._flushes > flushes or self._is_shut_down, seconds)

    def _report(self, error: ExportError | None) -> None:
        if error is not None:
            self._warn_once(error.reason)
            return
        with self._changed:
            dropped = self._dropped
            # While the queue is nearly full, more may be dropped.
            is_over = not self._failed and self._bytes <= MAX_QUEUED_BYTES // 2
            if self._is_failing and is_over:
                self._dropped = 0
        if self._is_failing and is_over:
            self._is_failing = False
            self._log("Trace export recovered; %d spans were dropped.", dropped)
        elif dropped:
            self._warn_once(
                "the export queue is full; the oldest spans are being dropped. Set"
                " HONEYCOMB_SAMPLE_RATE to export fewer."
            )

    def _warn_once(self, reason: str) -> None:
        if not self._is_failing:
            self._is_failing = True
            self._log("Trace export is failing: %s", reason)

    def _log(self, message: str, *arguments: object) -> None:
        with suppress(Exception):  # a logging filter of the application may raise
            logger.warning(message, *arguments)


def partial_success(response: bytes, where: str) -> ExportError | None:
    """Return an error if an ExportTraceServiceResponse reports rejected spans."""
    rejected, message = decode_partial_success(response)
    if not 0 < rejected < 2**63:
        return None
    reason = f"{where} rejected {rejected} spans: {_printable(message)}"
    return ExportError(reason=reason, rejected=rejected)


def one_line(error: Exception) -> str:
    """Return the class of `error` and the first line of its message."""
    text = _printable(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _printable(text: str) -> str:
    lines = text.splitlines()
    return "".join(filter(str.isprintable, lines[0]))[:100] if lines else ""
