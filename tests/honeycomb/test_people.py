"""People who change Honeycomb while apply runs in CI: nothing of theirs is changed or deleted."""

import json
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from hooks.honeycomb import apply as applying
from hooks.honeycomb.record import Record, record_of
from hooks.release import ROOT, releases

from ..conftest import Render
from ..depth import in_depth
from ..fakes.honeycomb import CONFIGURATION_KEY, FakeHoneycomb, Key
from .conftest import FILES, QUERY, Commands, Folder
from .test_apply import state, writes

DATASET = "order-intake"


@pytest.fixture(autouse=True)
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "CONCURRENT_SECONDS", 0.01)


def only(objects: dict[str, Any]) -> Any:
    [found] = objects.values()
    return found


def board_of(honeycomb: FakeHoneycomb) -> Any:
    return only(honeycomb.store.boards)


def panel(honeycomb: FakeHoneycomb, name: str, **position: int) -> dict[str, Any]:
    """A panel that somebody adds to a board."""
    store = honeycomb.store
    query = store.make_query(DATASET, {**QUERY, "breakdowns": ["service.version"]})
    annotation = store.make_annotation(DATASET, {"name": name, "query_id": query["id"]})
    ids = {"query_id": query["id"], "query_annotation_id": annotation["id"]}
    return {"type": "query", "position": position, "query_panel": ids}


def titles(honeycomb: FakeHoneycomb) -> list[str]:
    """The panels of the only board."""
    annotations = honeycomb.store.query_annotations[DATASET]
    return [
        annotations[one["query_panel"]["query_annotation_id"]]["name"]
        if one["type"] == "query"
        else one["type"]
        for one in board_of(honeycomb)["panels"]
    ]


def change_file(folder: Folder, name: str, **fields: Any) -> None:
    folder.write(name, {**FILES[name], **fields})


