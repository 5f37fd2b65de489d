"""Each SDK: every call is one span, with its tokens and its cost, and without content."""

import gc
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Final

import anthropic
import litellm
import openai
import pytest
from google import genai
from google.genai import types
from langchain_openai import ChatOpenAI
from observability import llm_call, span_attributes, traced
from opentelemetry.trace import StatusCode

from tests.fakes.llm import LLMAPIs

from .conftest import FinishedSpans
from .sdks import BEDROCK, CLAUDE, GEMINI, GPT, SDKS, Call, failing
from .spans import attributes, content

# Dollars per million tokens: 200 or 100 plain input, 1,000 read, 60 written for five minutes and 40
# for an hour, 300 output.
OPENAI: Final = 200 * 0.15 + 1_000 * 0.075 + 300 * 0.6
ANTHROPIC: Final = 100 * 3 + 1_000 * 0.3 + 60 * 3.75 + 40 * 6 + 300 * 15
# Its instrumentation does not report tokens written to the cache: they are priced as plain input.
LITELLM: Final = 200 * 3 + 1_000 * 0.3 + 300 * 15
GEMINI_COST: Final = 200 * 0.3 + 1_000 * 0.03 + 300 * 2.5
BEDROCK_COST: Final = 1.1 * (100 * 3 + 1_000 * 0.3 + 100 * 3.75 + 300 * 15)
# Provider, model, dollars a million calls.
EXPECTED: Final = {
    "anthropic_messages": ("anthropic", CLAUDE, ANTHROPIC),
    "bedrock": ("aws.bedrock", BEDROCK, BEDROCK_COST),
    "google_genai": ("gemini", GEMINI, GEMINI_COST),
    "langchain_anthropic": ("anthropic", CLAUDE, ANTHROPIC),
    "langchain_openai": ("openai", GPT, OPENAI),
    "litellm_anthropic": ("anthropic", CLAUDE, LITELLM),
    "litellm_openai": ("openai", GPT, OPENAI),
    "openai_chat": ("openai", GPT, OPENAI),
    "openai_embeddings": ("openai", "text-embedding-3-small", 8 * 0.02),
    "openai_responses": ("openai", GPT, OPENAI),
}


@pytest.mark.parametrize("offers_tool", [False, True], ids=["text", "tool"])
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("sdk", SDKS)
def test_call_is_one_span_with_its_tokens_and_cost(
    sdk: str,
    is_async: bool,
    streams: bool,
    offers_tool: bool,
    apis: LLMAPIs,
    spans: FinishedSpans,
) -> None:
    if (sdk == "bedrock" and is_async) or (sdk == "openai_embeddings" and (streams or offers_tool)):
        pytest.skip("the SDK has no such call")
    with traced("request"):
        SDKS[sdk](apis, Call(is_async=is_async, streams=streams, offers_tool=offers_tool))

    [_, span] = spans()
    found = attributes(span)
    provider, model, dollars = EXPECTED[sdk]
    assert found["gen_ai.provider.name"] == provider
    assert found["gen_ai.request.model"].rpartition("/")[2] == model
    assert found["llm.cost_usd"] * 1e6 == pytest.approx(dollars)
    if sdk != "openai_embeddings":
        assert (found["llm.input_tokens"], found["llm.output_tokens"]) == (1_200, 300)
        [reason] = found["gen_ai.response.finish_reasons"]
        assert ("tool" in reason) == offers_tool or sdk in ("google_genai", "openai_responses")
    assert content([span]) == []
    assert len(apis.requests) == 1


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("prompt", ["FAIL, a PROMPT", "SLOW, a PROMPT"], ids=["error", "timeout"])
@pytest.mark.parametrize("sdk", SDKS)
def test_failed_call_is_one_span_with_an_error(
    sdk: str, prompt: str, is_async: bool, apis: LLMAPIs, spans: FinishedSpans
) -> None:
    if sdk == "bedrock" and is_async:
        pytest.skip("the SDK has no such call")
    failing(lambda: SDKS[sdk](apis, Call(prompt, is_async=is_async)))

    [span] = spans()
    assert span.status.status_code is StatusCode.ERROR
    assert "llm.cost_usd" not in attributes(span)


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("sdk", SDKS)
def test_call_inside_llm_call_is_one_span_with_its_cost(
    sdk: str, streams: bool, apis: LLMAPIs, spans: FinishedSpans
) -> None:
    if sdk == "openai_embeddings":
        pytest.skip("the SDK has no such call")
    provider, model, dollars = EXPECTED[sdk]
    with llm_call(provider, model):
        SDKS[sdk](apis, Call(streams=streams))

    [span] = spans()
    assert span.name == "llm.call"
    assert attributes(span)["llm.cost_usd"] * 1e6 == pytest.approx(dollars)


