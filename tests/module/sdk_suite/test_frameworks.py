"""Frameworks: the structure of agents and tools, and each call of a model once."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

import pytest
from agents import Agent as OpenAIAgent
from agents import Runner, function_tool, set_trace_processors
from google import genai
from google.genai import types
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from langgraph.graph import MessagesState, StateGraph
from observability import llm_call, span_attributes, traced
from opentelemetry.trace import StatusCode
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.fakes.llm import LLMAPIs

from .conftest import FinishedSpans
from .sdks import CLAUDE, GEMINI, GPT, run
from .spans import attributes, tree
from .test_sdks import ANTHROPIC, GEMINI_COST, OPENAI

PROMPT: Final = "a PROMPT"

# openai-agents would upload traces. OPENAI_AGENTS_DISABLE_TRACING would disable its spans too.
set_trace_processors([])


def weather(city: str) -> str:
    """Return the weather: a DESCRIPTION."""
    if os.environ.get("TOOL_FAILS"):
        raise ValueError("a RESULT")
    return "a RESULT"


def langchain(model: Any) -> Any:
    agent = create_agent(model, tools=[weather], name="helper")
    config: Any = {"configurable": {"thread_id": "thread-1"}}
    return lambda: agent.invoke({"messages": [("user", PROMPT)]}, config)


def langchain_openai() -> None:
    langchain(ChatOpenAI(model=GPT))()


def langchain_anthropic() -> None:
    langchain(ChatAnthropic(model=CLAUDE))()


def langgraph() -> None:
    model = ChatOpenAI(model=GPT)
    graph = StateGraph(MessagesState)
    graph.add_node("answer", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.set_entry_point("answer")
    graph.compile().invoke({"messages": [("user", PROMPT)]})


def pydantic_ai_openai() -> Any:
    return run(Agent(f"openai-chat:{GPT}", name="helper", tools=[weather]).run(PROMPT))


def pydantic_ai_anthropic() -> Any:
    return run(Agent(f"anthropic:{CLAUDE}", name="helper", tools=[weather]).run(PROMPT))


def openai_agents() -> None:
    agent = OpenAIAgent(name="helper", model=GPT, tools=[function_tool(weather)])
    run(Runner.run(agent, PROMPT))


def openai_agents_handoff() -> None:
    expert = OpenAIAgent(name="expert", model=GPT)
    run(Runner.run(OpenAIAgent(name="helper", model=GPT, handoffs=[expert]), PROMPT))


AGENT: Final = """\
invoke_agent helper
  chat {model}
  execute_tool weather
  chat {model}
"""
WORKFLOW: Final = """\
invoke_workflow Agent workflow
  invoke_agent helper
    chat {model}
    execute_tool weather
    chat {model}
"""
HANDOFF: Final = """\
invoke_workflow Agent workflow
  invoke_agent helper
    chat {model}
  invoke_agent expert
    chat {model}
"""
GRAPH: Final = """\
invoke_workflow LangGraph
  chat {model}
"""
FRAMEWORKS: Final[dict[str, tuple[Callable[[], Any], str, str, float]]] = {
    "langchain, openai": (langchain_openai, AGENT, GPT, OPENAI),
    "langchain, anthropic": (langchain_anthropic, AGENT, CLAUDE, ANTHROPIC),
    "langgraph": (langgraph, GRAPH, GPT, OPENAI),
    "openai-agents": (openai_agents, WORKFLOW, GPT, OPENAI),
    "openai-agents, handoff": (openai_agents_handoff, HANDOFF, GPT, OPENAI),
    "pydantic-ai, openai": (pydantic_ai_openai, AGENT, GPT, OPENAI),
    "pydantic-ai, anthropic": (pydantic_ai_anthropic, AGENT, CLAUDE, ANTHROPIC),
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_run_of_an_agent_is_a_tree_with_each_call_once(
    framework: str, apis: LLMAPIs, spans: FinishedSpans
) -> None:
    call, expected, model, dollars = FRAMEWORKS[framework]
    with span_attributes(user_id="user-1", conversation_id="conversation-1"):
        call()

    assert tree(spans()) == expected.format(model=model)
    for span in spans():
        found = attributes(span)
        is_call = span.name == f"chat {model}"
        assert found["user.id"] == "user-1"
        assert found["gen_ai.conversation.id"] in ("conversation-1", "thread-1")
        assert ("gen_ai.agent.name" in found) == (
            "workflow" not in span.name and framework != "langgraph"
        )
        assert ("llm.cost_usd" in found) == is_call
        if is_call:
            assert found["llm.cost_usd"] * 1e6 == pytest.approx(dollars)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_run_of_an_agent_inside_llm_call_costs_as_much_as_alone(
    framework: str, apis: LLMAPIs, spans: FinishedSpans
) -> None:
    call, expected, model, dollars = FRAMEWORKS[framework]
    with llm_call("openai" if model == GPT else "anthropic", model):
        call()

    costs = [attributes(span).get("llm.cost_usd", 0.0) for span in spans()]
    calls = expected.count("chat")
    assert sum(costs) * 1e6 == pytest.approx(calls * dollars)
    assert len([each for each in costs if each]) == calls
    # A single call and `llm_call` are the same call. Around several, `llm_call` is one more span.
    assert len(spans()) == len(expected.splitlines()) + (calls > 1)


FALLBACK: Final = """\
invoke_agent helper
  chat {model}
    model request attempt {failed}
    chat {failed}
