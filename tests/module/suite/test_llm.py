"""LLM calls: one span per call, with its tokens and its cost."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest
from observability import TokenUsage, get_tracer, llm_call, record_evaluation, traced
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Status, StatusCode

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
    for _ in range(2):
        with llm_call("anthropic", "claude-sonnet-4-6") as call:
            call.record_usage({"words": 5})

    for span in spans():
        assert "llm.input_tokens" not in (span.attributes or {})
    [record] = caplog.records
    assert record.getMessage() == (
        "No tokens and no cost for calls of claude-sonnet-4-6: unsupported usage object (words)."
    )


def test_model_and_tier_of_the_response_decide_the_cost(spans: FinishedSpans) -> None:
    pytest.importorskip("genai_prices", reason="requires genai-prices")
    usage = {"input_tokens": 120, "cache_read_input_tokens": 5_000, "output_tokens": 60}
    for tier in (None, "batch"):
        with llm_call("anthropic", "an-alias") as call:
            call.record_usage(usage, model=MODEL, service_tier=tier)

    standard, batch = (span.attributes or {} for span in spans())
    assert standard["gen_ai.response.model"] == MODEL
    assert standard["llm.cost_usd"] == pytest.approx(0.00276)
    assert batch["llm.cost_usd"] == pytest.approx(0.00138)


@pytest.mark.parametrize(
    ("operation", "tokens"),
    [("chat", 60), ("embeddings", 60), ("text_completion", 60), ("generate_content", 60)]
    + [("invoke_agent", None), ("execute_tool", None)],
)
def test_operations_of_models_have_tokens_and_those_of_agents_none(
    operation: str, tokens: int | None, spans: FinishedSpans
) -> None:
    sdk_call(operation__name=operation)

    [span] = spans()
    assert (span.attributes or {}).get("llm.output_tokens") == tokens


MODEL = "claude-sonnet-4-6"
# The usage of a call as an SDK's span has it. Per million tokens: 120 input at 3 dollars, 5,000 read
# at 0.30, 2,000 written at 3.75, 60 output at 15.
CALL: dict[str, str | int] = {
    "gen_ai.provider.name": "anthropic",
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": MODEL,
    "gen_ai.usage.input_tokens": 7_120,
    "gen_ai.usage.output_tokens": 60,
    "gen_ai.usage.cache_read.input_tokens": 5_000,
    "gen_ai.usage.cache_write.input_tokens": 2_000,
}
COST = pytest.approx(0.01026)
USAGE = TokenUsage(
    input_tokens=7_120, output_tokens=60, cache_read_tokens=5_000, cache_write_tokens=2_000
)


def sdk_call(name: str = "messages", **attributes: str | int) -> None:
    """Create the span of an SDK's call."""
    given = {f"gen_ai.{each.replace('__', '.')}": value for each, value in attributes.items()}
    with get_tracer("an.sdk").start_as_current_span(name, attributes={**CALL, **given}):
        pass


def costs(spans: list[ReadableSpan]) -> dict[str, float | None]:
    """The names of `spans` and their costs, or None if genai-prices is not installed."""
    cost = {span.name: (span.attributes or {}).get("llm.cost_usd") for span in spans}
    return cast(dict[str, float | None], cost)


def test_span_of_an_sdk_is_merged_into_that_of_the_same_call(spans: FinishedSpans) -> None:
    with llm_call("anthropic", MODEL) as call:
        sdk_call(response__time_to_first_chunk=2)
        call.record_usage(USAGE)

    [span] = spans()
    assert span.name == "llm.call"
    assert (span.attributes or {})["gen_ai.response.time_to_first_chunk"] == 2


def test_call_without_usage_has_that_of_the_span_of_the_sdk(spans: FinishedSpans) -> None:
    pytest.importorskip("genai_prices", reason="requires genai-prices")
    with llm_call("anthropic", MODEL):
        sdk_call()

    assert costs(spans()) == {"llm.call": COST}


def test_other_call_inside_an_open_call_has_a_span(spans: FinishedSpans) -> None:
    pytest.importorskip("genai_prices", reason="requires genai-prices")
    with llm_call("anthropic", MODEL) as call:
        sdk_call()
        with traced("piece"):
            sdk_call("other model", request__model="claude-haiku-4-5", usage__output_tokens=1)
        call.record_usage(USAGE)

    haiku = 120 * 1 + 5_000 * 0.1 + 2_000 * 1.25 + 1 * 5
    assert costs(spans()) == {
        "llm.call": COST,
        "piece": None,
        "other model": pytest.approx(haiku / 1e6),
    }


