"""Gemini, through Google's Gen AI SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from .base import Completion, ProviderError, Request, SDKProvider, record

if TYPE_CHECKING:
    from google.genai.client import AsyncClient
    from google.genai.types import GenerateContentResponse


class GeminiProvider(SDKProvider):
    """Gemini on the Gemini API. The SDK reads GOOGLE_GEMINI_BASE_URL."""

    COMPANY = "Google"
    KEY = "GEMINI_API_KEY"
    DEFAULT_MODEL = "gemini-2.5-flash"

    name = "gcp.gemini"

    async def complete(self, request: Request) -> Completion:
        client = await self._connected()
        with self._call() as call:
            with self._errors():
                response = await client.models.generate_content(**self._parameters(request))
                completion = _completion(response, response.text or "")
            record(call, request, completion)
            return self._checked(completion)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[str]]:
        client = await self._connected()
        texts: list[str] = []
        last: GenerateContentResponse | None = None

        async def chunks() -> AsyncIterator[str]:
            nonlocal last
            with self._errors():
                async for last in response:
                    if text := last.text:
                        call.record_first_chunk()
                        texts.append(text)
                        yield text

        with self._call() as call:
            with self._errors():
                response = await client.models.generate_content_stream(**self._parameters(request))
            yield chunks()
            if last is None:
                raise ProviderError("Google's response was cut off.")
            completion = _completion(last, "".join(texts))
            record(call, request, completion)
            self._checked(completion)

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _connect(self) -> AsyncClient:
        from google.genai import Client
        from google.genai.types import HttpOptions, HttpRetryOptions

        retries = HttpRetryOptions(attempts=1 + self._max_retries)
        options = HttpOptions(timeout=int(self._timeout * 1_000), retry_options=retries)
        return Client(api_key=self._api_key, http_options=options).aio

    def _parameters(self, request: Request) -> dict[str, Any]:
        config: dict[str, Any] = {
            "system_instruction": request.system,
            "max_output_tokens": self.MAX_TOKENS,
        }
        if request.output_schema is not None:
            config["response_mime_type"] = "application/json"
            config["response_json_schema"] = request.output_schema
        return {"model": self.model, "contents": request.prompt, "config": config}

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Convert exceptions of the SDK to ProviderError, without the key or the prompt."""
        from google.genai import errors

        try:
            yield
        except errors.APIError as error:
            raise self._status_error(error.code) from error
        except TimeoutError as error:
            raise ProviderError("The request to Google timed out.") from error
        except OSError as error:
            raise ProviderError("The connection to Google failed.") from error
        except Exception as error:  # of the HTTP client, which the SDK chooses, or of parsing
            raise ProviderError("Google's response is malformed or incomplete.") from error


def _completion(response: GenerateContentResponse, text: str) -> Completion:
    reasons = [each.finish_reason for each in response.candidates or () if each.finish_reason]
    feedback = response.prompt_feedback  # of a prompt that was blocked, without candidates
    blocked = feedback.block_reason if feedback else None
    reason = reasons[0] if reasons else blocked
    return Completion(
        text=text,
        model=response.model_version or "",
        usage=response.usage_metadata,
        finish_reason=reason.value if reason else None,
    )
