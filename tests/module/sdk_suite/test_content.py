"""Privacy: no text of a prompt, a completion, a tool or an API's error is exported by default."""

from contextlib import suppress

import pytest
from observability import llm_call
from opentelemetry.trace import StatusCode

from tests.fakes.llm import LLMAPIs

from .conftest import FinishedSpans
from .sdks import GPT, SDKS, Call, failing
from .spans import content
from .test_frameworks import FRAMEWORKS


@pytest.mark.parametrize("prompt", ["a PROMPT", "FAIL, a PROMPT"])
@pytest.mark.parametrize("sdk", SDKS)
def test_call_of_an_sdk(sdk: str, prompt: str, apis: LLMAPIs, spans: FinishedSpans) -> None:
    call = Call(prompt, offers_tool=sdk != "openai_embeddings")
    if "FAIL" in prompt:
        failing(lambda: SDKS[sdk](apis, call))
    else:
        SDKS[sdk](apis, call)

    assert content(spans()) == []
    assert apis.requests


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_run_of_an_agent(framework: str, apis: LLMAPIs, spans: FinishedSpans) -> None:
    FRAMEWORKS[framework][0]()

    assert content(spans()) == []
    assert spans()


@pytest.mark.parametrize(
    "framework", [each for each in FRAMEWORKS if "tool" in FRAMEWORKS[each][1]]
)
def test_run_of_an_agent_whose_tool_fails(
    framework: str, apis: LLMAPIs, spans: FinishedSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOL_FAILS", "1")
    with suppress(ValueError):
        FRAMEWORKS[framework][0]()

    assert StatusCode.ERROR in [span.status.status_code for span in spans()]
    assert content(spans()) == []


def test_error_that_crosses_llm_call(apis: LLMAPIs, spans: FinishedSpans) -> None:
    failed = Call("FAIL, a PROMPT")

    def call() -> None:
        with llm_call("openai", GPT):
            SDKS["openai_chat"](apis, failed)

    failing(call)
    assert content(spans()) == []
