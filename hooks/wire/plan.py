"""A plan: edits that are computed first and written together, and steps left to the user."""

import difflib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from .project import Project
from .source import EditRefused


class Edit(NamedTuple):
    """An edit of one file."""

    path: Path
    verb: Literal["add", "remove"]
    objects: str
    """The text that is added or removed, such as `instrument_app(app)`."""


class Step(NamedTuple):
    """A step for the user, with a command to run or a snippet to paste."""

    text: str
    snippet: str = ""


@dataclass
class Plan:
    """Edits by file, and notes for the user."""

    project: Project
    """The repository with the edits so far."""
    contents: dict[Path, bytes] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    """Descriptions of parts that need no edit."""
    notes: list[str] = field(default_factory=list)
    todo: list[Step] = field(default_factory=list)
    """Steps that the user has to complete."""
    sdks: str = ""
    """A line for each LLM SDK: the source of its spans."""
    examples: list[Step] = field(default_factory=list)
    """LLM calls of the service, with optional snippets."""
    routes: list[str] = field(default_factory=list)
    """Descriptions of the routes to production."""
    failed: bool = False
    """True if requests are not traced after the edits."""

    def edit(
        self, path: Path, content: bytes, verb: Literal["add", "remove"], objects: str
    ) -> None:
        self.project = self.project.having(path, content)
        self.contents[path] = content
        self.edits.append(Edit(path, verb, objects))

    def attempt(self, step: Callable[[], None]) -> bool:
        """Run `step`; if it fails, leave it to the user and return False."""
        try:
            step()
        except EditRefused as refused:
            self.todo.append(Step(str(refused), refused.snippet))
            return False
        except Exception as error:  # noqa: BLE001 - the other steps still run
            self.todo.append(Step(f"A step failed ({type(error).__name__}: {error})."))
            return False
        return True

    def diff(self) -> str:
        """Return the unified diff of all edits."""
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
        """Write every file. If one cannot be written, restore the others and raise OSError."""
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
