"""plan, apply and marker of a rendered project, against a Honeycomb that is as strict as the real one."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest

from .commands import Commands
from .conftest import Render, Workshop
from .fake_honeycomb import CONFIGURATION_KEY, INGEST_KEY, FakeHoneycomb, Fault, Key, Plan

QUERY: Final = {
    "calculations": [{"op": "COUNT"}],
    "filters": [{"column": "span.kind", "op": "=", "value": "server"}],
    "time_range": 3600,
}
# One object of each kind, with each kind of reference.
FILES: Final[dict[str, Any]] = {
    "derived_columns/succeeded.json": {
        "alias": "sli.succeeded",
        "expression": 'IF($span.kind = "server", !EXISTS($error))',
    },
    "slos/succeed.json": {
        "name": "Succeed",
        "sli": {"alias": "sli.succeeded"},
        "time_period_days": 30,
        "target_per_million": 950000,
    },
    "burn_alerts/succeed.json": {
        "slo": {"name": "Succeed"},
        "alert_type": "exhaustion_time",
        "exhaustion_minutes": 240,
        "recipients": [{"type": "email", "target": "on-call@example.com"}],
    },
    "triggers/errors.json": {
        "name": "Errors",
        "query": {**QUERY, "filters": [{"column": "error", "op": "exists"}]},
        "threshold": {"op": ">", "value": 5},
        "frequency": 900,
        "recipients": [],
    },
    "boards/overview.json": {
        "name": "Overview",
        "type": "flexible",
        "preset_filters": [{"column": "service.version", "alias": "Version"}],
        "panels": [
            {"type": "text", "text_panel": {"content": "# Overview"}},
            {"type": "slo", "slo_panel": {"slo": {"name": "Succeed"}}},
            {
                "type": "query",
                "query_panel": {
                    "query": QUERY,
                    "query_annotation": {"name": "Requests", "description": "Each hour."},
                },
            },
            {
                "type": "query",
                "position": {"x_coordinate": 6, "width": 6, "height": 4},
                "query_panel": {
                    "query": {**QUERY, "breakdowns": ["sli.succeeded", "llm.cost_usd"]},
                    "query_annotation": {"name": "By success"},
                    "query_style": "table",
                    "visualization_settings": {"charts": [{"chart_type": "tsbar"}]},
                },
            },
        ],
    },
}
REGISTRY: Final = "groups:\n  - attributes:\n      - {id: llm.cost_usd, type: double}\n"


@pytest.fixture(scope="module")
def project(render: Render, workshop: Workshop) -> Path:
    project = render(honeycomb_plan="pro")
    workshop.install(project)
    return project


@pytest.fixture
def honeycomb() -> Iterator[FakeHoneycomb]:
    with FakeHoneycomb(plan="pro") as honeycomb:
        yield honeycomb


@pytest.fixture
def commands(workshop: Workshop, project: Path, honeycomb: FakeHoneycomb) -> Iterator[Commands]:
    with Commands(
        workshop,
        project,
        HONEYCOMB_API_ENDPOINT=honeycomb.url,
        HONEYCOMB_CONFIG_KEY=CONFIGURATION_KEY,
    ) as commands:
        yield commands


class Folder:
    """A project's folder with files of its own in honeycomb/."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "honeycomb").mkdir()
        (path / "honeycomb/telemetry.yaml").write_text(REGISTRY)
        for name, body in FILES.items():
            self.write(name, body)

    def write(self, name: str, body: Any) -> None:
        path = self.path / "honeycomb" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(body))

    def remove(self, name: str) -> None:
        (self.path / "honeycomb" / name).unlink()


class AnswersAlways:
    """A server that answers everything with the same text."""

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


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def state(honeycomb: FakeHoneycomb) -> Any:
    """What Honeycomb has, with names and queries in the place of ids and times."""
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
def test_what_is_rendered_is_made_once(plan: Plan, render: Render, workshop: Workshop) -> None:
    project = render(honeycomb_plan=plan)
    workshop.install(project)
    with (
        FakeHoneycomb(plan=plan) as honeycomb,
        Commands(
            workshop,
            project,
            HONEYCOMB_API_ENDPOINT=honeycomb.url,
            HONEYCOMB_CONFIG_KEY=CONFIGURATION_KEY,
        ) as commands,
    ):
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
    assert len(store.triggers["order-intake"]) == (2 if plan == "free" else 5)
    assert len(store.slos["order-intake"]) == (0 if plan == "free" else 2)
    assert planned.out.count("(needs Honeycomb Pro)") == (7 if plan == "free" else 0)
    assert planned.out.count("(needs a recipient in its file)") == (0 if plan == "free" else 2)
    status = {"name": "http.response.status_code", "column_type": "column"}
    assert store.definitions["order-intake"]["status"] == status
    [tag] = next(iter(store.boards.values()))["tags"]
    assert tag["key"] == "file"
    assert tag["value"].startswith("order-intake/boards/")
    for printed in (applied, planned):
        assert CONFIGURATION_KEY not in printed.out + printed.err


