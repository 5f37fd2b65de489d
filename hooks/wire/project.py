"""The repository to wire: its files and its Copier answers."""

import os
import re
import subprocess
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ..files import listed_files
from .source import EditRefused, Source

# Folders that do not contain the service.
_EXCLUDED_FOLDERS = {
    "build", "dist", "docs", "docs_src", "env", "example", "examples", "migrations",
    "node_modules", "notebooks", "scripts", "site-packages", "test", "tests", "venv",
}  # fmt: skip


_MAX_DEPTH = 20


def tests_dir(import_name: str, module_name: str) -> Path:
    """Return the folder of the module's tests, as `tests_dir` in copier.yml."""
    if import_name:
        return Path("tests", module_name)
    return Path("tests", "tracing" if module_name == "telemetry" else "telemetry")


@dataclass
class Project:
    """A repository that contains the observability module."""

    root: Path
    _contents: dict[Path, bytes] = field(default_factory=dict)
    _sources: dict[Path, Source | EditRefused] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    """Results of searches in these files, by the name of the search."""

    @cached_property
    def answers(self) -> dict[str, str]:
        """The recorded answers to the template's questions. Raises EditRefused if there are none."""
        for path in sorted(self.root.glob(".copier-answers*.yml")):
            try:
                answers = yaml.safe_load(path.read_text())
            except (yaml.YAMLError, ValueError):
                raise EditRefused(
                    f"{path.name} is not valid YAML. Resolve merge conflicts in it, if any."
                ) from None
            if isinstance(answers, dict) and "honeycomb_region" in answers:
                return answers
        if not self.root.is_dir():
            raise EditRefused(f"{self.root} is not a folder.")
        raise EditRefused(
            f"{self.root} does not contain the observability module yet. Run"
            " `copier-honeycomb adopt`, which adds it."
        )

    def with_answers(self, answers: dict[str, str]) -> "Project":
        """Return this repository as it will be once the module is copied with `answers`."""
        other = Project(self.root)
        other.__dict__.update(self.__dict__)
        other.results, other._contents = {}, dict(self._contents)
        other.__dict__["answers"] = answers
        other.__dict__.pop("modules", None)
        module = other.module_dir / "__init__.py"
        other.__dict__["files"] = sorted({*self.files, module})
        other.__dict__["repository_files"] = sorted({*self.repository_files, module})
        other._contents[module] = b""
        return other

    @property
    def package_dir(self) -> Path:
        return Path(self.answers.get("package_dir", self.answers.get("package_name", ".")))

    @property
    def import_name(self) -> str:
        name: str = self.answers.get("import_name", self.answers.get("package_name", ""))
        return name

    @property
    def module_name(self) -> str:
        return self.answers.get("module_name", "observability")

    @property
    def module_dir(self) -> Path:
        """The folder of the observability package, relative to the root."""
        return self.package_dir / self.module_name

    @property
    def module(self) -> str:
        """The import name of the observability package."""
        return f"{self.import_name}.{self.module_name}".lstrip(".")

    @property
    def secret(self) -> str:
        return self.answers.get("modal_secret", "honeycomb-secrets")

    @cached_property
    def files(self) -> list[Path]:
        """Files relative to the root; in a Git repository, without ignored files."""
        return listed_files(self.root)

    @cached_property
    def repository(self) -> Path:
        """The folder of the Git repository; the root, if it is in none."""
        shown = subprocess.run(
            ["git", "rev-parse", "--show-toplevel"],
            cwd=self.root,
            check=False,
            capture_output=True,
            text=True,
        )
        return Path(shown.stdout.strip()) if shown.returncode == 0 else self.root

    @cached_property
    def repository_files(self) -> list[Path]:
        """The files of the whole repository, relative to the root: above it, they begin with `..`."""
        if self.repository == self.root:
            return self.files
        return [
            Path(os.path.relpath(self.repository / name, self.root))
            for name in listed_files(self.repository)
        ]

    def above(self, folder: Path) -> list[Path]:
        """Return the folders above `folder` up to that of the repository."""
        top = Path(os.path.relpath(self.repository, self.root))
        found: list[Path] = []
        while folder != top and len(found) < _MAX_DEPTH:
            folder = folder.parent if folder.name not in ("", "..") else folder / ".."
            found.append(folder)
        return found

    def relative(self, path: Path, folder: Path) -> str | None:
        """Return `path` relative to `folder`, or None if it is not below it."""
        name = os.path.relpath(path, folder)
        return None if name.startswith("..") else name

    @cached_property
    def modules(self) -> list[Path]:
        """Python files that may belong to the service, without tests and the module itself."""
        return [
            name
            for name in self.files
            if name.suffix == ".py"
            and not name.is_relative_to(self.module_dir)
            and not _EXCLUDED_FOLDERS & set(name.parts[:-1])
            and not name.name.startswith("test_")
            and name.name != "conftest.py"
        ]

    def limited_to(self, files: Collection[Path]) -> "Project":
        """Return this repository with only those modules that are among `files`."""
        other = Project(self.root)
        other.__dict__.update(self.__dict__)
        other.results = {}
        other.__dict__["modules"] = [name for name in self.modules if name in files]
        return other

    def text(self, name: Path) -> str:
        """Return the file's text; undecodable bytes are replaced."""
        return self.content(name).decode(errors="replace")

    def content(self, name: Path) -> bytes:
        """Return the file's bytes. They are read once."""
        if name not in self._contents:
            self._contents[name] = (self.root / name).read_bytes()
        return self._contents[name]

    def source(self, name: Path) -> Source:
        """Return the parsed file. Raises EditRefused if it does not parse."""
        if name not in self._sources:
            try:
                self._sources[name] = Source(name, self.content(name))
            except EditRefused as refused:
                self._sources[name] = refused
        found = self._sources[name]
        if isinstance(found, EditRefused):
            raise found
        return found

    def sources_matching(self, pattern: re.Pattern[bytes]) -> Iterator[Source]:
        """Yield the parsed files of `modules` that match `pattern`, without files that do not parse.

        Parsing is slow: the pattern should match few files.
        """
        for name in self.modules:
            if pattern.search(self.content(name)):
                with suppress(EditRefused):
                    yield self.source(name)

    def sources_containing(self, *needles: bytes) -> Iterator[Source]:
        """Yield the parsed files of `containing`, without files that do not parse."""
        return self.sources_matching(re.compile(b"|".join(map(re.escape, needles))))

    def having(self, name: Path, content: bytes) -> "Project":
        """Return this repository with `content` in the file `name`. Raises EditRefused if it does
        not parse."""
        other = Project(self.root)
        other.__dict__.update(self.__dict__)
        other._contents = {**self._contents, name: content}
        other._sources = {**self._sources}
        other.results = {}
        if name.suffix == ".py":
            other._sources[name] = Source(name, content)
        return other

    def containing(self, *needles: bytes) -> list[Path]:
        """Return the files of `modules` that contain one of `needles`."""
        return [
            name for name in self.modules if any(needle in self.content(name) for needle in needles)
        ]

    def texts(self, *patterns: str) -> list[tuple[Path, str]]:
        """Return the files with matching names, and their text."""
        return [
            (name, self.text(name))
            for name in self.files
            if any(name.match(pattern) for pattern in patterns)
            and not name.is_relative_to(self.module_dir)
            and (self.root / name).stat().st_size < 1_000_000
        ]
