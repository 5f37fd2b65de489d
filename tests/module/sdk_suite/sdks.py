"""One call of each SDK and framework: sync or async, streamed or not, with or without a tool."""

import asyncio
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Final

import anthropic
import boto3
import litellm
import openai
from botocore.config import Config
from google import genai
from google.genai import types
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI

from tests.fakes.llm import LLMAPIs

GPT: Final = "gpt-4o-mini"
CLAUDE: Final = "claude-sonnet-4-6"
GEMINI: Final = "gemini-2.5-flash"
BEDROCK: Final = "anthropic.claude-sonnet-4-5-20250929-v1:0"


@dataclass(frozen=True)
class Call:
    """A call of an SDK."""

    prompt: str = "a PROMPT"
    is_async: bool = False
    streams: bool = False
    offers_tool: bool = False

    @property
    def timeout(self) -> float:
        """Seconds, also on a busy machine: the fake does not respond to `SLOW`."""
        return 0.2 if "SLOW" in self.prompt else 60.0

    @property
    def messages(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.prompt}]

    def parameters(self, **tool: Any) -> dict[str, Any]:
        return {"stream": self.streams} | (tool if self.offers_tool else {})

    def finish(self, response: Callable[[], Any]) -> None:
        """Call `response`, await it, and read its stream."""
        if self.is_async:
            run(self._finish(response))
            return
        result = response()
        if self.streams and isinstance(result, Iterable):
            for _ in result:
                pass

    async def _finish(self, response: Callable[[], Any]) -> None:
        result = response()
        if not isinstance(result, AsyncIterable):
            result = await result
        if self.streams and isinstance(result, AsyncIterable):
            async for _ in result:
                pass


# Some SDKs share connections between calls, which belong to an event loop.
_RUNNER: Final = asyncio.Runner()


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return _RUNNER.run(coroutine, context=copy_context())


SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
FUNCTION: Final = {"name": "weather", "description": "a DESCRIPTION", "parameters": SCHEMA}


def _openai(apis: LLMAPIs, call: Call) -> Any:
    client = openai.AsyncOpenAI if call.is_async else openai.OpenAI
    return client(api_key="a-key", base_url=f"{apis.url}/v1", timeout=call.timeout, max_retries=0)


def openai_chat(apis: LLMAPIs, call: Call) -> None:
    options = call.parameters(tools=[{"type": "function", "function": FUNCTION}])
    if call.streams:
        options["stream_options"] = {"include_usage": True}
    client = _openai(apis, call)
    call.finish(
        lambda: client.chat.completions.create(model=GPT, messages=call.messages, **options)
    )


def openai_responses(apis: LLMAPIs, call: Call) -> None:
    options = call.parameters(tools=[{"type": "function", "strict": False, **FUNCTION}])
    client = _openai(apis, call)
    call.finish(lambda: client.responses.create(model=GPT, input=call.prompt, **options))


def openai_embeddings(apis: LLMAPIs, call: Call) -> None:
    client = _openai(apis, call)
    model = "text-embedding-3-small"
    call.finish(lambda: client.embeddings.create(model=model, input=call.prompt))


def anthropic_messages(apis: LLMAPIs, call: Call) -> None:
    client = anthropic.AsyncAnthropic if call.is_async else anthropic.Anthropic
    messages: Any = client(
        api_key="a-key", base_url=apis.url, timeout=call.timeout, max_retries=0
    ).messages
    tool = {"name": "weather", "description": "a DESCRIPTION", "input_schema": SCHEMA}
    options = call.parameters(tools=[tool])
    call.finish(
        lambda: messages.create(model=CLAUDE, max_tokens=9, messages=call.messages, **options)
    )


def google_genai(apis: LLMAPIs, call: Call) -> None:
    client = genai.Client(
        api_key="a-key",
        http_options=types.HttpOptions(base_url=apis.url, timeout=int(call.timeout * 1_000)),
    )
    models: Any = client.aio.models if call.is_async else client.models
    generate = models.generate_content_stream if call.streams else models.generate_content
    config: Any = {"tools": [{"function_declarations": [FUNCTION]}]} if call.offers_tool else None
    call.finish(lambda: generate(model=GEMINI, contents=call.prompt, config=config))


def bedrock(apis: LLMAPIs, call: Call) -> None:
    client: Any = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=apis.url,
        aws_access_key_id="a-key",
        aws_secret_access_key="a-secret",
        config=Config(read_timeout=call.timeout, retries={"total_max_attempts": 1}),
    )
    specification = {**FUNCTION, "inputSchema": {"json": SCHEMA}}
    del specification["parameters"]
    options: Any = {"modelId": BEDROCK}
    options["messages"] = [{"role": "user", "content": [{"text": call.prompt}]}]
    if call.offers_tool:
        options["toolConfig"] = {"tools": [{"toolSpec": specification}]}
    if call.streams:
        call.finish(lambda: client.converse_stream(**options)["stream"])
    else:
        call.finish(lambda: client.converse(**options))


def _litellm(model: str, call: Call, url: str) -> None:
    options = call.parameters(tools=[{"type": "function", "function": FUNCTION}])
    if call.streams:
        options["stream_options"] = {"include_usage": True}
    complete = litellm.acompletion if call.is_async else litellm.completion
    call.finish(
        lambda: complete(
            model=model,
            messages=call.messages,
            api_base=url,
            api_key="a-key",
            timeout=call.timeout,
            max_retries=0,
            **options,
        )
    )


def litellm_openai(apis: LLMAPIs, call: Call) -> None:
    _litellm(f"openai/{GPT}", call, f"{apis.url}/v1")


def litellm_anthropic(apis: LLMAPIs, call: Call) -> None:
    _litellm(f"anthropic/{CLAUDE}", call, apis.url)


def _langchain(model: Any, call: Call) -> None:
    if call.offers_tool:
        model = model.bind_tools([{"type": "function", "function": FUNCTION}])
    name = ("a" if call.is_async else "") + ("stream" if call.streams else "invoke")
    call.finish(lambda: getattr(model, name)(call.prompt))


def langchain_openai(apis: LLMAPIs, call: Call) -> None:
    _langchain(ChatOpenAI(model=GPT, timeout=call.timeout, max_retries=0, stream_usage=True), call)


def langchain_anthropic(apis: LLMAPIs, call: Call) -> None:
    _langchain(ChatAnthropic(model=CLAUDE, timeout=call.timeout, max_retries=0), call)


SDKS: Final = {
    each.__name__: each
    for each in (
        anthropic_messages,
        bedrock,
        google_genai,
        langchain_anthropic,
        langchain_openai,
        litellm_anthropic,
        litellm_openai,
        openai_chat,
        openai_embeddings,
        openai_responses,
    )
}


def failing(run: Callable[[], None]) -> None:
    """Call an SDK, which raises."""
    with suppress(Exception):
        run()
        raise AssertionError("the call succeeded")
