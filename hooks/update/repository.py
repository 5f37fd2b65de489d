"""The user's repository: what is tracked in the project's folder, and reasons not to update it."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from packaging.version import Version

from .errors import UpdateRefused
from .git import Git, GitError

_MIN_GIT: Final = Version("2.32")
_UNFINISHED: Final = {
    "MERGE_HEAD": ("merge", "git merge"),
    "CHERRY_PICK_HEAD": ("cherry-pick", "git cherry-pick"),
    "REVERT_HEAD": ("revert", "git revert"),
    "rebase-merge": ("rebase", "git rebase"),
    "rebase-apply/applying": ("`git am`", "git am"),
    "rebase-apply": ("rebase", "git rebase"),
    "BISECT_LOG": ("bisection", "git bisect reset"),
}
_LARGEST: Final = 1_000_000
"""Bytes. The template renders no larger files, so larger ones are not copied to be updated."""


@dataclass(frozen=True)
class Entry:
    """A file in git's index."""

    mode: str
    sha: str
    is_hidden: bool
    """Marked with --skip-worktree or --assume-unchanged."""

    @property
    def kind(self) -> str:
        return {"120000": "link", "160000": "submodule"}.get(self.mode, "file")


@dataclass(frozen=True)
class Repository:
    """The git repository that contains the project in `root`."""

    root: Path
    top: Path
    git: Git
    entries: dict[str, Entry]
    """The index below `root`, by path relative to it."""

    @property
    def prefix(self) -> str:
        """The path of `root` in the repository, with a slash at its end, or empty."""
        relative = self.root.relative_to(self.top).as_posix()
        return "" if relative == "." else f"{relative}/"

    def contents(self) -> dict[str, bytes]:
        """The tracked files, as they are on disk."""
        found = {}
        for path, entry in self.entries.items():
            place = self.root / path
            if entry.kind == "file" and place.is_file() and not _is_large(place):
                found[path] = place.read_bytes()
        return found

    def obstacle(self, path: str) -> str | None:
        """The reason why the managed file `path` cannot be merged or created, with the remedy."""
        for place in [*reversed(PurePosixPath(path).parents), PurePosixPath(path)]:
            name = place.as_posix()
            entry = self.entries.get(name)
            kind = entry.kind if entry else "link" if (self.root / name).is_symlink() else "file"
            if kind != "file":
                return (
                    f"{name} is a {kind}, and the template has files there. Replace it with the files"
                    f" and commit, or exclude it with `--exclude {shlex.quote(name)}`."
                )
        entry = self.entries.get(path)
        if entry is None:
            if os.path.lexists(self.root / path):
                return (
                    f"{path} is a file of the template, but git does not track yours. Add it with"
                    f" `git add --force {shlex.quote(path)}` and commit, or rename it."
                )
        elif entry.is_hidden:
            return (
                f"Changes of {path} are hidden from git. Run `git update-index --no-skip-worktree"
                f" --no-assume-unchanged {shlex.quote(path)}`, and commit it."
            )
        elif (self.root / path).is_file() and _is_large(self.root / path):
            return (
                f"{path} is larger than 1 MB, and cannot be merged. Make it smaller and commit, or"
                f" exclude it with `--exclude {shlex.quote(path)}`."
            )
        return None

    def ignored(self, paths: Iterable[str]) -> str | None:
        """The reason why git would ignore one of the new files `paths`, with the remedy."""
        listed = b"".join(os.fsencode(path) + b"\0" for path in paths)
        try:
            found = self.git("check-ignore", "-z", "-v", "--stdin", stdin=listed)
        except GitError:
            return None
        source, line, pattern, path = map(os.fsdecode, found.split(b"\0")[:4])
        return (
            f"The update adds {path}, which git ignores: `{pattern}` in {source}, line {line}. Remove"
            f" that line, or exclude the file with `--exclude {shlex.quote(path)}`."
        )


def _is_large(place: Path) -> bool:
    return place.stat().st_size > _LARGEST


