"""The interface of LLM providers: complete a request, or stream its completion."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from ..observability import LLMCall, llm_call


class ProviderError(Exception):
    """A failed request to a provider. The message may be shown to users: it contains no secret."""

    session_id: str | None = None
    """ID of the session stored as `failed`, if there is one."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request to a model."""

    system: str
    prompt: str
    output_schema: dict[str, Any] | None = None
    """JSON schema of the response; None for free text."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A response, and its token usage as the SDK reports it."""

    text: str
    model: str
    usage: Any
    finish_reason: str | None = None


class Provider(ABC):
    """An LLM provider. Each call is traced as one `llm.call` span with tokens and cost."""

    name: str
    """The provider's name in OpenTelemetry, such as anthropic, openai or gcp.gemini."""
    model: str
    temperature: float

    @abstractmethod
    async def complete(self, request: Request) -> Completion:
        """Return the completion of `request`. Raises ProviderError."""

    @abstractmethod
    def stream(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """Stream the completion of `request` in chunks within the block. Raises ProviderError."""

    async def warm_up(self) -> None:  # noqa: B027 - optional
        """Prepare the first call, for example by imports. Runs alongside requests; never raises."""

    async def aclose(self) -> None:  # noqa: B027 - optional
        """Close open connections. The provider cannot be used afterwards."""

    def _call(self) -> LLMCall:
        return llm_call(self.name, self.model, temperature=self.temperature)


class SDKProvider(Provider):
    """A provider with an SDK, which retries failed requests twice, with backoff."""

    COMPANY: ClassVar[str]
    KEY: ClassVar[str]
    """The environment variable with the API key."""
    DEFAULT_MODEL: ClassVar[str]
    MAX_TOKENS = 16_384
    """Tokens of a response, including the model's reasoning."""

    # The default of the APIs; not all models have the parameter.
    temperature = 1.0

    def __init__(
        self, api_key: str, *, model: str = "", timeout: float = 60.0, max_retries: int = 2
    ) -> None:
        """Limit each attempt to `timeout` seconds."""
        self.model = model or self.DEFAULT_MODEL
        self._api_key = api_key
        self._timeout = timeout
        self._max_retries = max_retries
        self._client: Any = None
        self._connecting = asyncio.Lock()

    @abstractmethod
    def _connect(self) -> Any:
        """Import the SDK and return its client."""

    async def _connected(self) -> Any:
        """Return the client, created in a thread because importing an SDK blocks for a second."""
        async with self._connecting:
            if self._client is None:
                self._client = await asyncio.to_thread(self._connect)
            return self._client

    async def warm_up(self) -> None:
        with suppress(Exception):  # the first call raises it again
            await self._connected()

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _checked(self, completion: Completion) -> Completion:
        """Return a complete response. Raises ProviderError for any other."""
        reason = (completion.finish_reason or "").lower()
        if not reason:
            # An SDK treats a dropped connection as the end of the message.
            raise ProviderError(f"{self.COMPANY}'s response was cut off.")
        if reason in ("max_tokens", "length"):
            raise ProviderError(f"The response exceeds {self.MAX_TOKENS} tokens.")
        if reason not in ("end_turn", "stop"):
            raise ProviderError("The model refused this prompt.")
        return completion

    def _status_error(self, status: int) -> ProviderError:
        """Return the error for an HTTP status, without the response, which may quote the prompt."""
        company = self.COMPANY
        if status in (401, 403):
            return ProviderError(f"{company} rejected the key in {self.KEY} ({status}).")
        if status == 429:
            return ProviderError(f"{company}'s rate limit is reached (429). Try again later.")
        if status in (503, 529):
            return ProviderError(f"{company} is overloaded ({status}). Try again later.")
        if status >= 500:
            return ProviderError(f"{company} returned a server error ({status}).")
        return ProviderError(f"{company} rejected the request ({status}).")


def record(call: LLMCall, request: Request, completion: Completion) -> None:
    """Record usage on the span of `call`, and content if content capture is enabled."""
    call.record_usage(
        completion.usage, model=completion.model, finish_reason=completion.finish_reason
    )
    call.record_content(request.prompt, completion.text, system=request.system)
