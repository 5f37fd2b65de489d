"""The pictures in the README show what the tools print for a real service."""

from dataclasses import replace

from rich.text import Text

from hooks.traces.otlp import Span
from hooks.traces.receiver import Receiver
from hooks.traces.trace_tree import trace_tree

from ..conftest import TEMPLATE, Render, Workshop
from ..pictures import check_picture
from ..service.traces import PROMPT, SPANS, TREE, tree

# Sends the prompt to the service, with a fake of Anthropic's API. The prices are loaded before: on a busy
# machine, the shutdown does not wait for them.
REQUEST = f"""
import os
import genai_prices.data
from tests.providers.messages_api import MessagesAPI

with MessagesAPI() as api:
    os.environ |= {{"ANTHROPIC_API_KEY": "a-placeholder", "ANTHROPIC_BASE_URL": api.url}}
    from fastapi.testclient import TestClient
    from order_intake.api.server import app
    with TestClient(app) as client:
        assert client.post("/api/sessions", json={PROMPT}).status_code == 201
"""
# Begin and duration of each span, in milliseconds, measured on a quiet machine.
TIMES = (
    (0, 25.4),
    (1.9, 12.7),
    (2.1, 6.62),
    (3.4, 4.88),
    (8.5, 0.10),
    (13.1, 0.30),
    (15.2, 5.83),
    (15.5, 5.08),
    (20.8, 0.15),
    (22.6, 0.22),
)


def test_picture_of_a_trace_shows_the_spans_that_the_service_exports(
    render: Render, workshop: Workshop
) -> None:
    project = render()
    workshop.install(project)
    with Receiver() as receiver:
        workshop.python(project, REQUEST, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
        spans = receiver.wait_for(SPANS)

    assert tree(spans) == TREE
    check_picture("trace.svg", trace_tree(with_times(spans)), width=84)


def with_times(spans: list[Span]) -> list[Span]:
    """Replace the times, which depend on the machine; the spans keep their order."""
    in_order = sorted(spans, key=lambda span: span.start)
    return [
        replace(span, start=int(begin * 1e6), end=int((begin + duration) * 1e6))
        for span, (begin, duration) in zip(in_order, TIMES, strict=True)
    ]


def test_picture_of_wire_shows_its_documented_output() -> None:
    """tests/wire/test_cli.py compares the document with the output of the command."""
    documented = (TEMPLATE / "docs/copying.md").read_text().splitlines()
    first = documented.index("--- a/src/shop/main.py")
    output = documented[first : documented.index("```", first)]
    # The edits of the application, and the span of the request that follows.
    shown = [
        *output[: output.index("--- a/pyproject.toml") - 1],
        *(line for line in output if line.startswith("Changed:")),
        *output[next(i for i, line in enumerate(output) if line.startswith("Checked:")) :],
    ]
    text = Text("\n").join([Text("$ copier-honeycomb wire", "dim"), *map(_coloured, shown)])
    check_picture("wire.svg", text, width=84)


def _coloured(line: str) -> Text:
    for prefix, style in (("+++", "bold"), ("---", "bold"), ("+", "green"), ("-", "red")):
        if line.startswith(prefix):
            return Text(line, style)
    if line.startswith("@@"):
        return Text(line, "cyan")
    label, colon, rest = line.partition(":")
    if label in ("Changed", "Checked"):
        return Text.assemble((label + colon, "bold"), rest)
    return Text(line)
