"""LLM SDKs and frameworks, and how the observability module traces each."""

import re
from dataclasses import dataclass
from typing import Final

from packaging.version import Version


@dataclass(frozen=True)
class LLMSDK:
    """An SDK or a framework."""

    name: str
    """The name of its package."""
    modules: str
    """A regular expression of the modules that code imports."""
    instrumentation: str | None = None
    """The requirement that traces its calls."""
    traced_since: Version | None = None
    """The first version that creates spans itself."""
    packages: tuple[str, ...] = ()
    """Other packages that contain it."""
    includes: tuple[str, ...] = ()
    """SDKs that it calls, and whose instrumentation traces the calls."""
    marker: str = ""
    """Text in code that uses it for LLM calls, if it has other uses."""
    warning: str = ""

    @property
    def all_packages(self) -> frozenset[str]:
        return frozenset((self.name, *self.packages))

    @property
    def is_covered(self) -> bool:
        return bool(self.instrumentation or self.traced_since)

    def is_used_in(self, text: str) -> bool:
        """Return true if the code `text` imports it for LLM calls."""
        pattern = rf"(?m)^\s*(?:import|from)\s+(?:{self.modules})\b"
        return bool(re.search(pattern, text)) and self.marker in text


_OFFICIAL: Final = "opentelemetry-instrumentation-genai-"
LLM_SDKS: Final = (
    LLMSDK("anthropic", "anthropic", f"{_OFFICIAL}anthropic>=1.0b0", Version("1.17")),
    LLMSDK("openai", "openai", f"{_OFFICIAL}openai>=1.0b0"),
    LLMSDK(
        "google-genai",
        r"google\.genai|google\s+import\s+genai",
        "opentelemetry-instrumentation-google-genai>=1.2b0",
    ),
    LLMSDK(
        "boto3",
        "boto3|aioboto3|botocore",
        f"{_OFFICIAL}bedrock>=1.2b0",
        marker="bedrock-runtime",
    ),
    LLMSDK("litellm", "litellm", "opentelemetry-instrumentation-litellm>=0.60"),
    LLMSDK(
        "langchain",
        r"langchain\w*|langgraph",
        f"{_OFFICIAL}langchain>=1.2b0",
        packages=("langchain-core", "langgraph"),
    ),
    LLMSDK("pydantic-ai", "pydantic_ai", None, Version("1"), packages=("pydantic-ai-slim",)),
    LLMSDK(
        "openai-agents",
        "agents",
        f"{_OFFICIAL}openai-agents>=1.2b0",
        includes=("openai",),
        marker="Runner",
        warning=(
            "openai-agents uploads its own traces, prompts and results included, to OpenAI. Call"
            " agents.set_trace_processors([]) before setup_observability to prevent it."
        ),
    ),
    LLMSDK(
        "llama-index-core",
        "llama_index",
        f"{_OFFICIAL}llama-index>=1.2b0",
        packages=("llama-index",),
    ),
    # No instrumentation of these is enabled.
    LLMSDK("cohere", "cohere"),
    LLMSDK("google-generativeai", r"google\.generativeai"),
    LLMSDK("groq", "groq"),
    LLMSDK("mistralai", "mistralai"),
    LLMSDK("ollama", "ollama"),
    LLMSDK("together", "together"),
    LLMSDK("google-cloud-aiplatform", "vertexai", marker="GenerativeModel"),
)