def test_a_plan_shows_each_field_that_changes(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run_in(folder.path, "apply").code == 0
    before = next(iter(honeycomb.store.boards.values()))["panels"]
    trigger = FILES["triggers/errors.json"]
    folder.write("triggers/errors.json", {**trigger, "threshold": {"op": ">", "value": 10}})
    board = json.loads(json.dumps(FILES["boards/overview.json"]))
    board["name"] = "Everything"
    board["panels"][2]["query_panel"]["query"]["time_range"] = 7200
    folder.write("boards/overview.json", board)

    planned = commands.run_in(folder.path, "plan")
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
    assert commands.run_in(folder.path, "apply").code == 0
    [board_id] = honeycomb.store.boards
    assert [line.split("/")[:3] for line in writes(honeycomb)] == [
        ["PUT ", "1", "triggers"],
        ["POST ", "1", "queries"],
        ["POST ", "1", "query_annotations"],
        ["PUT ", "1", "boards"],
    ]
    after = honeycomb.store.boards[board_id]["panels"]
    assert after[3] == before[3]
    assert commands.run_in(folder.path, "plan").code == 0


def test_what_people_made_by_hand_stays(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    store = honeycomb.store
    store.take_span("order-intake", {"error": True, "span.kind": "server"})
    by_hand = store.make_board({"name": "Overview", "type": "flexible", "panels": []})
    trigger = {**FILES["triggers/errors.json"], "tags": [{"key": "file", "value": "someone-else"}]}
    kept = store.make_trigger("order-intake", trigger)
    before = json.dumps([by_hand, kept])

    planned = commands.run_in(folder.path, "plan")
    assert "Overview  boards/overview.json  (beside one of this name that was made by hand" in (
        planned.out
    )
    assert commands.run_in(folder.path, "apply", "--prune").code == 0

    assert json.dumps([by_hand, kept]) == before
    assert len(store.boards) == len(store.triggers["order-intake"]) == 2


def test_recipients_and_mutes_that_people_add_stay(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run_in(folder.path, "apply").code == 0
    [trigger] = honeycomb.store.triggers["order-intake"].values()
    [recipient] = honeycomb.store.recipients.values()
    trigger["recipients"] = [
        {"id": recipient["id"], "type": "email", "target": "on-call@example.com"}
    ]
    trigger["disabled"] = True
    assert commands.run_in(folder.path, "plan").code == 0

    folder.write("triggers/errors.json", {**FILES["triggers/errors.json"], "frequency": 1800})
    assert commands.run_in(folder.path, "apply").code == 0

    assert trigger["frequency"] == 1800
    assert [one["target"] for one in trigger["recipients"]] == ["on-call@example.com"]
    assert trigger["disabled"]


def test_what_was_made_from_a_file_that_is_gone_is_deleted_only_with_prune(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run_in(folder.path, "apply").code == 0
    for name in ("boards/overview.json", "burn_alerts/succeed.json", "slos/succeed.json"):
        folder.remove(name)
    planned = commands.run_in(folder.path, "plan")
    assert planned.code == 0
    assert "? board              Overview  (its file is gone" in planned.out
    assert commands.run_in(folder.path, "apply").code == 0
    assert honeycomb.store.boards

    assert commands.run_in(folder.path, "plan", "--prune").code == 2
    assert commands.run_in(folder.path, "apply", "--prune").code == 0
    assert not honeycomb.store.boards
    assert len(honeycomb.store.triggers["order-intake"]) == 1


def test_a_derived_column_that_changes_is_in_the_queries_that_name_it(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    def expressions() -> set[str]:
        [board] = honeycomb.store.boards.values()
        query = board["panels"][3]["query_panel"]["query_id"]
        return set(honeycomb.store.queries["order-intake"][query]["_made_with"].values())

    assert commands.run_in(folder.path, "apply").code == 0
    honeycomb.store.ahead = 60
    changed = {**FILES["derived_columns/succeeded.json"], "expression": "!EXISTS($error)"}
    folder.write("derived_columns/succeeded.json", changed)
    planned = commands.run_in(folder.path, "plan")
    assert "panel 'By success'.query: with sli.succeeded as it was -> " in planned.out

    # Killed after the derived column: the next apply sees by the times what is left to do.
    reads = len(honeycomb.exchanges)
    commands.run_in(folder.path, "plan")
    reads = len(honeycomb.exchanges) - reads
    honeycomb.plant(Fault(reads + 2, 10_000, "reset before"))
    assert commands.run_in(folder.path, "apply").code == 1
    honeycomb.plant(None)
    assert commands.run_in(folder.path, "apply").code == 0

    assert expressions() == {"!EXISTS($error)"}
    assert commands.run_in(folder.path, "plan").code == 0


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
def test_what_fails_anywhere_is_completed_and_nothing_is_doubled(
    mode: str, commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run_in(folder.path, "apply").code == 0
    undisturbed = state(honeycomb)
    count = len(honeycomb.exchanges)
    assert count > 20

    for number in range(1, count + 1):
        honeycomb.store.__init__("pro")  # type: ignore[misc]
        honeycomb.plant(MODES[mode](number))
        applied = commands.run_in(folder.path, "apply")
        assert applied.code == (1 if LATER in mode else 0), (number, applied)
        if applied.code:
            assert applied.err
            honeycomb.plant(None)
            assert commands.run_in(folder.path, "apply").code == 0, number
        assert state(honeycomb) == undisturbed, number
        honeycomb.plant(None)
        honeycomb.exchanges.clear()
        assert commands.run_in(folder.path, "apply").code == 0
        assert not writes(honeycomb), number


@pytest.mark.parametrize(
    "mode", ["connection lost after the work", f"killed after the work, dead {LATER}"]
)
def test_a_change_that_fails_anywhere_is_completed_and_nothing_is_doubled(
    mode: str, commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    assert commands.run_in(folder.path, "apply").code == 0
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
    assert commands.run_in(folder.path, "apply", "--prune").code == 0
    count = len(honeycomb.exchanges)
    undisturbed = state(honeycomb)
    counts = [len(undisturbed[kind]) for kind in ("slos", "burn_alerts", "boards", "triggers")]
    assert counts == [1, 1, 1, 0]

    for number in range(1, count + 1):
        honeycomb.store = deepcopy(before)
        honeycomb.plant(MODES[mode](number))
        applied = commands.run_in(folder.path, "apply", "--prune")
        assert applied.code == (1 if LATER in mode else 0), (number, applied)
        honeycomb.plant(None)
        assert commands.run_in(folder.path, "apply", "--prune").code == 0
        assert state(honeycomb) == undisturbed, number


def test_what_honeycomb_refuses_is_said_and_the_rest_is_made(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    slo = {**FILES["slos/succeed.json"], "target_per_million": 1_000_000}
    folder.write("slos/succeed.json", slo)

    applied = commands.run_in(folder.path, "apply")

    assert applied.code == 1
    assert "x SLO                Succeed" in applied.out
    assert "target_per_million: 0 to 999999" in applied.out
    assert applied.out.count("It needs 'Succeed', which could not be made.") == 2
    assert "run apply again" in applied.err
    assert len(honeycomb.store.triggers["order-intake"]) == 1
    folder.write("slos/succeed.json", FILES["slos/succeed.json"])
    assert commands.run_in(folder.path, "apply").code == 0
    assert len(honeycomb.store.boards) == 1


def test_a_column_that_nothing_declares_stops_everything(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    trigger = FILES["triggers/errors.json"]
    query = {**trigger["query"], "breakdowns": ["llm.cost_usdd"]}
    folder.write("triggers/errors.json", {**trigger, "query": query})

    for command in ("plan", "apply"):
        result = commands.run_in(folder.path, command)
        assert result.code == 1
        assert "honeycomb/triggers/errors.json names the column 'llm.cost_usdd'" in result.err
    assert not writes(honeycomb)

    honeycomb.store.take_span("order-intake", {"llm.cost_usdd": 1.0})
    assert commands.run_in(folder.path, "apply").code == 0


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("", "HONEYCOMB_CONFIG_KEY is not set."),
        (INGEST_KEY, "HONEYCOMB_CONFIG_KEY is an ingest key"),
        (INGEST_KEY[:32], "HONEYCOMB_CONFIG_KEY is the id of a key, without its secret."),
        ("0123456789abcdef" * 2, "HONEYCOMB_CONFIG_KEY is a key of Honeycomb Classic"),
        ("hcamk_0123:4567", "HONEYCOMB_CONFIG_KEY is a management key"),
        ("<your-configuration-key>", "HONEYCOMB_CONFIG_KEY is still a placeholder."),
        ("A" * 22, "does not know HONEYCOMB_CONFIG_KEY"),
        ("Schlüssel", "HONEYCOMB_CONFIG_KEY holds a character that no key has"),
    ],
)
def test_a_wrong_key_is_one_sentence_that_says_which_to_make(
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


def test_a_permission_that_is_missing_is_named(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    honeycomb.keys[CONFIGURATION_KEY] = Key(access=frozenset({"columns", "createDatasets", "slos"}))

    result = commands.run("apply")

    assert result.code == 1
    assert "is not allowed to: Manage Triggers, Manage Public Boards." in result.err
    assert not writes(honeycomb)


def test_a_deploy_is_recorded_once_though_the_answer_is_lost(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    missing = commands.run("marker")
    assert missing.code == 1
    assert "no dataset 'order-intake' yet" in missing.err
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


def test_json_says_what_the_lines_say(commands: Commands, folder: Folder) -> None:
    planned = commands.run_in(folder.path, "plan", "--json").json
    assert planned["changes"] == len(planned["steps"]) == 12
    assert {step["action"] for step in planned["steps"]} == {"create", "change"}

    applied = commands.run_in(folder.path, "apply", "--json").json
    assert (applied["error"], applied["left"]) == (None, 0)
    assert [one["name"] for one in applied["done"]] == [one["name"] for one in planned["steps"]]


def test_bad_files_are_all_named_before_anything_is_asked(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    (folder.path / "honeycomb/boards/broken.json").write_text("{")
    folder.write("triggers/listed.json", [])
    folder.write("triggers/nameless.json", {"query": QUERY})
    folder.write("slos/other.json", {**FILES["slos/succeed.json"], "sli": {"alias": "sli.gone"}})

    result = commands.run_in(folder.path, "plan")

    assert result.code == 1
    broken = "honeycomb/boards/broken.json is no JSON that can be read: "
    assert [line if broken not in line else broken for line in result.err.splitlines()] == [
        "honeycomb/triggers/listed.json is no trigger: 'list' object has no attribute 'get'.",
        "honeycomb/triggers/nameless.json is no trigger: it lacks 'name'.",
        broken,
        "honeycomb/slos/other.json names the derived column 'sli.gone', and no file has it.",
        "honeycomb/slos/succeed.json and honeycomb/slos/other.json are both the SLO 'Succeed'.",
    ]
    assert not honeycomb.exchanges


def test_a_field_that_is_missing_is_told(commands: Commands, folder: Folder) -> None:
    trigger = dict(FILES["triggers/errors.json"])
    del trigger["threshold"]
    folder.write("triggers/errors.json", trigger)

    result = commands.run_in(folder.path, "plan")

    assert result.code == 1
    assert result.err == "honeycomb/triggers/errors.json is no trigger: it lacks 'threshold'.\n"


@pytest.mark.parametrize("registry", [b"", b"groups: [", b"groups: [1]", b"\xff\xfe"])
def test_a_registry_that_cannot_be_read_is_one_sentence(
    registry: bytes, commands: Commands, folder: Folder
) -> None:
    (folder.path / "honeycomb/telemetry.yaml").write_bytes(registry)

    result = commands.run_in(folder.path, "plan")

    assert result.code == 1
    [line] = result.err.splitlines()
    assert line.startswith("honeycomb/telemetry.yaml cannot be read: ")


def test_nobody_who_reads_is_no_traceback(project: Path, workshop: Workshop) -> None:
    command = [str(workshop.environment / "bin/python"), "-m", "order_intake.observability"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*command, "doctor"], cwd=project, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)

    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("answer", ["[]", "{}", '{"api_key_access": 5}', "null", "<html>"])
def test_answers_that_are_not_honeycombs_are_one_sentence(
    answer: str, commands: Commands, folder: Folder
) -> None:
    with AnswersAlways(answer) as url:
        for command in ("plan", "apply", "marker", "doctor"):
            result = commands.run_in(
                folder.path, command, HONEYCOMB_API_ENDPOINT=url, HONEYCOMB_API_KEY=INGEST_KEY
            )
            assert result.code == 1
            assert "Honeycomb's" in result.out + result.err or "HONEYCOMB_CONFIG_KEY" in result.err


def test_the_service_loads_nothing_of_the_commands(project: Path, workshop: Workshop) -> None:
    loaded = workshop.tool(
        project,
        "python",
        "-c",
        "import order_intake.api.server, sys; print(*sorted(sys.modules), sep='\\n')",
    ).splitlines()
    package = "order_intake.observability"
    assert f"{package}.settings" in loaded
    for name in ("__main__", "doctor", "honeycomb", "terminal"):
        assert not [module for module in loaded if module.startswith(f"{package}.{name}")]
