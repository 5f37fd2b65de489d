"""Definitions: the rendered ones against Honeycomb's OpenAPI document, and invalid ones."""

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

from hooks.honeycomb.definitions import FOLDERS, InvalidDefinition, load, tag_of
from hooks.honeycomb.parse import InvalidForm, parse_object, parse_query
from hooks.honeycomb.queries import columns_in_expression, columns_in_query

from ..conftest import Render, Workshop
from ..fakes.honeycomb import FakeHoneycomb
from ..template.answer_combinations import PLANS, REGIONS
from .conftest import FILES, QUERY, Commands, Folder

MODELS_OF_ALERTS: Final = {
    "exhaustion_time": api.CreateExhaustionTimeBurnAlertRequest,
    "budget_rate": api.CreateBudgetRateBurnAlertRequest,
}
RECIPIENT: Final = {"type": "email", "target": "on-call@example.com"}


def accepted(model: type[BaseModel], payload: dict[str, Any]) -> None:
    """Assert that the model accepts each field of `payload`: it silently drops unknown ones."""
    taken = model.model_validate(payload).model_dump(mode="json", exclude_unset=True)
    assert taken == payload


def objects(project: Path, kind: str) -> dict[str, Any]:
    """The definitions in the file of a kind, by key."""
    content: dict[str, Any] = json.loads((project / f"honeycomb/{kind}.json").read_text())
    return content


def burn_alerts(project: Path) -> list[dict[str, Any]]:
    return [alert for alerts in objects(project, "burn_alerts").values() for alert in alerts]


