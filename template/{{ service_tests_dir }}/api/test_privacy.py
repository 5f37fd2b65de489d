"""Privacy: input of the client and output of the model are neither exported nor logged."""

import json
import logging

import pytest
from fastapi.testclient import TestClient

from ..observability.conftest import FinishedSpans
from ..providers.messages_api import CODE, MessagesAPI, failure, success

SECRET = "c4n4ry"


def test_client_data_prompt_and_code_are_neither_exported_nor_logged(
    claude_client: TestClient,
    messages_api: MessagesAPI,
    spans: FinishedSpans,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    messages_api.answers.extend([success(), success(f"{CODE}# {SECRET}\n")])

    response = claude_client.post(
        f"/api/sessions?token={SECRET}&{SECRET}=1",
        json={"prompt": f"Write a function that prints {SECRET}"},
        headers={
            "authorization": f"Bearer {SECRET}",
            "cookie": f"session={SECRET}",
            "user-agent": SECRET,
            "x-forwarded-for": f"{SECRET}, 192.0.2.77",
            "forwarded": f"for={SECRET}",
        },
    )

    assert SECRET in response.json()["code"]
    # httpx, the client of the test, logs the URL.
    ours = [record.message for record in caplog.records if not record.name.startswith("httpx")]
    output = "".join(str(span.to_json()) for span in spans()) + "".join(ours)
    assert "session.create" in output
    assert SECRET not in output
    assert "192.0.2.77" not in output
    assert "testclient" not in output


def test_provider_error_exposes_neither_prompt_nor_key(
    claude_client: TestClient,
    messages_api: MessagesAPI,
    spans: FinishedSpans,
    caplog: pytest.LogCaptureFixture,
) -> None:
    messages_api.answers.append(failure(400, SECRET))

    claude_client.post("/api/sessions", json={"prompt": SECRET})

    output = "".join(str(span.to_json()) for span in spans()) + caplog.text
    assert "rejected the request (400)" in output
    assert "a-key-for-tests" not in output
    assert SECRET not in output


def test_content_capture_exports_prompt_and_completion(
    client: TestClient, spans: FinishedSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")

    client.post("/api/sessions", json={"prompt": f"Write {SECRET}"})

    call = next(span for span in spans() if span.name == "llm.call")
    attributes = call.attributes or {}
    [message] = json.loads(str(attributes["gen_ai.input.messages"]))
    assert message["role"] == "user"
    assert message["parts"] == [{"type": "text", "content": f"Write {SECRET}"}]
    assert SECRET in str(attributes["gen_ai.output.messages"])
    assert "specification" in str(attributes["gen_ai.system_instructions"])