def test_stream_that_is_left_early_keeps_its_input_and_its_cost(
    apis: LLMAPIs, spans: FinishedSpans
) -> None:
    client = anthropic.Anthropic(base_url=apis.url)
    with (
        llm_call("anthropic", CLAUDE),
        client.messages.stream(
            model=CLAUDE, max_tokens=9, messages=[{"role": "user", "content": "a PROMPT"}]
        ) as stream,
    ):
        next(iter(stream.text_stream))

    found = attributes(*spans())
    assert (found["llm.input_tokens"], found["llm.output_tokens"]) == (1_200, 0)
    assert found["llm.cost_usd"] * 1e6 == pytest.approx(ANTHROPIC - 300 * 15)
    assert found["gen_ai.response.time_to_first_chunk"] > 0


def test_client_of_anthropic_for_bedrock_counts_cached_tokens_once(
    apis: LLMAPIs, spans: FinishedSpans
) -> None:
    keys: Any = {"aws_access_key": "a-key", "aws_secret_key": "a-secret", "aws_region": "us-east-1"}
    client = anthropic.AnthropicBedrock(base_url=apis.url, **keys)
    client.messages.create(
        model=BEDROCK, max_tokens=9, messages=[{"role": "user", "content": "a PROMPT"}]
    )

    found = attributes(*spans())
    assert found["gen_ai.usage.input_tokens"] == 1_200
    assert found["llm.cost_usd"] * 1e6 == pytest.approx(1.1 * ANTHROPIC)


def test_other_request_of_an_sdk_is_one_span_without_cost(
    apis: LLMAPIs, spans: FinishedSpans
) -> None:
    with traced("request"):
        anthropic.Anthropic(base_url=apis.url).messages.count_tokens(
            model=CLAUDE, messages=[{"role": "user", "content": "a PROMPT"}]
        )

    assert [span.name for span in spans()] == ["request", "anthropic.messages.count_tokens"]
    assert "llm.cost_usd" not in attributes(spans()[1])


def openai_stream(apis: LLMAPIs) -> Any:
    return openai.OpenAI(base_url=f"{apis.url}/v1").chat.completions.create(
        model=GPT, messages=[{"role": "user", "content": "a PROMPT"}], stream=True
    )


def google_stream(apis: LLMAPIs) -> Any:
    client = genai.Client(api_key="a-key", http_options=types.HttpOptions(base_url=apis.url))
    chunks = client.models.generate_content_stream(model=GEMINI, contents="a PROMPT")
    return (chunk for chunk in chunks if client)  # without the client, its connection is closed


def langchain_stream(apis: LLMAPIs) -> Any:
    return ChatOpenAI(model=GPT).stream("a PROMPT")


@pytest.mark.parametrize("stream", [openai_stream, google_stream, langchain_stream])
def test_stream_that_is_not_read_on_is_one_span_without_an_error(
    stream: Callable[[LLMAPIs], Any], apis: LLMAPIs, spans: FinishedSpans
) -> None:
    with traced("request"):
        for _ in stream(apis):
            break
        gc.collect()

    [_, span] = spans()
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span).keys() >= {
        "gen_ai.response.time_to_first_chunk",
        "gen_ai.request.model",
    }
    assert "error.type" not in attributes(span)


def test_finish_reason_of_langchain_with_the_responses_api_is_not_an_error(
    apis: LLMAPIs, spans: FinishedSpans
) -> None:
    ChatOpenAI(model=GPT, use_responses_api=True).invoke("a PROMPT")

    found = attributes(*spans())
    assert found["llm.cost_usd"] * 1e6 == pytest.approx(OPENAI)
    assert "gen_ai.response.finish_reasons" not in found


