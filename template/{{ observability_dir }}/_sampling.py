"""Head sampling by trace ID, and tail sampling that keeps failed, slow and expensive traces.

Services with the same rate keep the same traces, as in W3C Trace Context Level 2, and `ot=th:...`
in the trace state records the rate, as in OpenTelemetry's probability sampling.
"""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from threading import RLock
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, StatusCode, TraceFlags, TraceState
from opentelemetry.trace.propagation import get_current_span

from ._settings import Settings

_RANDOM: Final = 1 << 56  # values of a trace ID's random bits; the highest are sampled
MAX_SPANS_PER_TRACE: Final = 2_000
MAX_SPANS: Final = 20_000
MAX_SECONDS: Final = 300.0
_MAX_WEIGHT: Final = 1_000_000  # of a trace from a trusted service


class SnapshotSafeIdGenerator(RandomIdGenerator):
    """IDs that differ after `random.seed`, a fork, or a restored memory snapshot of a container."""

    def generate_span_id(self) -> int:
        return int.from_bytes(os.urandom(8)) or 1  # 0 is invalid

    def generate_trace_id(self) -> int:
        return int.from_bytes(os.urandom(16)) or 1


class ProbabilitySampler(Sampler):
    """Sample 1 in `rate` traces by trace ID; with `trust_incoming`, follow a remote decision instead.

    Unsampled traces are recorded too: the tail sampler keeps those that fail, are slow or expensive.
    """

    def __init__(self, rate: int, *, trust_incoming: bool = False) -> None:
        self._rate, self._trust_incoming = rate, trust_incoming
        self._threshold = _RANDOM - round(_RANDOM / rate)
        threshold = f"th:{self._threshold:014x}".rstrip("0")
        self._trace_state = TraceState([("ot", threshold)]) if rate > 1 else None

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        parent_span = get_current_span(parent_context)
        parent = parent_span.get_span_context()
        is_sampled, trace_state = parent.trace_flags.sampled, parent.trace_state
        if not parent.is_valid or parent.is_remote and not self._trust_incoming:
            is_sampled = trace_id % _RANDOM >= self._threshold
            trace_state = self._trace_state if is_sampled else None
        elif not is_sampled and isinstance(parent_span, NonRecordingSpan):
            return SamplingResult(Decision.DROP, None, trace_state)
        elif parent.is_remote and _weight(parent.trace_state.get("ot", "")) > _MAX_WEIGHT:
            trace_state = None
        decision = Decision.RECORD_AND_SAMPLE if is_sampled else Decision.RECORD_ONLY
        return SamplingResult(decision, attributes, trace_state)

    def get_description(self) -> str:
        return f"ProbabilitySampler(1 in {self._rate})"


def head_weight(span: ReadableSpan) -> int:
    """Return the number of traces that the trace of `span` represents, or 0 if it is unsampled."""
    if not span.context.trace_flags & TraceFlags.SAMPLED:
        return 0
    return _weight(state.get("ot", "")) if (state := span.context.trace_state) else 1


@lru_cache(maxsize=256)
def _weight(value: str) -> int:
    threshold = re.search(r"(?:^|;)th:([0-9a-f]{1,14})(?:;|$)", value)
    return round(_RANDOM / (_RANDOM - int(threshold[1].ljust(14, "0"), 16))) if threshold else 1


@dataclass(slots=True)
class _Trace:
    weight: int
    is_final: bool  # decided by a trusted service, even if the trace fails
    started: float = 0.0
    open: dict[object, Any] = field(default_factory=dict)  # spans by ID, and None for `hold`
    spans: list[Any] = field(default_factory=list)  # in the order of their ends


