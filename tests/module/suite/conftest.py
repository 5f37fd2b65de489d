"""Fixtures: an environment without telemetry settings, and the spans of a test."""

import os
from collections.abc import Callable, Iterator

import pytest
from observability._settings import warn_once
from observability.testing import capture_spans
from opentelemetry.sdk.trace import ReadableSpan

FinishedSpans = Callable[[], list[ReadableSpan]]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("HONEYCOMB_", "MODAL_", "OTEL_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def forget_warnings() -> None:
    warn_once.cache_clear()


@pytest.fixture
def spans(clean_environment: None) -> Iterator[FinishedSpans]:
    """Return the spans that have ended since the test began, in the order in which they started."""
    with capture_spans() as captured:
        yield lambda: sorted(captured, key=lambda span: span.start_time or 0)
