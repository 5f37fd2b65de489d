"""`testing.capture_spans` in a rendered module."""

from pathlib import Path

import pytest

from hooks.demo.receiver import Receiver

from ..environments import Environment
from ..template.copying import SERVER, add_observability
from ..template.projects import write

CAPTURE = """
from acme.observability import flush, llm_call, setup_observability, traced
from acme.observability.testing import capture_spans
from opentelemetry import trace

def work(name):
    try:
        with traced(name):
            with traced("step", {"step": 1}):
                raise ValueError("key hcaik_secret refused")
    except ValueError:
        pass

BEFORE
with capture_spans() as spans:
    work("captured")
    with capture_spans() as inner:
        work("inner")
print([(span.name, sorted(span.attributes), len(span.events)) for span in spans])
print([span.name for span in inner])
work("after")
print(len(spans), len(inner))
flush()
"""
EXPECTED = """\
[('step', ['error.type', 'step'], 1), ('captured', ['error.type'], 0)]
['step', 'inner']
2 2
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("existing")
    write(folder, {"pyproject.toml": "", "acme/__init__.py": "", "acme/main.py": SERVER})
    add_observability(folder)
    return folder


@pytest.mark.parametrize("ends", ["oldest", "newest"])
@pytest.mark.parametrize(
    ("before", "variables"),
    [
        ("", {}),
        ("setup_observability()", {"HONEYCOMB_ENABLED": "false"}),
        ("setup_observability()", {"OTEL_TRACES_EXPORTER": "none", "HONEYCOMB_SAMPLE_RATE": "9"}),
        (
            "from opentelemetry.sdk import trace as sdk; trace.set_tracer_provider(sdk.TracerProvider())",
            {},
        ),
    ],
    ids=["not set up", "disabled", "sampled", "existing provider"],
)
def test_capture_spans_collects_deduplicated_spans_without_a_key(
    before: str,
    variables: dict[str, str],
    ends: str,
    project: Path,
    request: pytest.FixtureRequest,
) -> None:
    python: Environment = request.getfixturevalue(ends)

    done = python.run(
        project, "-W", "ignore", "-c", CAPTURE.replace("BEFORE", before), variables=variables
    )

    assert EXPECTED in done.stdout, done.stdout


def test_captured_spans_are_not_exported(newest: Environment, project: Path) -> None:
    with Receiver() as receiver:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        done = newest.run(project, "-c", CAPTURE.replace("BEFORE", ""), variables=variables)
        assert EXPECTED in done.stdout, done.stdout
        exported = sorted(span.name for span in receiver.wait_for(2))

    assert exported == ["after", "step"]


UNSUPPORTED = """
from acme.observability.testing import capture_spans
from opentelemetry import trace
trace.set_tracer_provider(trace.NoOpTracerProvider())
with capture_spans():
    pass
"""


def test_capture_spans_requires_a_provider_with_span_processors(
    newest: Environment, project: Path
) -> None:
    done = newest.run(project, "-c", UNSUPPORTED)

    assert done.returncode == 1
    assert (
        "RuntimeError: The tracer provider (NoOpTracerProvider) does not support span processors."
        in done.stdout
    )
