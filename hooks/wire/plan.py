"""What is done, what is right already, and what is left to the user: found out first, then done."""

import difflib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .project import Project
from .source import Refused


@dataclass
class Plan:
    """Edits by file, and what there is to say."""

    project: Project
    """As it is once the edits so far are made."""
    contents: dict[Path, bytes] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    right: list[str] = field(default_factory=list)
    todo: list[tuple[str, str]] = field(default_factory=list)
    """What the user does, and what to paste."""
    shown: list[tuple[str, str]] = field(default_factory=list)
    """What the user may do besides, and an example."""
    failed: bool = False
    """Whether the requests are not traced after all."""

    def edit(self, path: Path, content: bytes, what: str) -> None:
        self.project = self.project.having(path, content)
        self.contents[path] = content
        self.changed.append(what)

    def attempt(self, step: Callable[[], None]) -> bool:
        """Runs `step`. One that cannot be done is left to the user, and the others go on."""
        try:
            step()
        except Refused as refused:
            self.todo.append((str(refused), refused.snippet))
            return False
        except Exception as error:  # noqa: BLE001 - the other steps go on
            self.todo.append((f"A step failed ({type(error).__name__}: {error}).", ""))
            return False
        return True

    def diff(self) -> str:
        """The unified diff of all edits."""
        parts: list[str] = []
        for path, content in self.contents.items():
            before = (self.project.root / path).read_bytes()
            parts += difflib.unified_diff(
                before.decode("utf-8", "replace").splitlines(keepends=True),
                content.decode("utf-8", "replace").splitlines(keepends=True),
                f"a/{path.as_posix()}",
                f"b/{path.as_posix()}",
            )
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in parts)

    def write(self) -> None:
        """Writes every file, or none: where one fails, those before it are as they were."""
        written: list[tuple[Path, bytes]] = []
        try:
            for name, content in self.contents.items():
                path = self.project.root / name
                before = path.read_bytes()
                _replace(path, content)
                written.append((path, before))
        except BaseException:
            for path, before in written:
                _replace(path, before)
            raise


def _replace(path: Path, content: bytes) -> None:
    path = path.resolve()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".wire-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(path.stat().st_mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