class TailSampler:
    """Buffer the spans of each trace until its last one ends, then export or drop all of them.

    `export` gets each kept span and the number of traces that its trace represents. The oldest trace
    is decided early if the buffer is full or it stays open too long, and again for its later spans.
    """

    def __init__(self, settings: Settings, export: Callable[[ReadableSpan, int], None]) -> None:
        self._settings, self._export = settings, export
        self.reset()

    def reset(self) -> None:
        self._lock = RLock()  # reentrant: the garbage collector may end a span
        self._size = 0  # number of spans, open or not
        self._traces: dict[int, _Trace] = {}  # the oldest first
        self._late: dict[object, _Trace] = {}  # by the IDs of spans that were open at its decision
        self._kept: list[tuple[list[ReadableSpan], int]] = []

    def start(self, span: Any, known: _Trace | None) -> _Trace:
        """Note that `span` is open. Return its trace: `known`, that of its parent, even if decided."""
        context = span.context
        with self._lock:
            if self._size >= MAX_SPANS:
                self._decide(next(iter(self._traces)))
            trace = self._traces.get(context.trace_id)
            if trace is None:
                is_final = self._settings.trust_incoming and span.parent is not None
                trace = known or _Trace(head_weight(span), is_final)
                trace.started = time.monotonic()
                self._traces[context.trace_id] = trace
                trace_id, oldest = next(iter(self._traces.items()))
                if trace.started - oldest.started > MAX_SECONDS:
                    self._decide(trace_id)
            trace.open[context.span_id] = span
            span._trace = trace
            self._size += 1
            return trace

    def hold(self, trace_id: int) -> Callable[[], None]:
        """Delay the decision of a trace until the returned function is called."""
        key = object()
        with self._lock:
            if trace := self._traces.get(trace_id):
                trace.open[key] = None
                self._size += 1
        return partial(self.end, trace_id, key)

    def end(self, trace_id: int, key: object, span: ReadableSpan | None = None) -> None:
        """Buffer `span`, if it is not a duplicate; decide its trace if no other span is open."""
        with self._lock:
            trace = self._traces.get(trace_id)
            if trace is None or key not in trace.open:  # decided while the span was open
                if span is None:
                    return
                trace = self.start(span, self._late.pop(key, None))
            del trace.open[key]
            if span is None:
                self._size -= 1
            else:
                trace.spans.append(span)
            if not trace.open or len(trace.spans) >= MAX_SPANS_PER_TRACE:
                self._decide(trace_id)
        if self._kept:
            self._export_kept()

    def decide_all(self) -> None:
        """Decide all open traces on the spans they have so far, because the process ends."""
        with self._lock:
            for trace_id in list(self._traces):
                self._decide(trace_id)
        self._export_kept()

    def _decide(self, trace_id: int) -> None:
        trace = self._traces.pop(trace_id)
        if not trace.is_final and self._must_keep(trace):
            trace.weight = 1
        if trace.weight:
            self._kept.append((trace.spans, trace.weight))
        self._size -= len(trace.open) + len(trace.spans)
        self._late.update(dict.fromkeys(trace.open, trace))
        while len(self._late) > MAX_SPANS:  # of spans that never ended
            del self._late[next(iter(self._late))]
        trace.open, trace.spans = {}, []

    def _must_keep(self, trace: _Trace) -> bool:
        cost_usd, slow_ns = 0.0, self._settings.keep_slow_ms * 1e6
        for span in filter(None, (*trace.spans, *trace.open.values())):
            if span.status.status_code is StatusCode.ERROR:
                return True
            if isinstance(cost := span.attributes.get("llm.cost_usd"), float):
                cost_usd += cost
            is_slow = (span.end_time or time.time_ns()) - span.start_time > slow_ns
            # A WebSocket is open for as long as its client likes.
            if is_slow and span.attributes.get("network.protocol.name") != "websocket":
                return True
        return cost_usd > self._settings.keep_cost_usd

    def _export_kept(self) -> None:
        with self._lock:
            kept, self._kept = self._kept, []
        # Without the lock, because other threads start and end spans meanwhile.
        for spans, weight in kept:
            for span in spans:
                self._export(span, weight)
