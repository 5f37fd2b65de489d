"""Claude, through Anthropic's SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from .base import Completion, ProviderError, Request, SDKProvider, record

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from anthropic.lib.streaming import AsyncMessageStream
    from anthropic.types import Message


class AnthropicProvider(SDKProvider):
    """Claude on the Messages API. The SDK reads ANTHROPIC_BASE_URL."""

    COMPANY = "Anthropic"
    KEY = "ANTHROPIC_API_KEY"
    DEFAULT_MODEL = "claude-sonnet-4-6"
    MAX_TOKENS = 4096

    name = "anthropic"

    async def complete(self, request: Request) -> Completion:
        client = await self._connected()
        with self._call() as call:
            with self._errors():
                message = await client.messages.create(**self._parameters(request))
                completion = _completion(message)
            record(call, request, completion)
            return self._checked(completion)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[str]]:
        client = await self._connected()
        with self._call() as call:
            async with AsyncExitStack() as stack:
                with self._errors():
                    stream = await stack.enter_async_context(
                        client.messages.stream(**self._parameters(request))
                    )
                yield self._chunks(stream)
                with self._errors():
                    completion = _completion(await stream.get_final_message())
            record(call, request, completion)
            self._checked(completion)

    def _connect(self) -> AsyncAnthropic:
        from anthropic import AsyncAnthropic

        return AsyncAnthropic(
            api_key=self._api_key, timeout=self._timeout, max_retries=self._max_retries
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

    async def _chunks(self, stream: AsyncMessageStream) -> AsyncIterator[str]:
        with self._errors():
            async for chunk in stream.text_stream:
                yield chunk

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Convert exceptions of the SDK to ProviderError, without the key or the prompt."""
        import anthropic
        import httpx2

        try:
            yield
        except anthropic.APITimeoutError as error:
            raise ProviderError("The request to Anthropic timed out.") from error
        except (anthropic.APIConnectionError, httpx2.TransportError) as error:
            raise ProviderError("The connection to Anthropic failed.") from error
        except anthropic.APIStatusError as error:
            # An error within a stream has the status 200 and a type.
            types = {"overloaded_error": 529, "rate_limit_error": 429, "api_error": 500}
            status = error.status_code if error.status_code != 200 else types.get(error.type or "")
            raise self._status_error(status or 400) from error
        except Exception as error:  # the SDK does not wrap parsing errors
            raise ProviderError("Anthropic's response is malformed.") from error


def _completion(message: Message) -> Completion:
    return Completion(
        text="".join(block.text for block in message.content if block.type == "text"),
        model=message.model,
        usage=message.usage,
        finish_reason=message.stop_reason,
    )
