"""`copier-honeycomb release` cuts a release, or refuses with a reason and changes nothing."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version
from rich.console import Console

from hooks.release import Refused, next_version, release, releases, tag_releases, unreleased

from ..conftest import TEMPLATE
from .projects import git

SAFE = (sys.executable, "-c", "")
UNSAFE = (sys.executable, "-c", "raise SystemExit(1)")
CHANGES = "### Added\n\n- A thing.\n"


def changelog(changes: str) -> str:
    return (
        f"<!-- {{% raw %}} Rendered. -->\n# Changelog\n\n## Unreleased\n\n{changes}\n"
        "## 0.1.0 - 2026-11-23\n\nThe first.\n\n<!-- {% endraw %} -->\n"
    )


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of this repository with something to release."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "A maintainer")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "maintainer@example.org")
    folder = tmp_path / "repository"
    git(tmp_path, "clone", "-q", "--no-tags", str(TEMPLATE), str(folder))
    git(folder, "checkout", "-q", "-B", "main")
    for name in ("releases.toml", "pyproject.toml", "uv.lock"):
        (folder / name).write_text((TEMPLATE / name).read_text())
    (folder / "CHANGELOG.md").write_text(changelog(CHANGES))
    git(folder, "commit", "-q", "-a", "-m", "A thing")
    return folder


def state(repository: Path) -> str:
    return git(repository, "status", "--porcelain") + git(repository, "show-ref")


def test_release_sets_changelog_version_tag_and_record(repository: Path) -> None:
    earlier = releases(repository)
    before = git(repository, "rev-parse", "HEAD")

    release(Console(quiet=True), repository, "7.0.0", check=SAFE)

    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "log", "--format=%s", f"{before.strip()}..").splitlines() == [
        "chore: record 7.0.0",
        "chore: release 7.0.0",
    ]
    commit = git(repository, "rev-parse", "HEAD~1").strip()
    assert git(repository, "rev-parse", "v7.0.0^{commit}").strip() == commit
    assert git(repository, "cat-file", "-t", "v7.0.0") == "tag\n"
    assert releases(repository) == earlier | {"7.0.0": commit}
    # Earlier releases are tagged too.
    for version, released in earlier.items():
        assert git(repository, "rev-parse", f"v{version}^{{commit}}").strip() == released
    git(repository, "checkout", "-q", "v7.0.0")
    assert "\n## 7.0.0 - 20" in (repository / "CHANGELOG.md").read_text()
    assert "Unreleased" not in (repository / "CHANGELOG.md").read_text()
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    assert project["project"]["version"] == "7.0.0"
    [locked] = [
        package
        for package in tomllib.loads((repository / "uv.lock").read_text())["package"]
        if package["name"] == "copier-honeycomb"
    ]
    assert locked["version"] == "7.0.0"
    # Renderings are unchanged.
    assert git(repository, "diff", "--stat", before.strip(), "--", "template", "copier.yml") == ""


def test_dry_run_changes_nothing(repository: Path) -> None:
    before = state(repository)

    release(Console(quiet=True), repository, dry_run=True, check=SAFE)

    assert state(repository) == before


def test_release_is_refused_if_an_update_loses_an_edit(repository: Path) -> None:
    refused(repository, "The tests of updates failed", check=UNSAFE)


def test_release_is_refused_with_uncommitted_changes(repository: Path) -> None:
    (repository / "own.txt").touch()
    refused(repository, "uncommitted changes")


def test_release_is_refused_on_another_branch(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "feature")
    refused(repository, "not on feature")


def test_release_is_refused_without_a_changelog(repository: Path) -> None:
    path = repository / "CHANGELOG.md"
    path.write_text(path.read_text().replace(CHANGES, "### Added\n"))
    git(repository, "commit", "-q", "-a", "-m", "Nothing to say")
    refused(repository, "Describe the changes for users")


def test_release_is_refused_if_its_tag_exists(repository: Path) -> None:
    git(repository, "tag", "v7.0.0")
    refused(repository, "The tag v7.0.0 already exists", "7.0.0")


def test_release_is_refused_if_a_tag_points_to_another_commit(repository: Path) -> None:
    git(repository, "tag", "v0.1.0")
    refused(repository, "Tags never move")


def test_release_is_refused_without_history(repository: Path, tmp_path: Path) -> None:
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth=1", "--branch=main", repository.as_uri(), str(shallow))
    refused(shallow, "git fetch --unshallow")
    with pytest.raises(Refused, match="not in the history of this clone"):
        tag_releases(shallow, releases(shallow))


def refused(
    repository: Path, sentence: str, version: str | None = None, check: tuple[str, ...] = SAFE
) -> None:
    files = ("CHANGELOG.md", "pyproject.toml", "releases.toml", "uv.lock")
    contents = [(repository / name).read_bytes() for name in files]
    head = git(repository, "rev-parse", "HEAD")

    with pytest.raises(Refused, match=sentence):
        release(Console(quiet=True), repository, version, check=check)

    assert [(repository / name).read_bytes() for name in files] == contents
    assert git(repository, "rev-parse", "HEAD") == head


@pytest.mark.parametrize(
    ("changes", "wanted", "version"),
    [
        ("### Fixed\n- x", None, "1.2.4"),
        ("### Added\n- x\n### Fixed\n- x", None, "1.3.0"),
        ("- x", None, "1.3.0"),
        ("### Fixed\n- x", "2.0.0", "2.0.0"),
    ],
)
def test_next_version_follows_from_the_changelog(
    changes: str, wanted: str | None, version: str
) -> None:
    assert str(next_version(["0.9.0", "1.2.3"], changes, wanted)) == version


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("two", "is not a valid version"),
        ("v2.0.0", "is not a valid version"),
        ("2.0", "is not a valid version"),
        ("2.0.0rc1", "not a final version"),
        ("1.2.3", "not after 1.2.3"),
        ("1.2.2", "not after 1.2.3"),
    ],
)
def test_version_that_copier_would_ignore_is_refused(wanted: str, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        next_version(["1.2.3"], "", wanted)


def test_jinja_in_the_changelog_has_no_effect() -> None:
    changes = "- `${{ github.ref }}`, {% if x %} and {#"
    assert unreleased(changelog(changes)) == changes


@pytest.mark.parametrize(
    "text", ["## Unreleased\n\n- A thing.\n", "<!-- {% raw %} -->\n## Unreleased\n\n- A thing.\n"]
)
def test_changelog_that_jinja_would_change_is_refused(text: str) -> None:
    with pytest.raises(Refused, match=r"must begin with `<!-- {% raw %} ... -->`"):
        unreleased(text)
    with pytest.raises(Refused, match="and not contain `endraw`"):
        unreleased(changelog("- `{% endraw %}`"))


def test_every_release_is_in_the_changelog() -> None:
    text = (TEMPLATE / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (\d\S+) - \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["project"]

    assert set(releases()) <= set(headings)
    assert headings == sorted(headings, key=Version, reverse=True)
    assert project["version"] == headings[0]
    unreleased(text if "## Unreleased" in text else text.replace("## ", "## Unreleased\n\n- A thing.\n\n## ", 1))


@pytest.mark.parametrize("version", releases())
def test_changelog_of_a_release_gets_and_loses_no_entry(version: str) -> None:
    then = git(TEMPLATE, "show", f"{releases()[version]}:CHANGELOG.md", check=False)
    now = (TEMPLATE / "CHANGELOG.md").read_text()

    # The first release was recorded before its section was renamed.
    released = _section(then, version) or _section(then, "Unreleased")
    assert released, f"History before {version} is missing. Run `git fetch --unshallow`. {then}"
    # A merge may have put lines of Unreleased into this section. Move them up.
    assert _outline(_section(now, version)) == _outline(released)


def _outline(section: str) -> list[str]:
    """The headings of a section, and a dash for each entry."""
    return re.findall(r"^(### .+|- )", section, re.MULTILINE)


def _section(changelog: str, title: str) -> str:
    found = re.search(
        rf"^## {re.escape(title)}\b[^\n]*\n(.*?)(?=^## |^<!-- |\Z)", changelog, re.DOTALL | re.MULTILINE
    )
    return found[1].strip() if found else ""
