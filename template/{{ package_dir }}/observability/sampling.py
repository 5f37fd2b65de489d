"""Which traces are sent, and how many traces each one stands for.

A trace is selected by its id, as W3C's Trace Context Level 2 and OpenTelemetry's probability sampling
describe it: services that sample at the same rate select the same traces.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

# The last 56 bits of a trace id are random. A trace is selected when they reach the threshold.
_RANDOM_BITS: Final = 56
_RANDOM: Final = (1 << _RANDOM_BITS) - 1


class TraceSampler(Sampler):
    """Selects one in `rate` of the traces that begin here.

    The others are recorded too, but not marked as sampled: when they end, those that failed, were
    slow or were expensive are sent all the same (see traces.py). Of a trace that began elsewhere,
    what its first service decided holds.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._threshold = (1 << _RANDOM_BITS) - round((1 << _RANDOM_BITS) / rate)
        digits = f"{self._threshold:014x}".rstrip("0") or "0"
        self._selected = TraceState([("ot", f"th:{digits}")]) if rate > 1 else None

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
        if not parent.is_valid:
            if trace_id & _RANDOM >= self._threshold:
                return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, self._selected)
            return SamplingResult(Decision.RECORD_ONLY, attributes)
        if parent.trace_flags.sampled:
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, parent.trace_state)
        if parent.is_remote or isinstance(parent_span, NonRecordingSpan):
            return SamplingResult(Decision.DROP, None, parent.trace_state)
        return SamplingResult(Decision.RECORD_ONLY, attributes, parent.trace_state)

    def get_description(self) -> str:
        return f"TraceSampler(1 in {self._rate})"


def weight_of(trace_state: TraceState | None) -> int:
    """How many traces one with this `tracestate` stands for; 1 where it does not say."""
    value = trace_state.get("ot") if trace_state else None
    return _weight(value) if value else 1


@lru_cache(maxsize=256)
def _weight(value: str) -> int:
    for member in value.split(";"):
        name, _, digits = member.partition(":")
        if name == "th" and 0 < len(digits) <= 14:
            try:
                threshold = int(digits.ljust(14, "0"), 16)
            except ValueError:
                return 1
            return max(1, round((1 << _RANDOM_BITS) / ((1 << _RANDOM_BITS) - threshold)))
    return 1