def test_several_calls_inside_an_open_call_have_the_cost(spans: FinishedSpans) -> None:
    pytest.importorskip("genai_prices", reason="requires genai-prices")
    with llm_call("anthropic", MODEL) as call:
        sdk_call("first", usage__output_tokens=0)
        sdk_call("last")
        call.record_usage(USAGE)

    assert costs(spans()) == {
        "llm.call": None,
        "first": pytest.approx(0.01026 - 60 * 15e-6),
        "last": COST,
    }


def test_agent_inside_an_open_call_leaves_the_cost_to_its_own_calls(spans: FinishedSpans) -> None:
    pytest.importorskip("genai_prices", reason="requires genai-prices")
    agent = {"gen_ai.operation.name": "invoke_agent"}
    with llm_call("anthropic", MODEL) as call:
        with get_tracer("a.framework").start_as_current_span("agent", attributes=agent):
            sdk_call("first")
            sdk_call("second")
        call.record_usage({"input_tokens": 14_240, "output_tokens": 120})

    assert costs(spans()) == {"llm.call": None, "agent": None, "first": COST, "second": COST}
    assert (spans()[0].attributes or {})["gen_ai.operation.name"] == "invoke_agent"


def test_call_of_a_tool_inside_a_call_has_its_own_cost(spans: FinishedSpans) -> None:
    pytest.importorskip("genai_prices", reason="requires genai-prices")
    tool = {"gen_ai.operation.name": "execute_tool"}
    with (
        llm_call("anthropic", MODEL) as call,
        get_tracer("a.framework").start_as_current_span("tool", attributes=tool),
    ):
        sdk_call("call of the tool", usage__output_tokens=0)
        call.record_usage(USAGE)

    assert costs(spans()) == {
        "llm.call": COST,
        "tool": None,
        "call of the tool": pytest.approx(0.01026 - 60 * 15e-6),
    }


def test_failed_attempt_has_a_span_beside_the_call(spans: FinishedSpans) -> None:
    with llm_call("anthropic", MODEL):
        with suppress(ValueError), get_tracer("an.sdk").start_as_current_span("1", attributes=CALL):
            raise ValueError
        sdk_call("2")

    assert [span.name for span in spans()] == ["llm.call", "1"]
    assert [span.status.is_ok or span.status.is_unset for span in spans()] == [True, False]


def test_failed_call_is_the_span_of_its_last_attempt(spans: FinishedSpans) -> None:
    with suppress(ValueError), llm_call("anthropic", MODEL):
        for name in ("1", "2"):
            with (
                suppress(ValueError),
                get_tracer("an.sdk").start_as_current_span(name, attributes=CALL),
            ):
                raise ValueError
        raise ValueError

    assert [span.name for span in spans()] == ["llm.call", "1"]


