"""LlamaIndex: the tree of an agent, with each call once. Runs in a separate environment."""

import asyncio
import os
import subprocess
import sys
from typing import Any, Final

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai import OpenAI
from observability import llm_call, span_attributes
from opentelemetry.trace import StatusCode

from tests.fakes.llm import LLMAPIs

from .conftest import FinishedSpans
from .spans import attributes, content, tree

GPT: Final = "gpt-4o-mini"
# Dollars: 200 plain input, 1,000 cached, 300 output.
COST: Final = (200 * 0.15 + 1_000 * 0.075 + 300 * 0.6) / 1e6
AGENT: Final = """\
invoke_agent helper
  chat gpt-4o-mini
  execute_tool weather
  chat gpt-4o-mini
"""


def weather(city: str) -> str:
    """Return the weather: a DESCRIPTION."""
    if os.environ.get("TOOL_FAILS"):
        raise ValueError("a RESULT")
    return "a RESULT"


def model(apis: LLMAPIs, **options: Any) -> Any:
    return OpenAI(model=GPT, api_base=f"{apis.url}/v1", max_retries=0, **options)


def run_agent(llm: Any, *, streams: bool) -> None:
    agent = FunctionAgent(name="helper", tools=[weather], llm=llm, streaming=streams)

    async def run() -> None:
        await agent.run("a PROMPT")

    asyncio.run(run())


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
def test_run_of_an_agent_is_a_tree_with_each_call_once(
    streams: bool, apis: LLMAPIs, spans: FinishedSpans
) -> None:
    options = {"stream_options": {"include_usage": True}} if streams else {}
    with span_attributes(user_id="user-1", conversation_id="conversation-1"):
        run_agent(model(apis, additional_kwargs=options), streams=streams)

    assert tree(spans()) == AGENT
    for span in spans():
        found = attributes(span)
        assert found["user.id"] == "user-1"
        assert found["gen_ai.conversation.id"] == "conversation-1"
        assert found["gen_ai.agent.name"] == "helper"
        expected = pytest.approx(COST) if span.name == f"chat {GPT}" else None
        assert found.get("llm.cost_usd") == expected
    assert content(spans()) == []
    assert len(apis.requests) == 2


def test_stream_has_no_usage_unless_it_is_requested(apis: LLMAPIs, spans: FinishedSpans) -> None:
    run_agent(model(apis), streams=True)

    assert tree(spans()) == AGENT
    assert not [span for span in spans() if "llm.cost_usd" in attributes(span)]


def test_call_inside_llm_call_is_one_span_with_its_cost(
    apis: LLMAPIs, spans: FinishedSpans
) -> None:
    with llm_call("openai", GPT):
        model(apis).complete("a PROMPT")

    [span] = spans()
    assert span.name == "llm.call"
    assert attributes(span)["llm.cost_usd"] == pytest.approx(COST)


def test_failed_call_is_one_span_with_an_error_without_content(
    apis: LLMAPIs, spans: FinishedSpans
) -> None:
    with pytest.raises(Exception, match="PROMPT"):
        model(apis).complete("FAIL, a PROMPT")

    [span] = spans()
    assert span.status.status_code is StatusCode.ERROR
    assert content([span]) == []


def test_failed_tool_is_a_failed_span(
    apis: LLMAPIs, spans: FinishedSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOL_FAILS", "1")
    run_agent(model(apis), streams=False)

    [tool] = [span for span in spans() if span.name == "execute_tool weather"]
    assert tool.status.status_code is StatusCode.ERROR
    assert attributes(tool)["gen_ai.tool.name"] == "weather"
    assert content(spans()) == []


FIRST_CALL: Final = """
import sys, threading, time
from importlib.machinery import PathFinder

# On another thread, the import of httpx2 does not end before the call.
called = threading.Event()
class Gate:
    @staticmethod
    def find_spec(name, path=None, target=None):
        spec = PathFinder.find_spec(name, path) if name == "httpx2" else None
        if spec:
            execute = spec.loader.exec_module
            def wait(module):
                if threading.current_thread() is not threading.main_thread():
                    called.wait(60)
                execute(module)
            spec.loader.exec_module = wait
        return spec
sys.meta_path.insert(0, Gate)

from observability import llm_call, setup_observability
setup_observability()
import openai

with llm_call("openai", "gpt-4o-mini") as call:
    while "httpx2" not in sys.modules:
        time.sleep(0.01)
    message = {"role": "user", "content": "a PROMPT"}
    response = openai.OpenAI().chat.completions.create(model="gpt-4o-mini", messages=[message])
    call.record_usage(response.usage)
called.set()
print(response.choices[0].message.content)
"""


def test_first_call_does_not_find_a_library_that_genai_prices_has_half_imported(
    apis: LLMAPIs,
) -> None:
    # OpenAI 2, which LlamaIndex requires, uses httpx2 if it is imported.
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALL],
        env={**os.environ, **apis.variables, "OTEL_TRACES_EXPORTER": "console"},
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert "Hello, COMPLETION." in done.stdout
