"""Estimates from the events that were kept, compared with all events that were sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Final, Self

from .honeycomb import Trace
from .services import EXPENSIVE_USD, SLOW_MS

ERRORS_ALLOWED: Final = 5
"""Standard errors that an estimate may differ by: one in 1.7 million differs by more."""


@dataclass(frozen=True)
class Estimate:
    """A weighted sum over the kept traces, and the sum over all traces that it estimates."""

    estimated: float
    actual: float
    standard_error: float

    @classmethod
    def of(
        cls,
        sent: Mapping[str, Trace],
        kept: Mapping[str, Trace],
        values: Mapping[str, float],
        rate: int,
    ) -> Self:
        """Estimate the sum of `values` by trace ID. 1 in `rate` of the ordinary traces was kept."""
        weighted = {
            trace_id: value * sent[trace_id].root.weight for trace_id, value in values.items()
        }
        sampled = (value for trace_id, value in weighted.items() if not must_keep(sent[trace_id]))
        return cls(
            estimated=sum(values[trace_id] * trace.root.weight for trace_id, trace in kept.items()),
            actual=sum(weighted.values()),
            standard_error=sqrt((rate - 1) * sum(value**2 for value in sampled)),
        )

    @property
    def is_right(self) -> bool:
        return abs(self.estimated - self.actual) <= ERRORS_ALLOWED * self.standard_error


def must_keep(trace: Trace) -> bool:
    """Return true if the trace failed, is slow, or has an expensive call."""
    return (
        trace.is_error
        or trace.root.duration_ms > SLOW_MS
        or any(event.cost_usd > EXPENSIVE_USD for event in trace.events)
    )


def check(sent: Mapping[str, Trace], kept: Mapping[str, Trace], rate: int) -> None:
    """Assert that what was kept of `sent` is complete, has the right weights, and suffices.

    1 in `rate` of the ordinary traces was to be kept, and all others.
    """
    for trace_id, trace in kept.items():
        assert trace.span_ids == sent[trace_id].span_ids, f"{trace_id} is not complete"
        factor = 1 if must_keep(sent[trace_id]) else rate
        weights = {event.span_id: event.weight * factor for event in sent[trace_id].events}
        assert {event.span_id: event.weight for event in trace.events} == weights
        assert len(trace.events) == len(weights), f"{trace_id} has a span twice"
    assert {trace_id for trace_id, trace in sent.items() if must_keep(trace)} <= kept.keys()

    p95 = _p95(sent)
    quantities: dict[str, dict[str, float]] = {
        "COUNT": dict.fromkeys(sent, 1),
        "SUM(llm.cost_usd)": {trace_id: trace.cost_usd for trace_id, trace in sent.items()},
        # The estimated P95 is right if 5 % of the weight is above the actual one.
        "P95(duration_ms)": {
            trace_id: trace.root.duration_ms > p95 for trace_id, trace in sent.items()
        },
    }
    estimates = {name: Estimate.of(sent, kept, values, rate) for name, values in quantities.items()}
    assert all(estimate.is_right for estimate in estimates.values()), estimates
    print(f"{len(kept)} of {len(sent)} traces: {estimates}, P95 {p95:.1f}, {_p95(kept):.1f}")


def check_total(requests: int, kept: Mapping[str, Trace], rate: int) -> None:
    """Assert that `kept` estimates the number of requests, sampled at no more than 1 in `rate`."""
    estimated = sum(trace.root.weight for trace in kept.values())
    assert abs(estimated - requests) <= ERRORS_ALLOWED * sqrt((rate - 1) * requests), estimated


def _p95(traces: Mapping[str, Trace]) -> float:
    """The weighted 95th percentile of the duration of requests, in milliseconds."""
    roots = sorted((trace.root.duration_ms, trace.root.weight) for trace in traces.values())
    left = 0.95 * sum(weight for _, weight in roots)
    for duration, weight in roots:
        left -= weight
        if left <= 0:
            return duration
    raise ValueError("no traces")
