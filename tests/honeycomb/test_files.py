"""Definitions in one file for each kind, and in a file each, as in projects of earlier releases."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from hooks.honeycomb.definitions import FOLDERS, load

from ..conftest import Render
from ..fakes.honeycomb import FakeHoneycomb
from .conftest import FILES, Commands, Folder

# The values of the tag by which the objects of 0.3.0 are recognised.
TAGS: Final = {
    "order-intake/boards/business-metrics",
    "order-intake/boards/error-tracking",
    "order-intake/boards/performance-analysis",
    "order-intake/boards/quick-overview",
    "order-intake/boards/request-overview",
    "order-intake/slos/requests-are-fast",
    "order-intake/slos/requests-succeed",
    "order-intake/triggers/database-failure",
    "order-intake/triggers/high-error-rate",
    "order-intake/triggers/llm-cost-spike",
    "order-intake/triggers/llm-provider-failure",
    "order-intake/triggers/slow-requests",
}
# 0.3.0 did not mark these; files with one object each gave them these tags.
LATER_TAGS: Final = {
    "order-intake/burn-alerts/requests-are-fast/exhaustion-time",
    "order-intake/burn-alerts/requests-succeed/budget-rate",
    "order-intake/burn-alerts/requests-succeed/exhaustion-time",
    "order-intake/derived-columns/database-failure",
    "order-intake/triggers/missing-traffic",
}
TRIGGER: Final = FILES["triggers/errors.json"]
ALERT: Final = FILES["burn_alerts/succeed.json"]


def join(folder: Path) -> None:
    """Move the definitions of each kind but boards into one file."""
    for kind in FOLDERS.values():
        paths = sorted((folder / kind).glob("*.json")) if kind != "boards" else []
        if paths:
            content = {path.stem: json.loads(path.read_text()) for path in paths}
            (folder / f"{kind}.json").write_text(json.dumps(content))
        for path in paths:
            path.unlink()


def split(folder: Path) -> None:
    """Move each definition into its own file."""
    for kind in FOLDERS.values():
        file = folder / f"{kind}.json"
        (folder / kind).mkdir(exist_ok=True)
        if file.exists():
            for key, content in json.loads(file.read_text()).items():
                (folder / kind / f"{key}.json").write_text(json.dumps(content))
            file.unlink()


def test_both_forms_of_files_define_the_same_objects_with_the_tags_of_releases(
    render: Render,
) -> None:
    folder = render(honeycomb_plan="pro") / "honeycomb"

    def objects() -> list[tuple[str, Any, str]]:
        definitions = load(folder, "order-intake", "pro").all
        return [(each.kind, each.body, each.tag) for each in definitions]

    joined = objects()
    split(folder)

    assert objects() == joined
    assert {tag for *_, tag in joined} >= TAGS | LATER_TAGS


def test_joined_files_change_nothing_in_honeycomb(commands: Commands, folder: Folder) -> None:
    folder.write("burn_alerts/succeed.json", [ALERT, budget_rate()])
    assert commands.run("apply").code == 0
    join(folder.path / "honeycomb")

    planned = commands.run("plan")

    assert (planned.code, planned.err) == (0, "")
    assert "Nothing to do: 6 unchanged." in planned.out
    assert not list(folder.path.glob("honeycomb/triggers/*"))


def test_file_and_key_of_each_definition_are_printed(commands: Commands, folder: Folder) -> None:
    join(folder.path / "honeycomb")
    folder.write("triggers/mine.json", {**TRIGGER, "name": "Mine"})

    planned = commands.run("plan")
    steps = commands.run("plan", "--json").json["steps"]

    assert "+ trigger            Errors  triggers.json: errors\n" in planned.out
    assert "+ trigger            Mine  triggers/mine.json\n" in planned.out
    assert "  burn_alerts.json: succeed/exhaustion_time\n" in planned.out
    places = {step["name"]: (step["file"], step["key"]) for step in steps}
    assert places["Errors"] == ("triggers.json", "errors")
    assert places["Mine"] == ("triggers/mine.json", None)
    assert places["error"] == (None, None)


def budget_rate(**changes: Any) -> dict[str, Any]:
    rate = {
        "alert_type": "budget_rate",
        "budget_rate_window_minutes": 60,
        "budget_rate_decrease_threshold_per_million": 20000,
    }
    shared = {name: ALERT[name] for name in ("slo", "recipients")}
    return {**shared, **rate, **changes}


# A file, its text, and the only line that `check` prints.
INVALID: Final[list[tuple[str, str, str]]] = [
    (
        "triggers.json",
        "[]",
        "triggers.json should be an object, with a key for each trigger.",
    ),
    (
        "triggers.json",
        '{"mine": []}',
        "triggers.json: mine: the content should be an object.",
    ),
    (
        "triggers.json",
        json.dumps({"mine": {**TRIGGER, "name": "Mine", "frequency": 90}}),
        "triggers.json: mine: frequency should be a multiple of 60, not 90.",
    ),
    (
        "triggers.json",
        '{"mine": {}, "mine": {}}',
        "triggers.json has the key 'mine' twice: rename or delete one.",
    ),
    (
        "triggers.json",
        "<<<<<<< before updating\n{}\n=======\n>>>>>>> after updating\n",
        "triggers.json contains a merge conflict: resolve it.",
    ),
    (
        "boards/overview.json",
        '{"name": "Overview", "name": "Mine"}',
        "boards/overview.json has the key 'name' twice: rename or delete one.",
    ),
    (
        "triggers.json",
        json.dumps({"errors": {**TRIGGER, "name": "Renamed"}}),
        "triggers.json: errors and honeycomb/triggers/errors.json both define the trigger 'Errors': keep one.",
    ),
    (
        "burn_alerts.json",
        json.dumps({"succeed": [budget_rate(recipients=0)]}),
        "burn_alerts.json: succeed/budget_rate: recipients should be a valid list, not 0.",
    ),
    (
        "burn_alerts.json",
        json.dumps({"mine": {"slo": {"name": "Succeed"}}}),
        "burn_alerts.json: mine: alert_type is missing.",
    ),
    (
        "burn_alerts.json",
        json.dumps({"mine": budget_rate(slo={"name": "Gone"})}),
        "burn_alerts.json: mine/budget_rate names the SLO 'Gone', which no file defines.",
    ),
    (
        "saved_queries.json",
        json.dumps([{"name": "Mine", "description": "", "query": {"limit": 0}}]),
        "saved_queries.json: Mine: query.limit should be greater than or equal to 1, not 0.",
    ),
]


@pytest.mark.parametrize(("file", "text", "message"), INVALID)
def test_invalid_definition_is_reported_with_its_file_and_key(
    file: str, text: str, message: str, folder: Folder
) -> None:
    (folder.path / "honeycomb" / file).write_text(text)

    result = Commands(folder.path).run("check")

    assert (result.code, result.err) == (1, f"honeycomb/{message}\n")


def test_unknown_column_is_reported_with_file_and_key(
    commands: Commands, folder: Folder, honeycomb: FakeHoneycomb
) -> None:
    query = {**TRIGGER["query"], "breakdowns": ["nope"]}
    mine = {**TRIGGER, "name": "Mine", "query": query}
    folder.write("triggers.json", {"mine": mine})

    result = commands.run("plan")

    assert result.code == 1
    assert "honeycomb/triggers.json: mine names the column 'nope', which is neither" in result.err
    assert not any(exchange.writes for exchange in honeycomb.exchanges)


def test_files_that_an_update_emptied_are_absent(folder: Folder) -> None:
    for file in ("triggers/errors.json", "triggers.json", "saved_queries.json"):
        (folder.path / "honeycomb" / file).write_text("")

    result = Commands(folder.path).run("check")

    assert (result.code, result.out, result.err) == (0, "4 definitions are valid.\n", "")
