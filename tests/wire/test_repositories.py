"""`wire` in small repositories: the edits, a second run, and their removal."""

import ast
import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from ..template.projects import git
from .conftest import Make, app_option, contents, wire
from .repositories import ALL, Repository


def changed_lines(before: bytes, after: bytes) -> tuple[list[str], list[str]]:
    """Return the removed and the added lines."""
    old, new = before.splitlines(), after.splitlines()
    removed = list((Counter(old) - Counter(new)).elements())
    added = list((Counter(new) - Counter(old)).elements())
    return [line.decode("latin-1") for line in removed], [line.decode("latin-1") for line in added]


def with_unsorted_imports(folder: Path) -> set[str]:
    """Return the files outside the module in which ruff finds unsorted imports."""
    command = ["ruff", "check", "--no-cache", "--select=I001", "--output-format=json"]
    done = subprocess.run([*command, "."], cwd=folder, check=False, capture_output=True, text=True)
    return {each["filename"] for each in json.loads(done.stdout) if each["code"] == "I001"}


@pytest.mark.parametrize("repository", ALL, ids=lambda each: each.name)
def test_wire_adds_lines_once_and_remove_restores_every_byte(
    repository: Repository, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(repository)
    before = contents(folder, repository.files)
    options = ["--yes", *app_option(repository)]

    assert wire(folder, *options) == repository.status
    output = capsys.readouterr().out
    for text in repository.printed:
        assert text in output

    after = contents(folder, before)
    all_removed: list[str] = []
    for name in before:
        removed, added = changed_lines(before[name], after[name])
        expected = repository.added.get(name, [])
        assert sorted(filter(str.strip, added)) == sorted(filter(str.strip, expected)), name
        all_removed += removed
        # Some syntax is newer than the oldest Python that runs this test.
        if (
            name.endswith(".py")
            and after[name] != before[name]
            and b"class Box[T]" not in before[name]
        ):
            ast.parse(after[name])
    assert len(all_removed) == repository.replaced, all_removed
    assert not git(folder, "ls-files", "--others", "--exclude-standard")

    assert wire(folder, *options) == repository.status
    assert contents(folder, before) == after

    unsorted = with_unsorted_imports(folder / repository.root)
    wire(folder, "--yes", "--remove", *app_option(repository))
    assert contents(folder, before) == before
    # Only files whose imports were not sorted before.
    assert not unsorted or unsorted == with_unsorted_imports(folder / repository.root)
