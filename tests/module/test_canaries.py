"""Secrets that all instrumentations of one process see, looked for in every byte that it exports."""

import re
from pathlib import Path
from typing import Any, Final

import pytest

from hooks.traces.receiver import Receiver

from ..conftest import TEMPLATE
from ..depth import in_depth
from ..environments import LLAMA_INDEX, LLM_SDKS, environment

OTHERS: Final = (
    *("aiohttp", "httpx2", "modal", "opentelemetry-exporter-otlp-proto-http", "requests"),
    "sqlalchemy",
)
# The secret itself, and texts of prompts, answers, tools and their results.
SECRETS: Final = re.compile(rb"c4n4ry|a PROMPT|, COMPLETION|a CITY|a DESCRIPTION|a RESULT")
# Spans that the work must have created, for each instrumentation.
SCOPES: Final = {
    *("observability.spans", "fastapi", "an.instrumentation", "user", "pydantic-ai"),
    *("com.anthropic.sdk.python", "opentelemetry.instrumentation.litellm"),
    *("opentelemetry.instrumentation.genai.bedrock", "opentelemetry.instrumentation.google_genai"),
    *(
        "opentelemetry.instrumentation.genai.langchain",
        "opentelemetry.instrumentation.genai.openai",
    ),
    "opentelemetry.instrumentation.genai.openai_agents",
}


class Exports(Receiver):
    """Keeps each request, of any signal."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    def accept(self, path: str, body: bytes, *, is_json: bool = False) -> Any:
        self.bodies.append(body)
        return super().accept(path, body, is_json=is_json)


@in_depth  # imports each SDK
@pytest.mark.parametrize(
    ("name", "requirements"),
    [("canaries", (*LLM_SDKS, *OTHERS)), ("llama-index", LLAMA_INDEX)],
)
def test_no_secret_is_exported(
    name: str, requirements: tuple[str, ...], shared: Path, http_rendering: Path
) -> None:
    with Exports() as receiver:
        variables = {
            "HONEYCOMB_API_KEY": "hcaik_c4n4ry" + "0" * 52,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "MODAL_IDENTITY_TOKEN": "c4n4ry",
            "MODAL_IS_REMOTE": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_LOGS_EXPORTER": "otlp" if name == "canaries" else "none",
            "PYTHONPATH": f"{http_rendering}:{TEMPLATE}",
        }
        python = environment(shared, name, requirements)
        arguments = ("-W", "ignore", "-m", "tests.module.sdk_suite.canaries")
        done = python.run(http_rendering, *arguments, variables=variables)

    assert done.returncode == 0, done.stdout
    found = {each.group() for body in receiver.bodies for each in SECRETS.finditer(body)}
    assert found == set()
    assert {span.scope for span in receiver.spans} >= SCOPES or name == "llama-index"
    assert len(receiver.logs) > 5 or name == "llama-index"
