"""plan, apply and marker, against a fake Honeycomb that is as strict as the real one."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest

from hooks.honeycomb.diff import same_query

from ..conftest import Render
from ..fakes.honeycomb import CONFIGURATION_KEY, INGEST_KEY, FakeHoneycomb, Fault, Key, Plan
from .conftest import FILES, QUERY, Commands, Folder


class RespondsAlways:
    """A server that responds to every request with the same text."""

    def __init__(self, text: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def state(honeycomb: FakeHoneycomb) -> Any:
    """The state of Honeycomb, with names and queries in place of ids and times."""
    store = honeycomb.store

    def named(body: dict[str, Any]) -> dict[str, Any]:
        ids = ("id", "created_at", "updated_at", "links", "query_id", "query_annotation_id")
        return {
            name: panel_of(value) if name in ("panels", "slo", "recipients") else value
            for name, value in body.items()
            if name not in ids
        }

    def panel_of(value: Any) -> Any:
        if isinstance(value, list):
            return [panel_of(one) for one in value]
        if not isinstance(value, dict):
            return value
        value = {name: panel_of(one) for name, one in value.items() if name != "id"}
        for slug in store.datasets:
            if "query_id" in value:
                query = store.queries[slug][value.pop("query_id")]
                value["query"] = named(query)
                annotation = store.query_annotations[slug][value.pop("query_annotation_id")]
                value["query_annotation"] = named(annotation)
            if "slo_id" in value:
                value["slo"] = store.slos[slug][value.pop("slo_id")]["name"]
        return value

    kinds = ("columns", "derived_columns", "query_annotations", "slos", "burn_alerts", "triggers")
    objects: dict[str, Any] = {
        kind: [named(one) for kept in getattr(store, kind).values() for one in kept.values()]
        for kind in kinds
    }
    objects["boards"] = [named(board) for board in store.boards.values()]
    objects["recipients"] = [named(one) for one in store.recipients.values()]
    objects["datasets"] = [named(one) for one in store.datasets.values()]
    objects["definitions"] = list(store.definitions.values())
    return json.loads(
        json.dumps({kind: sorted(all_of, key=json.dumps) for kind, all_of in objects.items()})
    )


def writes(honeycomb: FakeHoneycomb) -> list[str]:
    return [f"{one.method} {one.path}" for one in honeycomb.exchanges if one.writes]


@pytest.mark.parametrize("plan", ["free", "pro", "enterprise"])
def test_apply_creates_the_rendered_definitions_once(plan: Plan, render: Render) -> None:
    project = render(honeycomb_plan=plan)
    with FakeHoneycomb(plan=plan) as honeycomb:
        commands = Commands(
            project, HONEYCOMB_API_ENDPOINT=honeycomb.url, HONEYCOMB_CONFIG_KEY=CONFIGURATION_KEY
        )
        assert commands.run("plan").code == 2
        assert commands.run("apply", "--dry-run").code == 2
        assert not writes(honeycomb)
        applied = commands.run("apply")
        assert (applied.code, applied.err) == (0, "")
        made = len(writes(honeycomb))
        planned = commands.run("plan")
        assert planned.code == 0
        assert "Nothing to do" in planned.out
        assert commands.run("apply").code == 0

    store = honeycomb.store
    assert len(writes(honeycomb)) == made
    assert len(store.boards) == len(list((project / "honeycomb/boards").iterdir()))
    assert len(store.triggers["order-intake"]) == (2 if plan == "free" else 6)
    assert len(store.slos["order-intake"]) == (0 if plan == "free" else 2)
    assert planned.out.count("(needs Honeycomb Pro)") == (9 if plan == "free" else 0)
    assert planned.out.count("(it has no recipients") == (0 if plan == "free" else 3)
    status = {"name": "http.response.status_code", "column_type": "column"}
    assert store.definitions["order-intake"]["status"] == status
    [tag, record] = next(iter(store.boards.values()))["tags"]
    assert (tag["key"], record["key"]) == ("file", "applied")
    assert tag["value"].startswith("order-intake/boards/")
    for printed in (applied, planned):
        assert CONFIGURATION_KEY not in printed.out + printed.err


def test_plan_shows_each_changed_field(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run("apply").code == 0
    before = next(iter(honeycomb.store.boards.values()))["panels"]
    trigger = FILES["triggers/errors.json"]
    folder.write("triggers/errors.json", {**trigger, "threshold": {"op": ">", "value": 10}})
    board = json.loads(json.dumps(FILES["boards/overview.json"]))
    board["name"] = "Everything"
    board["panels"][2]["query_panel"]["query"]["time_range"] = 7200
    folder.write("boards/overview.json", board)

    planned = commands.run("plan")
    assert planned.code == 2
    assert [line.strip() for line in planned.out.splitlines()[2:]] == [
        "~ trigger            Errors  triggers/errors.json",
        "threshold.value: 5 -> 10",
        "~ board              Everything  boards/overview.json",
        "name: Overview -> Everything",
        "panel 'Requests'.query_panel.query.time_range: 3600 -> 7200",
        "",
        "2 to change, 3 unchanged.",
    ]
    honeycomb.exchanges.clear()
    assert commands.run("apply").code == 0
    [board_id] = honeycomb.store.boards
    assert [line.split("/")[:3] for line in writes(honeycomb)] == [
        ["PUT ", "1", "triggers"],
        ["POST ", "1", "queries"],
        ["POST ", "1", "query_annotations"],
        ["PUT ", "1", "boards"],
    ]
    after = honeycomb.store.boards[board_id]["panels"]
    assert after[3] == before[3]
    assert commands.run("plan").code == 0


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({}, {"calculations": [{"op": "P95", "column": "duration_ms"}]}),
        ({}, {"breakdowns": ["http.route"]}),
        ({}, {"filters": [{"column": "error", "op": "exists"}]}),
        ({}, {"havings": [{"calculate_op": "COUNT", "op": ">", "value": 1}]}),
        ({}, {"orders": [{"op": "COUNT", "order": "descending"}]}),
        ({}, {"time_range": 60}),
        ({}, {"granularity": 60}),
        ({"limit": 7}, {}),
        ({"limit": 100}, {"limit": 1000}),
        ({}, {"limit": 50}),
    ],
)
def test_query_with_another_field_differs(live: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert not same_query({**QUERY, **live}, {**QUERY, **wanted})


@pytest.mark.parametrize(
    "live", [{"limit": 100}, {"limit": 1000}, {"breakdowns": [], "filter_combination": "OR"}]
)
def test_query_with_the_default_values_of_honeycomb_does_not_differ(live: dict[str, Any]) -> None:
    assert same_query({**QUERY, **live}, QUERY)


def test_apply_keeps_manually_created_objects(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    store = honeycomb.store
    store.take_span("order-intake", {"error": True, "span.kind": "server"})
    by_hand = store.make_board({"name": "Overview", "type": "flexible", "panels": []})
    trigger = {**FILES["triggers/errors.json"], "tags": [{"key": "file", "value": "someone-else"}]}
    kept = store.make_trigger("order-intake", trigger)
    before = json.dumps([by_hand, kept])

    planned = commands.run("plan")
    assert "Overview  boards/overview.json  (in addition to a manually created one" in (planned.out)
    assert commands.run("apply", "--prune").code == 0

    assert json.dumps([by_hand, kept]) == before
    assert len(store.boards) == len(store.triggers["order-intake"]) == 2


def test_apply_keeps_recipients_and_mutes_set_in_honeycomb(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run("apply").code == 0
    [trigger] = honeycomb.store.triggers["order-intake"].values()
    [recipient] = honeycomb.store.recipients.values()
    trigger["recipients"] = [
        {"id": recipient["id"], "type": "email", "target": "on-call@example.com"}
    ]
    trigger["disabled"] = True
    assert commands.run("plan").code == 0

    folder.write("triggers/errors.json", {**FILES["triggers/errors.json"], "frequency": 1800})
    assert commands.run("apply").code == 0

    assert trigger["frequency"] == 1800
    assert [one["target"] for one in trigger["recipients"]] == ["on-call@example.com"]
    assert trigger["disabled"]


def test_only_prune_deletes_orphaned_objects(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run("apply").code == 0
    for name in ("boards/overview.json", "burn_alerts/succeed.json", "slos/succeed.json"):
        folder.remove(name)
    planned = commands.run("plan")
    assert planned.code == 0
    assert "? board              Overview  (its definition was deleted: " in planned.out
    assert commands.run("apply").code == 0
    assert honeycomb.store.boards

    assert commands.run("plan", "--prune").code == 2
    assert commands.run("apply", "--prune").code == 0
    assert not honeycomb.store.boards
    assert len(honeycomb.store.triggers["order-intake"]) == 1


def test_queries_use_the_current_expression_of_a_changed_derived_column(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    def expressions() -> set[str]:
        [board] = honeycomb.store.boards.values()
        query = board["panels"][3]["query_panel"]["query_id"]
        return set(honeycomb.store.queries["order-intake"][query]["_made_with"].values())

    assert commands.run("apply").code == 0
    honeycomb.store.ahead = 60
    changed = {**FILES["derived_columns/succeeded.json"], "expression": "!EXISTS($error)"}
    folder.write("derived_columns/succeeded.json", changed)
    planned = commands.run("plan")
    assert "panel 'By success'.query: with the former sli.succeeded -> " in planned.out

    # Killed after the derived column. The next apply compares times to find the rest.
    reads = len(honeycomb.exchanges)
    commands.run("plan")
    reads = len(honeycomb.exchanges) - reads
    honeycomb.plant(Fault(reads + 2, 10_000, "reset before"))
    assert commands.run("apply").code == 1
    honeycomb.plant(None)
    assert commands.run("apply").code == 0

    assert expressions() == {"!EXISTS($error)"}
    assert commands.run("plan").code == 0


LATER: Final = "from here on"
MODES: Final[dict[str, Callable[[int], Fault]]] = {
    "500 once": lambda n: Fault(n, n),
    "429 with seconds": lambda n: Fault(n, n, status=429, headers={"retry-after": "0"}),
    "429 with a date": lambda n: Fault(
        n, n, status=429, headers={"retry-after": formatdate(time.time(), usegmt=True)}
    ),
    "connection lost before the work": lambda n: Fault(n, n, "reset before"),
    "connection lost after the work": lambda n: Fault(n, n, "reset after"),
    f"500 {LATER}": lambda n: Fault(n, 10_000),
    f"429 {LATER}": lambda n: Fault(n, 10_000, status=429, headers={"retry-after": "86400"}),
    f"dead {LATER}": lambda n: Fault(n, 10_000, "reset before"),
    f"killed after the work, dead {LATER}": lambda n: Fault(
        n, 10_000, "reset before", works_last=True
    ),
}


@pytest.mark.parametrize("mode", MODES)
def test_interrupted_apply_is_completed_without_duplicates(
    mode: str, commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run("apply").code == 0
    undisturbed = state(honeycomb)
    count = len(honeycomb.exchanges)
    assert count > 20

    for number in range(1, count + 1):
        honeycomb.store.__init__("pro")  # type: ignore[misc]
        honeycomb.plant(MODES[mode](number))
        applied = commands.run("apply")
        assert applied.code == (1 if LATER in mode else 0), (number, applied)
        if applied.code:
            assert applied.err
            honeycomb.plant(None)
            assert commands.run("apply").code == 0, number
        assert state(honeycomb) == undisturbed, number
        honeycomb.plant(None)
        honeycomb.exchanges.clear()
        assert commands.run("apply").code == 0
        assert not writes(honeycomb), number


@pytest.mark.parametrize(
    "mode", ["connection lost after the work", f"killed after the work, dead {LATER}"]
)
def test_interrupted_change_is_completed_without_duplicates(
    mode: str, commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run("apply").code == 0
    honeycomb.store.ahead = 60
    before = deepcopy(honeycomb.store)
    slo, alert = FILES["slos/succeed.json"], FILES["burn_alerts/succeed.json"]
    board = deepcopy(FILES["boards/overview.json"])
    board["panels"][1]["slo_panel"]["slo"]["name"] = "Succeed, mostly"
    board["panels"].insert(0, board["panels"].pop())
    changed = FILES["derived_columns/succeeded.json"] | {"expression": "!EXISTS($error)"}
    folder.write("derived_columns/succeeded.json", changed)
    folder.write("slos/succeed.json", {**slo, "name": "Succeed, mostly"})
    folder.write("burn_alerts/succeed.json", {**alert, "slo": {"name": "Succeed, mostly"}})
    folder.remove("triggers/errors.json")
    folder.write("boards/overview.json", board)
    honeycomb.exchanges.clear()
    first = commands.run("apply", "--prune")
    assert first.code == 0, first.out
    count = len(honeycomb.exchanges)
    undisturbed = state(honeycomb)
    counts = [len(undisturbed[kind]) for kind in ("slos", "burn_alerts", "boards", "triggers")]
    assert counts == [1, 1, 1, 0]

    for number in range(1, count + 1):
        honeycomb.store = deepcopy(before)
        honeycomb.plant(MODES[mode](number))
        applied = commands.run("apply", "--prune")
        assert applied.code == (1 if LATER in mode else 0), (number, applied)
        honeycomb.plant(None)
        assert commands.run("apply", "--prune").code == 0
        assert state(honeycomb) == undisturbed, number


def test_rejected_object_is_reported_and_the_others_are_created(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    assert commands.run("apply").code == 0
    number = [one.path for one in honeycomb.exchanges if one.writes].index("/1/slos/order-intake")
    writing = [index for index, one in enumerate(honeycomb.exchanges, 1) if one.writes][number]
    honeycomb.store.__init__("pro")  # type: ignore[misc]
    honeycomb.plant(Fault(writing, writing, status=422))

    applied = commands.run("apply")

    assert applied.code == 1
    assert "x SLO                Succeed" in applied.out
    assert (
        "Honeycomb rejected the request (422 to POST /1/slos/order-intake: planted)" in applied.out
    )
    assert applied.out.count("It needs 'Succeed', which could not be created.") == 2
    assert "run apply again" in applied.err
    assert len(honeycomb.store.triggers["order-intake"]) == 1
    honeycomb.plant(None)
    assert commands.run("apply").code == 0
    assert len(honeycomb.store.boards) == 1


def test_undeclared_column_stops_plan_and_apply(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    trigger = FILES["triggers/errors.json"]
    query = {**trigger["query"], "breakdowns": ["llm.cost_usdd"]}
    folder.write("triggers/errors.json", {**trigger, "query": query})

    for command in ("plan", "apply"):
        result = commands.run(command)
        assert result.code == 1
        assert "honeycomb/triggers/errors.json names the column 'llm.cost_usdd'" in result.err
    assert not writes(honeycomb)

    honeycomb.store.take_span("order-intake", {"llm.cost_usdd": 1.0})
    assert commands.run("apply").code == 0


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("", "HONEYCOMB_CONFIG_KEY is not set."),
        (INGEST_KEY, "HONEYCOMB_CONFIG_KEY is an ingest key"),
        (INGEST_KEY[:32], "HONEYCOMB_CONFIG_KEY is the ingest key's id, without its secret, "),
        ("0123456789abcdef" * 2, "HONEYCOMB_CONFIG_KEY is a key of Honeycomb Classic"),
        ("hcamk_0123:4567", "HONEYCOMB_CONFIG_KEY is a management key"),
        ("<your-configuration-key>", "HONEYCOMB_CONFIG_KEY is still a placeholder."),
        ("A" * 22, "does not know HONEYCOMB_CONFIG_KEY"),
        ("Schlüssel", "HONEYCOMB_CONFIG_KEY contains a character that is invalid in a key"),
    ],
)
def test_invalid_configuration_key_is_reported_with_the_key_to_create(
    key: str, sentence: str, commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    for command in ("plan", "apply", "marker"):
        result = commands.run(command, HONEYCOMB_CONFIG_KEY=key)
        assert result.code == 1
        assert sentence in result.err
        assert len(result.err.splitlines()) == 1
        assert not key or key not in result.err + result.out
        if "character" not in sentence:
            assert "API Keys, Configuration, with: " in result.err
    assert not writes(honeycomb)
    assert json.loads(commands.run("plan", "--json", HONEYCOMB_CONFIG_KEY=key).out)["error"]


def test_missing_permission_of_the_key_is_named(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    honeycomb.keys[CONFIGURATION_KEY] = Key(access=frozenset({"columns", "createDatasets", "slos"}))

    result = commands.run("apply")

    assert result.code == 1
    assert (
        "lacks permissions: Manage Triggers, Manage Public Boards, Manage Recipients." in result.err
    )
    assert not writes(honeycomb)


def test_marker_is_recorded_once_if_the_response_is_lost(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    missing = commands.run("marker")
    assert missing.code == 1
    assert "does not have a dataset 'order-intake' yet" in missing.err
    honeycomb.store.take_span("order-intake", {})
    honeycomb.plant(Fault(2, 2, "reset after"))

    recorded = commands.run("marker", "--version", "1.2.3", "--url", "https://ci.example/1")

    assert recorded.code == 0
    [marker] = honeycomb.store.markers["order-intake"].values()
    assert (marker["type"], marker["message"]) == ("deploy", "1.2.3")
    assert marker["url"] == "https://ci.example/1"
    assert commands.run("marker", ORDER_INTAKE_VERSION="4.5.6").code == 0
    messages = [one["message"] for one in honeycomb.store.markers["order-intake"].values()]
    assert messages == ["1.2.3", "4.5.6"]


def test_json_contains_each_step(commands: Commands, folder: Folder) -> None:
    planned = commands.run("plan", "--json").json
    assert planned["changes"] == len(planned["steps"]) == 12
    assert {step["action"] for step in planned["steps"]} == {"create", "change"}

    applied = commands.run("apply", "--json").json
    assert (applied["error"], applied["left"]) == (None, 0)
    assert [one["name"] for one in applied["done"]] == [one["name"] for one in planned["steps"]]


@pytest.mark.parametrize("arguments", [["check"], ["--help"]])
def test_broken_pipe_prints_no_traceback(arguments: list[str], folder: Folder) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", "from hooks.cli import main; main()", *arguments],
        cwd=folder.path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)

    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("response", ["[]", "{}", '{"api_key_access": 5}', "null", "<html>"])
def test_responses_of_another_server_are_reported_in_one_sentence(
    response: str, commands: Commands
) -> None:
    with RespondsAlways(response) as url:
        for command in ("plan", "apply", "marker"):
            result = commands.run(command, HONEYCOMB_API_ENDPOINT=url)
            assert result.code == 1
            assert f"{url} is not Honeycomb's API: " in result.err
            assert len(result.err.splitlines()) == 1
