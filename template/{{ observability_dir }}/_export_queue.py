"""The span exporter: a bounded queue of encoded spans, and a worker thread that sends batches."""

import random
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, RLock, Thread
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ._otlp import VARINT, decode_varint, encode_request, encode_scope, encode_span
from ._settings import Settings, warn

MAX_QUEUED_BYTES: Final = 16_000_000
# Below gRPC's limit of 4 MiB. Large, so that a backlog drains to a receiver that responds slowly.
_MAX_BATCH_BYTES: Final = 2_000_000
_MAX_BACKOFF_SECONDS: Final = 30.0
SHUTDOWN_SECONDS: Final = 4.7
# Of failures of one span, and of rejections in a row: a receiver may reject every span.
_MAX_FAILURES: Final = 20
_FULL: Final = "the export queue is full. Set HONEYCOMB_SAMPLE_RATE to export fewer spans."
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


@dataclass(eq=False, slots=True)
class _Batch:
    spans: list[tuple[bytes, bytes]] = field(default_factory=list)  # each after its scope
    size: int = 0  # bytes
    failures: int = 0
    is_closed: bool = False  # to further spans, because it is too large or has been sent
    is_due: bool = False


class ExportQueue(SpanExporter):
    """Encode and queue spans; export them in batches from a worker thread.

    When the queue is full, the oldest spans are dropped. Logs one warning when export starts
    failing, and one with the number of dropped spans when it recovers or stops. `connect` returns a
    transport: its `send(request, timeout)` returns None or an ExportError in `timeout` seconds.
    """

    def __init__(self, connect: Callable[[], Any], resource: Resource, settings: Settings) -> None:
        self._connect, self._resource, self._settings = connect, resource, settings
        self._timeout = settings.timeout  # doubles, up to 30 s, if the receiver responds later
        self._scopes: dict[int, tuple[object, bytes]] = {}
        self.reset()

    def reset(self) -> None:
        """Start with an empty queue. After a fork, the parent process exports what was queued."""
        self._lock = RLock()
        self._changed = Condition(self._lock)
        # The first is sent, and remains until its outcome is logged. Spans are added to the last.
        self._queue: deque[_Batch] = deque()
        self._bytes = self._dropped = self._failures = self._retries = 0
        self._is_urgent = self._timed_out = self._is_failing = self._is_shut_down = False
        self._pause = 0.0
        self._transport: Any = None
        self._thread: Thread | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Queue `spans` and return at once."""
        for span in spans:
            scope = span.instrumentation_scope
            if (known := self._scopes.get(id(scope))) is None:  # by identity: hashing costs more
                known = self._scopes[id(scope)] = (scope, encode_scope(scope))
            encoded = encode_span(span)
            with self._lock:
                if self._is_shut_down:
                    return SpanExportResult.FAILURE
                if not self._queue or self._queue[-1].is_closed:
                    self._queue.append(_Batch())
                    self._scopes.clear()  # in older SDKs, each call of `get_tracer` creates one
                batch = self._queue[-1]
                batch.spans.append((known[1], encoded))
                batch.size += len(encoded)
                batch.is_closed = batch.size >= _MAX_BATCH_BYTES
                is_full = batch.is_closed or len(batch.spans) == self._settings.batch
                batch.is_due = batch.is_due or is_full
                self._bytes += len(encoded)
                while self._bytes > MAX_QUEUED_BYTES:
                    oldest = self._queue[1]  # the first may be on its way
                    self._queue.remove(oldest)
                    self._bytes -= oldest.size
                    self._dropped += len(oldest.spans)
                if self._thread is None:
                    thread = Thread(target=self._run, name="span-export", daemon=True)
                    with suppress(RuntimeError):  # out of threads: the next span tries again
                        thread.start()
                        self._thread = thread
                if is_full or len(batch.spans) == 1:
                    self._changed.notify_all()
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return true if the queue was emptied, false on a timeout or a failed request."""
        with self._lock:
            failures, self._is_urgent = self._failures, bool(self._queue)
            self._changed.notify_all()
            self._timed_out = not self._changed.wait_for(
                lambda: not self._queue or self._failures > failures, timeout_millis / 1_000
            )
            return not self._timed_out and self._failures == failures

    def drain(self, timeout: float) -> None:
        """Flush and retry for `timeout` seconds, then drop the rest and log the number of spans."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0 and not self.force_flush(int(left * 1_000)):
            time.sleep(min(0.2, left))
        with self._lock:
            dropped = self._dropped + sum(len(batch.spans) for batch in self._queue)
            self._queue.clear()
            self._bytes = self._dropped = 0
        if dropped:
            warn(self._failing("no response before the shutdown."))
            warn(f"Trace export stopped; {dropped} spans were dropped.")

    def shutdown(self) -> None:
        """Drain, unless a flush has just waited in vain, and stop."""
        self.drain(0.0 if self._timed_out else SHUTDOWN_SECONDS)
        with self._lock:
            self._is_shut_down = self._is_urgent = True
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            while not self._is_shut_down:
                if batch := self._next_batch():
                    error = self._send(batch)
                    with self._lock:
                        line = self._settle(batch, error)
                    warn(line)  # without the lock: the application handles log records
                    with self._lock:
                        if batch in self._queue:
                            self._queue.remove(batch)
                        self._is_urgent = self._is_urgent and bool(self._queue)
                        self._changed.notify_all()
        finally:
            self._thread = None  # the next span starts another thread

    def _next_batch(self) -> _Batch | None:
        """Wait for a batch that is due; None means that the queue was emptied or is shut down."""
        queue, wait, delay = self._queue, self._changed.wait_for, self._settings.delay_ms / 1_000
        with self._lock:
            wait(lambda: self._is_urgent, self._pause)
            wait(lambda: queue or self._is_shut_down)
            wait(lambda: self._is_urgent or any(each.is_due for each in queue), delay)
            self._pause = 0.0
            if not queue:
                return None
            queue[0].is_closed = True
            return queue[0]

    def _send(self, batch: _Batch) -> Any:
        try:
            self._transport = self._transport or self._connect()
            return self._transport.send(encode_request(self._resource, batch.spans), self._timeout)
        except Exception as error:  # noqa: BLE001 - the worker thread must continue
            return ExportError(reason=f"{repr(error)[:100]}.", retryable=True)

    def _settle(self, batch: _Batch, error: ExportError | None) -> str:
        """Count `batch` as accepted, or retry, split or drop it. Return a line to log, if any."""
        if batch not in self._queue:
            return ""  # a shutdown has counted it as dropped
        spans, size, batch.spans, batch.size = batch.spans, batch.size, [], 0
        is_kept, middle = False, len(spans) // 2
        if error is None or error.rejected:
            self._retries, self._timed_out = 0, False
        else:
            if error.retryable:
                if error.timed_out:
                    self._timeout = max(self._timeout, min(2 * self._timeout, 30.0))
                pause = error.retry_after or 2 ** min(self._retries, 5) * random.uniform(0.5, 1.5)
                self._pause = min(pause, _MAX_BACKOFF_SECONDS)
                batch.failures += self._retries == 0
                is_kept = middle > 0 or batch.failures < _MAX_FAILURES
            elif error.splittable:
                is_kept = middle > 0 and self._retries < _MAX_FAILURES
            self._retries += 1
        if not is_kept:
            self._bytes -= size
            self._dropped += min(error.rejected or len(spans), len(spans)) if error else 0
        elif error:
            # One of the spans may be the cause. After a rejection, its halves are sent next.
            add = self._queue.append if error.retryable else self._queue.appendleft
            for half in filter(None, (spans[:middle], spans[middle:])):
                add(_Batch(half, sum(len(span) for _, span in half), batch.failures, True, True))
        if error and (error.retryable or not is_kept):
            self._failures += 1
            self._is_urgent = False
            return self._failing(error.reason)
        if self._is_failing and [each for each in self._queue if each.is_closed] == [batch]:
            dropped, self._dropped, self._is_failing = self._dropped, 0, False
            return f"Trace export recovered; {dropped} spans were dropped."
        return self._failing(_FULL) if self._dropped else ""

    def _failing(self, reason: str) -> str:
        is_first, self._is_failing = not self._is_failing, True
        return f"Trace export is failing: {reason}" if is_first else ""


def partial_success(response: bytes, where: str) -> ExportError | None:
    """Return an error if an ExportTraceServiceResponse reports rejected spans."""
    found = re.fullmatch(rb"(?s)\n%b\x08%b(?:\x12%b(.*))?" % ((VARINT,) * 3), response)
    if not found or not 0 < (rejected := decode_varint(found[2])) < 2**63:
        return None
    message = (found[4] or b"").decode(errors="replace")[:100]
    return ExportError(reason=f"{where} rejected {rejected} spans: {message!r}", rejected=rejected)
