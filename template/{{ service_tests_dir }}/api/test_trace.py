"""The trace of a request: exact spans, parents and attributes."""

from collections.abc import Sequence

import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from ..observability.conftest import FinishedSpans
from ..providers.messages_api import MessagesAPI, failure, success

PROMPT = {"prompt": "Write a hello world function in Python"}
TREE = """\
POST /api/sessions
  session.create
    ir.generate
      llm.call
      ir.validate
    INSERT
  code.generate
    llm.call
    code.validate
  UPDATE
"""
SESSION = {"user.id", "gen_ai.conversation.id"}
SERVER = {"http.request.method", "http.route", "http.response.status_code"}
LLM_CALL = {
    "llm.provider",
    "llm.model",
    "llm.temperature",
    "llm.input_tokens",
    "llm.output_tokens",
    "gen_ai.provider.name",
    "gen_ai.operation.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
}
# Recorded by the SDK; the first ones only of a stream, or of a response with a schema.
OF_SOME_CALLS = {
    "gen_ai.output.type",
    "gen_ai.request.stream",
    "gen_ai.response.time_to_first_chunk",
}
OF_ANTHROPIC = {
    "anthropic.message.stop_reason",
    "anthropic.response.service_tier",
    "anthropic.usage.cache_creation.ephemeral_1h_input_tokens",
    "anthropic.usage.cache_creation.ephemeral_5m_input_tokens",
    "gen_ai.request.max_tokens",
    "gen_ai.response.finish_reasons",
    "gen_ai.response.id",
}
ATTRIBUTES = {
    "POST /api/sessions": SERVER,
    "session.create": {
        "session.id",
        "session.source",
        "session.prompt_length",
        "session.holes_count",
        "session.status",
    },
    "ir.generate": {
        "ir.provider",
        "ir.model",
        "ir.holes_count",
        "ir.constraints_count",
        "ir.validation_status",
    },
    "ir.validate": set(),
    "llm.call": LLM_CALL,
    "code.generate": {
        "code.language",
        "code.generator",
        "code.retries",
        "code.success",
        "code.lines",
    },
    "code.validate": set(),
    "INSERT": {"db.system.name", "db.query.text"},
    "UPDATE": {"db.system.name", "db.query.text"},
}


def tree(spans: Sequence[ReadableSpan], parent: int | None = None, indent: str = "") -> str:
    """Draw the names of `spans` as a tree, with indented children."""
    return "".join(
        f"{indent}{span.name}\n{tree(spans, span.context.span_id, indent + '  ')}"
        for span in spans
        if (span.parent.span_id if span.parent else None) == parent
    )


def attribute_names(span: ReadableSpan) -> set[str]:
    return set(span.attributes or {})


def test_request_is_one_trace_with_exact_spans_and_attributes(
    client: TestClient, spans: FinishedSpans
) -> None:
    session = client.post("/api/sessions", json=PROMPT).json()

    finished = spans()
    assert tree(finished) == TREE
    expected = {name: names | SESSION for name, names in ATTRIBUTES.items()}
    assert {span.name: attribute_names(span) for span in finished} == expected
    assert all(span.status.status_code is StatusCode.UNSET for span in finished)
    assert all(not span.events and not span.links for span in finished)
    by_name = {span.name: span for span in finished}
    assert by_name["POST /api/sessions"].kind is SpanKind.SERVER
    assert dict(by_name["POST /api/sessions"].attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/api/sessions",
        "http.response.status_code": 201,
        "user.id": "anonymous",
        "gen_ai.conversation.id": session["id"],
    }
    assert dict(by_name["session.create"].attributes or {}) == {
        "session.id": session["id"],
        "session.source": "api",
        "session.prompt_length": len(PROMPT["prompt"]),
        "session.holes_count": 1,
        "session.status": "drafted",
        "user.id": "anonymous",
        "gen_ai.conversation.id": session["id"],
    }
    call = by_name["llm.call"]
    assert call.kind is SpanKind.CLIENT
    insert = by_name["INSERT"]
    assert insert.kind is SpanKind.CLIENT
    assert (insert.attributes or {})["db.system.name"] == "sqlite"
    assert str((insert.attributes or {})["db.query.text"]).endswith("?, ?)")


def test_anthropic_call_is_one_span_with_its_cost(
    claude_client: TestClient, spans: FinishedSpans
) -> None:
    claude_client.post("/api/sessions", json=PROMPT)

    finished = spans()
    assert tree(finished) == TREE
    for call in (span for span in finished if span.name == "llm.call"):
        assert attribute_names(call) - OF_SOME_CALLS == LLM_CALL | SESSION | {
            "llm.cost_usd",
            *OF_ANTHROPIC,
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cache_write.input_tokens",
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.response.finish_reasons",
        }
        # Per million tokens of claude-sonnet-4-6: 3 in, 0.30 read, 3.75 written, 15 out.
        assert (call.attributes or {})["llm.cost_usd"] == pytest.approx(
            (120 * 3 + 5_000 * 0.3 + 2_000 * 3.75 + 60 * 15) / 1_000_000
        )


def test_reading_a_session_is_one_query(client: TestClient, spans: FinishedSpans) -> None:
    client.get("/api/sessions/unknown?token=a-secret")

    finished = spans()
    assert tree(finished) == "GET /api/sessions/{session_id}\n  SELECT\n"
    assert attribute_names(finished[0]) == SERVER
    assert finished[0].status.status_code is StatusCode.UNSET


def test_provider_error_is_one_exception_event_and_an_error_status_on_each_ancestor(
    claude_client: TestClient, messages_api: MessagesAPI, spans: FinishedSpans
) -> None:
    messages_api.answers.append(failure(529, "overloaded_error"))

    claude_client.post("/api/sessions", json=PROMPT)

    finished = spans()
    assert {span.name for span in finished if span.status.status_code is StatusCode.ERROR} == {
        "POST /api/sessions",
        "session.create",
        "ir.generate",
        "llm.call",
    }
    assert [(span.name, event.name) for span in finished for event in span.events] == [
        ("llm.call", "exception")
    ]
    by_name = {span.name: span for span in finished}
    assert (by_name["session.create"].attributes or {})["session.status"] == "failed"
    assert (by_name["POST /api/sessions"].attributes or {})["http.response.status_code"] == 502


def test_retries_of_code_generation_are_counted(
    claude_client: TestClient, messages_api: MessagesAPI, spans: FinishedSpans
) -> None:
    messages_api.answers.extend([success(), success("def hello_world("), success()])

    response = claude_client.post("/api/sessions", json=PROMPT)

    assert response.json()["status"] == "validated"
    [generate] = [span for span in spans() if span.name == "code.generate"]
    assert (generate.attributes or {})["code.retries"] == 1
    assert (generate.attributes or {})["code.success"] is True
    assert generate.status.status_code is StatusCode.UNSET


def test_session_fails_if_code_does_not_validate_after_all_retries(
    claude_client: TestClient, messages_api: MessagesAPI, spans: FinishedSpans
) -> None:
    messages_api.answers.append(success())
    messages_api.answers.extend([success("x = 1")] * 3)

    session = claude_client.post("/api/sessions", json=PROMPT).json()

    assert session["status"] == "failed"
    assert session["failure"] == "The code does not define the function hello_world."
    assert claude_client.get(f"/api/sessions/{session['id']}").json() == session
    [generate] = [span for span in spans() if span.name == "code.generate"]
    assert (generate.attributes or {})["code.retries"] == 2
    assert (generate.attributes or {})["code.success"] is False
    assert generate.status.status_code is StatusCode.ERROR
