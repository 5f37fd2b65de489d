"""`testing.capture_spans` beside a real exporter. suite/test_testing.py has its other tests."""

from pathlib import Path

from hooks.traces.receiver import Receiver

from ..environments import Environment

CAPTURE = """
from observability import flush, setup_observability, traced
from observability.testing import capture_spans

setup_observability()
with traced("before"):
    pass
with capture_spans() as spans:
    with traced("captured"):
        pass
with traced("after"):
    pass
print([span.name for span in spans], flush(60))
"""


def test_captured_spans_are_not_exported(newest: Environment, http_rendering: Path) -> None:
    with Receiver() as receiver:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        done = newest.run(http_rendering, "-c", CAPTURE, variables=variables)

    assert done.stdout == "['captured'] True\n"
    assert [span.name for span in receiver.spans] == ["before", "after"]
