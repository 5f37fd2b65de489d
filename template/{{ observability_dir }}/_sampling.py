"""Head sampling by trace ID, and tail sampling that keeps failed, slow and expensive traces.

Services with the same rate keep the same traces, as in W3C Trace Context Level 2, and `ot=th:...`
in the trace state records the rate, as in OpenTelemetry's probability sampling.
"""

import logging
import random
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import Final

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, StatusCode, TraceState
from opentelemetry.trace.propagation import get_current_span
from opentelemetry.util.types import Attributes

logger = logging.getLogger(__name__)

# The last 56 bits of a trace ID are random. A trace is sampled if they reach the threshold.
_RANDOM: Final = 1 << 56

MAX_SPANS_PER_TRACE: Final = 2_000
MAX_SPANS: Final = 20_000
MAX_TRACES: Final = 20_000
MAX_SECONDS: Final = 300.0
_MAX_DECISIONS: Final = 4_000
# A trusted service that claims more is not believed.
_MAX_INCOMING_WEIGHT: Final = 1_000_000
_MAX_HEADER: Final = 8_192


class SnapshotSafeIdGenerator(IdGenerator):
    """Random IDs, even if the application seeds Python's shared generator, or if several containers
    are restored from one memory snapshot: their traces would otherwise share IDs."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._random = random.Random()

    def generate_span_id(self) -> int:
        return self._random.getrandbits(64) or 1  # 0 is invalid

    def generate_trace_id(self) -> int:
        return self._random.getrandbits(128) or 1

    def is_trace_id_random(self) -> bool:
        return True


class ProbabilitySampler(Sampler):
    """Sample 1 in `rate` traces by trace ID; with `trust_incoming`, follow a remote decision instead.

    Unsampled traces are recorded too: the tail sampler keeps those that fail, are slow or expensive.
    """

    def __init__(self, rate: int, *, trust_incoming: bool = False) -> None:
        self._rate = rate
        self._trust_incoming = trust_incoming
        self._threshold = _RANDOM - round(_RANDOM / rate)
        digits = f"{self._threshold:014x}".rstrip("0") or "0"
        self._trace_state = TraceState([("ot", f"th:{digits}")]) if rate > 1 else None

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        parent_span = get_current_span(parent_context)
        parent = parent_span.get_span_context()
        if not parent.is_valid or parent.is_remote and not self._trust_incoming:
            if trace_id % _RANDOM >= self._threshold:
                return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, self._trace_state)
            return SamplingResult(Decision.RECORD_ONLY, attributes)
        if parent.trace_flags.sampled:
            state: TraceState | None = parent.trace_state
            if parent.is_remote and not _is_credible(parent.trace_state):
                state = None
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)
        if parent.is_remote or isinstance(parent_span, NonRecordingSpan):
            return SamplingResult(Decision.DROP, None, parent.trace_state)
        return SamplingResult(Decision.RECORD_ONLY, attributes, parent.trace_state)

    def get_description(self) -> str:
        return f"ProbabilitySampler(1 in {self._rate})"


def head_weight(span: ReadableSpan) -> int:
    """Return the number of traces that the trace of `span` represents, or 0 if it is unsampled."""
    context = span.context
    if not context.trace_flags.sampled:
        return 0
    value = context.trace_state.get("ot") if context.trace_state else None
    return _weight(value) if value else 1


@lru_cache(maxsize=256)
def _weight(value: str) -> int:
    threshold = re.search(r"(?:^|;)th:([0-9a-f]{1,14})(?:;|$)", value)
    return round(_RANDOM / (_RANDOM - int(threshold[1].ljust(14, "0"), 16))) if threshold else 1


def _is_credible(state: TraceState) -> bool:
    return len(state.to_header()) <= 512 and _weight(state.get("ot") or "") <= _MAX_INCOMING_WEIGHT


class IncomingContext(TextMapPropagator):
    """Extract trace context from headers that anyone may send.

    The trace state of a request, which contains a weight, is ignored unless it is trusted.
    """

    def __init__(self, propagator: TextMapPropagator, *, trust_incoming: bool) -> None:
        self._propagator = propagator
        self._trust_incoming = trust_incoming

    def extract(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        getter: Getter[CarrierT] = default_getter,
    ) -> Context:
        return self._propagator.extract(carrier, context, _Bounded(getter, self._trust_incoming))

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        self._propagator.inject(carrier, context, setter)

    @property
    def fields(self) -> set[str]:
        return self._propagator.fields


class _Bounded(Getter[CarrierT]):
    def __init__(self, getter: Getter[CarrierT], trust_incoming: bool) -> None:
        self._getter = getter
        self._trust_incoming = trust_incoming

    def get(self, carrier: CarrierT, key: str) -> list[str] | None:
        values = self._getter.get(carrier, key)
        if not values or (key == "tracestate" and not self._trust_incoming):
            return None
        # OpenTelemetry's parsers need quadratic time for long runs of spaces.
        return ["".join(value.split()) for value in values if len(value) <= _MAX_HEADER]

    def keys(self, carrier: CarrierT) -> list[str]:
        return self._getter.keys(carrier)


@dataclass(frozen=True, kw_only=True)
class KeepPolicy:
    """Traces that are kept at any sample rate, besides those with an error."""

    slow_ms: float  # keep a trace that lasts longer
    cost_usd: float  # keep a trace whose LLM calls cost more in total
    trust_incoming: bool = False  # the decision of a remote parent is followed


@dataclass(slots=True)
class _Trace:
    first: ReadableSpan  # the span that started first in this process
    started: float
    open: set[object]  # IDs of open spans, and tokens of `hold`
    spans: list[ReadableSpan] = field(default_factory=list)  # finished, in the order of their ends


_Kept = tuple[ReadableSpan, int]


class TailSampler:
    """Buffer the spans of each trace until its last one ends, then export or drop all of them.

    `export` is called with each kept span and the number of traces that its trace represents. The buffer is bounded. When it is full, the oldest trace is sampled early, on the spans it has
    so far; `decided_early` counts these and the first logs a warning.
    """

    def __init__(self, policy: KeepPolicy, export: Callable[[ReadableSpan, int], None]) -> None:
        self._policy = policy
        self._export = export
        self.decided_early = 0
        self.reset()

    def reset(self) -> None:
        self._lock = Lock()
        self._buffered = 0
        self._traces: OrderedDict[int, _Trace] = OrderedDict()
        # Of the latest traces, for later spans: the weight, and if it follows a remote parent.
        self._decisions: OrderedDict[int, tuple[int, bool]] = OrderedDict()

    def on_start(self, span: ReadableSpan) -> None:
        trace_id = span.context.trace_id
        with self._lock:
            trace = self._traces.get(trace_id)
            if trace is not None:
                trace.open.add(span.context.span_id)
                return
            # Spans that start after their trace was decided are sampled like a trace. A request
            # may repeat the trace ID of an earlier one.
            if span.parent is None or span.parent.is_remote:
                self._decisions.pop(trace_id, None)
            self._traces[trace_id] = _Trace(span, time.monotonic(), {span.context.span_id})
            kept = self._decide_overflow()
        self._export_all(kept)

    def hold(self, trace_id: int) -> Callable[[], None]:
        """Delay the decision of a trace until the returned function is called."""
        token = object()
        with self._lock:
            if trace_id in self._traces:
                self._traces[trace_id].open.add(token)

        def release() -> None:
            kept: list[_Kept] = []
            with self._lock:
                trace = self._traces.get(trace_id)
                if trace is not None and token in trace.open:
                    trace.open.remove(token)
                    if not trace.open:
                        kept = self._decide(trace_id)
            self._export_all(kept)

        return release

    def on_end(self, span: ReadableSpan, *, is_duplicate: bool = False) -> None:
        """Buffer `span`; decide its trace if no other span of it is open. Drop duplicates."""
        trace_id, span_id = span.context.trace_id, span.context.span_id
        kept: list[_Kept] = []
        with self._lock:
            trace = self._traces.get(trace_id)
            if trace is not None and span_id in trace.open:
                trace.open.remove(span_id)
                if not is_duplicate:
                    trace.spans.append(span)
                    self._buffered += 1
                if not trace.open:
                    kept = self._decide(trace_id)
                elif len(trace.spans) >= MAX_SPANS_PER_TRACE:
                    kept = self._decide_early(trace_id)
                elif self._buffered > MAX_SPANS:
                    kept = self._decide_overflow()
            elif not is_duplicate:
                # Its trace was decided while it was open.
                weight = self._weight(_Trace(span, 0.0, set(), [span]))
                kept = [(span, weight)]
        self._export_all(kept)

    def decide_all(self) -> None:
        """Decide all open traces on the spans they have so far, because the process ends."""
        with self._lock:
            kept = [each for trace_id in list(self._traces) for each in self._decide(trace_id)]
        self._export_all(kept)

    def _export_all(self, kept: list[_Kept]) -> None:
        for span, weight in kept:
            if weight:
                self._export(span, weight)

    def _decide_overflow(self) -> list[_Kept]:
        kept: list[_Kept] = []
        oldest = time.monotonic() - MAX_SECONDS
        while self._traces:
            trace_id, trace = next(iter(self._traces.items()))
            is_full = self._buffered > MAX_SPANS or len(self._traces) > MAX_TRACES
            if not is_full and trace.started > oldest:
                break
            kept += self._decide_early(trace_id)
        return kept

    def _decide_early(self, trace_id: int) -> list[_Kept]:
        self.decided_early += 1
        if self.decided_early == 1:
            logger.warning(
                "The sampling buffer is full, or traces stay open for over 5 minutes: some traces"
                " are sampled before they complete, so a later error may be kept without the rest."
            )
        return self._decide(trace_id)

    def _decide(self, trace_id: int) -> list[_Kept]:
        trace = self._traces.pop(trace_id)
        self._buffered -= len(trace.spans)
        weight = self._weight(trace)
        self._decisions[trace_id] = weight, self._follows(trace)
        if len(self._decisions) > _MAX_DECISIONS:
            self._decisions.popitem(last=False)
        return [(span, weight) for span in trace.spans] if weight else []

    def _weight(self, trace: _Trace) -> int:
        if not self._follows(trace) and self._must_keep(trace):
            return 1
        decision = self._decisions.get(trace.first.context.trace_id)
        return decision[0] if decision else head_weight(trace.first)

    def _follows(self, trace: _Trace) -> bool:
        # A trace with a trusted remote parent is here because it was sampled there. Unsampled ones
        # are dropped even if they fail, so it represents those in any case.
        if not self._policy.trust_incoming:
            return False
        decision = self._decisions.get(trace.first.context.trace_id)
        if decision:
            return decision[1]
        return trace.first.parent is not None and trace.first.parent.is_remote

    def _must_keep(self, trace: _Trace) -> bool:
        cost_usd = longest_ms = 0.0
        start = trace.first.start_time or 0
        # A WebSocket is open for as long as its client likes.
        is_socket = _is_socket(trace.first)
        for span in trace.spans:
            if span.status.status_code is StatusCode.ERROR:
                return True
            attributes = span.attributes or {}
            cost = attributes.get("llm.cost_usd")
            cost_usd += cost if isinstance(cost, float) else 0.0
            if not _is_socket(span):
                since = span.start_time or 0 if is_socket else start
                longest_ms = max(longest_ms, ((span.end_time or 0) - since) / 1e6)
        if trace.open and not is_socket:
            longest_ms = (time.monotonic() - trace.started) * 1e3
        return longest_ms > self._policy.slow_ms or cost_usd > self._policy.cost_usd


def _is_socket(span: ReadableSpan) -> bool:
    return (span.attributes or {}).get("network.protocol.name") == "websocket"
