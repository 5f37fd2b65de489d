"""The files that a build of an image can copy."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePosixPath

from pathspec import GitIgnoreSpec


@dataclass
class Context:
    """The files that a build can copy: those of a folder, without the ignored ones."""

    folder: Path
    files: Mapping[PurePosixPath, Path]
    """The repository's files, by their path in the context."""
    ignore: Path | None = None

    def matching(self, pattern: str) -> list[PurePosixPath]:
        """Return the files and folders that match `pattern`."""
        parts = [part for part in PurePosixPath(pattern).parts if part not in ("/", ".")]
        if not parts:
            return [PurePosixPath(".")]
        if not any(set("*?[") & set(part) for part in parts):
            path = PurePosixPath(*parts)
            return [path] if path in self.files or path in self.folders else []
        return [
            path
            for path in [*self.files, *self.folders]
            if len(path.parts) == len(parts)
            and all(fnmatchcase(part, each) for part, each in zip(path.parts, parts, strict=True))
        ]

    @cached_property
    def folders(self) -> set[PurePosixPath]:
        return {parent for path in self.files for parent in path.parents}


def ignore_file(context: PurePosixPath | Path, dockerfile: Path) -> list[Path]:
    """Return the possible ignore files, the most specific first."""
    return [
        dockerfile.with_name(f"{dockerfile.name}.dockerignore"),
        Path(context) / ".dockerignore",
    ]


def not_ignored(files: Mapping[PurePosixPath, Path], ignore: str) -> dict[PurePosixPath, Path]:
    """Return `files` without those that a .dockerignore file excludes."""
    patterns = []
    for line in ignore.splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            # Unlike in .gitignore, every pattern is relative to the context.
            mark = "!" if pattern.startswith("!") else ""
            pattern = pattern.removeprefix("!").removeprefix("/").removeprefix("./")
            patterns.append(f"{mark}/{pattern}")
    spec = GitIgnoreSpec.from_lines(patterns)
    return {path: source for path, source in files.items() if not spec.match_file(str(path))}
