"""Head and tail sampling with the real SDK: kept traces, their weights, and a bounded buffer."""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from observability import _sampling
from observability._processor import TelemetryProcessor
from observability._sampling import (
    ProbabilitySampler,
    SnapshotSafeIdGenerator,
    TailSampler,
    head_weight,
)
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Span, SpanContext, StatusCode, TraceFlags, Tracer, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .provider import create_provider, sampling_settings

RATE = 10
SLOW_MS, COST_USD = 5_000.0, 0.3
# Head sampling selects trace IDs whose last 56 bits are in the highest tenth.
THRESHOLD = 2**56 - round(2**56 / RATE)
TRACES = 100_000


class SeededIdGenerator(IdGenerator):
    """Generates the same IDs in every run."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def generate_span_id(self) -> int:
        return self._random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        return self._random.getrandbits(128) or 1


@dataclass(frozen=True, slots=True)
class Exported:
    """The fields of an exported span that sampling concerns."""

    name: str
    trace_id: int
    is_root: bool
    weight: int
    milliseconds: float
    cost_usd: float
    is_error: bool


@dataclass
class Exporter(SpanExporter):
    """Keeps the spans it exports."""

    spans: list[Exported] = field(default_factory=list)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            attributes = span.attributes or {}
            # Without it, Honeycomb reads the weight from the trace state.
            weight = attributes.get("SampleRate", head_weight(span) or 1)
            cost = attributes.get("llm.cost_usd", 0.0)
            assert isinstance(weight, int)
            assert isinstance(cost, float)
            self.spans.append(
                Exported(
                    name=span.name,
                    trace_id=span.context.trace_id,
                    is_root=span.parent is None,
                    weight=weight,
                    milliseconds=((span.end_time or 0) - (span.start_time or 0)) / 1e6,
                    cost_usd=cost,
                    is_error=span.status.status_code is StatusCode.ERROR,
                )
            )
        return SpanExportResult.SUCCESS


@dataclass
class Service:
    """A service that samples: its tracer, its sampling buffer and its exported spans."""

    rate: int = RATE
    seed: int = 1
    # Without `slow_ms`, no trace is slow, even on a machine that is.
    slow_ms: float = 1e300
    trust_incoming: bool = False
    exporter: Exporter = field(default_factory=Exporter)

    def __post_init__(self) -> None:
        settings = sampling_settings(self.rate, self.trust_incoming, self.slow_ms, COST_USD)
        self.processor = TelemetryProcessor(self.exporter, settings if self.rate > 1 else None)
        provider = create_provider(self.rate, Resource.get_empty(), self.trust_incoming)
        provider.id_generator = SeededIdGenerator(self.seed)
        provider.add_span_processor(self.processor)
        self.tracer: Tracer = provider.get_tracer("simulation")

    @property
    def spans(self) -> list[Exported]:
        return self.exporter.spans

    @property
    def sampler(self) -> TailSampler:
        assert self.processor.sampler is not None
        return self.processor.sampler

    def buffered(self) -> tuple[int, int]:
        """Return the number of traces in the buffer, and the number of their spans."""
        traces = self.sampler._traces.values()
        return len(traces), sum(len(trace.spans) for trace in traces)

    def root(self, name: str = "root", *, sampled: bool | None = None) -> Span:
        """Start a trace; with `sampled`, one whose ID head sampling selects, or does not."""
        while True:
            span = self.tracer.start_span(name, Context())
            if sampled in (None, is_sampled(span)):
                return span
            span.end()
            self.spans.clear()

    def child(self, parent: Span, name: str = "child") -> Span:
        return self.tracer.start_span(name, inside(parent))


@pytest.fixture(autouse=True)
def unlimited_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """No trace is sampled early because the machine is slow."""
    monkeypatch.setattr(_sampling, "MAX_SECONDS", 1e9)


def inside(parent: Span) -> Context:
    return trace.set_span_in_context(parent, Context())


def is_sampled(span: Span) -> bool:
    return span.get_span_context().trace_id & (2**56 - 1) >= THRESHOLD


def weight(trace_state: TraceState | None) -> int:
    """Return the weight of a sampled trace with this state."""
    context = SpanContext(1, 2, False, TraceFlags(TraceFlags.SAMPLED), trace_state)
    return head_weight(ReadableSpan("root", context))


def fail(span: Span) -> None:
    span.set_status(StatusCode.ERROR, "failed")


@dataclass(frozen=True, slots=True)
class Original:
    """A trace before sampling."""

    trace_id: int
    milliseconds: float
    cost_usd: float
    is_error: bool
    spans: int

    @property
    def must_keep(self) -> bool:
        return self.is_error or self.milliseconds > SLOW_MS or self.cost_usd > COST_USD


@dataclass(frozen=True)
class Simulation:
    originals: dict[int, Original]
    exported: list[Exported]
    buffered: tuple[int, int]

    @property
    def ordinary(self) -> list[Original]:
        return [original for original in self.originals.values() if not original.must_keep]

    @property
    def must_keep(self) -> list[Original]:
        return [original for original in self.originals.values() if original.must_keep]

    @property
    def roots(self) -> list[Exported]:
        return [span for span in self.exported if span.is_root]


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    """Simulate 100,000 traces: 1 % fail, and latency and cost are lognormal.

    One in five has a second span with half of the cost, and with the error if there is one.
    """
    service = Service(slow_ms=SLOW_MS)
    chance = random.Random(2)
    originals: dict[int, Original] = {}
    for _ in range(TRACES):
        nanoseconds = round(chance.lognormvariate(math.log(400), 0.8) * 1e6)
        cost = chance.lognormvariate(math.log(0.01), 1)
        is_error = chance.random() < 0.01
        has_child = chance.random() < 0.2
        root = service.tracer.start_span(
            "root",
            Context(),
            attributes={"llm.cost_usd": cost / 2 if has_child else cost},
            start_time=1_000_000_000,
        )
        innermost = root
        if has_child:
            innermost = service.tracer.start_span(
                "child",
                inside(root),
                attributes={"llm.cost_usd": cost / 2},
                start_time=1_000_000_000,
            )
        if is_error:
            fail(innermost)
        if has_child:
            innermost.end(end_time=1_000_000_000 + nanoseconds)
        root.end(end_time=1_000_000_000 + nanoseconds)
        trace_id = root.get_span_context().trace_id
        originals[trace_id] = Original(trace_id, nanoseconds / 1e6, cost, is_error, 1 + has_child)
    assert len(originals) == TRACES
    return Simulation(originals, service.spans, service.buffered())


# The estimates are sums over traces. An ordinary one is kept with a probability of 1/RATE and a
# weight of RATE, so the variance of a sum of values x is (RATE - 1) * sum of x squared over the
# ordinary traces. An unbiased estimate is within 4 standard errors in all but 1 of 16,000 cases.


def is_unbiased(estimate: float, exact: float, *, values: list[float]) -> bool:
    """Return true if `estimate` is within 4 standard errors of `exact`."""
    return abs(estimate - exact) <= 4 * math.sqrt((RATE - 1) * sum(value**2 for value in values))


def test_estimate_of_the_count_is_unbiased(simulation: Simulation) -> None:
    count = sum(span.weight for span in simulation.roots)

    assert is_unbiased(count, TRACES, values=[1.0] * len(simulation.ordinary))
    # The bound is tight enough to be useful: 4 %.
    assert 4 * math.sqrt((RATE - 1) * len(simulation.ordinary)) < 0.04 * TRACES


def test_estimate_of_the_total_cost_is_unbiased(simulation: Simulation) -> None:
    cost = sum(span.weight * span.cost_usd for span in simulation.exported)
    exact = sum(original.cost_usd for original in simulation.originals.values())

    assert is_unbiased(cost, exact, values=[each.cost_usd for each in simulation.ordinary])


def test_estimate_of_the_95th_percentile_is_unbiased(simulation: Simulation) -> None:
    latencies = sorted(original.milliseconds for original in simulation.originals.values())
    exact = latencies[math.ceil(0.95 * TRACES) - 1]
    total = sum(span.weight for span in simulation.roots)
    below = 0
    for span in sorted(simulation.roots, key=lambda span: span.milliseconds):
        below += span.weight
        if below >= 0.95 * total:
            break

    # The share of traces below the exact percentile is a ratio of two estimates, to which each
    # trace contributes its deviation from the expected value.
    deviations = [(each.milliseconds <= exact) - 0.95 for each in simulation.ordinary]
    error = 4 * math.sqrt((RATE - 1) * sum(value**2 for value in deviations)) / TRACES
    assert error < 0.01
    lowest = latencies[math.floor((0.95 - error) * TRACES)]
    highest = latencies[math.ceil((0.95 + error) * TRACES)]
    assert lowest <= span.milliseconds <= highest


def test_failed_slow_and_expensive_traces_are_complete_with_weight_1(
    simulation: Simulation,
) -> None:
    exported: dict[int, list[int]] = {}
    for span in simulation.exported:
        exported.setdefault(span.trace_id, []).append(span.weight)

    kept = simulation.must_keep
    expensive = [original for original in kept if original.cost_usd > COST_USD]
    assert len([original for original in kept if original.is_error]) > 900
    assert len([original for original in kept if original.milliseconds > SLOW_MS]) > 50
    assert len(expensive) > 20
    assert len([original for original in expensive if original.spans == 2]) > 2
    for original in kept:
        assert exported[original.trace_id] == [1] * original.spans


def test_errors_are_counted_exactly(simulation: Simulation) -> None:
    weights = [span.weight for span in simulation.exported if span.is_error]

    assert sum(weights) == len([each for each in simulation.originals.values() if each.is_error])


def test_ordinary_traces_are_complete_if_head_sampling_selects_their_id(
    simulation: Simulation,
) -> None:
    ordinary = {original.trace_id for original in simulation.ordinary}
    exported: dict[int, list[int]] = {}
    for span in simulation.exported:
        if span.trace_id in ordinary:
            exported.setdefault(span.trace_id, []).append(span.weight)

    assert exported == {
        original.trace_id: [RATE] * original.spans
        for original in simulation.ordinary
        if original.trace_id & (2**56 - 1) >= THRESHOLD
    }


def test_buffer_is_empty_after_the_last_trace(simulation: Simulation) -> None:
    assert simulation.buffered == (0, 0)


@pytest.mark.parametrize("rate", [1, 2, 3, 7, 10, 16, 100, 999, 1_000, 12_345, 1_000_000])
def test_trace_state_records_the_sample_rate(rate: int) -> None:
    result = ProbabilitySampler(rate).should_sample(None, 2**128 - 1, "root")

    assert result.decision is Decision.RECORD_AND_SAMPLE
    assert weight(result.trace_state) == rate


def test_services_with_the_same_rate_sample_the_same_traces() -> None:
    ids = SeededIdGenerator(3)
    one, other = ProbabilitySampler(RATE), ProbabilitySampler(RATE)
    lower = ProbabilitySampler(2 * RATE)

    for _ in range(20_000):
        trace_id = ids.generate_trace_id()
        decision = one.should_sample(None, trace_id, "a").decision
        assert other.should_sample(None, trace_id, "b").decision is decision
        # The service that keeps fewer keeps a subset.
        if lower.should_sample(None, trace_id, "c").decision is Decision.RECORD_AND_SAMPLE:
            assert decision is Decision.RECORD_AND_SAMPLE


TRACE_PARENT = "0af7651916cd43dd8448eb211c8031{last}-b7ad6b7169203331"


@pytest.mark.parametrize("rate", [1, RATE])
@pytest.mark.parametrize("last", ["00", "9c", "ff"])
@pytest.mark.parametrize(
    ("flags", "state", "weights"),
    [
        ("01", {}, [1, 1]),
        ("01", {"tracestate": "vendor=1"}, [1, 1]),
        ("01", {"tracestate": "ot=th:8"}, [2, 2]),
        ("01", {"tracestate": "vendor=1,ot=rv:0123456789abcd;th:c"}, [4, 4]),
        ("03", {"tracestate": "ot=th:e6666666666666"}, [10, 10]),
        ("01", {"tracestate": "ot=th:0"}, [1, 1]),
        ("01", {"tracestate": "ot=th:nonsense"}, [1, 1]),
        ("01", {"tracestate": "ot=th:-1"}, [1, 1]),
        ("01", {"tracestate": "ot=th:fffffffffffffff"}, [1, 1]),
        ("01", {"tracestate": "ot=th:ffffffffffffff"}, [1, 1]),
        ("01", {"tracestate": "ot=th:fffffffffff"}, [1, 1]),
        ("00", {}, []),
        ("00", {"tracestate": "ot=th:8"}, []),
    ],
)
def test_decision_and_weight_of_a_trusted_remote_parent_are_followed(
    flags: str, state: dict[str, str], weights: list[int], last: str, rate: int
) -> None:
    service = Service(rate, trust_incoming=True)
    headers = {"traceparent": f"00-{TRACE_PARENT.format(last=last)}-{flags}", **state}
    remote = TraceContextTextMapPropagator().extract(headers, Context())

    request = service.tracer.start_span("request", remote)
    service.child(request).end()
    request.end()

    assert [span.weight for span in service.spans] == weights
    # A failed trace represents as many, because the remote service drops unsampled ones that fail.
    service = Service(rate, trust_incoming=True)
    request = service.tracer.start_span("request", remote)
    child = service.child(request)
    for span in (child, request):
        fail(span)
        span.end()
    assert [span.weight for span in service.spans] == weights


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("flags", ["00", "01", "ff"])
@pytest.mark.parametrize(
    "state", [None, "ot=th:ffffffffffffff", "ot=th:0", "vendor=1,ot=th:8", "=", "a" * 9_000]
)
@pytest.mark.parametrize(("last", "sampled"), [("00000000000000", False), ("ffffffffffffff", True)])
def test_request_decides_neither_the_sampling_nor_the_weight_of_its_trace(
    last: str, sampled: bool, state: str | None, flags: str, failed: bool
) -> None:
    headers = {"traceparent": f"00-0af7651916cd43dd84{last}-b7ad6b7169203331-{flags}"}
    if state is not None:
        headers["tracestate"] = state
    for rate, expected in ((1, 1), (RATE, RATE if sampled and not failed else int(failed))):
        service = Service(rate)
        remote = TraceContextTextMapPropagator().extract(headers, Context())
        request = service.tracer.start_span("request", remote)
        service.child(request).end()
        if failed:
            fail(request)
        carrier = propagated(request)
        request.end()

        assert [span.weight for span in service.spans] == [expected, expected] * bool(expected)
        ours = {"tracestate": "ot=th:e6666666666666"} if sampled and rate > 1 else {}
        assert {name: carrier[name] for name in carrier if name != "traceparent"} == ours
        assert carrier["traceparent"].startswith("00-0af7651916cd43dd84" + last)


def test_requests_with_one_trace_id_are_sampled_separately() -> None:
    service = Service()
    headers = {"traceparent": "00-0af7651916cd43dd8400000000000000-b7ad6b7169203331-01"}
    remote = TraceContextTextMapPropagator().extract(headers, Context())
    for name in ("ordinary", "failed", "ordinary", "failed"):
        request = service.tracer.start_span(name, remote)
        if name == "failed":
            fail(request)
        request.end()

    assert [(span.name, span.weight) for span in service.spans] == [("failed", 1)] * 2


def propagated(span: Span) -> dict[str, str]:
    """Return the headers of a request to another service."""
    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers, inside(span))
    return headers


@pytest.mark.parametrize("sampled", [True, False])
def test_decision_is_propagated_to_the_next_service(sampled: bool) -> None:
    first, second = Service(), Service(seed=2, trust_incoming=True)

    root = first.root(sampled=sampled)
    call = first.child(root)
    headers = propagated(call)
    remote = TraceContextTextMapPropagator().extract(headers, Context())
    second.tracer.start_span("request", remote).end()
    call.end()
    root.end()

    context = call.get_span_context()
    version, trace_id, parent, flags = headers["traceparent"].split("-")
    assert (version, trace_id) == ("00", trace.format_trace_id(context.trace_id))
    assert parent == trace.format_span_id(context.span_id)
    assert int(flags, 16) & 1 == sampled
    assert headers.get("tracestate") == ("ot=th:e6666666666666" if sampled else None)
    assert [span.weight for span in first.spans] == [RATE, RATE] * sampled
    assert [span.weight for span in second.spans] == [RATE] * sampled


def test_weight_is_parsed_from_any_trace_state() -> None:
    assert weight(None) == 1
    assert weight(TraceState()) == 1
    assert weight(TraceState([("ot", "th:ffffffffffffff")])) == 2**56
    assert weight(TraceState([("ot", "")])) == 1


def test_without_sampling_spans_are_neither_buffered_nor_weighted() -> None:
    service = Service(rate=1)

    root = service.root()
    for _ in range(3):
        service.child(root).end()

    assert [span.weight for span in service.spans] == [1, 1, 1]
    assert "tracestate" not in propagated(root)
    assert service.processor.sampler is None


def test_trace_is_buffered_until_its_last_span_ends() -> None:
    service = Service()
    root = service.root(sampled=True)
    first, second = service.child(root), service.child(root)

    first.end()
    root.end()
    assert service.spans == []
    second.end()

    assert [span.name for span in service.spans] == ["child", "root", "child"]
    assert service.buffered() == (0, 0)


@pytest.mark.parametrize(
    ("sampled", "failed", "weights"),
    [(True, False, [RATE]), (False, False, []), (True, True, [1]), (False, True, [1])],
)
def test_late_span_follows_the_decision_of_its_trace(
    sampled: bool, failed: bool, weights: list[int]
) -> None:
    service = Service()
    root = service.root(sampled=sampled)
    if failed:
        fail(root)
    root.end()
    assert [span.weight for span in service.spans] == weights

    background = service.child(root, "background")
    service.child(background).end()
    background.end()

    assert [span.weight for span in service.spans] == weights * 3
    assert service.buffered() == (0, 0)


@pytest.mark.parametrize(("milliseconds", "kept"), [(5_000, False), (5_001, True)])
def test_slow_trace_is_kept(milliseconds: int, kept: bool) -> None:
    service = Service(slow_ms=5_000)
    root = service.tracer.start_span("root", Context(), start_time=10**9)
    while is_sampled(root):
        root = service.tracer.start_span("root", Context(), start_time=10**9)

    root.end(10**9 + milliseconds * 10**6)

    assert [span.weight for span in service.spans] == [1] * kept


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize("failed", [True, False])
def test_trace_of_50_000_spans_is_decided_early_and_has_one_weight(
    sampled: bool, failed: bool
) -> None:
    service = Service()
    root = service.root(sampled=sampled)
    most = 0
    for number in range(50_000):
        child = service.child(root)
        if failed and number == 10:
            fail(child)
        child.end()
        if number % 1_000 == 0:
            most = max(most, service.buffered()[1])
    root.end()

    assert most <= _sampling.MAX_SPANS_PER_TRACE
    assert service.buffered() == (0, 0)
    # A trace that is kept because it failed represents only itself.
    expected = 1 if failed else RATE if sampled else 0
    assert [span.weight for span in service.spans] == [expected] * 50_001 * bool(expected)


def test_10_000_traces_may_be_open_at_once() -> None:
    service = Service()
    roots = [service.root() for _ in range(10_000)]
    for number, root in enumerate(roots):
        child = service.child(root)
        if number % 100 == 0:
            fail(child)
        child.end()
    assert service.spans == []
    assert service.buffered() == (10_000, 10_000)
    for root in roots:
        root.end()

    expected = [
        1 if number % 100 == 0 else RATE
        for number, root in enumerate(roots)
        if number % 100 == 0 or is_sampled(root)
    ]
    assert [span.weight for span in service.spans if span.is_root] == expected
    assert len(service.spans) == 2 * len(expected)


def test_full_buffer_decides_the_oldest_traces_without_changing_their_weight() -> None:
    service = Service()
    count = _sampling.MAX_SPANS + 5_000

    roots = [service.root() for _ in range(count)]
    assert service.buffered()[0] == _sampling.MAX_SPANS
    for root in roots:
        root.end()

    assert {span.trace_id for span in service.spans} == {
        root.get_span_context().trace_id for root in roots if is_sampled(root)
    }
    assert {span.weight for span in service.spans} == {RATE}
    assert service.buffered() == (0, 0)


def test_buffer_is_bounded_if_traces_never_end() -> None:
    service = Service()
    most = 0
    for number in range(12_000):
        root = service.root()
        for _ in range(3):
            service.child(root).end()
        if number % 500 == 0:
            most = max(most, service.buffered()[1])

    assert most <= _sampling.MAX_SPANS
    assert service.buffered() == (5_000, 15_000)


def test_buffer_is_bounded_if_spans_end_and_none_starts() -> None:
    service = Service()
    roots = [service.root() for _ in range(30)]
    children = [service.child(root) for root in roots for _ in range(1_000)]
    most = 0
    for child in children:
        child.end()
        most = max(most, service.sampler._size)

    assert most <= _sampling.MAX_SPANS


def test_trace_that_stays_open_too_long_is_kept_as_a_slow_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_sampling, "MAX_SECONDS", 300.0)
    service = Service(slow_ms=299_000)
    root = service.root(sampled=False)
    service.child(root).end()
    later, later_ns = time.monotonic() + 301, time.time_ns() + 301 * 10**9

    monkeypatch.setattr(time, "monotonic", lambda: later)
    monkeypatch.setattr(time, "time_ns", lambda: later_ns)
    service.root().end()

    children = [(span.name, span.weight) for span in service.spans if not span.is_root]
    assert children == [("child", 1)]
    root.end()
    assert ("root", 1) in [(span.name, span.weight) for span in service.spans]


def test_span_of_the_sdk_that_outlives_its_decided_trace_follows_head_sampling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_sampling, "MAX_SPANS_PER_TRACE", 10)
    service = Service()
    # Its spans are copied when they end.
    provider = TracerProvider(ProbabilitySampler(RATE), shutdown_on_exit=False)
    provider.add_span_processor(service.processor)
    service.tracer = provider.get_tracer("SDK")
    roots = [service.root(sampled=True), service.root(sampled=False)]
    for root in roots:
        for _ in range(20):
            service.child(root).end()
    assert {span.weight for span in service.spans} == {RATE}
    assert service.buffered() == (0, 0)
    service.spans.clear()

    for root in roots:
        root.end()

    assert [(span.trace_id, span.weight) for span in service.spans] == [
        (roots[0].get_span_context().trace_id, RATE)
    ]


@pytest.mark.parametrize("held", [True, False])
def test_failed_slow_and_expensive_work_after_the_request_is_kept(held: bool) -> None:
    service = Service(slow_ms=5_000)
    for late in ("failed", "slow", "expensive", "ordinary"):
        root = service.root(late, sampled=False)
        release = service.sampler.hold(root.get_span_context().trace_id) if held else None
        root.end()
        cost = {"llm.cost_usd": 7.5 if late == "expensive" else 0.0}
        start = time.time_ns()
        span = service.tracer.start_span(late, inside(root), attributes=cost, start_time=start)
        if late == "failed":
            fail(span)
        span.end(start + (6 * 10**9 if late == "slow" else 1))
        if release:
            release()

    kept = [(span.name, span.is_root, span.weight) for span in service.spans]
    expected = [
        (name, is_root, 1) for name in ("failed", "slow", "expensive") for is_root in (1, 0)
    ]
    assert kept == [each for each in expected if held or not each[1]]
    assert service.buffered() == (0, 0)


def test_estimates_of_work_after_the_request_are_unbiased() -> None:
    """In half of the traces, the request is held until it ends, as for a background task."""
    count = 20_000
    service = Service()
    chance = random.Random(3)
    errors = 0
    cost = 0.0
    ordinary: list[float] = []
    for number in range(count):
        root = service.root()
        is_held, each = number % 2 == 0, chance.lognormvariate(math.log(0.02), 1)
        release = service.sampler.hold(root.get_span_context().trace_id) if is_held else None
        root.end()
        late = service.tracer.start_span("late", inside(root), attributes={"llm.cost_usd": each})
        if is_error := chance.random() < 0.02:
            fail(late)
        late.end()
        if release:
            release()
        errors += is_error
        cost += each
        if not is_error and each <= COST_USD:
            ordinary.append(each)

    late_spans = [span for span in service.spans if not span.is_root]
    assert errors > 300
    assert [span.weight for span in late_spans if span.is_error] == [1] * errors
    assert is_unbiased(sum(span.weight for span in late_spans), count, values=[1.0] * len(ordinary))
    estimate = sum(span.weight * span.cost_usd for span in late_spans)
    assert is_unbiased(estimate, cost, values=ordinary)
    roots = [span for span in service.spans if span.is_root]
    assert is_unbiased(sum(span.weight for span in roots), count, values=[1.0] * count)
    assert service.buffered() == (0, 0)


def test_open_websocket_is_not_slow() -> None:
    service = Service(slow_ms=5_000)
    for milliseconds in (1_000, 6_000):
        socket = service.tracer.start_span(
            f"{milliseconds}",
            Context(),
            attributes={"network.protocol.name": "websocket"},
            start_time=1_000_000_000,
        )
        assert isinstance(socket, Span)
        message = service.tracer.start_span("message", inside(socket), start_time=9_000_000_000)
        message.end(9_000_000_000 + milliseconds * 10**6)
        socket.end(60_000_000_000)

    assert {span.trace_id for span in service.spans if span.weight == 1} == {
        socket.get_span_context().trace_id
    }


def test_error_in_a_span_that_outlives_its_decided_trace_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_sampling, "MAX_SPANS_PER_TRACE", 10)
    service = Service()
    root = service.root("request", sampled=False)
    for _ in range(20):
        service.child(root).end()
    assert service.spans == []
    failing = service.child(root, "failing")
    fail(root)
    root.end()
    fail(failing)
    failing.end()

    assert [(span.name, span.weight) for span in service.spans] == [("request", 1), ("failing", 1)]


def test_span_that_cannot_be_exported_does_not_affect_others_of_its_trace(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service()
    export = service.exporter.export

    def fail_once(spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if spans[0].name == "broken":
            raise ValueError("no time")
        return export(spans)

    monkeypatch.setattr(service.exporter, "export", fail_once)
    root = service.root(sampled=True)
    service.child(root, "broken").end()
    service.child(root).end()
    root.end()

    assert [span.name for span in service.spans] == ["child", "root"]
    [record] = caplog.records
    assert record.getMessage() == "Could not export a span: ValueError."


def test_shutdown_decides_open_traces_on_the_spans_they_have() -> None:
    service = Service()
    failed, sampled, unsampled = (
        service.root(sampled=False),
        service.root(sampled=True),
        service.root(sampled=False),
    )
    for root in (failed, sampled, unsampled):
        child = service.child(root)
        if root is failed:
            fail(child)
        child.end()

    service.processor.shutdown()

    assert [(span.trace_id, span.weight) for span in service.spans] == [
        (failed.get_span_context().trace_id, 1),
        (sampled.get_span_context().trace_id, RATE),
    ]
    assert service.buffered() == (0, 0)


def test_ids_do_not_depend_on_the_seed_of_the_shared_random_generator() -> None:
    generated = []
    for _ in range(2):
        random.seed(7)
        ids = SnapshotSafeIdGenerator()
        generated += [ids.generate_trace_id(), ids.generate_span_id()]

    assert len(set(generated)) == 4
