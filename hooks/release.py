"""`copier-honeycomb release`, and the record of releases."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from packaging.version import InvalidVersion, Version
from rich.console import Console
from rich.markup import escape

ROOT: Final = Path(__file__).resolve().parent.parent
RECORD: Final = "releases.toml"
CHECK: Final = (
    sys.executable,
    *("-m", "pytest", "-q"),
    "tests/template/test_updates.py",
    # Prints the message after an update, which renders the changelog.
    "tests/template/test_update_command.py",
    "tests/update",
)
_RAW: Final = re.compile(r"\A<!-- {% raw %} .*-->\n(.*)\n<!-- {% endraw %} -->\n\Z", re.DOTALL)
"""The changelog, in which Jinja has no effect."""


class Refused(Exception):
    """A reason not to release, and the remedy."""


def releases(repository: Path = ROOT) -> dict[str, str]:
    """The commit of each released version, oldest first."""
    record: dict[str, str] = tomllib.loads((repository / RECORD).read_text())
    return dict(sorted(record.items(), key=lambda release: Version(release[0])))


def tag_releases(repository: Path, record: dict[str, str]) -> None:
    """Add the missing tags of the releases in `record`.

    Raises Refused if a commit is missing, or if a tag points to another one.
    """
    for version, commit in record.items():
        if _git_fails(repository, "merge-base", "--is-ancestor", commit, "HEAD"):
            raise Refused(
                f"The commit of release {version}, {commit[:7]}, is not in the history of this"
                " clone. Fetch the full history with `git fetch --unshallow --tags`."
            )
        tag = f"v{version}"
        if _git_fails(repository, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}"):
            _git(repository, "tag", "--annotate", "--message", tag, tag, commit)
        elif _git(repository, "rev-parse", f"{tag}^{{commit}}") != commit:
            raise Refused(
                f"The tag {tag} does not point to {commit[:7]}, the commit in {RECORD}. Tags never"
                f" move; fetch the right one with `git tag -d {tag} && git fetch --tags`."
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if the release was cut (or, with --dry-run, could be), 1 if it was refused."""
    parser = argparse.ArgumentParser(
        prog="release",
        description="Cut a release: test that updates lose no edit, rename the changelog's Unreleased"
        " section, set the version, commit, tag and record the commit. Pushes nothing.",
    )
    parser.add_argument(
        "version", nargs="?", help="such as 0.2.0 (default: the next one, from the changelog)"
    )
    parser.add_argument("--dry-run", action="store_true", help="run all checks and change nothing")
    options = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    try:
        release(console, wanted=options.version, dry_run=options.dry_run)
    except Refused as refused:
        console.print(escape(str(refused)))
        return 1
    return 0


def release(
    console: Console,
    repository: Path = ROOT,
    wanted: str | None = None,
    *,
    dry_run: bool = False,
    check: Sequence[str] = CHECK,
) -> None:
    """Release the state of `repository`. Raises Refused before anything is committed.

    `check` is the command that tests updates to this state.
    """
    if _git(repository, "status", "--porcelain"):
        raise Refused("There are uncommitted changes. Commit or stash them.")
    if (branch := _git(repository, "branch", "--show-current")) != "main":
        raise Refused(f"Releases are cut on main, not on {branch or 'a detached HEAD'}.")
    record = releases(repository)
    changelog = repository / "CHANGELOG.md"
    changes = unreleased(changelog.read_text())
    version = next_version(list(record), changes, wanted)
    tag = f"v{version}"
    if _git(repository, "tag", "--list", tag):
        raise Refused(f"The tag {tag} already exists, but {RECORD} does not list it.")
    project, lock = repository / "pyproject.toml", repository / "uv.lock"
    heading = f"## {version} - {datetime.now(UTC):%Y-%m-%d}"
    contents = {
        changelog: changelog.read_text().replace("## Unreleased", heading, 1),
        project: _set_version(project, r'(\[project\]\nname = .*\nversion = )".*"', version),
        lock: _set_version(lock, r'(\nname = "copier-honeycomb"\nversion = )".*"', version),
    }
    if not dry_run:
        tag_releases(repository, record)

    console.print("Testing updates to this state; this runs for some minutes.")
    if subprocess.run(check, cwd=repository, check=False).returncode != 0:
        raise Refused("The tests of updates failed; see above.")
    if dry_run:
        console.print(f"{version} can be released, with these changes:\n\n{escape(changes)}")
        return

    for path, content in contents.items():
        path.write_text(content)
    _git(repository, "commit", "--quiet", "--all", "--message", f"chore: release {version}")
    _git(repository, "tag", "--annotate", "--message", f"{version}\n\n{changes}", tag)
    # A commit cannot contain its own hash; the next one does.
    with (repository / RECORD).open("a") as file:
        file.write(f'"{version}" = "{_git(repository, "rev-parse", "HEAD")}"\n')
    _git(repository, "commit", "--quiet", "--all", "--message", f"chore: record {version}")
    console.print(f"{version} is tagged. `git push --follow-tags` publishes it.")


def unreleased(changelog: str) -> str:
    """The text of the section Unreleased. Raises Refused if it is empty or Jinja would change it."""
    found = re.search(r"^## Unreleased\n(.*?)(?=^## |\Z)", changelog, re.DOTALL | re.MULTILINE)
    text = found[1].strip() if found else ""
    if not re.sub(r"^#.*$", "", text, flags=re.MULTILINE).strip():
        raise Refused(
            "CHANGELOG.md has no text under `## Unreleased`. Describe the changes for users."
        )
    raw = _RAW.match(changelog)
    if raw is None or re.search(r"{%-?\+?\s*endraw", raw[1]):
        raise Refused(
            "CHANGELOG.md must begin with `<!-- {% raw %} ... -->` and end with `<!-- {% endraw %} -->`,"
            " and not contain `endraw` elsewhere. The message after an update renders it as Jinja."
        )
    return text


def next_version(released: Sequence[str], changes: str, wanted: str | None = None) -> Version:
    """`wanted`, or the version after `released`: a patch if `changes` contain only fixes."""
    last = max(map(Version, released))
    if wanted is None:
        only_fixes = set(re.findall(r"^### (.+)$", changes, re.MULTILINE)) == {"Fixed"}
        patch = f"{last.major}.{last.minor}.{last.micro + 1}"
        return Version(patch if only_fixes else f"{last.major}.{last.minor + 1}.0")
    try:
        version = Version(wanted)
    except InvalidVersion:
        version = None
    if version is None or str(version) != wanted or len(version.release) != 3:
        raise Refused(f"{wanted} is not a valid version. Use three numbers, such as 0.2.0.")
    if version.is_prerelease or version.is_postrelease or version.local:
        raise Refused(
            f"{wanted} is not a final version, and Copier would ignore it. Use three numbers, such as 0.2.0."
        )
    if version <= last:
        raise Refused(f"{wanted} is not after {last}, the last release.")
    return version


def _set_version(path: Path, pattern: str, version: Version) -> str:
    text, count = re.subn(pattern, rf'\1"{version}"', path.read_text())
    if count != 1:
        raise Refused(f"The version of copier-honeycomb was not found in {path.name}.")
    return text


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=repository, check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise Refused(f"`git {arguments[0]}` failed: {done.stderr.strip()}")
    return done.stdout.strip()


def _git_fails(repository: Path, *arguments: str) -> bool:
    done = subprocess.run(["git", *arguments], cwd=repository, check=False, capture_output=True)
    return done.returncode != 0