def panels_with_ids(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The panels as the API accepts them, with invented ids; their queries are validated separately."""
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


def test_rendered_boards_are_valid(project: Path) -> None:
    boards = {
        path.stem: json.loads(path.read_text()) for path in (project / "honeycomb/boards").iterdir()
    }

    assert sorted(boards) == [
        "business-metrics",
        "error-tracking",
        "performance-analysis",
        "quick-overview",
        "request-overview",
    ]
    for board in boards.values():
        accepted(api.Board, board | {"panels": list(panels_with_ids(board))})


def test_rendered_triggers_are_valid(project: Path) -> None:
    triggers = objects(project, "triggers")

    assert list(triggers) == [
        "database-failure",
        "high-error-rate",
        "llm-cost-spike",
        "llm-provider-failure",
        "missing-traffic",
        "slow-requests",
    ]
    for trigger in triggers.values():
        accepted(api.TriggerWithInlineQuery, trigger)
        accepted(api.Query, trigger["query"])
        validate_trigger_time_range(trigger["query"]["time_range"])
        validate_trigger_frequency(trigger["frequency"])
        validate_time_range_frequency_ratio(trigger["query"]["time_range"], trigger["frequency"])
        validate_exceeded_limit(trigger["threshold"]["exceeded_limit"])


def test_rendered_slos_burn_alerts_and_derived_columns_are_valid(project: Path) -> None:
    slos, alerts = objects(project, "slos"), burn_alerts(project)

    assert list(slos) == ["requests-are-fast", "requests-succeed"]
    assert list(objects(project, "burn_alerts")) == list(slos)
    types = ["budget_rate", "exhaustion_time", "exhaustion_time"]
    assert sorted(alert["alert_type"] for alert in alerts) == types
    for slo in slos.values():
        accepted(api.SLOCreate, slo)
    for alert in alerts:
        request = alert | {"slo": {"id": "an-slo"}}
        model = MODELS_OF_ALERTS[alert["alert_type"]]
        with pytest.raises(ValidationError, match="at least 1 item"):
            accepted(model, request)
        accepted(model, request | {"recipients": [RECIPIENT]})
    for column in objects(project, "derived_columns").values():
        accepted(api.CalculatedField, column | {"id": "", "created_at": "", "updated_at": ""})


def test_queries_of_the_runbooks_are_valid(project: Path) -> None:
    queries = re.findall(
        r"```json\n(.+?)```", (project / "docs/runbooks.md").read_text(), re.DOTALL
    )

    assert len(queries) == 3 * len(objects(project, "triggers"))
    for query in queries:
        accepted(api.Query, json.loads(query))


def test_free_plan_has_the_two_most_useful_triggers(render: Render) -> None:
    folder = render() / "honeycomb"

    def active(plan: str) -> set[str]:
        definitions = load(folder, "order-intake", plan).active()
        return {each.key for each in definitions if each.kind == "trigger"}

    assert active("free") == {"high-error-rate", "llm-cost-spike"}
    assert len(active("pro")) == len(active("enterprise")) == 6


def test_each_alert_has_one_severity_and_a_runbook(render: Render) -> None:
    project = render()
    for trigger in objects(project, "triggers").values():
        [severity] = [tag["value"] for tag in trigger["tags"] if tag["key"] == "severity"]
        assert severity in ("critical", "warning")
        assert f" Severity: {severity}. Runbook: docs/runbooks.md#" in trigger["description"]
    for alert in burn_alerts(project):
        assert re.search(r" Severity: (critical|warning)\. Runbook: docs/", alert["description"])


def test_rendered_saved_queries_are_valid(project: Path) -> None:
    saved = json.loads((project / "honeycomb/saved_queries.json").read_text())

    assert len(saved) == len({each["name"] for each in saved}) == 8
    for each in saved:
        accepted(api.Query, each["query"])
        assert each["description"].startswith("To ")


def test_honeycomb_plan_does_not_change_which_files_are_rendered(render: Render) -> None:
    def files(plan: str) -> set[str]:
        rendered = render(honeycomb_plan=plan)
        return {str(path.relative_to(rendered)) for path in rendered.rglob("*") if path.is_file()}

    assert files("free") == files("pro") == files("enterprise")


# A file, a text in it, its replacement, and the messages of `check`.
MISTAKES: Final = [
    (
        "honeycomb/boards/quick-overview.json",
        '"op": "P95", "column": "duration_ms"',
        '"op": "P95", "column": "duration"',
        "panel 2, Latency (P95): nothing declares the column duration; did you mean duration_ms?",
    ),
    (
        "honeycomb/boards/request-overview.json",
        '"x_coordinate": 6, "y_coordinate": 0',
        '"x_coordinate": 5, "y_coordinate": 0',
        "panel 2, Responses by status: it overlaps panel 1, Requests by route",
    ),
    (
        "honeycomb/boards/error-tracking.json",
        '"op": ">=", "value": 400',
        '"op": ">=", "value": "400"',
        "panel 4, 4xx and 5xx responses: "
        + "http.response.status_code has the type integer, so it never equals '400'",
    ),
    (
        "honeycomb/triggers.json",
        '"op": "SUM", "column": "llm.cost_usd"',
        '"op": "SUM", "column": "llm.model"',
        "llm-cost-spike: SUM needs numbers, but llm.model has the type string",
    ),
    (
        "honeycomb/triggers.json",
        '"frequency": 600',
        '"frequency": 60',
        "high-error-rate: with a frequency of 60 seconds, time_range is from 60 to 240",
    ),
    (
        "honeycomb/triggers.json",
        '{ "column": "error", "op": "exists" }',
        '{ "column": "error", "op": "=", "value": false }',
        "llm-provider-failure: error is true or absent, never false",
    ),
    (
        "honeycomb/triggers.json",
        "docs/runbooks.md#slow-requests",
        "docs/runbooks.md#slowness",
        "slow-requests: docs/runbooks.md does not have a section slowness with 3 queries",
    ),
    (
        "honeycomb/triggers.json",
        '{ "op": "COUNT" }',
        '{ "op": "COUNT" },\n      { "op": "P95", "column": "duration_ms" }',
        "database-failure: the query of a trigger has one calculation, besides that of its having",
    ),
    (
        "honeycomb/derived_columns.json",
        "$duration_ms <= 10000",
        "$duration_ms<=10000 AND $eror",
        "request-was-fast: nothing declares the column eror; did you mean error?",
    ),
    (
        # An equals sign may be part of a column's name.
        "honeycomb/derived_columns.json",
        "$span.kind = ",
        "$span.kind=",
        "request-succeeded: nothing declares the column span.kind=; did you mean span.kind?",
    ),
    (
        "honeycomb/derived_columns.json",
        "IF(EXISTS($error), 100, 0)",
        "IF(EXISTS($error, 100, 0)",
        "error-percent: the parentheses do not match",
    ),
    (
        "docs/runbooks.md",
        '"breakdowns": ["gen_ai.provider.name", "gen_ai.request.model"]',
        '"breakdowns": ["gen_ai.provider.name", "llm.modell"]',
        "llm-provider-failure: query 3: "
        + "nothing declares the column llm.modell; did you mean llm.model?",
    ),
    (
        "honeycomb/telemetry.yaml",
        "examples: [38]",
        'examples: ["38"]',
        "session.prompt_length: the example '38' is not of the type int",
    ),
    (
        "docs/observability-reference.md",
        "| `session.source` | string |",
        "| `session.source` | int |",
        "the type or the text of session.source differs from honeycomb/telemetry.yaml",
    ),
    (
        "docs/observability-reference.md",
        "| `session.status` | string |",
        "| `session.state` | string |",
        "session.state has a row, but honeycomb/telemetry.yaml does not declare it",
        "session.status is declared in honeycomb/telemetry.yaml, but has no row",
    ),
]


def test_check_names_each_mistake_with_its_place(render: Render) -> None:
    project = render(honeycomb_plan="pro")
    expected = set()
    for file, before, after, *messages in MISTAKES:
        path = project / file
        text = path.read_text()
        assert before in text, file
        path.write_text(text.replace(before, after, 1))
        expected |= {f"{file}: {message}." for message in messages}

    result = Commands(project).run("check")

    assert result.code == 1
    assert set(result.err.splitlines()) == expected
    assert Commands(project).run("check", "--json").json == {"error": result.err.rstrip("\n")}


@pytest.mark.parametrize("plan", PLANS)
def test_rendered_definitions_pass_the_check(plan: str, render: Render) -> None:
    result = Commands(render(honeycomb_plan=plan)).run("check")

    assert (result.code, result.out, result.err) == (0, "28 definitions are valid.\n", "")


# A kind, changes to a valid object of it, and the message. None removes a field.
INVALID: Final[list[tuple[Any, dict[str, Any], str]]] = [
    ("derived column", {"alias": ""}, "alias should have at least 1 character, not ''"),
    ("derived column", {"title": "x"}, "title is not a field of Honeycomb's API"),
    (
        "SLO",
        {"sli": {"name": "x"}},
        "sli.alias is missing; sli.name is not a field of Honeycomb's API",
    ),
    (
        "SLO",
        {"target_per_million": 1_000_000},
        "target_per_million should be less than or equal to 999999, not 1000000",
    ),
    (
        "SLO",
        {"time_period_days": 0},
        "time_period_days should be greater than or equal to 1, not 0",
    ),
    ("burn alert", {"alert_type": None}, "alert_type is missing"),
    (
        "burn alert",
        {"alert_type": "x"},
        "alert_type should be 'exhaustion_time' or 'budget_rate', not 'x'",
    ),
    ("burn alert", {"exhaustion_minutes": None}, "exhaustion_minutes is missing"),
    (
        "burn alert",
        {"recipients": [{"target": "x"}]},
        "recipients[0]: needs an id, or a type and a target",
    ),
    (
        "burn alert",
        {"recipients": [{"type": "email", "target": ""}]},
        "recipients[0]: needs an id, or a type and a target",
    ),
    (
        "trigger",
        {"recipients": [{"type": "emial", "target": "x"}]},
        "recipients[0].type should be 'email', 'slack', 'pagerduty', 'webhook', 'msteams' or 'msteams_workflow', not 'emial'",
    ),
    ("trigger", {"name": None}, "name is missing"),
    (
        "trigger",
        {"threshold": {"op": "=", "value": 5}},
        "threshold.op should be '>', '>=', '<' or '<=', not '='",
    ),
    ("trigger", {"frequency": 90}, "frequency should be a multiple of 60, not 90"),
    (
        "trigger",
        {"tags": [{"key": "Team", "value": "shop"}]},
        "tags[0].key should match pattern '^[a-z]{1,32}$', not 'Team'",
    ),
    ("trigger", {"disabled": "no"}, "disabled should be a valid boolean, not 'no'"),
    ("board", {"type": "classic"}, "type should be 'flexible', not 'classic'"),
    (
        "board",
        {"panels": [{"type": "graph"}]},
        "panels[0].type should be 'query', 'slo' or 'text', not 'graph'",
    ),
    (
        "board",
        {"panels": [{"type": "text", "text_panel": {"content": ""}}]},
        "panels[0].text_panel.content should have at least 1 character, not ''",
    ),
    (
        "board",
        {"panels": [{"type": "text", "text_panel": {"content": "x" * 10_001}}]},
        "panels[0].text_panel.content should have at most 10000 characters",
    ),
    (
        "board",
        {"preset_filters": [{"column": "name", "alias": "x" * 51}]},
        "preset_filters[0].alias should have at most 50 characters",
    ),
]


@pytest.mark.parametrize(("kind", "changes", "message"), INVALID)
def test_invalid_field_is_named(kind: Any, changes: dict[str, Any], message: str) -> None:
    [valid] = [body for name, body in FILES.items() if name.startswith(FOLDERS[kind])]
    parse_object(kind, valid)
    body = {name: value for name, value in (valid | changes).items() if value is not None}

    with pytest.raises(InvalidForm) as raised:
        parse_object(kind, body)

    assert str(raised.value) == message


INVALID_QUERIES: Final[list[tuple[dict[str, Any], str]]] = [
    ({"limit": 1001}, "limit should be less than or equal to 1000, not 1001"),
    ({"name": "x"}, "name is not a field of Honeycomb's API"),
    ({"calculations": [{"op": "AVG"}]}, "calculations[0]: AVG needs a column"),
    (
        {"calculations": [{"op": "CONCURRENCY", "column": "name"}]},
        "calculations[0]: CONCURRENCY does not accept a column",
    ),
    (
        {"filters": [{"column": "error", "op": "exists", "value": True}]},
        "filters[0]: error exists does not accept a value",
    ),
    (
        {"filters": [{"column": "name", "op": "in", "value": "x"}]},
        "filters[0]: name in needs a list",
    ),
    ({"filters": [{"column": "name", "op": "="}]}, "filters[0]: name = needs a value"),
    (
        {"filters": [{"column": "name", "op": "is"}]},
        "filters[0]: 'is' is not a filter of Honeycomb",
    ),
    ({"filter_combination": "XOR"}, "filter_combination should be 'AND' or 'OR', not 'XOR'"),
    ({"time_range": 0}, "time_range should be greater than or equal to 1, not 0"),
    ({"havings": [{"calculate_op": "COUNT", "op": ">"}]}, "havings[0].value is missing"),
    (
        {"calculated_fields": [{"name": "f", "expression": ""}]},
        "calculated_fields[0].expression should have at least 1 character, not ''",
    ),
]


@pytest.mark.parametrize(("query", "message"), INVALID_QUERIES)
def test_invalid_query_is_named(query: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidForm) as raised:
        parse_query(query)

    assert str(raised.value) == message


def test_unknown_operation_lists_the_known_ones() -> None:
    with pytest.raises(
        InvalidForm, match=r"calculations\[0\].op should match .*COUNT.*, not 'MEDIAN'"
    ):
        parse_query({"calculations": [{"op": "MEDIAN", "column": "duration_ms"}]})


# Changes to the query of a trigger, and the message of `check`.
INCONSISTENT: Final[list[tuple[dict[str, Any], str]]] = [
    ({"orders": [{"op": "MAX", "column": "duration_ms"}]}, "orders by MAX(duration_ms), which the query does not contain"),
    ({"havings": [{"calculate_op": "AVG", "column": "duration_ms", "op": ">", "value": 1}]}, "havings name AVG(duration_ms), which the query does not calculate"),
    ({"orders": [{}]}, "orders by None, which the query does not contain"),
    ({"breakdowns": [""]}, "nothing declares the column ''"),
    ({"granularity": 7200}, "for 3600 seconds, granularity is from 3.6 to 3600"),
    ({"compare_time_offset_seconds": 60}, "3600 seconds cannot be compared with an offset of 60 seconds"),
    ({"start_time": 1, "end_time": 2}, "only two of start_time, end_time and time_range can be set"),
    ({"formulas": [{"name": "f", "expression": "$x"}]}, "f: no calculation is named x"),
    ({"calculations": [{"op": "COUNT", "name": "a"}, {"op": "MAX", "column": "duration_ms", "name": "a"}]}, "two calculations have the same name"),
    ({"calculations": [{"op": "COUNT", "filters": [{"column": "root.name", "op": "exists"}]}]}, "a calculation cannot be filtered by another span"),
    ({"calculated_fields": [{"name": "f", "expression": "$a ;"}]}, "f: ';' is not valid in an expression"),
    ({"filters": [{"column": "name", "op": ">", "value": "x"}]}, "> needs numbers, but name has the type string"),
    ({"filters": [{"column": "duration_ms", "op": "contains", "value": 1}]}, "contains needs text, but duration_ms has the type float"),
    ({"limit": 5}, "the query of a trigger cannot have limit"),
    ({"calculations": [{"op": "HEATMAP", "column": "duration_ms"}]}, "the query of a trigger cannot calculate HEATMAP"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), INCONSISTENT)
def test_inconsistent_query_is_named(changes: dict[str, Any], message: str, folder: Folder) -> None:
    trigger = FILES["triggers/errors.json"]
    folder.write("triggers/errors.json", {**trigger, "query": {**QUERY, **changes}})

    result = Commands(folder.path).run("check")

    assert result.code == 1
    assert f"honeycomb/triggers/errors.json: {message}." in result.err.splitlines()


def test_all_invalid_files_are_named_before_the_first_request(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    (folder.path / "honeycomb/boards/broken.json").write_text("{")
    folder.write("triggers/listed.json", [])
    folder.write("triggers/nameless.json", {"query": QUERY})
    folder.write("slos/other.json", {**FILES["slos/succeed.json"], "sli": {"alias": "sli.gone"}})

    result = commands.run("plan")

    assert result.code == 1
    broken = "honeycomb/boards/broken.json is not valid JSON: "
    assert [line if broken not in line else broken for line in result.err.splitlines()] == [
        "honeycomb/triggers/listed.json: the content should be an object.",
        "honeycomb/triggers/nameless.json: name is missing.",
        "honeycomb/triggers/nameless.json: threshold is missing.",
        broken,
        "honeycomb/slos/other.json names the derived column 'sli.gone', which no file defines.",
        "honeycomb/slos/other.json and honeycomb/slos/succeed.json both define the SLO 'Succeed': keep one.",
    ]
    assert not honeycomb.exchanges


def test_invalid_file_does_not_make_names_undefined_that_it_may_define(folder: Folder) -> None:
    folder.write("slos/succeed.json", {**FILES["slos/succeed.json"], "time_period_days": "30"})
    (folder.path / "honeycomb/derived_columns/succeeded.json").write_text("{")

    result = Commands(folder.path).run("check")

    [column, slo] = result.err.splitlines()
    assert column.startswith("honeycomb/derived_columns/succeeded.json is not valid JSON: ")
    assert slo == (
        "honeycomb/slos/succeed.json: time_period_days should be a valid integer, not '30'."
    )


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_number_that_json_does_not_have_is_invalid(number: str, folder: Folder) -> None:
    text = json.dumps(FILES["triggers/errors.json"]).replace('"value": 5', f'"value": {number}')
    (folder.path / "honeycomb/triggers/errors.json").write_text(text)

    result = Commands(folder.path).run("check")

    assert result.err == (
        f"honeycomb/triggers/errors.json is not valid JSON: {number} is not a finite number.\n"
    )


def test_huge_value_and_control_characters_are_not_repeated_in_a_message(folder: Folder) -> None:
    query = {**QUERY, "breakdowns": ["x" * 5000, "\x1b[31m"]}
    folder.write("triggers/errors.json", {**FILES["triggers/errors.json"], "query": query})

    result = Commands(folder.path).run("check")

    assert result.code == 1
    assert "\x1b" not in result.err
    assert f"nothing declares the column {'x' * 100}...\n" in result.err


@pytest.mark.parametrize(
    ("registry", "reason"),
    [
        (b"", "it needs a list `groups`, whose `attributes` have an `id` and a `type`"),
        (b"groups: [1]", "it needs a list `groups`, whose `attributes` have an `id` and a `type`"),
        (b"groups: []\nx: [", "expected the node content, but found '<stream end>' in line 2"),
        (b"\xff\xfe", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_unreadable_registry_is_reported_in_one_sentence(
    registry: bytes, reason: str, commands: Commands, folder: Folder
) -> None:
    (folder.path / "honeycomb/telemetry.yaml").write_bytes(registry)

    result = commands.run("plan")

    assert result.code == 1
    assert result.err == f"honeycomb/telemetry.yaml is not a valid registry: {reason}.\n"


def test_budget_rate_window_is_within_the_period_of_the_slo(folder: Folder) -> None:
    alert = {
        "slo": {"name": "Succeed"},
        "alert_type": "budget_rate",
        "budget_rate_window_minutes": 43_201,
        "budget_rate_decrease_threshold_per_million": 1,
        "recipients": [],
    }
    folder.write("burn_alerts/succeed.json", alert)

    result = Commands(folder.path).run("check")

    assert result.err == (
        "honeycomb/burn_alerts/succeed.json: budget_rate: budget_rate_window_minutes is at most 43200,"
        " the period of the SLO.\n"
    )


def test_panels_do_not_overlap_exceed_the_board_or_repeat_a_query(folder: Folder) -> None:
    board = json.loads(json.dumps(FILES["boards/overview.json"]))
    board["panels"] = [board["panels"][3]] * 2
    board["panels"][0]["position"]["x_coordinate"] = 7
    settings = {"charts": [{"chart_index": 1}]}
    board["panels"][0]["query_panel"]["visualization_settings"] = settings
    folder.write("boards/overview.json", board)

    result = Commands(folder.path).run("check")

    places = ["panel 1, By success", "panel 2, By success"]
    assert sorted(result.err.splitlines()) == sorted(
        f"honeycomb/boards/overview.json: {problem}."
        for problem in (
            *(f"{place}: it extends beyond the 12 columns of a board" for place in places),
            *(f"{place}: chart 1 does not have a calculation" for place in places),
            f"{places[1]}: it overlaps {places[0]}",
            f"{places[1]}: Honeycomb does not distinguish its query from that of {places[0]}",
        )
    )


def test_each_definition_has_a_unique_tag(render: Render) -> None:
    folder = render(honeycomb_plan="enterprise") / "honeycomb"

    definitions = load(folder, "orders", plan="enterprise")

    tags = {definition.tag for definition in definitions.all}
    assert len(definitions.all) == len(tags) == 28
    for tag in tags:
        assert re.fullmatch("[a-z][a-z0-9/-]{1,128}", tag)
    for column in definitions.required_columns():
        assert definitions.columns.type_of(column), column


@pytest.mark.parametrize("name", ["9 Lives & more", "Orders.v2", "o" * 300, "注文"])
def test_tag_of_any_service_name_is_valid(name: str) -> None:
    tag = tag_of(name, "burn_alerts/requests_succeed")

    assert re.fullmatch("[a-z][a-z0-9/-]{1,128}", tag)
    assert tag != tag_of(f"{name}x", "burn_alerts/requests_succeed")


def test_slo_names_an_existing_derived_column(tmp_path: Path) -> None:
    (tmp_path / "slos").mkdir()
    (tmp_path / "telemetry.yaml").write_text("groups: []")
    slo = FILES["slos/succeed.json"] | {"sli": {"alias": "sli.fast"}}
    (tmp_path / "slos/fast.json").write_text(json.dumps(slo))

    with pytest.raises(InvalidDefinition) as raised:
        load(tmp_path, "orders", plan="pro")

    assert raised.value.problems == [
        "honeycomb/slos/fast.json names the derived column 'sli.fast', which no file defines."
    ]


def test_columns_are_found_in_expressions_and_queries() -> None:
    expression = 'IF($"a b" = "$c", $d.e <= 5, !EXISTS($f))'
    assert columns_in_expression(expression) == {"a b", "d.e", "f"}
    query = {
        "calculated_fields": [{"name": "own", "expression": "INT($a)"}],
        "calculations": [{"op": "AVG", "column": "own"}, {"op": "MAX", "column": "b"}],
        "filters": [{"column": "root.c", "op": "exists"}],
        "breakdowns": ["d"],
    }
    assert columns_in_query(query) == {"a", "b", "c", "d"}


# A file, a text in it, its replacement, and parts of the output of the rendered contract test.
UNSENT: Final = [
    (
        "docs/runbooks.md",
        '"breakdowns": ["gen_ai.provider.name", "gen_ai.request.model"]',
        '"breakdowns": ["gen_ai.provider.name", "gen_ai.request.modell"]',
        ["('docs/runbooks.md', 'gen_ai.request.modell')"],
    ),
    (
        "honeycomb/telemetry.yaml",
        "- id: session.prompt_length\n        type: int",
        "- id: session.prompt_length\n        type: string",
        ["AssertionError: session.prompt_length"],
    ),
    (
        "order_intake/spec_sessions/manager.py",
        '"session.source": session.source,',
        '"session.source": session.source, "session.origin": session.source,',
        ["'session.origin'"],
    ),
    (
        "order_intake/generation/code.py",
        '"code.lines"',
        '"code.length"',
        ["'code.length'", "('honeycomb/boards/business-metrics.json', 'code.lines')"],
    ),
]


def test_contract_test_names_columns_that_are_not_sent_or_not_declared(
    render: Render, workshop: Workshop
) -> None:
    project = render()
    workshop.install(project)
    for file, before, after, _ in UNSENT:
        path = project / file
        text = path.read_text()
        assert before in text, file
        path.write_text(text.replace(before, after, 1))

    done = subprocess.run(
        [workshop.environment / "bin/pytest", "-q", "-vv", "tests/observability/test_contract.py"],
        cwd=project,
        env=workshop.variables,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "3 failed" in done.stdout
    for *_, messages in UNSENT:
        for message in messages:
            assert message in done.stdout
