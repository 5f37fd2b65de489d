"""A secret is put wherever a client or a model may put one, and is looked for in all that leaves."""

import json
import logging

import pytest
from fastapi.testclient import TestClient

from ..observability.conftest import FinishedSpans
from ..providers.messages_api import CODE, MessagesAPI, failure, success

SECRET = "c4n4ry"


def test_a_request_leaves_nothing_of_who_asks_for_what(
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
    # The test's own client logs the URL that it asks for.
    ours = [record.message for record in caplog.records if not record.name.startswith("httpx")]
    left = "".join(str(span.to_json()) for span in spans()) + "".join(ours)
    assert "session.create" in left
    assert SECRET not in left
    assert "192.0.2.77" not in left
    assert "testclient" not in left


def test_a_failure_leaves_nothing_of_the_prompt_or_the_key(
    claude_client: TestClient,
    messages_api: MessagesAPI,
    spans: FinishedSpans,
    caplog: pytest.LogCaptureFixture,
) -> None:
    messages_api.answers.append(failure(400, SECRET))

    claude_client.post("/api/sessions", json={"prompt": SECRET})

    left = "".join(str(span.to_json()) for span in spans()) + caplog.text
    assert "refused the request (400)" in left
    assert "a-key-for-tests" not in left
    assert SECRET not in left


def test_content_is_sent_where_it_is_asked_for(
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
