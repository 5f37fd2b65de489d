"""Claude, through Anthropic's SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from ..observability import TokenUsage
from .base import Completion, Provider, ProviderError, Request, record

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from anthropic.lib.streaming import AsyncMessageStream
    from anthropic.types import Message


class AnthropicProvider(Provider):
    """Claude on the Messages API. The SDK retries failed requests twice, with backoff."""

    DEFAULT_MODEL: Final = "claude-sonnet-4-6"
    MAX_TOKENS: Final = 4096

    name = "anthropic"
    # The default of the Messages API; the SDK no longer has the parameter.
    temperature = 1.0

    def __init__(
        self,
        api_key: str,
        *,
        model: str = DEFAULT_MODEL,
        timeout: float = 60.0,
        max_retries: int = 2,
    ) -> None:
        """Limit each attempt to `timeout` seconds. The SDK reads ANTHROPIC_BASE_URL."""
        self.model = model
        self._api_key = api_key
        self._timeout = timeout
        self._max_retries = max_retries
        self._client: AsyncAnthropic | None = None
        self._connecting = asyncio.Lock()

    async def complete(self, request: Request) -> Completion:
        client = await self._connected()
        with self._call() as call:
            with _provider_errors():
                message = await client.messages.create(**self._parameters(request))
                completion = _completion(message)
            record(call, request, completion)
            return completion

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[str]]:
        client = await self._connected()
        with self._call() as call:
            async with AsyncExitStack() as stack:
                with _provider_errors():
                    stream = await stack.enter_async_context(
                        client.messages.stream(**self._parameters(request))
                    )
                yield _chunks(stream)
                with _provider_errors():
                    completion = _completion(await stream.get_final_message())
            record(call, request, completion)

    async def warm_up(self) -> None:
        with suppress(Exception):  # the first call raises it again
            await self._connected()

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _connected(self) -> AsyncAnthropic:
        """Return the client, created in a thread because importing the SDK blocks for a second."""
        async with self._connecting:
            if self._client is None:
                self._client = await asyncio.to_thread(self._connect)
            return self._client

    def _connect(self) -> AsyncAnthropic:
        from anthropic import AsyncAnthropic

        return AsyncAnthropic(
            api_key=self._api_key,
            timeout=self._timeout,
            max_retries=self._max_retries,
            # The SDK's span would duplicate `llm.call`, and has no cost.
            open_telemetry=False,
        )

    def _parameters(self, request: Request) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "model": self.model,
            "max_tokens": self.MAX_TOKENS,
            "system": request.system,
            "messages": [{"role": "user", "content": request.prompt}],
        }
        if request.output_schema is not None:
            parameters["output_config"] = {
                "format": {"type": "json_schema", "schema": request.output_schema}
            }
        return parameters


async def _chunks(stream: AsyncMessageStream) -> AsyncIterator[str]:
    with _provider_errors():
        async for chunk in stream.text_stream:
            yield chunk


def _completion(message: Message) -> Completion:
    if message.stop_reason is None:
        # The SDK treats a dropped connection as the end of the message.
        raise ProviderError("Anthropic's response was cut off.")
    if message.stop_reason == "refusal":
        raise ProviderError("The model refused this prompt.")
    if message.stop_reason == "max_tokens":
        raise ProviderError(f"The response exceeds {AnthropicProvider.MAX_TOKENS} tokens.")
    return Completion(
        text="".join(block.text for block in message.content if block.type == "text"),
        model=message.model,
        usage=TokenUsage.of(message.usage),
        finish_reason=message.stop_reason,
    )


@contextmanager
def _provider_errors() -> Iterator[None]:
    """Convert exceptions of the SDK to ProviderError, without the key or the prompt."""
    import anthropic
    import httpx2

    try:
        yield
    except anthropic.AuthenticationError as error:
        raise ProviderError("Anthropic rejected the key in ANTHROPIC_API_KEY (401).") from error
    except anthropic.RateLimitError as error:
        raise ProviderError("Anthropic's rate limit is reached (429). Try again later.") from error
    except anthropic.APITimeoutError as error:
        raise ProviderError("The request to Anthropic timed out.") from error
    except anthropic.APIConnectionError as error:
        raise ProviderError("The connection to Anthropic failed.") from error
    except anthropic.APIStatusError as error:
        # An error within a stream has the status 200 and a type.
        code = error.type if error.status_code == 200 else error.status_code
        if error.status_code == 529 or error.type == "overloaded_error":
            raise ProviderError("Anthropic is overloaded (529). Try again later.") from error
        if error.status_code >= 500 or error.type == "api_error":
            raise ProviderError(f"Anthropic returned a server error ({code}).") from error
        raise ProviderError(f"Anthropic rejected the request ({code}).") from error
    except httpx2.TransportError as error:
        raise ProviderError("The connection to Anthropic failed.") from error
    except ProviderError:
        raise
    except Exception as error:  # the SDK does not wrap parsing errors
        raise ProviderError("Anthropic's response is malformed.") from error
