"""Assemble traces from spans and log records, which arrive in any order and in several exports."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from threading import Condition
from typing import Final

from .otlp import LogRecord, Span

SETTLE_SECONDS: Final = 1.5
"""Quiet time after which a trace is complete, if no span of it is known to be missing."""
MAX_SPANS: Final = 20_000
"""Spans that are kept of one trace."""
_MAX_LOGS: Final = 2_000
_MAX_EVICTED: Final = 1_000
_ENTRY_KINDS: Final = ("server", "consumer")


@dataclass
class Trace:
    """The spans and log records of a trace so far."""

    trace_id: str
    spans: dict[str, Span] = field(default_factory=dict)
    """By span id."""
    logs: list[LogRecord] = field(default_factory=list)
    dropped: int = 0
    """Spans beyond MAX_SPANS, which were not kept."""
    is_complete: bool = False
    late: int = 0
    """Spans and log records that arrived after the trace was first complete."""
    updated: float = 0.0
    """Monotonic time of the last arrival."""
    version: int = 0
    """Increases with each change."""

    @property
    def missing(self) -> set[str]:
        """Ids of parents that have not arrived."""
        parents = {span.parent_id for span in self.spans.values() if span.parent_id}
        return parents - self.spans.keys()

    @property
    def root(self) -> Span | None:
        """The first span without a parent, or else the first one that another service called, or
        else the first one."""
        missing = self.missing
        tops = [s for s in self.spans.values() if not s.parent_id or s.parent_id in missing]
        return min(
            tops,
            key=lambda span: (bool(span.parent_id), span.kind not in _ENTRY_KINDS, span.start),
            default=None,
        )

    @property
    def start(self) -> int:
        """Nanoseconds since 1970."""
        times = [span.start for span in self.spans.values()] or [log.time for log in self.logs]
        return min(times, default=0)

    @property
    def duration(self) -> int:
        """Nanoseconds from the beginning of the first span to the end of the last."""
        return max((span.end for span in self.spans.values()), default=self.start) - self.start

    @property
    def has_error(self) -> bool:
        return any(span.status == "error" for span in self.spans.values())

    @property
    def service(self) -> str:
        resource = self.root.resource if self.root else self.logs[0].resource if self.logs else {}
        return str(resource.get("service.name", ""))


class TraceAssembler:
    """Collects spans into traces, and keeps the last `keep` of them.

    A trace is complete after SETTLE_SECONDS without a new span or log record, or after `wait` seconds
    if its root or the parent of a span is missing. It is complete once more if spans arrive later.
    """

    def __init__(
        self, *, keep: int, wait: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keep = keep
        self._wait = wait
        self._clock = clock
        self._changed = Condition()
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._evicted: deque[Trace] = deque()
        self.skipped = 0
        """Traces that were never returned, because they arrived faster than they were read."""
        self._version = 0

    def add(self, spans: Iterable[Span] = (), logs: Iterable[LogRecord] = ()) -> None:
        """Add spans and log records; those without a trace id are ignored."""
        with self._changed:
            for span in spans:
                if span.trace_id:
                    self._add_span(self._trace(span.trace_id), span)
            for record in logs:
                if record.trace_id:
                    self._add_log(self._trace(record.trace_id), record)
            self._changed.notify_all()

    def completed(self) -> list[Trace]:
        """Return traces that became complete since the last call, in the order of their start."""
        with self._changed:
            ready = [
                *self._evicted,
                *(trace for trace in self._traces.values() if self._is_due(trace)),
            ]
            self._evicted.clear()
            return self._complete(ready)

    def remaining(self) -> list[Trace]:
        """Return traces that have not been returned, complete or not."""
        with self._changed:
            waiting = [trace for trace in self._traces.values() if not trace.is_complete]
            ready = [*self._evicted, *waiting]
            self._evicted.clear()
            return self._complete(ready)

    def recent(self, since: int = 0) -> tuple[int, list[Trace]]:
        """Return the current version, and traces that changed after version `since`."""
        with self._changed:
            changed = [trace for trace in self._traces.values() if trace.version > since]
            return self._version, [_copy(trace) for trace in changed]

    def get(self, trace_id: str) -> Trace | None:
        """Return a trace that is kept."""
        with self._changed:
            trace = self._traces.get(trace_id)
            return trace and _copy(trace)

    def clear(self) -> None:
        """Forget all traces."""
        with self._changed:
            self._traces.clear()
            self._evicted.clear()

    def wait_for_change(self, version: int, timeout: float) -> None:
        """Return as soon as the version differs from `version`, or after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, timeout)

    def _trace(self, trace_id: str) -> Trace:
        trace = self._traces.get(trace_id)
        if trace is None:
            trace = self._traces[trace_id] = Trace(trace_id)
            if len(self._traces) > self._keep:
                _, oldest = self._traces.popitem(last=False)
                if not oldest.is_complete:
                    self._evicted.append(oldest)
                if len(self._evicted) > _MAX_EVICTED:
                    self._evicted.popleft()
                    self.skipped += 1
        return trace

    def _add_span(self, trace: Trace, span: Span) -> None:
        if span.span_id not in trace.spans and len(trace.spans) >= MAX_SPANS:
            trace.dropped += 1
        elif trace.spans.get(span.span_id) == span:
            # An export that was repeated.
            return
        else:
            trace.spans[span.span_id] = span
        self._touch(trace)

    def _add_log(self, trace: Trace, record: LogRecord) -> None:
        if len(trace.logs) < _MAX_LOGS:
            trace.logs.append(record)
            self._touch(trace)

    def _touch(self, trace: Trace) -> None:
        if trace.is_complete or trace.late:
            trace.late += 1
        trace.is_complete = False
        trace.updated = self._clock()
        self._version += 1
        trace.version = self._version

    def _is_due(self, trace: Trace) -> bool:
        if trace.is_complete:
            return False
        is_whole = bool(trace.spans) and not trace.missing
        return self._clock() - trace.updated >= (SETTLE_SECONDS if is_whole else self._wait)

    def _complete(self, traces: list[Trace]) -> list[Trace]:
        for trace in traces:
            trace.is_complete = True
            self._version += 1
            trace.version = self._version
        self._changed.notify_all()
        return sorted(map(_copy, traces), key=lambda trace: trace.start)


def _copy(trace: Trace) -> Trace:
    """A copy that does not change while it is read in another thread."""
    return replace(trace, spans=dict(trace.spans), logs=list(trace.logs))
