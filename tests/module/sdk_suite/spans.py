"""Reading spans: attributes, content and structure. Imports no SDK."""

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from tests.fakes.llm import CONTENT


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def content(spans: list[ReadableSpan]) -> list[tuple[str, str]]:
    """The fields of `spans` that contain text of a call."""
    fields = [
        (name, str(value))
        for span in spans
        for name, value in [
            *attributes(span).items(),
            ("status", span.status.description),
            *(
                (f"{event.name}.{k}", v)
                for event in span.events
                for k, v in (event.attributes or {}).items()
            ),
        ]
    ]
    return [(name, value[:80]) for name, value in fields if CONTENT.search(value)]


def tree(spans: list[ReadableSpan], parent: int | None = None, indent: str = "") -> str:
    """Draw the names of `spans` as a tree, with indented children."""
    return "".join(
        f"{indent}{span.name}\n{tree(spans, span.context.span_id, indent + '  ')}"
        for span in spans
        if (span.parent.span_id if span.parent else None) == parent
    )
