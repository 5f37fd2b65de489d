"""Durations, tokens and cost of spans, and their totals over many traces."""

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from .assembly import Trace
from .otlp import Span

_MAX_TRACES: Final = 10_000
_LARGEST: Final = 1e308
# Spans that repeat the usage of the calls below them.
_AGGREGATES: Final = {"invoke_agent", "invoke_workflow", "create_agent"}
_TOKENS: Final = {
    "input": ("llm.input_tokens", "gen_ai.usage.input_tokens"),
    "output": ("llm.output_tokens", "gen_ai.usage.output_tokens"),
}
_MODELS: Final = ("llm.model", "gen_ai.response.model", "gen_ai.request.model")


def input_tokens(spans: Iterable[Span]) -> float | None:
    """The sum over `spans`, or None if none of them has input tokens."""
    return _sum(_tokens(span, "input") for span in spans)


def output_tokens(spans: Iterable[Span]) -> float | None:
    """The sum over `spans`, or None if none of them has output tokens."""
    return _sum(_tokens(span, "output") for span in spans)


def cost(spans: Iterable[Span]) -> float | None:
    """The sum over `spans` in US dollars, or None if none of them has a cost."""
    return _sum(_number(span, "llm.cost_usd") for span in spans)


def model(span: Span) -> str | None:
    """The model of an LLM call."""
    return next((str(span.attributes[name]) for name in _MODELS if name in span.attributes), None)


def format_duration(nanoseconds: float) -> str:
    """Format with three significant digits: 4.88 ms, 127 ms, 1.30 s."""
    milliseconds = nanoseconds / 1e6
    if milliseconds >= 999.5:
        return f"{milliseconds / 1000:.2f} s"
    digits = 0 if milliseconds >= 99.95 else 1 if milliseconds >= 9.995 else 2
    return f"{milliseconds:.{digits}f} ms"


def format_cost(usd: float) -> str:
    """Format so that the cost of one call is not rounded to zero."""
    return f"${usd:,.{5 if usd < 1 else 2}f}"


@dataclass(frozen=True)
class _Figures:
    duration: int
    has_error: bool
    cost: float | None


class Summary:
    """Totals over the last 10,000 traces."""

    def __init__(self) -> None:
        self._traces: OrderedDict[str, _Figures] = OrderedDict()

    def add(self, trace: Trace) -> None:
        """Add a trace, or replace it if it was added before."""
        root = trace.root
        duration = root.end - root.start if root else 0
        self._traces[trace.trace_id] = _Figures(
            duration, trace.has_error, cost(trace.spans.values())
        )
        if len(self._traces) > _MAX_TRACES:
            self._traces.popitem(last=False)

    def __str__(self) -> str:
        figures = self._traces.values()
        count = len(figures)
        if not count:
            return "0 requests"
        durations = sorted(figure.duration for figure in figures)
        errors = sum(figure.has_error for figure in figures)
        total = _sum(figure.cost for figure in figures)
        parts = [
            f"{count:,} request{'s' if count > 1 else ''}",
            f"p50 {format_duration(_percentile(durations, 0.5))}",
            f"p95 {format_duration(_percentile(durations, 0.95))}",
            f"{errors:,} error{'' if errors == 1 else 's'}",
        ]
        if total is not None:
            parts.append(format_cost(total))
        return ", ".join(parts)


def _percentile(ordered: list[int], share: float) -> int:
    """The smallest value that is at least as large as `share` of all."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def _tokens(span: Span, direction: str) -> float | None:
    if span.attributes.get("gen_ai.operation.name") in _AGGREGATES:
        return None
    values = (_number(span, name) for name in _TOKENS[direction])
    return next((value for value in values if value is not None), None)


def _number(span: Span, attribute: str) -> float | None:
    value = span.attributes.get(attribute)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(-_LARGEST, min(sum(known), _LARGEST)) if known else None
