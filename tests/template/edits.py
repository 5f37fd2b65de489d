"""Edits that users make to managed files."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from random import Random
from typing import Final

from .projects import ANSWERS_FILE, Project, contents, write

MIDDLE: Final = b"# mine, in the middle\n"
END: Final = b"# mine, at the end\n"
INSTEAD: Final = b"# mine instead\n"

Lines = list[bytes]
Edit = Callable[[Random, Lines], Lines | None]
"""Returns the edited lines, or None to delete the file."""


STRANGE_NAMES: Final = (
    "a b.json",
    "-c.json",
    "é 漢.json",
    'it\'s "quoted".json',
    "tab\t.json",
    "back\\.json",
)


def add_lines(lines: Lines) -> Lines:
    middle = len(lines) // 2
    return [*lines[:middle], MIDDLE, *lines[middle:], END]


EDITS: Final[list[Edit]] = [
    lambda random, lines: None,
    lambda random, lines: [],
    lambda random, lines: lines[: random.randrange(len(lines) + 1)],
    lambda random, lines: lines[random.randrange(len(lines) + 1) :],
    lambda random, lines: lines[::-1],
    lambda random, lines: [line for line in lines if random.random() < 0.95],
    lambda random, lines: [line if random.random() < 0.95 else b"# mine\n" for line in lines],
    lambda random, lines: [line.replace(b"\n", b"\r\n") for line in lines],
    lambda random, lines: [*lines[:-1], lines[-1].rstrip()] if lines else lines,
    lambda random, lines: [line if line.strip() else b" \t\n" for line in lines],
    lambda random, lines: [b"\xef\xbb\xbf", *lines],
    lambda random, lines: [*lines, "# é 漢 \u2028 🙂\n".encode()],
    lambda random, lines: [*lines, b"<<<<<<< not a marker of Copier\n"],
    lambda random, lines: [
        *lines,
        b"--- a/x\n",
        b"+++ b/x\n",
        b"@@ -1 +1 @@\n",
        b"\\ No newline\n",
    ],
    lambda random, lines: [
        b"A lone \r, \x0b, \x0c, \x1c and \xc2\x85 end no line." + b"x" * 70_000 + b"\n",
        *lines,
    ],
]


def replace_changed_line(text: bytes, new: bytes) -> bytes | None:
    """Replace a line that the update from `text` to `new` replaces too; None if it replaces none."""
    lines = text.splitlines(keepends=True)
    matcher = SequenceMatcher(None, text.splitlines(), new.splitlines())
    for tag, start, _, _, _ in matcher.get_opcodes():
        if tag in ("replace", "delete"):
            return b"".join([*lines[:start], INSTEAD, *lines[start + 1 :]])
    return None


def reformatted(folder: Path, scratch: Path) -> dict[str, bytes]:
    """The Python files of `folder`, formatted with settings that differ from the template's."""
    shutil.copytree(folder, scratch, ignore=shutil.ignore_patterns(".git"))
    style = ["--config", "line-length = 60", "--config", "format.quote-style = 'single'"]
    subprocess.run(["ruff", "format", "-q", "--no-cache", *style, "."], cwd=scratch, check=True)
    return {
        path.relative_to(scratch).as_posix(): path.read_bytes() for path in scratch.rglob("*.py")
    }


def edit_every_file(project: Project, scratch: Path) -> dict[str, str]:
    """Edit each managed file in one of many ways; return the name of the edit by file."""
    random = Random(f"{project.kind.name} {sorted(project.base)}")
    formatted = reformatted(project.folder, scratch)
    edits: dict[str, str] = {}

    changed: list[str] = []
    others: list[str] = []

    def change(name: str, text: bytes) -> bytes | None:
        number = len(edits)
        lines = text.splitlines(keepends=True)
        instead = replace_changed_line(text, project.fresh.get(name, b""))
        if instead is not None:
            changed.append(name)
            if len(changed) % 3 == 1:
                edits[name] = "same line"
                return instead
        if number % 3 == 0:
            edits[name] = "add lines"
            return b"".join(add_lines(lines))
        if number % 3 == 1 and name in formatted:
            edits[name] = "reformat"
            return formatted[name]
        index = len(others) % len(EDITS)
        others.append(name)
        edits[name] = f"edit {index}"
        some = EDITS[index](random, lines)
        return None if some is None else b"".join(some)

    project.edit(change)
    return edits


@dataclass(frozen=True)
class EditedProject:
    """The edits of `edit_in_every_way`."""

    edits: dict[str, str]
    """The name of the edit by managed file."""
    deleted: list[str]
    coming: set[str]
    """New managed files, where the user has a file of the same name."""


def edit_in_every_way(project: Project, scratch: Path) -> EditedProject:
    """Edit, delete and move files of every kind, and create files in the template's folders."""
    edits = edit_every_file(project, scratch)
    here = contents(project.folder)
    deleted = [name for name in project.base if name not in here]
    # Half of the deleted files are moved, or become a package.
    for name in deleted[::2]:
        moved = (
            name.removesuffix(".py") + "/__init__.py" if name.endswith(".py") else f"mine/{name}"
        )
        write(project.folder, {moved: project.base[name].decode() + "# mine\n"})
    started_once = sorted(here.keys() - project.base.keys())
    for number, name in enumerate(started_once):
        path = project.folder / name
        match number % 4:
            case 0:
                path.unlink()
            case 1:
                path.rename(path.with_name(f"my_{path.name}"))
            case 2:
                path.write_text("mine\n")
    for name in sorted(project.base.keys() - {ANSWERS_FILE, *deleted})[::2]:
        (project.folder / name).chmod(0o755)
    packages = {f"{name[:-3]}/__init__.py" for name in deleted}
    coming = project.fresh.keys() - project.base.keys() - packages
    write(project.folder, dict.fromkeys(coming, "mine, and there first\n"))
    write(project.folder, {".env": "HONEYCOMB_API_KEY=mine\n", ".gitignore": ".env\n"})
    write(project.folder, {f"honeycomb/boards/{name}": "mine\n" for name in STRANGE_NAMES})
    return EditedProject(edits, deleted, coming)
