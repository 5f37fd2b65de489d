"""The fake Honeycomb accepts and returns what Honeycomb's OpenAPI document specifies."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from honeycomb import _generated_models as api
from pydantic import BaseModel, TypeAdapter

from ..conftest import Render
from ..fakes.honeycomb import CONFIGURATION_KEY, INGEST_KEY, Exchange, FakeHoneycomb
from .conftest import FILES, QUERY, Commands, Folder

# Models of the request and the response, by the part of the path after /1/.
MODELS: Final[dict[str, tuple[Any, Any]]] = {
    "auth": (None, api.Auth),
    "datasets": (api.DatasetCreationPayload, api.Dataset),
    "dataset_definitions": (api.DatasetDefinitions, api.DatasetDefinitions),
    "columns": (api.CreateColumn, api.Column),
    "derived_columns": (None, api.CalculatedField),
    "queries": (api.Query, api.Query),
    "query_annotations": (api.QueryAnnotation, api.QueryAnnotation),
    "slos": (api.SLOCreate, api.SLO),
    "burn_alerts": (api.CreateBurnAlertRequest, api.BurnAlertDetailResponse),
    "triggers": (api.CreateTriggerRequest, api.TriggerResponse),
    "boards": (api.Board, api.Board),
    "recipients": (api.Recipient, api.Recipient),
    "markers": (api.Marker, api.Marker),
}


def validate(model: type[BaseModel], payload: Any, *, exactly: bool) -> None:
    """Assert that `payload` is valid; with `exactly`, that the model has each of its fields too."""
    parsed = TypeAdapter(model).validate_python(payload)
    if exactly:
        assert parsed.model_dump(mode="json", exclude_unset=True) == payload


def check(exchange: Exchange) -> None:
    part = exchange.path.split("?")[0].split("/")[2]
    request, response = MODELS[part]
    if part == "burn_alerts" and exchange.method == "PUT":
        request = api.UpdateBurnAlertRequest
    if exchange.body is not None and request is not None:
        validate(request, exchange.body, exactly=True)
    if exchange.status >= 400:
        validate(api.DetailedError, exchange.answer, exactly=False)
    elif exchange.answer is not None:
        answers = exchange.answer if isinstance(exchange.answer, list) else [exchange.answer]
        for answer in answers:
            validate(response, answer, exactly=False)


@pytest.mark.parametrize("rendered", [True, False], ids=["rendered", "each kind"])
def test_requests_and_responses_of_the_commands_match_the_document(
    rendered: bool, render: Render, honeycomb: FakeHoneycomb, tmp_path: Path
) -> None:
    folder = render(honeycomb_plan="pro") if rendered else Folder(tmp_path).path
    commands = Commands(
        folder, HONEYCOMB_API_ENDPOINT=honeycomb.url, HONEYCOMB_CONFIG_KEY=CONFIGURATION_KEY
    )
    assert commands.run("apply").code == 0
    for path in folder.glob("honeycomb/**/*.json"):
        path.write_text(json.dumps(described(json.loads(path.read_text()))))
    assert commands.run("apply").code == 0
    assert commands.run("marker", "--url", "https://ci.example").code == 0

    for exchange in honeycomb.exchanges:
        check(exchange)
    asked = {(one.method, one.path.split("?")[0].split("/")[2]) for one in honeycomb.exchanges}
    kinds = {"boards", "triggers", "slos", "derived_columns"} | (
        set() if rendered else {"burn_alerts"}
    )
    assert {("POST", kind) for kind in kinds} | {("PUT", kind) for kind in kinds} <= asked


def described(content: Any) -> Any:
    """The content of a file of definitions, each with another description."""
    if isinstance(content, list):
        return [described(each) for each in content]
    if all(isinstance(each, dict | list) for each in content.values()):
        return {key: described(each) for key, each in content.items()}
    return {**content, "description": "Another."}


BOARD: Final = FILES["boards/overview.json"]
TRIGGER: Final = FILES["triggers/errors.json"]


def text_panels(**position: int) -> list[dict[str, Any]]:
    return [{"type": "text", "position": position, "text_panel": {"content": "Text"}}]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("queries/svc", {"calculations": [{"op": "AVG"}]}, "calculations.column"),
        ("queries/svc", {"calculations": [{"op": "AVG(error = true)"}]}, "calculations.op"),
        ("queries/svc", {"breakdowns": ["nope"]}, "breakdowns"),
        ("queries/svc", {"limit": 1001}, "limit"),
        ("queries/svc", {"name": "x"}, "name"),
        ("queries/svc", {"filters": [{"column": "error", "op": "is"}]}, "filters.op"),
        (
            "queries/svc",
            {"filters": [{"column": "error", "op": "exists", "value": True}]},
            "filters.value",
        ),
        ("triggers/svc", {**TRIGGER, "frequency": 30}, "frequency"),
        ("triggers/svc", {**TRIGGER, "query": {**QUERY, "time_range": 86400}}, "query.time_range"),
        ("triggers/svc", {**TRIGGER, "query": {**QUERY, "limit": 5}}, "query.limit"),
        (
            "triggers/svc",
            {
                **TRIGGER,
                "query": {
                    **QUERY,
                    "calculations": [{"op": "COUNT"}, {"op": "MAX", "column": "duration_ms"}],
                },
            },
            "query.calculations",
        ),
        ("triggers/svc", {**TRIGGER, "name": "n" * 121}, "name"),
        ("triggers/svc", {**TRIGGER, "tags": [{"key": "File", "value": "a/b"}]}, "tags.key"),
        ("boards", {"name": "Board", "type": "classic"}, "type"),
        ("boards", {"name": "Board", "type": "flexible", "queries": []}, "queries"),
        (
            "boards",
            {
                "name": "Board",
                "type": "flexible",
                "panels": text_panels(x_coordinate=8, width=6),
            },
            "panels.position",
        ),
        ("slos/svc", {**FILES["slos/succeed.json"], "sli": {"alias": "nope"}}, "sli.alias"),
        ("burn_alerts/svc", {"alert_type": "exhaustion_time"}, "exhaustion_minutes"),
        ("columns/svc", {"key_name": "x", "type": "int"}, "type"),
        ("derived_columns/svc", {"alias": "x", "expression": "EXISTS($nope)"}, "expression"),
    ],
)
def test_fake_rejects_invalid_requests(
    path: str, body: dict[str, Any], field: str, honeycomb: FakeHoneycomb
) -> None:
    honeycomb.store.take_span("svc", {"span.kind": "server", "error": True, "duration_ms": 1.5})

    status, answer = honeycomb.answer(
        "POST", f"/1/{path}", CONFIGURATION_KEY, json.dumps(body).encode()
    )

    assert status == 422, answer
    validate(api.ValidationError, answer, exactly=False)
    [detail] = answer["type_detail"]
    assert detail["field"] == field


def test_fake_enforces_plan_limits_and_permissions() -> None:
    with FakeHoneycomb(plan="free") as honeycomb:
        honeycomb.store.take_span("svc", {"error": True})
        trigger = json.dumps(TRIGGER).encode()

        def asked(
            method: str, path: str, content: bytes = b"", key: str = CONFIGURATION_KEY
        ) -> int:
            return honeycomb.answer(method, path, key, content)[0]

        made = [asked("POST", "/1/triggers/svc", trigger) for _ in range(3)]
        assert made == [201, 201, 403]
        assert asked("GET", "/1/slos/svc") == 403
        assert asked("GET", "/1/boards", key=INGEST_KEY) == 403
        assert asked("GET", "/1/boards", key="unknown") == 401
        assert asked("GET", "/1/auth", key=INGEST_KEY) == 200
        assert asked("GET", "/1/triggers/nope") == 404
