"""The changes that an update makes to a project, and the proof that no edit is lost."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from .copier import Files, Updated
from .errors import UpdateRefused
from .repository import Repository


@dataclass(frozen=True)
class Change:
    """The content of a file before and after the update, None if it does not exist."""

    before: bytes | None
    after: bytes | None
    was_executable: bool = False
    is_executable: bool = False

    @property
    def reverse(self) -> "Change":
        return Change(self.after, self.before, self.is_executable, self.was_executable)


@dataclass(frozen=True)
class Conflict:
    """The versions of a file in conflict, beside the user's."""

    base: bytes | None
    new: bytes | None


@dataclass
class Changes:
    """The changes by path, relative to the project."""

    files: dict[str, Change] = field(default_factory=dict)
    conflicts: dict[str, Conflict] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    """New files of the template in folders that the user deleted or moved."""
    dropped: list[str] = field(default_factory=list)
    """Files without edits that the template no longer has."""
    joined: dict[str, str] = field(default_factory=dict)
    """Files that the user edited or deleted, each with the file that has the content of its folder now."""

    @property
    def created(self) -> list[str]:
        return sorted(path for path, change in self.files.items() if change.before is None)


def has_crlf(content: bytes) -> bool:
    """True if every line ends in CRLF, so that the file can be merged with LF and converted back."""
    return b"\r\n" in content and content.count(b"\r\n") == content.count(b"\n")


def with_lf(files: Files) -> Files:
    return {
        path: content.replace(b"\r\n", b"\n") if has_crlf(content) else content
        for path, content in files.items()
    }


def _with_line_ends_of(old: bytes | None, new: bytes | None) -> bytes | None:
    return new.replace(b"\n", b"\r\n") if old and new and has_crlf(old) else new


def find_changes(
    repository: Repository,
    files: Files,
    executable: frozenset[str],
    updated: Updated,
    answers_file: str,
) -> Changes:
    """Compare the tracked `files` with the updated ones.

    Raises UpdateRefused if a managed file cannot be merged, or if an edit would be lost.
    """
    before = with_lf(files)
    after = dict(updated.after)
    managed = updated.base.keys() | updated.new.keys()
    changes = Changes(left_out=_in_deleted_folders(updated, before))
    changes.joined = _joined(updated, before, changes.left_out)
    for path in changes.left_out:
        after.pop(path, None)
    _check_managed_files(repository, files, managed - set(changes.left_out))
    changes.dropped = _dropped(updated, before, after)
    for path in changes.dropped:
        del after[path]
    _check_edits(before, after, updated.base, answers_file)

    for path in sorted(before.keys() | after.keys()):
        old = files.get(path)
        new = _with_line_ends_of(old, after.get(path))
        is_executable = new is not None and path in updated.executable
        change = Change(old, new, path in executable, is_executable)
        if old != new or change.was_executable != change.is_executable:
            changes.files[path] = change
    for path in updated.unmerged & changes.files.keys():
        changes.conflicts[path] = Conflict(
            _with_line_ends_of(files[path], updated.base.get(path)),
            _with_line_ends_of(files[path], updated.new.get(path)),
        )
    if reason := repository.ignored(changes.created):
        raise UpdateRefused(reason)
    return changes


def _in_deleted_folders(updated: Updated, before: Files) -> list[str]:
    """New files in, or instead of, a folder of which the user has none of the files of their release."""
    deleted = _folders(updated.base) - _folders(before)
    return sorted(
        path
        for path in updated.new.keys() - before.keys()
        if path in updated.after
        and (path in updated.base or not deleted.isdisjoint([_replaced(path), *_parents(path)]))
    )


def _joined(updated: Updated, before: Files, left_out: list[str]) -> dict[str, str]:
    added = updated.new.keys() - updated.base.keys() - set(left_out)
    files = {_replaced(path): path for path in added}
    return {
        path: files[folder]
        for path, content in sorted(updated.base.items())
        if (folder := PurePosixPath(path).parent.as_posix()) in files
        and not updated.new.get(path)
        and before.get(path) != content
    }


def _replaced(path: str) -> str:
    """The folder whose content a new file may have: honeycomb/triggers for honeycomb/triggers.json."""
    return PurePosixPath(path).with_suffix("").as_posix()


def _folders(paths: Iterable[str]) -> set[str]:
    return {folder for path in paths for folder in _parents(path)}


def _parents(path: str) -> list[str]:
    return [folder.as_posix() for folder in PurePosixPath(path).parents][:-1]


def _check_managed_files(repository: Repository, files: Files, managed: Iterable[str]) -> None:
    for path in sorted(managed):
        if reason := repository.obstacle(path):
            raise UpdateRefused(reason)
        content = files.get(path, b"")
        try:
            content.decode()
        except UnicodeDecodeError:
            raise UpdateRefused(
                f"{path} is not UTF-8, and cannot be merged. Convert it to UTF-8 and commit, or"
                f" exclude it with `--exclude {path}`."
            ) from None
        if b"\0" in content:
            raise UpdateRefused(
                f"{path} contains a NUL byte, and cannot be merged. Remove the byte and commit, or"
                f" exclude the file with `--exclude {path}`."
            )


def _dropped(updated: Updated, before: Files, after: Files) -> list[str]:
    """Files without edits that the update emptied. An `__init__.py` stays if its package does."""
    emptied = {
        path
        for path, content in after.items()
        if not content and updated.base.get(path) and before.get(path) == updated.base[path]
    }
    rest = _folders(after.keys() - emptied)
    return sorted(
        path
        for path in emptied
        if PurePosixPath(path).name != "__init__.py" or _parents(path)[0] not in rest
    )


def _check_edits(before: Files, after: Files, base: Files, answers_file: str) -> None:
    """Raises UpdateRefused unless every line that the user added or changed is in `after`."""
    for path, content in before.items():
        if path == answers_file or content == base.get(path):
            continue
        if path not in after:
            raise UpdateRefused(
                f"The update would delete {path}, which you edited. Move your edits to a file with"
                " another name, commit, and update again."
            )
        own = _lines(content) - _lines(base.get(path, b""))
        if lost := own - _lines(after[path]):
            raise UpdateRefused(
                f"The update would lose a line of yours in {path}:"
                f" {next(iter(lost)).decode(errors='replace')!r}. Report it to the template's"
                " maintainers, and update without that line."
            )


def _lines(content: bytes) -> Counter[bytes]:
    return Counter(content.split(b"\n"))