def test_retries_are_counted(apis: LLMAPIs, spans: FinishedSpans) -> None:
    client = anthropic.Anthropic(base_url=apis.url)
    with llm_call("anthropic", CLAUDE):
        client.messages.create(
            model=CLAUDE, max_tokens=9, messages=[{"role": "user", "content": "BUSY"}]
        )

    assert attributes(*spans())["http.request.resend_count"] == 1


def retried_openai(apis: LLMAPIs) -> None:
    client = openai.OpenAI(base_url=f"{apis.url}/v1")
    client.chat.completions.create(model=GPT, messages=[{"role": "user", "content": "BUSY"}])


def retried_google(apis: LLMAPIs) -> None:
    retries = types.HttpRetryOptions(attempts=2, initial_delay=0.01)
    options = types.HttpOptions(base_url=apis.url, retry_options=retries)
    client = genai.Client(api_key="a-key", http_options=options)
    client.models.generate_content(model=GEMINI, contents="BUSY")


@pytest.mark.parametrize("is_in_llm_call", [False, True], ids=["alone", "in llm_call"])
@pytest.mark.parametrize(
    ("call", "provider", "model", "dollars"),
    [
        (retried_openai, "openai", GPT, OPENAI),
        (retried_google, "gcp.gemini", GEMINI, GEMINI_COST),
    ],
    ids=["openai", "google-genai"],
)
def test_call_that_is_retried_is_one_span_with_one_cost(
    call: Callable[[LLMAPIs], None],
    provider: str,
    model: str,
    dollars: float,
    is_in_llm_call: bool,
    apis: LLMAPIs,
    spans: FinishedSpans,
) -> None:
    with llm_call(provider, model) if is_in_llm_call else nullcontext():
        call(apis)

    assert len(apis.requests) == 2
    assert attributes(*spans())["llm.cost_usd"] * 1e6 == pytest.approx(dollars)


def test_cache_writes_of_litellm_are_priced_if_llm_call_has_its_usage(
    apis: LLMAPIs, spans: FinishedSpans
) -> None:
    model = f"anthropic/{CLAUDE}"
    with llm_call("anthropic", model) as call:
        response: Any = litellm.completion(
            model=model,
            messages=[{"role": "user", "content": "a PROMPT"}],
            api_base=apis.url,
            api_key="a-key",
        )
        call.record_usage(response.usage, model=response.model)

    found = attributes(*spans())
    assert found["gen_ai.usage.cache_write.input_tokens"] == 100
    assert found["llm.cost_usd"] * 1e6 == pytest.approx(ANTHROPIC)


def test_stream_of_openai_without_usage_has_neither_tokens_nor_cost(
    apis: LLMAPIs, spans: FinishedSpans
) -> None:
    stream = openai.OpenAI().chat.completions.create(
        model=GPT, messages=[{"role": "user", "content": "a PROMPT"}], stream=True
    )
    assert len(list(stream)) == 3

    assert not {"llm.input_tokens", "llm.cost_usd"} & attributes(*spans()).keys()


def test_call_has_the_attributes_that_honeycomb_requires(
    apis: LLMAPIs, spans: FinishedSpans
) -> None:
    """Agent Timeline: docs.honeycomb.io/send-data/agents. Estimated cost: .../observe/llm-cost."""
    with span_attributes({"gen_ai.agent.name": "helper"}, conversation_id="conversation-1"):
        for sdk, each in SDKS.items():
            each(apis, Call(streams=sdk != "openai_embeddings"))

    for span in spans():
        found = attributes(span)
        assert found["gen_ai.agent.name"] == "helper"
        assert found["gen_ai.conversation.id"] == "conversation-1"
        assert found["gen_ai.operation.name"] in ("chat", "embeddings", "generate_content")
        assert found["gen_ai.provider.name"]
        assert found["gen_ai.request.model"]
        # Cached tokens are a part of the input.
        written = found.get("gen_ai.usage.cache_creation.input_tokens", 0)
        cached = found.get("gen_ai.usage.cache_read.input_tokens", 0) + written
        assert cached < found["gen_ai.usage.input_tokens"]
        assert "gen_ai.usage.output_tokens" in found
    assert len(spans()) == len(SDKS)
