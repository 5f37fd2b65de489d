"""What is sent, what is declared and what is documented are the same."""

import re
from pathlib import Path
from typing import Any

import yaml
from fastapi.testclient import TestClient

from ..providers.messages_api import MessagesAPI, success
from .conftest import FinishedSpans

ROOT = Path(__file__).parents[2]
STANDARD = re.compile(r"(db|error|gen_ai|http)\.[\w.]+|user\.id")
TYPES = {"string": str, "int": int, "double": float, "boolean": bool}


def declared() -> dict[str, dict[str, Any]]:
    registry = yaml.safe_load((ROOT / "honeycomb/telemetry.yaml").read_text())
    return {
        attribute["id"]: attribute
        for group in registry["groups"]
        for attribute in group["attributes"]
    }


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


def test_an_example_is_of_the_type_that_is_declared() -> None:
    for name, attribute in declared().items():
        for example in attribute["examples"]:
            assert type(example) is TYPES[attribute["type"]], name


def test_the_documentation_has_a_row_for_each_attribute() -> None:
    documented = re.findall(
        r"^\| `([\w.]+)` \| (\w+) \| (.+) \|$",
        (ROOT / "docs/observability.md").read_text(),
        re.MULTILINE,
    )
    assert documented == [
        (name, attribute["type"], attribute["brief"]) for name, attribute in declared().items()
    ]
