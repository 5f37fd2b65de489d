"""The output of an update: its result, and the commands to run next."""

import shlex
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from rich.text import Text

from .. import source
from ..project import Project
from ..terminal import progress, say
from .changes import Changes
from .repository import Repository
from .template import Template

__all__ = ["Result", "progress", "undone", "updated"]

_DEPENDENCIES = (
    ("project", "dependencies"),
    ("project", "optional-dependencies"),
    ("project", "requires-python"),
    ("dependency-groups",),
    ("build-system",),
    ("tool", "uv"),
)


@dataclass(frozen=True)
class Result:
    """An update that was made, or would be."""

    project: Project
    repository: Repository
    changes: Changes
    had_credentials: bool
    template: Template

    @cached_property
    def answers(self) -> dict[str, Any]:
        change = self.changes.files.get(self.project.answers_file)
        if change is None or change.after is None:
            return dict(self.project.answers)
        found: dict[str, Any] = yaml.safe_load(change.after)
        return found

    @property
    def release(self) -> str:
        return str(self.answers.get("_commit", ""))

    @property
    def needs_lock(self) -> bool:
        """True if a lock exists, and dependencies in pyproject.toml changed or cannot be compared."""
        change = self.changes.files.get("pyproject.toml")
        root, top = self.repository.root, self.repository.top
        folders = [folder for folder in (root, *root.parents) if folder.is_relative_to(top)]
        if change is None or not any((folder / "uv.lock").exists() for folder in folders):
            return False
        return _dependencies(change.before) != _dependencies(change.after)

    def command(self, *arguments: str) -> str:
        """A command line of the template's tools, at the release of the update."""
        return " ".join([source.tool(self.template.location, self.release), *arguments])


def updated(result: Result, *, pretend: bool) -> None:
    """Print the changes, and the commands to run next."""
    changes, project = result.changes, result.project
    name = str(project.answers["project_name"])
    old, new = project.release, result.release
    if not changes.files:
        say(f"{name} is up to date with {new}.")
        return
    steps = old if old == new else f"from {old} to {new}"
    done = "Would update" if pretend else "Updated"
    say(Text(f"{done} {name} {steps}.", "bold"), "" if pretend else " Nothing is committed.", "\n")
    for section in result.template.changes(old, new):
        say(f"## {section}\n")
    _list_files(changes)
    if result.had_credentials:
        say(
            f"Removed a credential from the address of the template in {project.answers_file}. It is"
            " still in the history of this repository: revoke it. Let git's credential helper"
            " supply the next one.\n"
        )
    if pretend:
        return
    root = result.repository.root
    if Path.cwd() != root:
        _commands("Run the next commands in the project's folder:", f"cd {shlex.quote(str(root))}")
    if project.answers.get("layout") == "existing":
        _commands(
            "This shows the edits and packages that your own files now need, and applies them:",
            result.command("wire", "."),
        )
    if result.needs_lock:
        _commands("Dependencies changed. Lock them again:", "uv lock")
    _commands("Review the update:", "git status --short .", "git diff")
    commit = f"git add -A . && git commit -m {shlex.quote(f'Update copier-honeycomb to {new}')} ."
    if changes.conflicts:
        _commands(
            "Resolve the conflicts, and commit. This command refuses conflicts that are left:",
            f"git diff --check && {commit}",
        )
    else:
        _commands("Commit it:", commit)
    _commands("To undo the update instead, and nothing else:", result.command("update", "--undo"))


def undone(release: str, files: list[str], *, pretend: bool) -> None:
    """Print the files that were reverted."""
    say(
        f"{'Would undo' if pretend else 'Undid'} the update to {release}; files restored: {len(files)}."
    )


def _list_files(changes: Changes) -> None:
    conflicts, created, dropped = sorted(changes.conflicts), changes.created, changes.dropped
    edited = len(changes.files) - len(conflicts) - len(created) - len(dropped)
    counts = [
        (len(created), "created"),
        (edited, "changed"),
        (len(dropped), "deleted"),
        (len(conflicts), "in conflict"),
    ]
    listed = ", ".join(f"{number} {verb}" for number, verb in counts if number)
    say(f"Files: {listed or 'none changed'}.\n")
    if dropped:
        say("The template no longer has the deleted files, and you had not edited them.\n")
    _names("In conflict, with both versions between <<<<<<< and >>>>>>>:", conflicts)
    _names(
        "Now part of another file. Repeat there what you edited or deleted, and delete the old file:",
        [f"{old} -> {new}" for old, new in changes.joined.items()],
    )
    _names("Not created, since you deleted or moved their folder:", changes.left_out)


def _names(title: str, names: list[str]) -> None:
    if names:
        say(title + "\n" + "".join(f"\n    {name}" for name in names) + "\n")


def _commands(title: str, *commands: str) -> None:
    _names(title, list(commands))


def _dependencies(content: bytes | None) -> list[Any] | None:
    """The tables that uv.lock depends on, or None if the file cannot be read."""
    try:
        settings = tomllib.loads((content or b"").decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return None
    found = []
    for keys in _DEPENDENCIES:
        table: Any = settings
        for key in keys:
            table = table.get(key, {}) if isinstance(table, dict) else {}
        found.append(table)
    return found
