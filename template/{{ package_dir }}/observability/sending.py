"""Sending spans: a queue of bytes, a thread that empties it, and one line when that fails."""

import functools
import logging
import os
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Condition, Event, Thread
from typing import Final, Protocol

from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Status
from opentelemetry.util.types import AttributeValue

from . import encoding

logger = logging.getLogger(__name__)

MAX_QUEUED_BYTES: Final = 16_000_000
FLUSH_SECONDS: Final = 4.7
"""The longest that a stop waits: a little more than one export may take."""
_BATCH_BYTES: Final = 1_000_000
_LONGEST_PAUSE: Final = 30.0
# Whoever finds a request of this size too large takes none.
_SMALL_BYTES: Final = 100_000
REJECTED: Final = (
    "the API key was rejected ({}). Set HONEYCOMB_API_KEY to an ingest key of this region's team."
)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a request was not taken."""

    reason: str
    """A sentence: what is wrong, and what to do."""
    again: bool
    """Whether the same request may be taken later."""
    after: float | None = None
    """Seconds that the other side asks to wait."""
    too_large: bool = False


class Transport(Protocol):
    """Carries a request to the other side."""

    def send(self, request: bytes) -> Failure | None:
        """None where `request` is taken. Bounded in time; never raises."""

    def close(self) -> None: ...


class SpanQueue:
    """Keeps spans as bytes until its thread has sent them. What is over the bound, oldest first, is
    lost: one line says so, and the line that says that sending works again tells how many."""

    def __init__(
        self,
        connect: Callable[[], Transport],
        resource: bytes,
        *,
        delay: float = 5.0,
        batch: int = 512,
    ) -> None:
        """`connect` is called on the thread that sends. A request goes out `delay` seconds after
        the first span that waits for it, or when `batch` spans do."""
        self._connect = connect
        self._resource = resource
        self._delay = delay
        self._batch = batch
        self._scopes: dict[int, tuple[InstrumentationScope | None, bytes]] = {}
        self.lost = 0
        self._changed: Condition
        self._spans: deque[tuple[bytes, bytes]]
        self._thread: Thread | None
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._let_it_connect, after_in_child=self._reset)

    def take(
        self,
        span: ReadableSpan,
        attributes: Mapping[str, AttributeValue],
        events: list[SpanEvent],
        status: Status,
    ) -> None:
        encoded = encoding.encode_span(span, attributes, events, status)
        scope = self._scope(span.instrumentation_scope)
        with self._changed:
            if self._is_shut_down:
                return
            self._spans.append((scope, encoded))
            self._bytes += len(encoded)
            while self._bytes > MAX_QUEUED_BYTES:
                self._bytes -= len(self._spans.popleft()[1])
                self.lost += 1
            if self._thread is None:
                # There before it starts, so that a fork waits for it.
                self._thread = Thread(target=self._run, name="send-spans", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # the machine has no thread left: the next span tries again
                    self._thread = None
            if len(self._spans) == 1 or len(self._spans) == self._batch:
                self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Export pending spans. Returns False after `timeout` seconds, or if a request fails."""
        deadline = time.monotonic() + timeout
        with self._changed:
            failures = self._failures
            self._flushing += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(
                    lambda: self._is_empty() or self._failures > failures,
                    max(0.0, deadline - time.monotonic()),
                )
                self._has_given_up = not self._is_empty()
                has_failed = self._failures > failures
                is_unanswered = self._has_given_up and not has_failed
            finally:
                self._flushing -= 1
        if is_unanswered and timeout >= 1:
            # The export itself may take longer than a stop waits for it.
            self._say_once(f"no answer came within {timeout:g} s.")
        return not self._has_given_up and not has_failed

    def shutdown(self) -> None:
        """Sends what waits, unless that was just tried in vain: a stop waits once."""
        if not self._has_given_up:
            self.flush(FLUSH_SECONDS)
        with self._changed:
            self._is_shut_down = True
            self._changed.notify_all()

    def _reset(self) -> None:
        """A forked process starts with an empty queue and no thread; its parent sends the rest."""
        self._changed = Condition()
        self._spans = deque()
        self._bytes = 0
        self._sending = 0
        self._flushing = 0
        self._failures = 0
        self._is_failing = False
        self._has_given_up = False
        self._is_shut_down = False
        self._connected = Event()
        self._thread = None

    def _let_it_connect(self) -> None:
        # A module that is half imported at a fork stays so in the child.
        if self._thread is not None:
            self._connected.wait(5.0)

    def _is_empty(self) -> bool:
        return not self._spans and not self._sending

    def _is_wanted(self, flushing_before: int) -> bool:
        """Whether somebody waits for the queue to be empty who did not before."""
        return self._flushing > flushing_before or self._is_shut_down

    def _scope(self, scope: InstrumentationScope | None) -> bytes:
        # By identity, as hashing a scope costs more than encoding it.
        known = self._scopes.get(id(scope))
        if known is None:
            known = self._scopes[id(scope)] = (scope, encoding.encode_scope(scope))
        return known[1]

    def _run(self) -> None:
        transport = self._connect()
        self._connected.set()
        while batch := self._next_batch():
            self._send(transport, batch)
            with self._changed:
                self._sending = 0
                self._changed.notify_all()
        transport.close()

    def _next_batch(self) -> list[tuple[bytes, bytes]]:
        """The next spans to send, once it is time; none when the queue is shut down and empty."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._spans) or self._is_shut_down)
            self._changed.wait_for(
                lambda: len(self._spans) >= self._batch or self._flushing or self._is_shut_down,
                self._delay,
            )
            batch: list[tuple[bytes, bytes]] = []
            size = 0
            while self._spans and len(batch) < self._batch and size < _BATCH_BYTES:
                batch.append(self._spans.popleft())
                size += len(batch[-1][1])
            self._bytes -= size
            self._sending = len(batch)
            return batch

    def _send(self, transport: Transport, batch: list[tuple[bytes, bytes]]) -> None:
        """Sends `batch`, again and again where that may help; what cannot be sent is lost."""
        pause = 1.0
        while True:
            by_scope: dict[bytes, list[bytes]] = {}
            for scope, span in batch:
                by_scope.setdefault(scope, []).append(span)
            request = encoding.encode_request(self._resource, by_scope)
            failure = transport.send(request)
            if failure is None:
                self._succeeded()
                return
            if failure.too_large and len(batch) > 1 and len(request) > _SMALL_BYTES:
                middle = len(batch) // 2
                self._send(transport, batch[:middle])
                self._send(transport, batch[middle:])
                return
            self._failed(failure)
            if not failure.again:
                self.lost += len(batch)
                return
            wait = min(failure.after or pause * random.uniform(0.5, 1.5), _LONGEST_PAUSE)
            with self._changed:
                self._changed.wait_for(functools.partial(self._is_wanted, self._flushing), wait)
                if self._is_shut_down:
                    self.lost += len(batch)
                    return
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _failed(self, failure: Failure) -> None:
        self._say_once(failure.reason)
        with self._changed:
            self._failures += 1
            self._changed.notify_all()

    def _say_once(self, reason: str) -> None:
        if not self._is_failing:
            self._is_failing = True
            logger.warning("Traces are not sent: %s", reason)

    def _succeeded(self) -> None:
        self._has_given_up = False
        if not self._is_failing:
            if self.lost:
                self._say_once(
                    "they come faster than they are taken, and the oldest are lost. Set"
                    " HONEYCOMB_SAMPLE_RATE to send fewer."
                )
        # While the queue is full, more are lost.
        elif self._bytes <= MAX_QUEUED_BYTES // 2:
            self._is_failing = False
            logger.warning("Traces are sent again; %d spans were lost.", self.lost)
            self.lost = 0


def in_one_line(error: Exception) -> str:
    """What kind of error it is, and the first line of what it says."""
    lines = str(error).splitlines()
    text = "".join(filter(str.isprintable, lines[0]))[:100] if lines else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
