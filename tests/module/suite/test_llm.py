"""LLM calls: one span per call, with its tokens and its cost."""

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from observability import TokenUsage, get_tracer, llm_call

from .conftest import FinishedSpans


def test_unknown_model_has_tokens_and_no_cost(spans: FinishedSpans) -> None:
    with llm_call("anthropic", "unknown-model") as call:
        call.record_usage(TokenUsage(input_tokens=10, output_tokens=1))

    [span] = spans()
    assert "llm.cost_usd" not in (span.attributes or {})
    assert (span.attributes or {})["llm.input_tokens"] == 10


@pytest.mark.parametrize(
    "usage",
    [
        SimpleNamespace(
            input_tokens=2,
            output_tokens=5,
            cache_read_input_tokens=3,
            cache_creation_input_tokens=None,
            cache_creation=None,
        ),
        SimpleNamespace(
            input_tokens=5,
            output_tokens=5,
            input_tokens_details=SimpleNamespace(cached_tokens=3),
        ),
        SimpleNamespace(
            prompt_tokens=5,
            completion_tokens=5,
            prompt_tokens_details=SimpleNamespace(cached_tokens=3),
        ),
    ],
    ids=["anthropic", "openai responses", "openai chat"],
)
def test_usage_of_each_sdk_is_converted(usage: object) -> None:
    assert TokenUsage.of(usage) == TokenUsage(input_tokens=5, output_tokens=5, cache_read_tokens=3)


def test_unsupported_usage_logs_one_warning(
    spans: FinishedSpans, caplog: pytest.LogCaptureFixture
) -> None:
    with llm_call("anthropic", "claude-sonnet-4-6") as call:
        call.record_usage("many")

    [span] = spans()
    assert "llm.input_tokens" not in (span.attributes or {})
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_span_of_an_sdk_for_the_same_call_is_dropped(spans: FinishedSpans) -> None:
    sdk = get_tracer("an.sdk")
    with llm_call("anthropic", "claude-sonnet-4-6") as call:
        with sdk.start_as_current_span("messages", attributes={"gen_ai.operation.name": "chat"}):
            pass
        call.record_usage(TokenUsage(input_tokens=1, output_tokens=1))

    assert [span.name for span in spans()] == ["llm.call"]


def test_span_of_an_sdk_has_tokens_and_cost(spans: FinishedSpans) -> None:
    pytest.importorskip("genai_prices", reason="requires genai-prices")
    call: dict[str, str | int] = {
        "gen_ai.provider.name": "anthropic",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "claude-sonnet-4-6",
        "gen_ai.usage.input_tokens": 7_120,
        "gen_ai.usage.output_tokens": 60,
        "gen_ai.usage.cache_read.input_tokens": 5_000,
        "gen_ai.usage.cache_write.input_tokens": 2_000,
    }
    tracer = get_tracer("an.sdk")
    agent: dict[str, str | int] = {**call, "gen_ai.operation.name": "invoke_agent"}
    # Both an instrumentation and the SDK that it wraps create a span.
    with (
        tracer.start_as_current_span("agent", attributes=agent),
        tracer.start_as_current_span("chat", attributes=call),
        tracer.start_as_current_span("messages", attributes=call),
    ):
        pass

    costs = {span.name: (span.attributes or {}).get("llm.cost_usd") for span in spans()}
    assert costs == {
        "agent": None,
        "chat": None,
        # Per million tokens: 120 input at 3 dollars, 5,000 read at 0.30, 2,000 written at 3.75,
        # 60 output at 15.
        "messages": pytest.approx(0.01026),
    }


def test_call_in_a_generator_that_is_closed_early_logs_nothing(
    spans: FinishedSpans, caplog: pytest.LogCaptureFixture
) -> None:
    async def parts() -> AsyncIterator[str]:
        with llm_call("anthropic", "claude-sonnet-4-6") as call:
            yield "one"
            call.record_usage(TokenUsage(input_tokens=1, output_tokens=1))

    async def close_early() -> None:
        reader = parts()
        await anext(reader)
        await asyncio.create_task(reader.aclose())  # type: ignore[attr-defined]

    asyncio.run(close_early())

    [span] = spans()
    assert span.status.is_unset
    assert not caplog.records


@pytest.mark.parametrize("capture", ["NO_CONTENT", "SPAN_ONLY"])
def test_content_is_recorded_only_if_capture_is_enabled(
    capture: str, spans: FinishedSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", capture)

    with llm_call("anthropic", "claude-sonnet-4-6") as call:
        call.record_content("a question", "an answer", system="be brief")

    [span] = spans()
    content = {
        name: json.loads(str(value))
        for name, value in (span.attributes or {}).items()
        if name in ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions")
    }
    if capture == "NO_CONTENT":
        assert content == {}
    else:
        assert content == {
            "gen_ai.input.messages": [
                {"role": "user", "parts": [{"type": "text", "content": "a question"}]}
            ],
            "gen_ai.output.messages": [
                {"role": "assistant", "parts": [{"type": "text", "content": "an answer"}]}
            ],
            "gen_ai.system_instructions": [{"type": "text", "content": "be brief"}],
        }
