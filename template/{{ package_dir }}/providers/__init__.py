"""LLM providers: Anthropic, and one that works offline."""

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
    """Anthropic where ANTHROPIC_API_KEY is set, of the model ANTHROPIC_MODEL; else the mock.

    Raises ValueError for a key that cannot be one.
    """
    api_key = environment.get("ANTHROPIC_API_KEY", "").strip()
    if not api_key:
        return MockProvider()
    if not re.fullmatch(r"[!-~]+", api_key):
        # An error of the HTTP client would quote the whole key.
        raise ValueError(
            "ANTHROPIC_API_KEY holds a character that no key has, such as a space or a line break."
        )
    model = environment.get("ANTHROPIC_MODEL", "").strip()
    return AnthropicProvider(api_key, model=model or AnthropicProvider.DEFAULT_MODEL)