def test_derived_column_of_another_expression_is_refused_with_its_users(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    store = honeycomb.store
    store.take_span(DATASET, {"http.status_code": 200, "span.kind": "server", "error": True})
    theirs = {"alias": "sli.succeeded", "expression": "$http.status_code < 400", "description": "x"}
    store.make_derived_column(DATASET, theirs)

    planned = commands.run("plan")
    applied = commands.run("apply")

    assert (planned.code, applied.code) == (1, 1)
    assert "! derived column     sli.succeeded  derived_columns/succeeded.json" in planned.out
    assert "rename it there, or rename ours in honeycomb/, or replace it with --over" in planned.out
    assert planned.out.count("(it needs ") == 3
    column = only(store.derived_columns[DATASET])
    assert {name: column[name] for name in theirs} == theirs
    assert not store.slos[DATASET]
    assert not store.boards
    assert len(store.triggers[DATASET]) == 1

    assert commands.run("apply", "--overwrite").code == 0
    assert column["expression"] == FILES["derived_columns/succeeded.json"]["expression"]
    assert commands.run("plan").code == 0
    # From now on it is ours.
    change_file(folder, "derived_columns/succeeded.json", expression="NOT($error)")
    assert commands.run("apply").code == 0
    assert column["expression"] == "NOT($error)"


def test_derived_column_of_an_earlier_release_is_used_as_it_is(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    honeycomb.store.take_span(DATASET, {"span.kind": "server", "error": True})
    former = {**FILES["derived_columns/succeeded.json"], "description": "Former text."}
    honeycomb.store.make_derived_column(DATASET, former)

    assert commands.run("apply").code == 0

    assert only(honeycomb.store.derived_columns[DATASET])["description"] == "Former text."


def test_former_expression_of_a_derived_column_is_replaced(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    honeycomb.store.take_span(DATASET, {"span.kind": "server", "duration_ms": 1.5})
    former = {
        "alias": "sli.request_was_fast",
        "expression": 'IF($span.kind = "server", $duration_ms <= 10000)',
    }
    honeycomb.store.make_derived_column(DATASET, former)
    folder.write("derived_columns/fast.json", {**former, "expression": "$duration_ms <= 10000"})

    assert commands.run("apply").code == 0

    columns = honeycomb.store.derived_columns[DATASET].values()
    assert "$duration_ms <= 10000" in [one["expression"] for one in columns]


def test_mute_in_honeycomb_stays_although_the_file_says_disabled_false(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    change_file(folder, "triggers/errors.json", disabled=False)
    assert commands.run("apply").code == 0
    trigger = only(honeycomb.store.triggers[DATASET])
    trigger["disabled"] = True

    planned = commands.run("plan")
    assert planned.code == 0
    assert "= trigger            Errors  triggers/errors.json  (muted in Honeycomb)" in planned.out
    change_file(folder, "triggers/errors.json", disabled=False, frequency=1800)
    assert commands.run("apply").code == 0
    assert (trigger["disabled"], trigger["frequency"]) == (True, 1800)

    change_file(folder, "triggers/errors.json", disabled=True)
    trigger["disabled"] = False
    assert commands.run("apply").code == 0
    assert trigger["disabled"]


def test_panel_that_a_team_added_stays_and_is_moved_out_of_the_way(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run("apply").code == 0
    board = board_of(honeycomb)
    place = {"x_coordinate": 0, "y_coordinate": 40, "width": 6, "height": 4}
    board["panels"].append(panel(honeycomb, "Theirs", **place))
    planned = commands.run("plan")
    assert planned.code == 0
    assert "panel 'Theirs': a panel, in the file (none) (changed in Honeycomb; kept)" in planned.out

    changed = deepcopy(FILES["boards/overview.json"])
    changed["description"] = "All of it."
    changed["panels"][3]["position"] = place
    folder.write("boards/overview.json", changed)
    assert commands.run("apply").code == 0

    assert board["description"] == "All of it."
    assert titles(honeycomb) == ["text", "slo", "Requests", "By success", "Theirs"]
    assert [one["position"]["y_coordinate"] for one in board["panels"][3:]] == [40, 44]

    listed = commands.run("plan", "--overwrite")
    assert "panel 'Theirs': a panel -> (none)" in listed.out
    assert commands.run("apply", "--overwrite").code == 0
    assert "Theirs" not in titles(honeycomb)


def test_panel_that_the_file_dropped_is_removed(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run("apply").code == 0
    panels = FILES["boards/overview.json"]["panels"]
    change_file(folder, "boards/overview.json", panels=panels[:2] + panels[3:])

    planned = commands.run("plan")

    assert "panel 'Requests': a panel -> (none)" in planned.out
    assert commands.run("apply").code == 0
    assert titles(honeycomb) == ["text", "slo", "By success"]


def test_panel_that_the_file_renamed_is_renamed(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run("apply").code == 0
    panels = deepcopy(FILES["boards/overview.json"]["panels"])
    panels[2]["query_panel"]["query_annotation"]["name"] = "All requests"
    change_file(folder, "boards/overview.json", panels=panels)

    assert commands.run("apply").code == 0

    assert titles(honeycomb) == ["text", "slo", "All requests", "By success"]


def text(content: str, **position: int) -> dict[str, Any]:
    return {"type": "text", "text_panel": {"content": content}, "position": position}


def requests_by(column: str) -> dict[str, Any]:
    """A panel with the same title as those of other columns."""
    content = {
        "query": {**QUERY, "breakdowns": [column]},
        "query_annotation": {"name": "Requests"},
    }
    return {"type": "query", "query_panel": content}


def contents(honeycomb: FakeHoneycomb) -> list[str]:
    """The texts, and the columns of the queries, of the only board."""
    queries = honeycomb.store.queries[DATASET]
    return [
        one["text_panel"]["content"]
        if one["type"] == "text"
        else queries[one["query_panel"]["query_id"]]["breakdowns"][0]
        for one in board_of(honeycomb)["panels"]
    ]


SAME_TITLES = {
    "texts": [text("A", y_coordinate=0), text("B", y_coordinate=4), text("C", y_coordinate=8)],
    "queries": [requests_by("span.kind"), requests_by("error"), requests_by("llm.cost_usd")],
}


@pytest.fixture(params=list(SAME_TITLES.values()), ids=list(SAME_TITLES))
def panels(
    request: pytest.FixtureRequest, commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> list[dict[str, Any]]:
    """Three applied panels of one title."""
    found: list[dict[str, Any]] = request.param
    change_file(folder, "boards/overview.json", panels=found)
    assert commands.run("apply").code == 0
    assert len(set(contents(honeycomb))) == 3
    return found


@pytest.mark.parametrize("deleted", range(3))
def test_panel_deleted_in_honeycomb_is_not_one_of_the_same_title(
    deleted: int,
    panels: list[dict[str, Any]],
    commands: Commands,
    honeycomb: FakeHoneycomb,
    folder: Folder,
) -> None:
    before = contents(honeycomb)
    del board_of(honeycomb)["panels"][deleted]

    planned = commands.run("plan")
    change_file(folder, "boards/overview.json", panels=panels, description="Changed.")

    assert planned.code == 0
    assert planned.out.count("(changed in Honeycomb; kept)") == 1
    assert commands.run("apply").code == 0
    assert contents(honeycomb) == before[:deleted] + before[deleted + 1 :]
    assert commands.run("apply", "--overwrite").code == 0
    assert contents(honeycomb) == before


@pytest.mark.parametrize("removed", range(3))
def test_panel_that_the_file_dropped_is_not_one_of_the_same_title(
    removed: int,
    panels: list[dict[str, Any]],
    commands: Commands,
    honeycomb: FakeHoneycomb,
    folder: Folder,
) -> None:
    before = contents(honeycomb)
    rest = panels[:removed] + panels[removed + 1 :]
    change_file(folder, "boards/overview.json", panels=rest)

    planned = commands.run("plan")

    assert planned.out.count("    panel ") == 1
    assert commands.run("apply").code == 0
    assert contents(honeycomb) == before[:removed] + before[removed + 1 :]
    assert commands.run("plan").code == 0


@pytest.mark.parametrize("index", [0, 2, 4])
def test_added_panel_with_the_title_of_one_of_ours_replaces_none(
    index: int, commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run("apply").code == 0
    place = {"x_coordinate": 0, "y_coordinate": 40, "width": 6, "height": 4}
    added = [panel(honeycomb, "Requests", **place), text("Theirs", **place | {"y_coordinate": 50})]
    board_of(honeycomb)["panels"][index:index] = added

    planned = commands.run("plan")
    change_file(folder, "boards/overview.json", description="Changed.")

    assert planned.code == 0
    assert "panel 'text #2': Theirs, in the file (none) (changed in Honeycomb; kept)" in planned.out
    assert "panel 'Requests #2': a panel, in the file (none) (changed in " in planned.out
    assert commands.run("apply").code == 0
    ours = ["text", "slo", "Requests", "By success"]
    assert sorted(titles(honeycomb)) == sorted([*ours, "Requests", "text"])
    assert titles(honeycomb)[:4] == ours
    assert commands.run("plan").code == 0


def test_text_that_the_file_changed_is_not_the_one_that_a_team_added(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    panels = SAME_TITLES["texts"]
    change_file(folder, "boards/overview.json", panels=panels)
    assert commands.run("apply").code == 0
    board_of(honeycomb)["panels"].insert(0, text("Theirs", y_coordinate=40, width=6, height=4))
    changed = [text("A!", y_coordinate=0), *panels[1:]]
    change_file(folder, "boards/overview.json", panels=changed)

    planned = commands.run("plan")

    assert "panel 'text'.text_panel.content: A -> A!" in planned.out
    assert commands.run("apply").code == 0
    assert contents(honeycomb) == ["A!", "B", "C", "Theirs"]


def test_edited_panel_stays_if_the_file_changes_the_rest_of_the_board(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    panels = SAME_TITLES["texts"]
    change_file(folder, "boards/overview.json", panels=panels)
    assert commands.run("apply").code == 0
    board_of(honeycomb)["panels"][1]["text_panel"]["content"] = "Theirs"
    change_file(folder, "boards/overview.json", panels=panels, description="Changed.")

    assert commands.run("apply").code == 0

    assert board_of(honeycomb)["description"] == "Changed."
    assert contents(honeycomb) == ["A", "Theirs", "C"]
    assert commands.run("plan").code == 0


@pytest.mark.parametrize("index", [0, 3])
def test_copy_of_a_panel_is_not_the_original(
    index: int, commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run("apply").code == 0
    store, board = honeycomb.store, board_of(honeycomb)
    query = store.make_query(DATASET, QUERY)
    annotation = store.make_annotation(DATASET, {"name": "Copy", "query_id": query["id"]})
    ids = {"query_id": query["id"], "query_annotation_id": annotation["id"]}
    place = {"x_coordinate": 0, "y_coordinate": 40, "width": 6, "height": 4}
    board["panels"].insert(index, {"type": "query", "position": place, "query_panel": ids})
    change_file(folder, "boards/overview.json", description="Changed.")

    assert commands.run("apply").code == 0

    assert sorted(titles(honeycomb)) == ["By success", "Copy", "Requests", "slo", "text"]
    assert commands.run("plan").code == 0


def test_titles_that_look_numbered_are_panels_of_their_own(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    panels = deepcopy(SAME_TITLES["queries"])
    panels[0]["query_panel"]["query_annotation"]["name"] = "Requests #2"
    change_file(folder, "boards/overview.json", panels=panels)

    assert commands.run("apply").code == 0

    assert titles(honeycomb) == ["Requests #2", "Requests", "Requests"]
    assert commands.run("plan").code == 0


def test_panel_of_another_dataset_stays(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run("apply").code == 0
    store = honeycomb.store
    store.make_dataset({"name": "other"})
    query = store.make_query("other", {"calculations": [{"op": "COUNT"}]})
    annotation = store.make_annotation("other", {"name": "Theirs", "query_id": query["id"]})
    ids = {"query_id": query["id"], "query_annotation_id": annotation["id"]}
    place = {"x_coordinate": 0, "y_coordinate": 40, "width": 6, "height": 4}
    theirs = {"type": "query", "position": place, "query_panel": ids}
    board_of(honeycomb)["panels"].append(theirs)
    change_file(folder, "boards/overview.json", description="Changed.")

    planned = commands.run("plan")

    assert "panel 'query': a panel, in the file (none) (changed in Honeycomb; kept)" in planned.out
    assert commands.run("apply").code == 0
    shown = board_of(honeycomb)["panels"][-1]["query_panel"]
    assert shown["query_annotation_id"] == annotation["id"]


@pytest.mark.parametrize(
    ("first", "second"), [("注文", "出荷済"), ("s" * 200, "s" * 201), ("order", "order-intake")]
)
def test_services_of_one_environment_have_their_own_boards(
    first: str, second: str, commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    for name in (first, second):
        created = commands.run("apply", OTEL_SERVICE_NAME=name)
        assert "+ board              Overview  boards/overview.json" in created.out

    for name in (first, second):
        planned = commands.run("plan", "--prune", OTEL_SERVICE_NAME=name)
        assert (planned.code, "Nothing to do: 5 unchanged." in planned.out) == (0, True)
    assert len(honeycomb.store.boards) == 2
    assert "(in addition to that of the service " in created.out


def test_files_named_in_another_script_are_different_objects(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    for name in ("注文", "出荷"):
        folder.write(f"boards/{name}.json", {**FILES["boards/overview.json"], "name": name})

    assert commands.run("apply").code == 0

    assert len(honeycomb.store.boards) == 3
    assert commands.run("plan").code == 0


def test_change_in_honeycomb_alone_stays(commands: Commands, honeycomb: FakeHoneycomb) -> None:
    assert commands.run("apply").code == 0
    trigger, board = only(honeycomb.store.triggers[DATASET]), board_of(honeycomb)
    trigger["threshold"]["value"] = 50
    del board["panels"][2]
    for one in honeycomb.store.query_annotations[DATASET].values():
        one["name"] = f"Our {one['name']}"

    planned = commands.run("plan")

    assert planned.code == 0
    assert "threshold.value: 50, in the file 5 (changed in Honeycomb; kept)" in planned.out
    assert "panel 'Requests': (none), in the file a panel" in planned.out
    honeycomb.exchanges.clear()
    assert commands.run("apply").code == 0
    assert not writes(honeycomb)


def test_deleted_slo_and_derived_column_are_created_and_shown_again(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    place = {"x_coordinate": 0, "y_coordinate": 4, "width": 6, "height": 4}
    text, slo, *rest = FILES["boards/overview.json"]["panels"]
    change_file(folder, "boards/overview.json", panels=[text, {**slo, "position": place}, *rest])
    assert commands.run("apply").code == 0
    store, before = honeycomb.store, titles(honeycomb)
    store.slos[DATASET].clear()
    store.burn_alerts[DATASET].clear()
    store.derived_columns[DATASET].clear()

    applied = commands.run("apply")

    assert (applied.code, commands.run("plan").code) == (0, 0)
    assert "panel 'Succeed': of the deleted SLO -> of the new SLO" in applied.out
    assert titles(honeycomb) == before
    [shown] = [one["slo_panel"] for one in board_of(honeycomb)["panels"] if one["type"] == "slo"]
    assert shown["slo_id"] == only(store.slos[DATASET])["id"]


def test_change_on_both_sides_is_refused_and_the_rest_is_applied(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run("apply").code == 0
    trigger = only(honeycomb.store.triggers[DATASET])
    trigger["threshold"]["value"] = 50
    change_file(
        folder, "triggers/errors.json", threshold={"op": ">", "value": 9}, description="New."
    )

    for command in ("plan", "apply", "apply"):
        result = commands.run(command)
        assert result.code == 1
        assert "threshold.value: 50, in the file 9 (changed in Honeycomb and in" in result.out
        assert "use `apply --overwrite`." in result.out
    assert (trigger["threshold"]["value"], trigger["description"]) == (50, "New.")
    report = commands.run("apply", "--json").json
    assert [one["name"] for one in report["undecided"]] == ["Errors"]

    assert commands.run("apply", "--overwrite").code == 0
    assert trigger["threshold"]["value"] == 9
    assert commands.run("plan").code == 0


@pytest.mark.parametrize(("answer", "value"), [("y", 9), ("n", 50)])
def test_apply_asks_in_a_terminal(
    answer: str,
    value: int,
    commands: Commands,
    honeycomb: FakeHoneycomb,
    folder: Folder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert commands.run("apply").code == 0
    trigger = only(honeycomb.store.triggers[DATASET])
    trigger["threshold"]["value"] = 50
    board_of(honeycomb)["panels"].append(panel(honeycomb, "Theirs"))
    change_file(folder, "triggers/errors.json", threshold={"op": ">", "value": 9})
    answers = iter([answer])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: next(answers))

    applied = commands.run("apply")

    assert applied.code == (0 if answer == "y" else 1)
    assert trigger["threshold"]["value"] == value
    assert "Theirs" in titles(honeycomb)


def test_object_of_an_earlier_release_is_recorded_once(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    assert commands.run("apply").code == 0
    trigger = only(honeycomb.store.triggers[DATASET])
    trigger["tags"] = [tag for tag in trigger["tags"] if tag["key"] == "file"]
    alert = only(honeycomb.store.burn_alerts[DATASET])
    alert["description"] = "Runbook: docs/runbooks.md#high-error-rate"

    planned = commands.run("plan")

    assert "record of the last apply: (none) -> added" in planned.out
    assert commands.run("apply").code == 1  # the description differs
    assert commands.run("apply", "--overwrite").code == 0
    assert commands.run("plan").code == 0
    assert len(honeycomb.store.burn_alerts[DATASET]) == 1


def test_burn_alert_that_somebody_created_on_our_slo_is_left_alone(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    assert commands.run("apply").code == 0
    ours = only(honeycomb.store.burn_alerts[DATASET])
    recipient = [{"id": only(honeycomb.store.recipients)["id"]}]
    theirs = honeycomb.store.make_burn_alert(
        DATASET,
        {
            "alert_type": "exhaustion_time",
            "exhaustion_minutes": 60,
            "slo": ours["slo"],
            "recipients": recipient,
        },
    )
    before = json.dumps(theirs)

    assert commands.run("plan").code == 0
    assert commands.run("apply", "--prune", "--overwrite").code == 0

    assert json.dumps(theirs) == before


def test_burn_alert_with_a_description_of_somebody_is_not_created_again(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    assert commands.run("apply").code == 0
    alert = only(honeycomb.store.burn_alerts[DATASET])
    alert["description"] = "Call Ada."

    planned = commands.run("plan", "--recipient", "email:me@example.com")
    assert planned.code == 2  # the recipient of the trigger
    assert "  (its description is not that of apply; --overwrite replaces it)" in planned.out
    assert commands.run("apply").code == 0
    assert only(honeycomb.store.burn_alerts[DATASET])["description"] == "Call Ada."

    assert commands.run("apply", "--overwrite").code == 0
    assert "Call Ada." not in only(honeycomb.store.burn_alerts[DATASET])["description"]
    assert commands.run("plan").code == 0


def test_column_with_the_name_of_a_derived_column_is_not_created(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    honeycomb.store.take_span(DATASET, {"span.kind": "server"})
    theirs = {"alias": "llm.cost_usd", "expression": "1"}
    honeycomb.store.make_derived_column(DATASET, theirs)

    assert commands.run("apply").code == 0

    assert commands.run("plan").code == 0


def test_copy_with_our_tag_is_never_changed_or_deleted(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run("apply").code == 0
    store = honeycomb.store
    # Listed first.
    [original] = store.boards
    copy = {**deepcopy(store.boards[original]), "id": "copy", "name": "Copy of Overview"}
    store.boards = {"copy": copy, original: store.boards[original]}
    before = json.dumps(copy)
    change_file(folder, "boards/overview.json", description="Changed.")

    planned = commands.run("plan", "--prune")

    assert "= board              Copy of Overview  (a copy, with the tag " in planned.out
    assert commands.run("apply", "--prune", "--overwrite").code == 0
    assert store.boards[original]["description"] == "Changed."
    folder.remove("boards/overview.json")
    assert commands.run("apply", "--prune", "--overwrite").code == 0
    assert json.dumps(store.boards["copy"]) == before


def test_orphan_that_people_changed_is_deleted_with_overwrite_only(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run("apply").code == 0
    only(honeycomb.store.triggers[DATASET])["name"] = "Errors that matter"
    folder.remove("triggers/errors.json")

    refused = commands.run("apply", "--prune")

    assert refused.code == 1
    assert "it may have been changed in Honeycomb: --overwrite deletes it" in refused.out
    assert honeycomb.store.triggers[DATASET]
    assert commands.run("apply", "--prune", "--overwrite").code == 0
    assert not honeycomb.store.triggers[DATASET]


@pytest.mark.parametrize("path", ["boards", "triggers", "slos", "burn_alerts", "derived_columns"])
def test_concurrent_applies_create_each_object_once(
    path: str, commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    assert _during(path, 1, commands, honeycomb)


@in_depth  # the same for each request of apply
def test_concurrent_apply_at_each_request_creates_each_object_once(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    number = 1
    while _during("", number, commands, honeycomb):
        number += 1
        honeycomb.store.__init__("pro")  # type: ignore[misc]
    assert number > 20


def _during(path: str, number: int, commands: Commands, honeycomb: FakeHoneycomb) -> bool:
    """Run a whole apply before the request `number` of another that writes to `path`."""
    met = 0
    codes: list[int] = []

    def run_another(method: str, requested: str) -> None:
        nonlocal met
        met += requested.startswith(f"/1/{path}") and (method != "GET" or not path)
        if met == number and not codes:
            honeycomb.before = None
            codes.append(commands.run("apply").code)

    honeycomb.before = run_another
    first = commands.run("apply")
    honeycomb.before = None
    assert (first.code, codes in ([], [0])) == (0, True), (number, first.out)
    created = state(honeycomb)
    for kind in ("derived_columns", "slos", "burn_alerts", "triggers", "boards", "recipients"):
        assert len(created[kind]) == 1, (number, kind)
    assert len(created["query_annotations"]) == 2, number
    planned = commands.run("plan")
    assert (planned.code, "copy" in planned.out) == (0, False), (number, planned.out)
    return bool(codes)


def test_wrong_plan_answer_is_one_line_of_the_plan(folder: Folder) -> None:
    with FakeHoneycomb(plan="free") as honeycomb:
        commands = Commands(
            folder.path,
            HONEYCOMB_API_ENDPOINT=honeycomb.url,
            HONEYCOMB_CONFIG_KEY=CONFIGURATION_KEY,
        )
        assert commands.run("apply").code == 0
        planned = commands.run("plan")

    assert planned.code == 0
    assert planned.out.splitlines()[-1] == (
        "honeycomb_plan is pro, but the plan of this team has no SLOs: applying what the Free plan"
        " includes. Run `uvx copier update --defaults -r :current: --data honeycomb_plan=free`."
    )
    assert len(honeycomb.store.boards) == len(honeycomb.store.triggers[DATASET]) == 1


def test_column_that_an_earlier_release_created_as_text_is_named(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    assert commands.run("apply").code == 0
    columns = {one["key_name"]: one for one in honeycomb.store.columns[DATASET].values()}
    columns["llm.cost_usd"]["type"] = "string"

    planned = commands.run("plan")

    assert planned.code == 0
    assert "its type is string, but the service sends float; --overwrite changes" in planned.out
    assert commands.run("apply", "--overwrite").code == 0
    assert columns["llm.cost_usd"]["type"] == "float"


def test_recipients_of_the_option_are_added_once_and_kept(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    silent = commands.run("apply")
    assert silent.out.splitlines()[-1] == (
        "Nobody will be notified: no trigger has a recipient. Add a recipient:"
        " apply --recipient email:on-call@example.com"
    )
    trigger = only(honeycomb.store.triggers[DATASET])

    arguments = ("apply", "--recipient", "email:me@example.com", "--recipient", "slack:#alerts")
    for _ in range(2):
        applied = commands.run(*arguments)
        assert applied.code == 0
        assert "notified" not in applied.out
        assert [one["target"] for one in trigger["recipients"]] == ["me@example.com", "#alerts"]
    assert commands.run("plan").code == 0
    # Its file has one.
    alert = only(honeycomb.store.burn_alerts[DATASET])
    assert [one["target"] for one in alert["recipients"]] == ["on-call@example.com"]


@pytest.mark.parametrize("text", ["me@example.com", "email:", "carrier-pigeon:home"])
def test_invalid_recipient_is_rejected(text: str, commands: Commands) -> None:
    result = commands.run("apply", "--recipient", text)

    assert result.code == 1
    assert f"{text!r} is not a recipient, such as email:on-call@example.com" in result.err


def test_recipients_need_their_permission(commands: Commands, honeycomb: FakeHoneycomb) -> None:
    access = {"boards", "columns", "createDatasets", "slos", "triggers"}
    honeycomb.keys[CONFIGURATION_KEY] = Key(access=frozenset(access))

    result = commands.run("plan", "--recipient", "email:me@example.com")

    assert "lacks permissions: Manage Recipients." in result.err


def test_record_holds_each_part_and_fits_a_tag() -> None:
    for count in (1, 12, 40, 62):
        parts = {f"panel {number}": {"value": number} for number in range(count)}
        text = record_of(parts)
        assert len(text) <= 128
        record = Record.parse(text)
        assert all(record.holds(name, value) for name, value in parts.items())
        assert not record.holds("panel 0", {"value": "other"})
    assert not Record.parse("").holds("name", None)
    # Honeycomb returns the fields of an object in its own order.
    ordered = Record.parse(record_of({"query": {"a": 1, "b": 2}}))
    assert ordered.holds("query", {"b": 2, "a": 1})


@in_depth  # copies a former release
@pytest.mark.parametrize("is_recorded", [False, True])
def test_files_of_the_next_release_are_applied_to_objects_of_0_3_0(
    is_recorded: bool, render: Render, tmp_path: Path
) -> None:
    import copier

    former = tmp_path / "order-intake"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "template")], check=True)
    copier.run_copy(
        str(tmp_path / "template"),
        former,
        data={"honeycomb_plan": "pro"},
        defaults=True,
        quiet=True,
        vcs_ref=releases()["0.3.0"],
    )
    with FakeHoneycomb(plan="pro") as honeycomb:
        commands = Commands(
            former,
            HONEYCOMB_API_ENDPOINT=honeycomb.url,
            HONEYCOMB_CONFIG_KEY=CONFIGURATION_KEY,
        )
        assert commands.run("apply").code == 0
        if not is_recorded:
            _forget_records(honeycomb)
        honeycomb.store.ahead = 60
        commands.folder = render(honeycomb_plan="pro")

        planned = commands.run("plan")
        assert planned.code == (2 if is_recorded else 1), planned.out
        applied = commands.run("apply", *([] if is_recorded else ["--overwrite"]))
        assert applied.code == 0, applied.out
        assert commands.run("plan").code == 0

    store = honeycomb.store
    assert len(store.boards) == 5
    assert len(store.triggers[DATASET]) == 6
    for board in store.boards.values():
        shown = {json.dumps(one["position"]) for one in board["panels"]}
        assert len(shown) == len(board["panels"])


def _forget_records(honeycomb: FakeHoneycomb) -> None:
    """Make the objects those of a release that recorded nothing."""
    store = honeycomb.store
    for objects in (store.boards, store.triggers[DATASET], store.slos[DATASET]):
        for one in objects.values():
            one["tags"] = [tag for tag in one["tags"] if tag["key"] != "applied"]
    for column in store.derived_columns[DATASET].values():
        column["description"] = column["description"].partition(" [applied:")[0]