def test_outermost_span_of_a_call_has_its_cost(spans: FinishedSpans) -> None:
    pytest.importorskip("genai_prices", reason="requires genai-prices")
    tracer = get_tracer("a.framework")
    agent = {**CALL, "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "helper"}
    with (
        tracer.start_as_current_span("agent", attributes=agent),
        tracer.start_as_current_span("chat", attributes=CALL),
    ):
        sdk_call(response__id=7)

    assert costs(spans()) == {"agent": None, "chat": COST}
    attributes = spans()[1].attributes or {}
    assert (attributes["gen_ai.agent.name"], attributes["gen_ai.response.id"]) == ("helper", 7)


def test_failed_attempt_does_not_make_a_call_with_usage_an_agent(spans: FinishedSpans) -> None:
    attributes = {name: value for name, value in CALL.items() if "usage" not in name}
    with llm_call("anthropic", MODEL) as call:
        failed = get_tracer("an.sdk").start_span("1", attributes=attributes)
        failed.set_status(StatusCode.ERROR)
        failed.end()
        sdk_call("2")
        call.record_usage(USAGE)

    assert [span.name for span in spans()] == ["llm.call", "1"]
    assert (spans()[0].attributes or {})["gen_ai.operation.name"] == "chat"


def test_merged_call_remains_as_a_parent_without_cost_if_it_has_children(
    spans: FinishedSpans,
) -> None:
    with llm_call("anthropic", MODEL) as call:
        with (
            get_tracer("an.sdk").start_as_current_span("chat", attributes=CALL) as inner,
            traced("execute_tool weather"),
        ):
            pass
        call.record_usage(USAGE)

    outer, kept, tool = spans()
    assert [outer.name, kept.name, tool.name] == ["llm.call", "chat", "execute_tool weather"]
    assert tool.parent and tool.parent.span_id == inner.get_span_context().span_id
    attributes = kept.attributes or {}
    assert attributes["gen_ai.operation.name"] == "invoke_agent"
    assert not {"gen_ai.usage.input_tokens", "llm.cost_usd"} & attributes.keys()


@pytest.mark.parametrize(
    ("kind", "description"), [("_OTHER", "abandoned stream"), ("GeneratorExit", "")]
)
def test_stream_that_is_not_read_on_is_not_an_error(
    kind: str, description: str, spans: FinishedSpans
) -> None:
    with (
        llm_call("anthropic", MODEL),
        get_tracer("an.sdk").start_as_current_span("chat", attributes=CALL) as inner,
    ):
        inner.set_attribute("error.type", kind)
        inner.set_status(Status(StatusCode.ERROR, description))

    [span] = spans()
    assert span.status.is_unset
    assert (span.attributes or {})["gen_ai.usage.input_tokens"] == 7_120
    assert "error.type" not in (span.attributes or {})


def test_finish_reason_of_the_sdk_is_kept_unless_it_is_an_error_of_a_call_that_succeeded(
    spans: FinishedSpans,
) -> None:
    attributes: dict[str, Any] = {**CALL, "anthropic.message.stop_reason": "max_tokens"}
    with llm_call("anthropic", MODEL) as call:
        get_tracer("an.sdk").start_span("chat", attributes=attributes).end()
        call.record_usage(USAGE)
    attributes = {**CALL, "gen_ai.response.finish_reasons": ["error"]}
    get_tracer("a.framework").start_span("chat", attributes=attributes).end()

    reasons = [(span.attributes or {}).get("gen_ai.response.finish_reasons") for span in spans()]
    assert reasons == [("max_tokens",), None]


@pytest.mark.parametrize(
    ("scope", "tokens"),
    [
        ("opentelemetry.instrumentation.genai.bedrock", 14_120),
        ("com.anthropic.sdk.python.bedrock", 7_120),
    ],
)
def test_input_of_bedrock_includes_cached_tokens_once(
    scope: str, tokens: int, spans: FinishedSpans
) -> None:
    with get_tracer(scope).start_as_current_span("chat", attributes=CALL):
        pass

    assert (spans()[0].attributes or {})["gen_ai.usage.input_tokens"] == tokens


def test_first_chunk_and_finish_reason_of_a_stream(spans: FinishedSpans) -> None:
    with llm_call("openai", "gpt-4o-mini", agent_name="helper") as call:
        call.record_first_chunk()
        call.record_first_chunk()
        call.record_usage(USAGE, finish_reason="length")

    attributes = spans()[0].attributes or {}
    assert 0 < cast(float, attributes["gen_ai.response.time_to_first_chunk"]) < 60
    assert attributes["gen_ai.response.finish_reasons"] == ("length",)
    assert attributes["gen_ai.agent.name"] == "helper"


def test_evaluation_is_an_event_of_its_call_and_afterwards_a_span_below(
    spans: FinishedSpans,
) -> None:
    with llm_call("anthropic", MODEL) as call:
        record_evaluation("relevance", 0.8, "good")
    record_evaluation("tone", label="polite", call=call)

    evaluated, later = spans()
    [event] = evaluated.events
    assert (event.name, dict(event.attributes or {})) == (
        "gen_ai.evaluation.result",
        {
            "gen_ai.evaluation.name": "relevance",
            "gen_ai.evaluation.score.value": 0.8,
            "gen_ai.evaluation.score.label": "good",
        },
    )
    assert later.parent is not None
    assert later.parent.span_id == evaluated.context.span_id
    assert (later.name, dict(later.attributes or {})) == (
        "gen_ai.evaluation.result",
        {"gen_ai.evaluation.name": "tone", "gen_ai.evaluation.score.label": "polite"},
    )


def test_score_of_zero_is_recorded(spans: FinishedSpans) -> None:
    with traced("work"):
        record_evaluation("relevance", 0.0)

    [event] = spans()[0].events
    assert (event.attributes or {})["gen_ai.evaluation.score.value"] == 0.0


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


@pytest.mark.parametrize("model", [None, 5, ["gpt-5"], {"name": "gpt-5"}, object(), "x" * 100_000])
@pytest.mark.parametrize("usage", [{"words": 3}, {"input_tokens": 7, "output_tokens": 9}])
def test_model_that_is_not_a_name_raises_nothing(
    model: Any, usage: dict[str, int], spans: FinishedSpans
) -> None:
    with llm_call("openai", model) as call:
        call.record_usage(usage, model=model, finish_reason=model, service_tier=model)

    [span] = spans()
    assert span.status.status_code is StatusCode.UNSET
    assert ("llm.input_tokens" in (span.attributes or {})) == ("input_tokens" in usage)
