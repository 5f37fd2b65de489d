"""Prices: the cost of a call, and loading that neither delays a call nor stalls the event loop."""

from collections import Counter
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import pytest
from observability import TokenUsage
from observability._pricing import _kinds, cost_usd, price_loader

from .programs import run
from .receivers import ScriptedReceiver

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
    price_loader.start_loading()
    price_loader.finish(60)

    assert cost_usd("anthropic", "claude-sonnet-4-6", usage) == Decimal(dollars)


OPENAI_CHAT = {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500}
ANTHROPIC = {"input_tokens": 1_000, "output_tokens": 500}
AUDIO = {"audio_tokens": 1_000}
CACHED = {"input_tokens": 1_200, "output_tokens": 300}
SONNET, MINI, FLASH = "claude-sonnet-4-6", "gpt-4o-mini", "gemini-2.5-flash"


@pytest.mark.parametrize(
    ("provider", "model", "usage", "dollars"),
    [
        # LiteLLM, and its proxy through OpenAI's SDK.
        (
            "openai",
            SONNET,
            {**OPENAI_CHAT, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0},
            0.0105,
        ),
        (
            "anthropic",
            f"anthropic/{SONNET}",
            {
                "prompt_tokens": 1_200,
                "completion_tokens": 300,
                "prompt_tokens_details": {
                    "cached_tokens": 1_000,
                    "cache_creation_token_details": {"ephemeral_1h_input_tokens": 40},
                },
                "cache_read_input_tokens": 1_000,
                "cache_creation_input_tokens": 100,
            },
            (100 * 3 + 1_000 * 0.3 + 60 * 3.75 + 40 * 6 + 300 * 15) / 1e6,
        ),
        # LangChain.
        ("openai", MINI, {**CACHED, "input_token_details": {"cache_read": 1_000}}, 0.000285),
        (
            "anthropic",
            SONNET,
            {
                **CACHED,
                "input_token_details": {
                    "cache_read": 1_000,
                    "cache_creation": 0,
                    "ephemeral_5m_input_tokens": 60,
                    "ephemeral_1h_input_tokens": 40,
                },
            },
            (100 * 3 + 1_000 * 0.3 + 60 * 3.75 + 40 * 6 + 300 * 15) / 1e6,
        ),
        (
            "openai",
            "gpt-audio",
            {
                "input_tokens": 1_000,
                "output_tokens": 1_000,
                "input_token_details": {"audio": 500},
                "output_token_details": {"audio": 1_000},
            },
            (500 * 2.5 + 500 * 32 + 1_000 * 64) / 1e6,
        ),
        # pydantic-ai, which adds Anthropic's own numbers.
        ("openai", MINI, {**CACHED, "cache_read_tokens": 1_000, "details": {}}, 0.000285),
        (
            "anthropic",
            SONNET,
            {
                **CACHED,
                "cache_read_tokens": 1_000,
                "cache_write_tokens": 100,
                "details": {
                    "input_tokens": 100,
                    "output_tokens": 300,
                    "cache_read_input_tokens": 1_000,
                    "cache_creation_input_tokens": 100,
                },
            },
            (100 * 3 + 1_000 * 0.3 + 100 * 3.75 + 300 * 15) / 1e6,
        ),
        # Anthropic.
        (
            "anthropic",
            SONNET,
            {
                "input_tokens": 1_000,
                "output_tokens": 100,
                "server_tool_use": {"web_search_requests": 10},
            },
            0.1045,
        ),
        ("anthropic", SONNET, {**ANTHROPIC, "service_tier": "standard"}, 0.0105),
        ("anthropic", SONNET, {**ANTHROPIC, "service_tier": "batch"}, 0.00525),
        ("anthropic", SONNET, {**ANTHROPIC, "service_tier": "priority"}, None),
        ("anthropic", SONNET, {**ANTHROPIC, "inference_geo": "us"}, 0.01155),
        ("anthropic", "claude-opus-4-8", {**ANTHROPIC, "speed": "fast"}, 0.035),
        # OpenAI: chat, responses, embeddings, audio, tiers, images.
        ("openai", MINI, {**CACHED, "input_tokens_details": {"cached_tokens": 1_000}}, 0.000285),
        ("openai", "text-embedding-3-small", {"prompt_tokens": 8, "total_tokens": 8}, 8 * 0.02e-6),
        (
            "openai",
            "gpt-audio",
            {
                "prompt_tokens": 1_000,
                "completion_tokens": 1_000,
                "prompt_tokens_details": AUDIO,
                "completion_tokens_details": AUDIO,
            },
            0.096,
        ),
        (
            "openai",
            "gpt-audio",
            {**OPENAI_CHAT, "prompt_tokens_details": AUDIO, "completion_tokens_details": {}},
            (1_000 * 32 + 500 * 10) / 1e6,
        ),
        # The Responses API lists searches among its output, not in its usage.
        ("openai", "gpt-5", {**ANTHROPIC, "web_searches": 2}, 0.02625),
        ("openai", "gpt-5", {**OPENAI_CHAT, "service_tier": "default"}, 0.00625),
        ("openai", "gpt-5", {**OPENAI_CHAT, "service_tier": "priority"}, 0.0125),
        ("openai", "gpt-5", {**OPENAI_CHAT, "service_tier": "flex"}, 0.003125),
        (
            "openai",
            "gpt-image-1",
            {
                "input_tokens": 50,
                "input_tokens_details": {"image_tokens": 40, "text_tokens": 10},
                "output_tokens": 4_160,
            },
            (40 * 10 + 10 * 5 + 4_160 * 40) / 1e6,
        ),
        # Gemini: thinking and tool tokens, audio beside cached text, the names of its SDK.
        (
            "gcp.gemini",
            FLASH,
            {
                "promptTokenCount": 1_200,
                "candidatesTokenCount": 236,
                "thoughtsTokenCount": 64,
                "cachedContentTokenCount": 1_000,
            },
            (200 * 0.3 + 1_000 * 0.03 + 300 * 2.5) / 1e6,
        ),
        (
            "gcp.gen_ai",
            FLASH,
            {
                "prompt_token_count": 100,
                "candidates_token_count": 10,
                "tool_use_prompt_token_count": 50,
            },
            (150 * 0.3 + 10 * 2.5) / 1e6,
        ),
        (
            "gcp.vertex_ai",
            FLASH,
            {
                "promptTokenCount": 2_000,
                "candidatesTokenCount": 10,
                "cachedContentTokenCount": 1_000,
                "promptTokensDetails": [
                    {"modality": "AUDIO", "tokenCount": 500},
                    {"modality": "TEXT", "tokenCount": 1_500},
                ],
                "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 1_000}],
                "trafficType": "ON_DEMAND",
            },
            (500 * 1 + 500 * 0.3 + 1_000 * 0.03 + 10 * 2.5) / 1e6,
        ),
        # Bedrock, which is 10 % more expensive in a region and excludes cached tokens.
        (
            "aws.bedrock",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            {
                "inputTokens": 100,
                "outputTokens": 300,
                "cacheReadInputTokens": 1_000,
                "cacheWriteInputTokens": 100,
            },
            1.1 * (100 * 3 + 1_000 * 0.3 + 100 * 3.75 + 300 * 15) / 1e6,
        ),
        # Others: Cohere's billed units, DeepSeek's cache, reasoning that xAI does not include.
        (
            "cohere",
            "command-r-08-2024",
            {
                "billed_units": {"input_tokens": 1_000, "output_tokens": 100},
                "tokens": {"input_tokens": 1_100, "output_tokens": 100},
            },
            (1_000 * 0.15 + 100 * 0.6) / 1e6,
        ),
        (
            "x_ai",
            "grok-4",
            {
                "prompt_tokens": 1_000,
                "completion_tokens": 100,
                "completion_tokens_details": {"reasoning_tokens": 50},
            },
            (1_000 * 3 + 150 * 15) / 1e6,
        ),
        # A model without a price, and one with prices for other usage only.
        ("openai", "llama-3.1-8b", OPENAI_CHAT, None),
        ("openai", "whisper-1", {"seconds": 30}, None),
    ],
)
def test_raw_usage_has_its_price(
    provider: str, model: str, usage: dict[str, object], dollars: float | None
) -> None:
    price_loader.start_loading()
    price_loader.finish(60)

    cost = cost_usd(provider, model, TokenUsage.of(usage, provider))

    assert cost == dollars if dollars is None else float(cost or 0) == pytest.approx(dollars)


