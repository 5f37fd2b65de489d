"""LLM providers: Anthropic, and one that works offline."""

import os
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
    """Anthropic where ANTHROPIC_API_KEY is set, of the model ANTHROPIC_MODEL; else the mock."""
    api_key = environment.get("ANTHROPIC_API_KEY", "").strip()
    if not api_key:
        return MockProvider()
    model = environment.get("ANTHROPIC_MODEL", "").strip()
    return AnthropicProvider(api_key, model=model or AnthropicProvider.DEFAULT_MODEL)
