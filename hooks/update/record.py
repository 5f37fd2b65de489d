"""Apply an update to the project, record it in the git directory, and undo it."""

import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .changes import Change, Changes
from .errors import UpdateRefused
from .git import Git, GitError
from .repository import Repository


@dataclass(frozen=True)
class Record:
    """The last update of a project, in a folder of the git directory."""

    folder: Path

    def save(self, head: str, release: str, files: Mapping[str, Change]) -> None:
        self.delete()
        self.folder.mkdir(parents=True)
        listed = {}
        for number, (path, change) in enumerate(files.items()):
            listed[path] = [number, change.was_executable, change.is_executable]
            for name, content in (("before", change.before), ("after", change.after)):
                if content is not None:
                    (self.folder / f"{number}.{name}").write_bytes(content)
        facts = {"head": head, "release": release, "files": listed}
        (self.folder / "update.json").write_text(json.dumps(facts), encoding="utf-8")

    def load(self) -> tuple[str, str, dict[str, Change]]:
        """The commit that was updated, the release, and the changes. Raises UpdateRefused."""
        try:
            facts = json.loads((self.folder / "update.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UpdateRefused(
                "There is no update to undo: it was undone already, or made by `copier update`."
            ) from None
        files = {
            path: Change(
                _read(self.folder / f"{n}.before"), _read(self.folder / f"{n}.after"), *modes
            )
            for path, (n, *modes) in facts["files"].items()
        }
        return facts["head"], facts["release"], files

    def delete(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def record_of(git: Git) -> Record:
    """The record of the project in the folder of `git`."""
    folder = git.line("rev-parse", "--git-path", "copier-honeycomb")
    project = git.line("rev-parse", "--show-prefix").strip("/").replace("/", "%")
    return Record(git.folder / folder / (project or "root"))


def apply(repository: Repository, changes: Changes, release: str) -> None:
    """Write `changes` into the project. Raises UpdateRefused after restoring it if a file fails."""
    for path, change in changes.files.items():
        if _read(repository.root / path) != change.before:
            raise UpdateRefused(
                f"{path} was changed during the update. Commit it, and update again."
            )
    record = record_of(repository.git)
    head = repository.git.line("rev-parse", "HEAD")
    try:
        record.save(head, release, changes.files)
        _write(repository.root, changes.files)
        _mark_conflicts(repository, changes)
    except (OSError, GitError, KeyboardInterrupt) as error:
        _write(repository.root, {path: each.reverse for path, each in changes.files.items()})
        record.delete()
        if isinstance(error, KeyboardInterrupt):
            raise
        reason = error.reason if isinstance(error, GitError) else error
        raise UpdateRefused(
            f"The update was reverted, because a file cannot be written: {reason}. Make it writable,"
            " and update again."
        ) from None


def undo(git: Git, *, pretend: bool = False) -> tuple[str, list[str]]:
    """Revert the last update that is not committed; return its release and the files.

    Edits made since then are kept. Raises UpdateRefused, and reverts nothing, if they are on lines
    that the update changed.
    """
    record = record_of(git)
    head, release, files = record.load()
    _check_not_committed(git, head, release, files)
    reverted: dict[str, Change] = {}
    edited = []
    for path, change in files.items():
        now = _read(git.folder / path)
        is_changed = now != change.before or change.was_executable != change.is_executable
        if now == change.after:
            then: bytes | None = change.before
        elif now == change.before:
            then = now
        else:
            is_merged, then = _merge(now, change.after, change.before)
            if not is_merged:
                edited.append(path)
        if is_changed:
            reverted[path] = Change(now, then, change.is_executable, change.was_executable)
    if edited:
        raise UpdateRefused(
            "You edited lines that the update changed. Save your edits elsewhere, restore these files,"
            f" and undo the update again: {_restoring(edited, files)}."
        )
    if not pretend:
        _write(git.folder, reverted)
        paths = b"".join(os.fsencode(path) + b"\0" for path in files)
        literal = Git(git.folder, {**git.variables, "GIT_LITERAL_PATHSPECS": "1"})
        literal("reset", "-q", "--pathspec-from-file=-", "--pathspec-file-nul", stdin=paths)
        record.delete()
    return release, sorted(reverted)


def _check_not_committed(git: Git, head: str, release: str, files: Mapping[str, Change]) -> None:
    now = git.line("rev-parse", "HEAD")
    if now == head:
        return
    literal = Git(git.folder, {**git.variables, "GIT_LITERAL_PATHSPECS": "1"})
    if literal.succeeds("diff", "--quiet", head, now, "--", *files):
        return
    raise UpdateRefused(
        f"The update to {release} is committed. Find its commit with `git log`, and revert it with"
        " `git revert`."
    )


def _merge(
    now: bytes | None, after: bytes | None, before: bytes | None
) -> tuple[bool, bytes | None]:
    """Merge the edits between `after` and `now` into `before`; false if they conflict."""
    if now is None or after is None or before is None:
        return False, now
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label, content in (("now", now), ("after", after), ("before", before)):
            (folder / label).write_bytes(content)
        git = Git(folder)
        if not git.succeeds("merge-file", "--quiet", "now", "after", "before"):
            return False, now
        return True, (folder / "now").read_bytes()


def _restoring(paths: list[str], files: Mapping[str, Change]) -> str:
    """The commands that restore `paths`, so that they are as before the update."""
    created = [shlex.quote(path) for path in paths if files[path].before is None]
    existing = [shlex.quote(path) for path in paths if files[path].before is not None]
    steps = []
    if existing:
        steps.append(f"`git restore --staged --worktree {' '.join(existing)}`")
    if created:
        steps.append(f"delete {' '.join(created)}")
    return ", and ".join(steps)


def _write(root: Path, files: Mapping[str, Change]) -> None:
    """Give each file the content after the change. Folders that become empty are deleted."""
    for path, change in files.items():
        place = root / path
        if change.after is None:
            if _read(place) is None:
                continue
            place.unlink()
            for parent in place.parents:
                if parent == root:
                    break
                with suppress(OSError):
                    parent.rmdir()
            continue
        if _read(place) != change.after:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(change.after)
        if change.was_executable != change.is_executable:
            mode = place.stat().st_mode
            readable = (mode & 0o444) >> 2
            place.chmod(mode | readable if change.is_executable else mode & ~0o111)


def _mark_conflicts(repository: Repository, changes: Changes) -> None:
    """Record the versions of each file in conflict in the index, so that git lists it as unmerged."""
    lines = []
    for path, conflict in changes.conflicts.items():
        entry = repository.entries[path]
        name = repository.prefix + path
        lines += [f"0 {'0' * len(entry.sha)}\t{name}", f"{entry.mode} {entry.sha} 2\t{name}"]
        for stage, content in ((1, conflict.base), (3, conflict.new)):
            if content is not None:
                command = ("hash-object", "-w", "--stdin", f"--path={path}")
                sha = repository.git(*command, stdin=content).decode().strip()
                lines.append(f"{entry.mode} {sha} {stage}\t{name}")
    if lines:
        listed = b"".join(os.fsencode(line) + b"\0" for line in lines)
        repository.git("update-index", "-z", "--index-info", stdin=listed)


def _read(place: Path) -> bytes | None:
    try:
        return place.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
