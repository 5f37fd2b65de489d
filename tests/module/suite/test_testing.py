"""`testing.capture_spans`: finished spans as they would be exported, without a key."""

import pytest
from observability import get_tracer, traced
from observability.testing import capture_spans

from .programs import run

CAPTURE = """
from observability import setup_observability, traced
from observability.testing import capture_spans

def work(name):
    try:
        with traced(name):
            with traced("step", {"step": 1}):
                raise ValueError("failed")
    except ValueError:
        pass

BEFORE
with capture_spans() as spans:
    work("captured")
    with capture_spans() as inner:
        work("inner")
# A trace that head sampling selects too has its weight, of 1.
names = [sorted(set(span.attributes) - {"SampleRate"}) for span in spans]
print([(span.name, each, len(span.events)) for span, each in zip(spans, names)])
print([span.name for span in inner])
work("after")
print(len(spans), len(inner))
"""
CAPTURED = """\
[('step', ['error.type', 'step'], 1), ('captured', ['error.type'], 0)]
['step', 'inner']
2 2"""

EXISTING_PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
"""


@pytest.mark.parametrize(
    ("before", "variables"),
    [
        ("", {}),
        ("setup_observability()", {"HONEYCOMB_ENABLED": "false"}),
        ("setup_observability()", {"OTEL_TRACES_EXPORTER": "none", "HONEYCOMB_SAMPLE_RATE": "9"}),
        (EXISTING_PROVIDER, {}),
    ],
    ids=["not set up", "disabled", "sampled", "existing provider"],
)
def test_spans_are_captured_without_a_key(before: str, variables: dict[str, str]) -> None:
    assert run(CAPTURE.replace("BEFORE", before), variables)[0] == CAPTURED


OPEN = """
from observability import get_tracer, traced
from observability.testing import capture_spans
with capture_spans() as spans:
    with get_tracer("tests").start_as_current_span("open", end_on_exit=False):
        for name in ("first", "second"):
            with traced(name) as span:
                span.set_attribute("llm.cost_usd", 5.0)
print([span.name for span in spans])
"""


def test_with_sampling_spans_of_open_traces_are_captured_when_the_block_ends() -> None:
    assert run(OPEN, {"HONEYCOMB_SAMPLE_RATE": "9"})[0] == "['first', 'second']"


UNSUPPORTED = """
from observability.testing import capture_spans
from opentelemetry import trace
trace.set_tracer_provider(trace.NoOpTracerProvider())
try:
    with capture_spans():
        pass
except RuntimeError as error:
    print(error)
"""


def test_provider_without_span_processors_raises_runtime_error() -> None:
    assert run(UNSUPPORTED)[0] == "NoOpTracerProvider does not support span processors"


def test_spans_are_captured_as_they_end() -> None:
    with capture_spans() as spans, traced("outer"):
        with traced("inner"):
            assert spans == []
        assert [span.name for span in spans] == ["inner"]

    assert [span.name for span in spans] == ["inner", "outer"]


def test_span_that_ends_after_the_block_is_not_captured() -> None:
    with capture_spans() as spans:
        span = get_tracer("tests").start_span("late")
    span.end()

    assert spans == []
