"""Environments with the oldest and the newest packages that the module supports, and some in between."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock
from uv import find_uv_bin

OLDEST: Final = (
    "aiohttp==3.8.*",
    "fastapi==0.92.*",
    "grpcio",
    "httpx<0.28",
    "hypothesis",
    "opentelemetry-exporter-otlp-proto-http==1.27.*",
    "opentelemetry-instrumentation-fastapi==0.48b0",
    "opentelemetry-proto==1.27.*",
    "opentelemetry-sdk==1.27.*",
    "pytest",
    "requests==2.28.*",
    # This version of the instrumentation imports pkg_resources.
    "setuptools<81",
    "sqlalchemy==1.4.*",
    "trustme",
)
# FastAPI from before it traced itself, with an LLM SDK whose instrumentation starts before FastAPI's.
OLDER: Final = (
    "deptry",
    "fastapi==0.115.*",
    "genai-prices",
    "httpx",
    "openai",
    "opentelemetry-instrumentation-fastapi",
    "opentelemetry-instrumentation-genai-openai",
    "opentelemetry-sdk",
    "pytest",
    "sqlalchemy",
)
NEWEST: Final = (
    "aiohttp",
    "aiosqlite",
    "anthropic",
    "celery",
    "deptry",
    "fastapi",
    "genai-prices",
    "grpcio",
    "httpx",
    "httpx2",
    "hypothesis",
    "modal",
    "openai",
    # The official encoder, for comparison, and the exporters of log records and metrics.
    "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-instrumentation-genai-openai",
    "opentelemetry-instrumentation-requests",
    "opentelemetry-proto",
    "opentelemetry-sdk",
    "pytest",
    "pyyaml",
    "requests",
    "sqlalchemy",
    "trustme",
    "uvicorn",
)

# Every LLM SDK and framework, and the instrumentation of each, as `wire` adds it.
LLM_SDKS: Final = (
    "anthropic",
    "boto3",
    "fastapi",
    "genai-prices",
    "google-genai",
    "langchain",
    "langchain-anthropic",
    "langchain-openai",
    "langgraph",
    "litellm",
    "openai",
    "openai-agents",
    "opentelemetry-instrumentation-genai-bedrock",
    "opentelemetry-instrumentation-genai-langchain",
    "opentelemetry-instrumentation-genai-openai",
    "opentelemetry-instrumentation-genai-openai-agents",
    "opentelemetry-instrumentation-google-genai",
    "opentelemetry-instrumentation-litellm",
    "opentelemetry-sdk",
    "pydantic-ai-slim[anthropic,openai]",
    "pytest",
)
# Separate, because its package for OpenAI would hold back the other SDKs.
LLAMA_INDEX: Final = (
    "fastapi",
    "genai-prices",
    "llama-index-core>=0.14.19",
    "llama-index-llms-openai",
    "opentelemetry-instrumentation-genai-llama-index",
    "opentelemetry-instrumentation-genai-openai",
    "opentelemetry-sdk",
    "pytest",
)


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin/python")

    def run(
        self, project: Path, *arguments: str, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run its Python in `project`, without the machine's telemetry variables."""
        own = ("ANTHROPIC_", "HONEYCOMB_", "MODAL_", "OPENAI_", "OTEL_", "PYTEST_", "VIRTUAL_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        return subprocess.run(
            [self.python, *arguments],
            cwd=project,
            env={**kept, **(variables or {})},
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def environment(base: Path, name: str, requirements: tuple[str, ...]) -> Environment:
    """Return the environment `name` in `base`, and create it if it does not exist."""
    folder = base / f"environment-{name}"
    with FileLock(f"{folder}.lock"):
        made = folder / "made"
        if not made.exists():
            subprocess.run([find_uv_bin(), "venv", "-q", str(folder)], check=True)
            python = str(folder / "bin/python")
            command = [find_uv_bin(), "pip", "install", "-q", "--python", python, *requirements]
            subprocess.run(command, check=True)
            made.touch()
    return Environment(folder)
