"""The command merges as `copier update` does, loses no edit, and can be undone."""

import json
import shutil
from pathlib import Path

import pytest

from ..depth import in_depth
from ..honeycomb.conftest import Commands
from ..template.conftest import NewProject
from ..template.edits import edit_in_every_way
from ..template.projects import (
    KINDS,
    Kind,
    contents,
    executables,
    git,
    losses,
    made,
    oldest,
)
from ..template.test_updates import MARKERS, label
from .expectation import expected_of_command, with_lf

# Each layout from each release, and each other kind of project from the oldest.
each_edited = pytest.mark.parametrize(
    ("kind", "version"),
    [
        row if row == oldest()[0] else pytest.param(*row, marks=in_depth)
        for row in made()
        if row[0] in KINDS[::2] or row in oldest()
    ],
    ids=label,
)


@each_edited
def test_command_merges_edits_of_any_kind_and_undoes_the_update(
    kind: Kind, version: str, project: NewProject, tmp_path: Path
) -> None:
    mine = project(kind, version)
    edited = edit_in_every_way(mine, tmp_path / "formatted")
    mine.commit()
    before, executable = contents(mine.folder), executables(mine.folder)
    wanted = expected_of_command(before, mine.base, mine.fresh)

    done = Commands(mine.folder).run("update")

    after = contents(mine.folder)
    assert done.code == 2, done.err
    assert after == wanted
    lf = {name: with_lf(text) for name, text in before.items() if name in after}
    assert losses(lf, mine.base, {name: with_lf(text) for name, text in after.items()}) == []
    assert executables(mine.folder) >= executable & after.keys()
    marked = {name for name, text in after.items() if any(mark in text for mark in MARKERS)}
    assert marked == mine.conflicts()
    assert marked >= edited.coming & after.keys()
    for name in marked:
        assert f"\n    {name}\n" in done.out

    git(mine.folder, "add", "-A")
    done = Commands(mine.folder).run("update", "--undo")
    assert (done.code, done.err) == (0, "")
    assert contents(mine.folder) == before
    assert git(mine.folder, "status", "--porcelain") == ""


@in_depth
@pytest.mark.parametrize(("kind", "version"), oldest(), ids=label)
def test_command_without_edits_equals_a_fresh_copy(
    kind: Kind, version: str, project: NewProject
) -> None:
    mine = project(kind, version)
    mine.commit()
    before = contents(mine.folder)

    done = Commands(mine.folder).run("update")

    assert done.code == 0, done.err
    after = contents(mine.folder)
    assert {name: after[name] for name in mine.fresh} == mine.fresh
    assert after == expected_of_command(before, mine.base, mine.fresh)
    folders = [place for place in mine.folder.rglob("*") if place.is_dir()]
    assert [each for each in folders if ".git" not in each.parts and not any(each.iterdir())] == []


def test_edited_definition_of_a_release_is_a_conflict_and_its_new_file_is_named(
    project: NewProject,
) -> None:
    mine = project(KINDS[0], "0.3.0")
    folder = mine.folder / "honeycomb"
    edited = folder / "triggers/high-error-rate.json"
    recipient = '"recipients": [{ "type": "email", "target": "on-call@example.com" }]'
    edited.write_text(edited.read_text().replace('"recipients": []', recipient))
    (folder / "triggers/llm-cost-spike.json").unlink()
    shutil.rmtree(folder / "burn_alerts")
    mine.commit()

    done = Commands(mine.folder).run("update")

    assert (done.code, done.err) == (2, "")
    assert mine.conflicts() == {"honeycomb/triggers/high-error-rate.json"}
    assert recipient in edited.read_text()
    assert [path.name for path in folder.glob("*/*.json") if path.parent.name != "boards"] == [
        "high-error-rate.json"
    ]
    assert (
        "Now part of another file. Repeat there what you edited or deleted, and delete the old file:\n\n"
        "    honeycomb/triggers/high-error-rate.json -> honeycomb/triggers.json\n"
        "    honeycomb/triggers/llm-cost-spike.json -> honeycomb/triggers.json\n\n"
        "Not created, since you deleted or moved their folder:\n\n    honeycomb/burn_alerts.json\n\n"
    ) in done.out

    triggers = json.loads((folder / "triggers.json").read_text())
    triggers["high-error-rate"]["recipients"] = json.loads(f"{{{recipient}}}")["recipients"]
    del triggers["llm-cost-spike"]
    (folder / "triggers.json").write_text(json.dumps(triggers))
    edited.unlink()
    done = Commands(mine.folder).run("check")
    assert (done.code, done.out, done.err) == (0, "24 definitions are valid.\n", "")
