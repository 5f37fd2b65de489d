"""What every provider does: complete a request, at once or as a stream."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from ..observability import LLMCall, TokenUsage, llm_call


class ProviderError(Exception):
    """A provider gave no answer. The message is for people, and holds no secret."""

    session_id: str | None = None
    """The session that was kept as `failed`, where there is one."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One question to a model."""

    system: str
    prompt: str
    conversation_id: str
    output_schema: dict[str, Any] | None = None
    """The JSON schema that the answer follows; None for free text."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A whole answer, with what it took."""

    text: str
    model: str
    usage: TokenUsage


class Provider(ABC):
    """An LLM. Each call is one `llm.call` span with tokens and cost."""

    name: str
    """As OpenTelemetry names providers: anthropic, openai, aws.bedrock."""
    model: str
    temperature: float

    @abstractmethod
    async def complete(self, request: Request) -> Completion:
        """The answer to `request`. Raises ProviderError."""

    @abstractmethod
    def stream(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """The answer to `request`, piece by piece, while the block runs. Raises ProviderError."""

    async def warm_up(self) -> None:  # noqa: B027 - most providers are ready at once
        """Loads what the first call needs. Called while requests are served; never raises."""

    async def aclose(self) -> None:  # noqa: B027 - most providers keep no connection
        """Gives connections back. The provider is not used afterwards."""

    def _call(self, request: Request) -> LLMCall:
        return llm_call(
            self.name,
            self.model,
            temperature=self.temperature,
            conversation_id=request.conversation_id,
        )


def record(call: LLMCall, request: Request, completion: Completion) -> None:
    """Tells the call's span what it took, and what was said where content is asked for."""
    call.record_usage(completion.usage, model=completion.model)
    call.record_content(request.prompt, completion.text, system=request.system)
