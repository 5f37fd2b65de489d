"""Traces that are under way: their spans wait until it is known whether the trace is kept."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from .sampling import weight_of

logger = logging.getLogger(__name__)

# A span, and the number of traces that its trace stands for.
Kept = tuple[ReadableSpan, int]

MAX_SPANS_OF_A_TRACE: Final = 2_000
MAX_SPANS: Final = 20_000
MAX_TRACES: Final = 20_000
MAX_SECONDS: Final = 300.0
_REMEMBERED: Final = 4_000


@dataclass(frozen=True, kw_only=True)
class KeepRules:
    """Which traces are kept whole, whatever the sample rate. Every trace with an error is."""

    slow_ms: float
    """A trace that takes longer, in milliseconds."""
    cost_usd: float
    """A trace whose LLM calls cost more, in US dollars and in sum."""


@dataclass(slots=True)
class _Trace:
    first: ReadableSpan
    """Of its spans, the one that started first here."""
    began: float
    open_spans: int = 1
    spans: list[ReadableSpan] = field(default_factory=list)
    """Those that have ended, in the order in which they did."""


class TracesUnderWay:
    """Holds the spans of each trace until its last one has ended, and then sends or forgets them.

    What waits is bounded. Of what goes over a bound, the oldest is decided as it is then, which is
    counted in `decided_early` and said once: errors that come later are missed.
    """

    def __init__(self, keep: KeepRules, send: Callable[[ReadableSpan, int], None]) -> None:
        """`send` is called with each span that is kept, and with the number of traces that its
        trace stands for."""
        self._keep = keep
        self._send = send
        self._lock = Lock()
        self._traces: OrderedDict[int, _Trace] = OrderedDict()
        self._waiting = 0
        # What became of the latest traces, for spans that end after theirs was decided.
        self._weights: OrderedDict[int, int] = OrderedDict()
        self.decided_early = 0

    def started(self, span: ReadableSpan) -> None:
        trace_id = span.context.trace_id
        with self._lock:
            trace = self._traces.get(trace_id)
            if trace is not None:
                trace.open_spans += 1
                return
            if trace_id in self._weights:
                return
            self._traces[trace_id] = _Trace(first=span, began=time.monotonic())
            kept = self._over_a_bound()
        self._pass_on(kept)

    def ended(self, span: ReadableSpan, *, is_sent: bool = True) -> None:
        """Takes a span; it is dropped or sent now or later. Where `is_sent` is false, it is not."""
        trace_id = span.context.trace_id
        kept: list[Kept] = []
        with self._lock:
            trace = self._traces.get(trace_id)
            if trace is not None:
                trace.open_spans -= 1
                if is_sent:
                    trace.spans.append(span)
                    self._waiting += 1
                if not trace.open_spans:
                    kept = self._decide(trace_id, trace)
                elif len(trace.spans) >= MAX_SPANS_OF_A_TRACE:
                    kept = self._decide_early(trace_id, trace)
                elif self._waiting > MAX_SPANS:
                    kept = self._over_a_bound()
            elif is_sent:
                weight = self._weights.get(trace_id)
                kept = [(span, _weight_of_id(span) if weight is None else weight)]
        if kept:
            self._pass_on(kept)

    def decide_all(self) -> None:
        """Decides what is still under way as it is now: the process ends."""
        with self._lock:
            kept = [
                decided
                for trace_id, trace in list(self._traces.items())
                for decided in self._decide(trace_id, trace)
            ]
        self._pass_on(kept)

    def forget(self) -> None:
        """Starts afresh, in a process that was forked: its parent sends what was under way."""
        self._lock = Lock()
        self._traces.clear()
        self._weights.clear()
        self._waiting = 0

    def _pass_on(self, kept: list[Kept]) -> None:
        for span, weight in kept:
            if weight:
                self._send(span, weight)

    def _over_a_bound(self) -> list[Kept]:
        kept: list[Kept] = []
        too_old = time.monotonic() - MAX_SECONDS
        while self._traces:
            trace_id, trace = next(iter(self._traces.items()))
            if (
                self._waiting <= MAX_SPANS
                and len(self._traces) <= MAX_TRACES
                and trace.began > too_old
            ):
                break
            kept += self._decide_early(trace_id, trace)
        return kept

    def _decide_early(self, trace_id: int, trace: _Trace) -> list[Kept]:
        self.decided_early += 1
        if self.decided_early == 1:
            logger.warning(
                "More spans wait for the end of their traces than are held, or they wait for longer:"
                " some traces are sampled before it is known whether they fail or are slow."
            )
        return self._decide(trace_id, trace)

    def _decide(self, trace_id: int, trace: _Trace) -> list[Kept]:
        del self._traces[trace_id]
        self._waiting -= len(trace.spans)
        weight = self._weight(trace)
        self._weights[trace_id] = weight
        if len(self._weights) > _REMEMBERED:
            self._weights.popitem(last=False)
        return [(span, weight) for span in trace.spans] if weight else []

    def _weight(self, trace: _Trace) -> int:
        """The number of traces that `trace` stands for; 0 where it is not kept."""
        parent = trace.first.parent
        # One that began elsewhere is here because it was selected there. Those that were not are
        # dropped, failed ones too, so that it stands for them in any case.
        if (parent is None or not parent.is_remote) and self._is_kept_whole(trace):
            return 1
        return _weight_of_id(trace.first)

    def _is_kept_whole(self, trace: _Trace) -> bool:
        cost_usd = 0.0
        for span in trace.spans:
            if span.status.status_code is StatusCode.ERROR:
                return True
            cost = (span.attributes or {}).get("llm.cost_usd")
            if isinstance(cost, float):
                cost_usd += cost
        if trace.open_spans:
            duration_ms = (time.monotonic() - trace.began) * 1_000
        else:
            duration_ms = ((trace.first.end_time or 0) - (trace.first.start_time or 0)) / 1_000_000
        return duration_ms > self._keep.slow_ms or cost_usd > self._keep.cost_usd


def _weight_of_id(span: ReadableSpan) -> int:
    context = span.context
    return weight_of(context.trace_state) if context.trace_flags.sampled else 0
