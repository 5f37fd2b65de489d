"""The lines that plan and apply print: for a person at a terminal, and for a pipe."""

import io
import re
import sys

import pytest

from ..fakes.honeycomb import FakeHoneycomb
from .conftest import FILES, Commands, Folder

EXPRESSION = " OR ".join(f'$error = "{number}"' for number in range(40))


@pytest.fixture
def planned_change(commands: Commands, honeycomb: FakeHoneycomb, folder: Folder) -> None:
    """A long expression with another end, and a long description that a person changed."""
    column = {"alias": "sli.succeeded", "expression": EXPRESSION}
    folder.write("derived_columns/succeeded.json", column)
    board = {**FILES["boards/overview.json"], "description": "Requests and their cost. " * 8}
    folder.write("boards/overview.json", board)
    assert commands.run("apply").code == 0
    [shown] = honeycomb.store.boards.values()
    shown["description"] = "Ours."
    folder.write(
        "derived_columns/succeeded.json", {**column, "expression": f"{EXPRESSION} OR true"}
    )


@pytest.mark.usefixtures("planned_change")
def test_plan_fits_a_terminal_and_its_further_lines_are_indented(commands: Commands) -> None:
    shown = commands.run("plan", FORCE_COLOR="1", NO_COLOR="1", COLUMNS="60")

    assert not re.search(r"\x1b\[[34]", shown.out)  # a colour
    lines = [re.sub(r"\x1b\[\d*m", "", line).rstrip() for line in shown.out.splitlines()]
    assert max(map(len, lines)) <= 60
    first = lines.index("~ derived column     sli.succeeded")
    assert lines[first + 1] == " " * 21 + "derived_columns/succeeded.json"
    [place] = [line for line in lines if line.startswith("    description")]
    assert place == "    description (changed in Honeycomb; kept):"
    ours = lines[lines.index(place) + 1 :][:3]
    assert ours[0] == "      in Honeycomb: Ours."
    assert ours[1].startswith("      in the file:  Requests and their cost. Requests")
    assert ours[2].startswith(" " * 20 + "their")


@pytest.mark.usefixtures("planned_change")
def test_plan_in_a_pipe_has_one_line_for_each_change(commands: Commands) -> None:
    piped = commands.run("plan", COLUMNS="60").out

    assert "\x1b" not in piped
    assert "~ derived column     sli.succeeded  derived_columns/succeeded.json\n" in piped


@pytest.mark.usefixtures("planned_change")
def test_long_text_is_shown_from_shortly_before_its_change(commands: Commands) -> None:
    shown = commands.run("plan").out

    assert f"    expression: ...{EXPRESSION[-40:]} -> ...{EXPRESSION[-40:]} OR true\n" in shown


def test_saved_query_is_named_once(commands: Commands, folder: Folder) -> None:
    query = {"name": "Failed requests", "description": "", "query": {"time_range": 3600}}
    folder.write("saved_queries.json", [query])

    assert "+ saved query        Failed requests  saved_queries.json\n" in commands.run("plan").out


def test_triggers_without_a_recipient_are_named(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    folder.write("triggers/slow.json", {**FILES["triggers/errors.json"], "name": "Slow"})
    assert commands.run("apply", "--recipient", "email:on-call@example.com").code == 0
    [errors] = [
        one for one in honeycomb.store.triggers["order-intake"].values() if one["name"] == "Errors"
    ]
    errors["recipients"] = []

    assert commands.run("apply").out.splitlines()[-1] == (
        "Nobody will be notified by these triggers: Errors. Add a recipient: apply --recipient"
        " email:on-call@example.com"
    )


def test_question_begins_on_a_line_of_its_own(
    commands: Commands, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line that shows the progress ends without a line break."""
    description = "See docs/runbooks.md#errors."
    folder.write(
        "triggers/errors.json", {**FILES["triggers/errors.json"], "description": description}
    )
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(
        io, "StringIO", type("Terminal", (io.StringIO,), {"isatty": lambda _: True})
    )
    monkeypatch.setattr(
        "click.termui.visible_prompt_func", lambda _: print("Question?", file=sys.stderr) or ""
    )

    asked = commands.run("apply")

    assert asked.code == 0
    assert "Reading from Honeycomb ...\r\x1b[KQuestion?" in asked.err
