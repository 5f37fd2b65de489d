"""Traces that are under way: their spans wait until it is known whether the trace is kept."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanContext, StatusCode

from .sampling import weight_of

logger = logging.getLogger(__name__)

# A span, its attributes, and those of its events that are sent.
Finished = tuple[ReadableSpan, dict[str, Any], list[Event]]
# And with the number of traces that its trace stands for; 0 where it is not kept.
Decided = tuple[Finished, int]

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
    context: SpanContext
    """Of its first span here."""
    began_elsewhere: bool
    began: float
    open_spans: int = 0
    spans: list[Finished] = field(default_factory=list)
    failed: bool = False
    cost_usd: float = 0.0
    duration_ms: float = 0.0
    """Of its first span here, once that has ended."""


class TracesUnderWay:
    """Holds the spans of each trace until its last one has ended, and then sends or forgets them.

    What waits is bounded. Of what goes over a bound, the oldest is decided as it is then, which is
    counted in `decided_early` and said once: errors that come later are missed.
    """

    def __init__(self, keep: KeepRules, send: Callable[[Finished, int], None]) -> None:
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
        kept: list[Decided] = []
        with self._lock:
            trace = self._traces.get(trace_id)
            if trace is None:
                if trace_id in self._weights:
                    return
                parent = span.parent
                trace = self._traces[trace_id] = _Trace(
                    context=span.context,
                    began_elsewhere=parent is not None and parent.is_remote,
                    began=time.monotonic(),
                )
                kept = self._over_a_bound()
            trace.open_spans += 1
        self._pass_on(kept)

    def ended(self, finished: Finished) -> None:
        """Takes a span; it is dropped or sent now or later."""
        span = finished[0]
        trace_id = span.context.trace_id
        with self._lock:
            trace = self._traces.get(trace_id)
            if trace is None:
                weight = self._weights.get(trace_id)
                kept = [(finished, _weight_of_id(span.context) if weight is None else weight)]
            else:
                self._add(trace, finished)
                if (
                    trace.open_spans > 0
                    and len(trace.spans) < MAX_SPANS_OF_A_TRACE
                    and self._waiting <= MAX_SPANS
                ):
                    return
                kept = self._decided(trace_id, trace)
                kept += self._over_a_bound()
        self._pass_on(kept)

    def left_out(self, span: ReadableSpan) -> None:
        """Takes note that a span has ended that is not sent in any case."""
        trace_id = span.context.trace_id
        with self._lock:
            trace = self._traces.get(trace_id)
            kept: list[Decided] = []
            if trace is not None:
                trace.open_spans -= 1
                kept = self._decided(trace_id, trace)
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

    def _pass_on(self, kept: list[Decided]) -> None:
        for finished, weight in kept:
            if weight:
                self._send(finished, weight)

    def _add(self, trace: _Trace, finished: Finished) -> None:
        span, attributes, _ = finished
        trace.open_spans -= 1
        trace.spans.append(finished)
        self._waiting += 1
        if span.status.status_code is StatusCode.ERROR:
            trace.failed = True
        cost = attributes.get("llm.cost_usd")
        if isinstance(cost, float):
            trace.cost_usd += cost
        if span.context.span_id == trace.context.span_id:
            trace.duration_ms = ((span.end_time or 0) - (span.start_time or 0)) / 1_000_000

    def _decided(self, trace_id: int, trace: _Trace) -> list[Decided]:
        if trace.open_spans > 0 and len(trace.spans) < MAX_SPANS_OF_A_TRACE:
            return []
        if trace.open_spans > 0:
            self._give_up()
        return self._decide(trace_id, trace)

    def _over_a_bound(self) -> list[Decided]:
        kept: list[Decided] = []
        too_old = time.monotonic() - MAX_SECONDS
        while self._traces:
            trace_id, trace = next(iter(self._traces.items()))
            if (
                self._waiting <= MAX_SPANS
                and len(self._traces) <= MAX_TRACES
                and trace.began > too_old
            ):
                break
            self._give_up()
            kept += self._decide(trace_id, trace)
        return kept

    def _decide(self, trace_id: int, trace: _Trace) -> list[Decided]:
        del self._traces[trace_id]
        self._waiting -= len(trace.spans)
        weight = self._weight(trace)
        self._weights[trace_id] = weight
        if len(self._weights) > _REMEMBERED:
            self._weights.popitem(last=False)
        return [(finished, weight) for finished in trace.spans] if weight else []

    def _weight(self, trace: _Trace) -> int:
        """The number of traces that `trace` stands for; 0 where it is not kept."""
        duration_ms = trace.duration_ms
        if trace.open_spans > 0:
            duration_ms = (time.monotonic() - trace.began) * 1_000
        is_kept_whole = (
            trace.failed or duration_ms > self._keep.slow_ms or trace.cost_usd > self._keep.cost_usd
        )
        # One that began elsewhere is here because it was selected there. Those that were not are
        # dropped, failed ones too, so that it stands for them in any case.
        if is_kept_whole and not trace.began_elsewhere:
            return 1
        return _weight_of_id(trace.context)

    def _give_up(self) -> None:
        self.decided_early += 1
        if self.decided_early == 1:
            logger.warning(
                "More spans wait for the end of their traces than are held, or they wait for longer:"
                " some traces are sampled before it is known whether they fail or are slow."
            )


def _weight_of_id(context: SpanContext) -> int:
    return weight_of(context.trace_state) if context.trace_flags.sampled else 0
