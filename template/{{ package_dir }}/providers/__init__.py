"""LLM providers: Anthropic, and an offline mock."""

import os
import re
from collections.abc import Mapping

from .anthropic_provider import AnthropicProvider
from .base import Completion, Provider, ProviderError, Request
from .mock_provider import MockProvider

__all__ = [
    "AnthropicProvider",
    "Completion",
    "MockProvider",
    "Provider",
    "ProviderError",
    "Request",
    "provider_from_environment",
]


def provider_from_environment(environment: Mapping[str, str] = os.environ) -> Provider:
    """Return Anthropic with ANTHROPIC_MODEL if ANTHROPIC_API_KEY is set, otherwise the mock.

    Raises ValueError if the key is malformed.
    """
    api_key = environment.get("ANTHROPIC_API_KEY", "").strip()
    if not api_key:
        return MockProvider()
    if not re.fullmatch(r"[!-~]+", api_key):
        # The HTTP client's error would quote the whole key.
        raise ValueError(
            "ANTHROPIC_API_KEY contains an invalid character, such as a space or a line break."
            " Set it again without that character."
        )
    model = environment.get("ANTHROPIC_MODEL", "").strip()
    return AnthropicProvider(api_key, model=model or AnthropicProvider.DEFAULT_MODEL)