def open_repository(root: Path) -> Repository:
    """The repository of the project in `root`. Raises UpdateRefused if it cannot be updated."""
    git = Git(root)
    _check_version()
    try:
        top = Path(git.line("rev-parse", "--show-toplevel")).resolve()
    except GitError as error:
        raise UpdateRefused(_why_not_a_repository(root, str(error))) from None
    if not git.succeeds("rev-parse", "--verify", "--quiet", "HEAD"):
        raise UpdateRefused("The repository has no commit yet. Commit everything first.")
    _check_unfinished(git)
    _check_complete(git)
    _check_clean(git)
    return Repository(root, top, git, _entries(git))


def _check_version() -> None:
    try:
        text = subprocess.run(["git", "version"], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise UpdateRefused("git is not installed. Install git, and update again.") from None
    found = re.search(r"\d+(\.\d+)+", text)
    if found and Version(found[0]) < _MIN_GIT:
        raise UpdateRefused(
            f"git {found[0]} is too old. Install git {_MIN_GIT} or later, and update again."
        )


def _why_not_a_repository(root: Path, error: str) -> str:
    if "dubious ownership" in error:
        folder = shlex.quote(str(root))
        if found := re.search(r"--add safe\.directory (.+)", error):
            folder = found[1]
        return (
            f"The repository of {root} belongs to another user. Run the command as that user, or, if"
            f" you trust the repository, `git config --global --add safe.directory {folder}`."
        )
    if "must be run in a work tree" in error:
        return f"{root} has no working tree. Run the command in a clone that has one."
    if "not a git repository" in error:
        return f"{root} is not in a git repository. Run `git init`, commit everything, and update."
    return f"git cannot read the repository of {root}: {error.splitlines()[-1]}"


def _check_unfinished(git: Git) -> None:
    folder = Path(git.line("rev-parse", "--absolute-git-dir"))
    if (lock := folder / "index.lock").exists():
        raise UpdateRefused(
            "Another git command is running, or was interrupted. Wait for it, or delete"
            f" {shlex.quote(str(lock))} if there is none, and update again."
        )
    for name, (operation, command) in _UNFINISHED.items():
        if (folder / name).exists():
            remedy = (
                f"Run `{command}`"
                if command.endswith("reset")
                else f"Finish it, or run `{command} --abort`"
            )
            raise UpdateRefused(f"A {operation} is unfinished. {remedy}, and update again.")


def _check_complete(git: Git) -> None:
    try:
        settings = git.line(
            "config", "--get-regexp", r"^(core\.sparsecheckout|remote\..*\.promisor)$"
        ).splitlines()
    except GitError:
        return
    for setting in settings:
        name, _, value = setting.partition(" ")
        if value not in ("true", "1", "yes", "on", ""):
            continue
        if name == "core.sparsecheckout":
            raise UpdateRefused(
                "This is a sparse checkout. Run `git sparse-checkout disable`, or update in a full clone."
            )
        missing = git("rev-list", "--objects", "--missing=print", "HEAD")
        if any(line.startswith(b"?") for line in missing.splitlines()):
            remote = name.removeprefix("remote.").removesuffix(".promisor")
            raise UpdateRefused(
                "This is a partial clone, in which files are missing. Run `git fetch --refetch"
                f" --no-filter {remote}`, or update in a full clone."
            )


def _check_clean(git: Git) -> None:
    status = git(
        "status",
        "--porcelain",
        "-z",
        "--untracked-files=all",
        "--ignore-submodules=none",
        "--",
        ".",
    )
    changes = [os.fsdecode(line)[3:] for line in status.split(b"\0") if line[2:3] == b" "]
    if changes:
        names = ", ".join(changes[:3]) + (", …" if len(changes) > 3 else "")
        raise UpdateRefused(
            f"There are uncommitted changes ({names}). Commit or stash them, and update again."
        )


def _entries(git: Git) -> dict[str, Entry]:
    entries = {}
    for line in git("ls-files", "-z", "-s", "-v").split(b"\0"):
        if line:
            facts, path = line.split(b"\t", 1)
            tag, mode, sha, _ = facts.decode().split()
            entries[os.fsdecode(path)] = Entry(mode, sha, tag != "H")
    return entries
