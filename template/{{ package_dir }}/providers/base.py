"""The interface of LLM providers: complete a request, or stream its completion."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from ..observability import LLMCall, TokenUsage, llm_call


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
    """A complete response and its token usage."""

    text: str
    model: str
    usage: TokenUsage
    finish_reason: str | None = None


class Provider(ABC):
    """An LLM provider. Each call is traced as one `llm.call` span with tokens and cost."""

    name: str
    """The provider's name in OpenTelemetry, such as anthropic, openai or aws.bedrock."""
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


def record(call: LLMCall, request: Request, completion: Completion) -> None:
    """Record usage on the span of `call`, and content if content capture is enabled."""
    call.record_usage(
        completion.usage, model=completion.model, finish_reason=completion.finish_reason
    )
    call.record_content(request.prompt, completion.text, system=request.system)
