"""Call LLM SDKs and frameworks, traced in one way.

    python -m bench.llm_process module|logfire|openllmetry

After each call, and once its spans are exported, prints `call NAME` and waits for a line on stdin.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import anthropic
import openai
from langchain.agents import create_agent
from langchain_core.tracers.langchain import wait_for_all_tracers
from langchain_openai import ChatOpenAI
from opentelemetry.trace import get_tracer_provider
from pydantic_ai import Agent

PROMPT: Final = "a PROMPT"
CLAUDE: Final = "claude-sonnet-4-6"
GPT: Final = "gpt-4o-mini"


def module() -> None:
    from bench_service.observability import setup_observability

    setup_observability()


def logfire() -> None:
    # LangChain's spans are LangSmith's, enabled by variables, as Logfire documents it.
    import logfire as sdk

    sdk.configure(service_name="bench", send_to_logfire=False, console=False, metrics=False)
    sdk.instrument_anthropic()
    sdk.instrument_openai()
    sdk.instrument_pydantic_ai()


def openllmetry() -> None:
    from traceloop.sdk import Traceloop

    endpoint = os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"]
    Traceloop.init(app_name="bench", api_endpoint=endpoint, telemetry_enabled=False)


def weather(city: str) -> str:
    """Return the weather: a DESCRIPTION."""
    return "a RESULT"


def anthropic_messages(**options: Any) -> Any:
    return anthropic.Anthropic().messages.create(
        model=CLAUDE, max_tokens=9, messages=[{"role": "user", "content": PROMPT}], **options
    )


def openai_chat(prompt: str = PROMPT, **options: Any) -> Any:
    return openai.OpenAI().chat.completions.create(
        model=GPT, messages=[{"role": "user", "content": prompt}], **options
    )


def openai_error() -> None:
    with suppress(openai.BadRequestError):
        openai_chat(f"FAIL, {PROMPT}")


def langchain_agent() -> None:
    agent = create_agent(ChatOpenAI(model=GPT), tools=[weather], name="helper")
    agent.invoke({"messages": [("user", PROMPT)]})


def pydantic_ai_agent() -> None:
    Agent(f"anthropic:{CLAUDE}", name="helper", tools=[weather]).run_sync(PROMPT)


CALLS: Final[dict[str, Callable[[], Any]]] = {
    "Anthropic": anthropic_messages,
    "Anthropic, streamed": lambda: list(anthropic_messages(stream=True)),
    "OpenAI": openai_chat,
    "OpenAI, streamed": lambda: list(
        openai_chat(stream=True, stream_options={"include_usage": True})
    ),
    "OpenAI, rejected": openai_error,
    "LangChain agent with OpenAI": langchain_agent,
    "pydantic-ai agent with Anthropic": pydantic_ai_agent,
}


def main() -> None:
    {each.__name__: each for each in (module, logfire, openllmetry)}[sys.argv[1]]()
    provider: Any = get_tracer_provider()
    for name, call in CALLS.items():
        call()
        wait_for_all_tracers()
        provider.force_flush()
        print("call", name, flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main()
