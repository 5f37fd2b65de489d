"""GPT, through OpenAI's SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from .base import Completion, ProviderError, Request, SDKProvider, record

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class OpenAIProvider(SDKProvider):
    """GPT on the Chat Completions API. The SDK reads OPENAI_BASE_URL."""

    COMPANY = "OpenAI"
    KEY = "OPENAI_API_KEY"
    DEFAULT_MODEL = "gpt-5-mini"

    name = "openai"

    async def complete(self, request: Request) -> Completion:
        client = await self._connected()
        with self._call() as call:
            with self._errors():
                response = await client.chat.completions.create(**self._parameters(request))
                [choice] = response.choices
                completion = Completion(
                    text=choice.message.content or "",
                    model=response.model,
                    usage=response.usage,
                    # A response with a schema has a separate field for a refusal.
                    finish_reason="refusal" if choice.message.refusal else choice.finish_reason,
                )
            record(call, request, completion)
            return self._checked(completion)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[str]]:
        client = await self._connected()
        seen: dict[str, Any] = {"text": "", "model": self.model, "usage": None}
        # Without the option, a stream does not report its usage.
        parameters = self._parameters(request) | {"stream_options": {"include_usage": True}}

        async def chunks() -> AsyncIterator[str]:
            with self._errors():
                async for chunk in response:
                    seen.update(model=chunk.model, usage=chunk.usage or seen["usage"])
                    for choice in chunk.choices:
                        seen["finish_reason"] = choice.finish_reason
                        if text := choice.delta.content:
                            call.record_first_chunk()
                            seen["text"] += text
                            yield text

        with self._call() as call:
            with self._errors():
                response = await client.chat.completions.create(**parameters, stream=True)
            async with response:
                yield chunks()
            completion = Completion(**seen)
            record(call, request, completion)
            self._checked(completion)

    def _connect(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        return AsyncOpenAI(
            api_key=self._api_key, timeout=self._timeout, max_retries=self._max_retries
        )

    def _parameters(self, request: Request) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "model": self.model,
            "max_completion_tokens": self.MAX_TOKENS,
            "messages": [
                {"role": "system", "content": request.system},
                {"role": "user", "content": request.prompt},
            ],
        }
        if request.output_schema is not None:
            schema = {"name": "response", "schema": request.output_schema, "strict": True}
            parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
        return parameters

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Convert exceptions of the SDK to ProviderError, without the key or the prompt."""
        import httpx2
        import openai

        try:
            yield
        except openai.APITimeoutError as error:
            raise ProviderError("The request to OpenAI timed out.") from error
        except (openai.APIConnectionError, httpx2.TransportError) as error:
            raise ProviderError("The connection to OpenAI failed.") from error
        except openai.APIStatusError as error:
            raise self._status_error(error.status_code) from error
        except openai.APIError as error:  # within a stream, without a status
            is_limit = "rate_limit_exceeded" in (error.code, error.type)
            raise self._status_error(429 if is_limit else 500) from error
        except Exception as error:  # the SDK does not wrap parsing errors
            raise ProviderError("OpenAI's response is malformed.") from error