"""


def test_fallback_is_the_call_that_succeeded_and_a_failed_one_below(
    apis: LLMAPIs, spans: FinishedSpans
) -> None:
    refused = OpenAIProvider(base_url="http://127.0.0.1:1/v1", api_key="a-key")
    models = FallbackModel(OpenAIChatModel(GPT, provider=refused), AnthropicModel(CLAUDE))
    with span_attributes(user_id="user-1", conversation_id="conversation-1"):
        run(Agent(models, name="helper").run(PROMPT))

    assert tree(spans()) == FALLBACK.format(model=CLAUDE, failed=GPT)
    [_, call, *failed] = spans()
    assert attributes(call)["llm.cost_usd"] * 1e6 == pytest.approx(ANTHROPIC)
    assert attributes(call)["gen_ai.operation.name"] == "chat"
    assert {span.status.status_code for span in failed} == {StatusCode.ERROR}
    assert not [span for span in failed if "llm.cost_usd" in attributes(span)]
    for span in spans():
        assert attributes(span)["user.id"] == "user-1"
        assert attributes(span)["gen_ai.conversation.id"] == "conversation-1"


AUTOMATIC: Final = """\
llm.call
  generate_content {model}
    execute_tool weather
"""


def test_tool_of_gemini_keeps_its_parent_inside_llm_call(
    apis: LLMAPIs, spans: FinishedSpans
) -> None:
    client = genai.Client(api_key="a-key", http_options=types.HttpOptions(base_url=apis.url))
    with llm_call("gcp.gemini", GEMINI):
        client.models.generate_content(model=GEMINI, contents=PROMPT, config={"tools": [weather]})

    assert tree(spans()) == AUTOMATIC.format(model=GEMINI)
    costs = [attributes(span).get("llm.cost_usd", 0.0) * 1e6 for span in spans()]
    assert costs == [pytest.approx(GEMINI_COST), 0, 0]


def test_usage_of_a_whole_run_is_not_added_to_that_of_its_calls(
    apis: LLMAPIs, spans: FinishedSpans
) -> None:
    with llm_call("openai", GPT) as call:
        call.record_usage(pydantic_ai_openai().usage)

    assert tree(spans()).startswith("llm.call\n  invoke_agent helper\n    chat")
    costs = [attributes(span).get("llm.cost_usd", 0.0) for span in spans()]
    assert sum(costs) * 1e6 == pytest.approx(2 * OPENAI)


@pytest.mark.parametrize("framework", ["langchain, openai", "pydantic-ai, openai"])
def test_failed_tool_is_a_failed_span(
    framework: str, apis: LLMAPIs, spans: FinishedSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOL_FAILS", "1")
    with pytest.raises(ValueError, match="RESULT"), traced("request"):
        FRAMEWORKS[framework][0]()

    [tool] = [span for span in spans() if span.name == "execute_tool weather"]
    assert tool.status.status_code is StatusCode.ERROR
    assert attributes(tool)["gen_ai.tool.name"] == "weather"
    [kind] = {attributes(tool).get("error.type")} - {None} or {
        (event.attributes or {})["exception.type"] for event in tool.events
    }
    assert kind == "ValueError"


IMPORTED_LATER: Final = """
from observability.testing import capture_spans

with capture_spans() as spans:
    from langchain_openai import ChatOpenAI
    from langgraph.graph import MessagesState, StateGraph

    model = ChatOpenAI(model="gpt-4o-mini")
    graph = StateGraph(MessagesState)
    graph.add_node("answer", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.set_entry_point("answer")
    graph.compile().invoke({"messages": [("user", "a PROMPT")]})
for span in spans:
    print(span.name)
"""


def test_langchain_imported_after_the_setup_has_each_call_once(apis: LLMAPIs) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED_LATER], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines() == [f"chat {GPT}", "invoke_workflow LangGraph"]
    assert "Skipping" not in done.stderr