def test_tokens_of_the_whole_call_count_not_those_of_its_parts() -> None:
    part = {"input_tokens": 1, "output_tokens": 2}
    usage = {"details": part, "input_tokens": 5, "iterations": [part], "output_tokens": 7}

    assert TokenUsage.of(usage, "") == TokenUsage(input_tokens=5, output_tokens=7)


def test_names_in_usage_are_looked_up_once() -> None:
    # OpenRouter reports a cost.
    for cost in (0, 2, 0.25, 9.5e-05):
        assert TokenUsage.of({**OPENAI_CHAT, "cost": cost}).output_tokens == 500
    before = _kinds.cache_info().misses
    TokenUsage.of({"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16, "cost": 1e-06})

    assert _kinds.cache_info().misses == before


@pytest.mark.parametrize(
    "usage", [None, "many", {}, {"words": 3}, {"prompt_tokens": -1}, {"input_tokens": "5"}]
)
def test_usage_without_a_number_of_tokens_is_a_type_error(usage: object) -> None:
    with pytest.raises(TypeError):
        TokenUsage.of(usage)


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


GATE = """
import os, sys, threading
from importlib.machinery import PathFinder

# The import of genai_prices does not end before the process.
class Gate:
    reached, failed = threading.Event(), threading.Event()
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = PathFinder.find_spec(name, path) if name == "genai_prices" else None
        if spec:
            spec.loader.exec_module = cls.wait
        return spec
    @classmethod
    def wait(cls, module):
        cls.reached.set()
        threading.Event().wait(300)
        cls.failed.set()

sys.meta_path.insert(0, Gate)

from observability import flush, get_tracer, instrument_app, llm_call, setup_observability, traced
setup_observability()

def call():
    with llm_call("anthropic", "claude-sonnet-4-6") as call:
        call.record_usage({"input_tokens": 10, "output_tokens": 10})
    usage = {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 10}
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5", **usage}
    get_tracer("sdk").start_span("chat gpt-5", attributes=attributes).end()
"""
SERVICE = """
from fastapi import FastAPI
from fastapi.testclient import TestClient
app = FastAPI()
instrument_app(app)

@app.get("/call")
async def llm():
    call()

@app.get("/ping")
async def ping(): ...

with TestClient(app) as client:
    print(client.get("/call").status_code, Gate.reached.wait(300), client.get("/ping").status_code)
# The service has shut down. Nothing that follows exports a span.
print(Gate.failed.is_set(), flush=True)
os._exit(0)
"""
SCRIPT = """
with traced("work"):
    call()
print(Gate.reached.wait(300), Gate.failed.is_set())
"""


@pytest.mark.parametrize(
    ("program", "output", "root"),
    [(SERVICE, "200 True 200\nFalse", "GET /call"), (SCRIPT, "True False", "work")],
    ids=["service", "script"],
)
def test_prices_that_do_not_load_delay_neither_requests_nor_the_shutdown(
    program: str, output: str, root: str
) -> None:
    with ScriptedReceiver() as receiver:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
        printed, log = run(GATE + program, variables)

    assert (printed, log) == (output, [])
    names = Counter([root, "llm.call", "chat gpt-5"])
    assert receiver.names - Counter(["GET /ping"]) == names
    calls = [span for span in receiver.spans if span.name in ("llm.call", "chat gpt-5")]
    for call in calls:
        attributes = {each.key for each in call.attributes}
        assert "llm.input_tokens" in attributes
        assert "llm.cost_usd" not in attributes
