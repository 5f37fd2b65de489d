"""What is rendered into honeycomb/: held against Honeycomb's OpenAPI document, and held to its contract."""

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest
from honeycomb import _generated_models as api
from honeycomb.validation.triggers import (
    validate_exceeded_limit,
    validate_time_range_frequency_ratio,
    validate_trigger_frequency,
    validate_trigger_time_range,
)
from pydantic import BaseModel, ValidationError

from .conftest import Render, Workshop
from .template.answer_combinations import PLANS, REGIONS

KINDS: Final = ("boards", "burn_alerts", "derived_columns", "slos", "triggers")
RECIPIENT: Final = {"type": "email", "target": "on-call@example.com"}


def accepted(model: type[BaseModel], payload: dict[str, Any]) -> None:
    """The model takes each field of `payload`: it leaves out, without a word, those it does not know."""
    taken = model.model_validate(payload).model_dump(mode="json", exclude_unset=True)
    assert taken == payload


def objects(project: Path, kind: str) -> dict[str, dict[str, Any]]:
    files = (project / "honeycomb" / kind).glob("*.json")
    return {path.stem: json.loads(path.read_text()) for path in files}


def panels_with_ids(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The panels as the API takes them, the ids made up; what they stand for is held to its own model."""
    for panel in board["panels"]:
        if panel["type"] == "slo":
            yield panel | {"slo_panel": {"slo_id": "an-slo"}}
            continue
        content = dict(panel["query_panel"])
        accepted(api.Query, content.pop("query"))
        accepted(api.QueryAnnotation, content.pop("query_annotation") | {"query_id": "a-query"})
        ids = {"query_id": "a-query", "query_annotation_id": "an-annotation"}
        yield panel | {"query_panel": content | ids}


@pytest.fixture(scope="module", params=list(product(PLANS, REGIONS)), ids="-".join)
def project(request: pytest.FixtureRequest, render: Render) -> Path:
    plan, region = request.param
    return render(honeycomb_plan=plan, honeycomb_region=region)


def test_boards_are_what_the_api_takes(project: Path) -> None:
    boards = objects(project, "boards")

    assert sorted(boards) == [
        "business-metrics",
        "error-tracking",
        "performance-analysis",
        "quick-overview",
        "request-overview",
    ]
    for board in boards.values():
        accepted(api.Board, board | {"panels": list(panels_with_ids(board))})


def test_triggers_are_what_the_api_takes(project: Path) -> None:
    triggers = objects(project, "triggers")

    assert sorted(triggers) == [
        "database-failure",
        "high-error-rate",
        "llm-cost-spike",
        "llm-provider-failure",
        "slow-requests",
    ]
    for trigger in triggers.values():
        accepted(api.TriggerWithInlineQuery, trigger)
        accepted(api.Query, trigger["query"])
        validate_trigger_time_range(trigger["query"]["time_range"])
        validate_trigger_frequency(trigger["frequency"])
        validate_time_range_frequency_ratio(trigger["query"]["time_range"], trigger["frequency"])
        validate_exceeded_limit(trigger["threshold"]["exceeded_limit"])


def test_slos_their_burn_alerts_and_columns_are_what_the_api_takes(project: Path) -> None:
    slos, alerts = objects(project, "slos"), objects(project, "burn_alerts")

    assert sorted(slos) == sorted(alerts) == ["requests-are-fast", "requests-succeed"]
    for slo in slos.values():
        accepted(api.SLOCreate, slo)
    for alert in alerts.values():
        request = alert | {"slo": {"id": "an-slo"}}
        with pytest.raises(ValidationError, match="at least 1 item"):
            accepted(api.CreateExhaustionTimeBurnAlertRequest, request)
        accepted(api.CreateExhaustionTimeBurnAlertRequest, request | {"recipients": [RECIPIENT]})
    for column in objects(project, "derived_columns").values():
        accepted(api.CalculatedField, column | {"id": "", "created_at": "", "updated_at": ""})


def test_the_queries_of_the_runbooks_are_what_the_api_takes(project: Path) -> None:
    queries = re.findall(
        r"```json\n(.+?)```", (project / "docs/runbooks.md").read_text(), re.DOTALL
    )

    assert len(queries) == 3 * len(objects(project, "triggers"))
    for query in queries:
        accepted(api.Query, json.loads(query))


def test_the_plan_decides_which_triggers_are_enabled(render: Render) -> None:
    def enabled(plan: str) -> set[str]:
        triggers = objects(render(honeycomb_plan=plan), "triggers")
        return {name for name, trigger in triggers.items() if not trigger["disabled"]}

    assert enabled("free") == {"high-error-rate", "llm-cost-spike"}
    assert len(enabled("pro")) == len(enabled("enterprise")) == 5


def test_another_plan_changes_lines_of_files_and_no_file_comes_or_goes(render: Render) -> None:
    def files(plan: str) -> set[str]:
        rendered = render(honeycomb_plan=plan)
        return {str(path.relative_to(rendered)) for path in rendered.rglob("*") if path.is_file()}

    assert files("free") == files("pro") == files("enterprise")


# Each: a file, what stands in it, what is written instead, and what the contract's test says.
MISTAKES: Final = [
    (
        "honeycomb/boards/quick-overview.json",
        '"op": "P95", "column": "duration_ms"',
        '"op": "P95", "column": "duration"',
        ["panel 2, Latency (P95): nothing sends duration; duration_ms is sent"],
    ),
    (
        "honeycomb/boards/request-overview.json",
        '"x_coordinate": 6, "y_coordinate": 0',
        '"x_coordinate": 5, "y_coordinate": 0',
        ["panel 2, Answers by status: it lies over panel 1, Requests by route"],
    ),
    (
        "honeycomb/boards/error-tracking.json",
        '"op": ">=", "value": 400',
        '"op": ">=", "value": "400"',
        [
            "panel 4, Refused and failed requests: "
            + "http.response.status_code is of type integer, and never '400'"
        ],
    ),
    (
        "honeycomb/boards/performance-analysis.json",
        '{ "op": "P50", "column": "duration_ms" }',
        '{ "op": "MEDIAN", "column": "duration_ms" }',
        ["panel 2, Latency percentiles: there is no operation MEDIAN"],
    ),
    (
        "honeycomb/triggers/llm-cost-spike.json",
        '"op": "SUM", "column": "llm.cost_usd"',
        '"op": "SUM", "column": "llm.model"',
        ["SUM needs numbers, and llm.model is of type string"],
    ),
    (
        "honeycomb/triggers/high-error-rate.json",
        '"frequency": 600',
        '"frequency": 60',
        ["every 60 seconds, time_range is from 60 to 240"],
    ),
    (
        "honeycomb/triggers/llm-provider-failure.json",
        '{ "column": "error", "op": "exists" }',
        '{ "column": "error", "op": "=", "value": false }',
        ["error is true or not there, and never false"],
    ),
    (
        "honeycomb/slos/requests-are-fast.json",
        '"alias": "sli.request_was_fast"',
        '"name": "sli.request_was_fast"',
        ["alias is missing"],
    ),
    (
        "honeycomb/triggers/slow-requests.json",
        "docs/runbooks.md#slow-requests",
        "docs/runbooks.md#slowness",
        ["docs/runbooks.md has no section slowness with three queries"],
    ),
    (
        "honeycomb/triggers/database-failure.json",
        '{ "op": "COUNT" }',
        '{ "op": "COUNT" },\n      { "op": "P95", "column": "duration_ms" }',
        ["the query of a trigger has one calculation, beside that of its having"],
    ),
    (
        "honeycomb/derived_columns/request-was-fast.json",
        "$duration_ms <= 10000",
        "$duration_ms<=10000 AND $eror",
        ["nothing sends eror; error is sent"],
    ),
    (
        # An equals sign may be part of a column's name.
        "honeycomb/derived_columns/request-succeeded.json",
        "$span.kind = ",
        "$span.kind=",
        ["nothing sends span.kind=; span.kind is sent"],
    ),
    (
        "honeycomb/derived_columns/error-percent.json",
        "IF(EXISTS($error), 100, 0)",
        "IF(EXISTS($error, 100, 0)",
        ["a parenthesis has no other"],
    ),
    (
        "honeycomb/slos/requests-succeed.json",
        "sli.request_succeeded",
        "sli.request_success",
        ["there is no derived column sli.request_success"],
    ),
    (
        "honeycomb/burn_alerts/requests-are-fast.json",
        "Requests are fast",
        "Requests are quick",
        ["there is no SLO order-intake: Requests are quick"],
    ),
    (
        "docs/runbooks.md",
        '"breakdowns": ["gen_ai.provider.name", "gen_ai.request.model"]',
        '"breakdowns": ["gen_ai.provider.name", "gen_ai.request.modell"]',
        [
            "llm-provider-failure: query 3: "
            + "nothing sends gen_ai.request.modell; gen_ai.request.model is sent"
        ],
    ),
    (
        "honeycomb/telemetry.yaml",
        "- id: session.prompt_length\n        type: int",
        "- id: session.prompt_length\n        type: string",
        ["session.prompt_length is declared as string, and sent as integer"],
    ),
    (
        "order_intake/spec_sessions/manager.py",
        '"session.source": session.source,',
        '"session.source": session.source, "session.origin": session.source,',
        ["honeycomb/telemetry.yaml: session.origin is sent, and not declared"],
    ),
    (
        "order_intake/generation/code.py",
        '"code.lines"',
        '"code.length"',
        [
            "honeycomb/telemetry.yaml: code.lines is declared, and nothing sends it",
            "honeycomb/telemetry.yaml: code.length is sent, and not declared",
            "honeycomb/boards/business-metrics.json: "
            + "panel 11, Code asked for again: nothing sends code.lines; code.retries is sent",
        ],
    ),
]


def test_each_mistake_is_named_with_its_place(render: Render, workshop: Workshop) -> None:
    project = render()
    workshop.install(project)
    expected = set()
    for file, before, after, messages in MISTAKES:
        path = project / file
        text = path.read_text()
        assert before in text, file
        path.write_text(text.replace(before, after, 1))
        expected |= {
            message if file.endswith(".py") else f"{file}: {message}" for message in messages
        }

    done = subprocess.run(
        [workshop.environment / "bin/pytest", "-q", "tests/observability/test_contract.py"],
        cwd=project,
        env=workshop.variables,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    said = re.findall(
        r"^E +(?:AssertionError: )?((?:docs|honeycomb)/.+)$", done.stdout, re.MULTILINE
    )
    assert set(said) == expected
