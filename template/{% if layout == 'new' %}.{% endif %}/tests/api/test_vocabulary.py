"""What a request sends is what honeycomb/telemetry.yaml declares."""

from fastapi.testclient import TestClient

from ..observability.conftest import FinishedSpans
from ..observability.test_vocabulary import STANDARD, TYPES, declared
from ..providers.messages_api import MessagesAPI, success


def test_what_is_sent_is_what_is_declared(
    claude_client: TestClient, messages_api: MessagesAPI, spans: FinishedSpans
) -> None:
    messages_api.answers.extend([success(), success("x = 1")])
    claude_client.post("/api/sessions", json={"prompt": "Write a hello world function"})

    sent = {
        name: value
        for span in spans()
        for name, value in (span.attributes or {}).items()
        if not STANDARD.fullmatch(name)
    }
    attributes = declared()
    assert set(sent) == set(attributes)
    for name, value in sent.items():
        assert type(value) is TYPES[attributes[name]["type"]], name
