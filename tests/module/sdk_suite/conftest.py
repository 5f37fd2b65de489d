"""Fixtures: the fake APIs, and the spans of a test."""

import os
from collections.abc import Callable, Iterator

import pytest
from observability.testing import capture_spans
from opentelemetry.sdk.trace import ReadableSpan

from tests.fakes.llm import LLMAPIs

FinishedSpans = Callable[[], list[ReadableSpan]]

# LiteLLM would fetch prices.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"


@pytest.fixture(scope="session")
def server() -> Iterator[LLMAPIs]:
    with LLMAPIs() as apis:
        os.environ.update(apis.variables)
        yield apis


@pytest.fixture
def apis(server: LLMAPIs) -> LLMAPIs:
    server.requests.clear()
    server.headers.clear()
    server.attempts.clear()
    return server


@pytest.fixture
def spans() -> Iterator[FinishedSpans]:
    """Return the spans that have ended since the test began, in the order in which they started."""
    with capture_spans() as captured:
        yield lambda: sorted(captured, key=lambda span: span.start_time or 0)
