"""LLM providers: Anthropic, OpenAI, Gemini, and an offline mock."""

import os
import re
from collections.abc import Mapping
from typing import Final

from .anthropic_provider import AnthropicProvider
from .base import Completion, Provider, ProviderError, Request, SDKProvider
from .gemini_provider import GeminiProvider
from .mock_provider import MockProvider
from .openai_provider import OpenAIProvider

__all__ = [
    "AnthropicProvider",
    "Completion",
    "GeminiProvider",
    "MockProvider",
    "OpenAIProvider",
    "Provider",
    "ProviderError",
    "Request",
    "provider_from_environment",
]

_PROVIDERS: Final[tuple[type[SDKProvider], ...]] = (
    AnthropicProvider,
    OpenAIProvider,
    GeminiProvider,
)


def provider_from_environment(environment: Mapping[str, str] = os.environ) -> Provider:
    """Return the first of Anthropic, OpenAI and Gemini whose API key is set, otherwise the mock.

    ANTHROPIC_MODEL, OPENAI_MODEL or GEMINI_MODEL selects its model. Raises ValueError if the key is
    malformed.
    """
    for provider in _PROVIDERS:
        api_key = environment.get(provider.KEY, "").strip()
        if not api_key:
            continue
        if not re.fullmatch(r"[!-~]+", api_key):
            # The HTTP client's error would quote the whole key.
            raise ValueError(
                f"{provider.KEY} contains an invalid character, such as a space or a line break."
                " Set it again without that character."
            )
        model = environment.get(provider.KEY.replace("_API_KEY", "_MODEL"), "").strip()
        return provider(api_key, model=model)
    return MockProvider()
