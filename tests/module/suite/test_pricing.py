"""Prices: the cost of a call, and loading that neither delays a call nor stalls the event loop."""

from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import pytest
from observability import TokenUsage
from observability._pricing import cost_usd

from .programs import run

pytestmark = pytest.mark.skipif(find_spec("genai_prices") is None, reason="requires genai-prices")


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        # Per million tokens of claude-sonnet-4-6: 3 input, 15 output, 0.30 read, 3.75 written for
        # five minutes, 6 for an hour.
        (TokenUsage(input_tokens=1_000_000, output_tokens=0), "3"),
        (TokenUsage(input_tokens=0, output_tokens=1_000_000), "15"),
        (TokenUsage(input_tokens=100_000, output_tokens=0, cache_read_tokens=100_000), "0.03"),
        (TokenUsage(input_tokens=100_000, output_tokens=0, cache_write_tokens=100_000), "0.375"),
        (
            TokenUsage(
                input_tokens=100_000,
                output_tokens=0,
                cache_write_tokens=100_000,
                cache_write_1h_tokens=100_000,
            ),
            "0.6",
        ),
    ],
)
def test_cached_tokens_have_separate_prices(usage: TokenUsage, dollars: str) -> None:
    assert cost_usd("anthropic", "claude-sonnet-4-6", usage) == Decimal(dollars)


LOADING = """
import asyncio, sys, threading, time
from importlib.abc import MetaPathFinder

# Delays the import of genai_prices until the call has ended.
class Gate(MetaPathFinder):
    opened = threading.Event()
    def find_spec(self, name, path=None, target=None):
        if name == "genai_prices" and not self.opened.wait(60):
            raise ImportError("the call waited for its price")
        return None

compiled = []
def watch(event, arguments):
    if event == "compile" and str(arguments[1]).endswith("genai_prices/data.py"):
        compiled.append(arguments[1])

sys.meta_path.insert(0, Gate())
sys.addaudithook(watch)

from observability import TokenUsage, llm_call
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

async def main():
    trace.set_tracer_provider(TracerProvider())
    with llm_call("anthropic", "claude-sonnet-4-6") as call:
        call.record_usage(TokenUsage(input_tokens=10, output_tokens=10))
    after = time.time_ns()
    await asyncio.sleep(0)
    assert "llm.cost_usd" not in call.span.attributes
    assert "genai_prices" not in sys.modules
    Gate.opened.set()
    while call.span.end_time is None:
        await asyncio.sleep(0.01)
    assert call.span.end_time <= after
    print(call.span.attributes["llm.cost_usd"], compiled)

asyncio.run(main())
"""


def test_loading_prices_neither_delays_the_call_nor_lengthens_its_span(tmp_path: Path) -> None:
    # Nothing is compiled yet. Compiling in this process would stall the event loop.
    output, log = run(LOADING, {"PYTHONPYCACHEPREFIX": str(tmp_path)})

    cost, compiled = output.split(" ", 1)
    assert float(cost) == pytest.approx(10 * 3e-6 + 10 * 15e-6)
    assert compiled == "[]"
    assert list(tmp_path.rglob("genai_prices/data.*.pyc"))
    assert log == []
