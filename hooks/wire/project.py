"""The repository that is wired: its files, and what the template recorded about it."""

import subprocess
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import yaml

from .source import Refused, Source

# Folders that hold no server of the user's.
_ASIDE = {
    "build", "dist", "docs", "docs_src", "env", "example", "examples", "migrations",
    "node_modules", "notebooks", "scripts", "site-packages", "test", "tests", "venv",
}  # fmt: skip


@dataclass
class Project:
    """A repository with the observability module in it."""

    root: Path
    _contents: dict[Path, bytes] = field(default_factory=dict)
    _sources: dict[Path, Source | Refused] = field(default_factory=dict)

    @cached_property
    def answers(self) -> dict[str, str]:
        """What the template was answered. Raises Refused where it is not there."""
        for path in sorted(self.root.glob(".copier-answers*.yml")):
            try:
                answers = yaml.safe_load(path.read_text())
            except (yaml.YAMLError, ValueError):
                raise Refused(
                    f"{path.name} is no YAML that can be read: mend it, as where a conflict is in it."
                ) from None
            if isinstance(answers, dict) and "honeycomb_region" in answers:
                return answers
        if not self.root.is_dir():
            raise Refused(f"There is no folder {self.root}.")
        raise Refused(
            f"{self.root} does not have the observability module yet: run `copier copy` first."
        )

    @property
    def package_dir(self) -> Path:
        return Path(self.answers.get("package_dir", self.answers.get("package_name", ".")))

    @property
    def import_name(self) -> str:
        name: str = self.answers.get("import_name", self.answers.get("package_name", ""))
        return name

    @property
    def module_dir(self) -> Path:
        """The observability package, relative to the root."""
        return self.package_dir / "observability"

    @property
    def module(self) -> str:
        """The observability package as Python imports it."""
        return f"{self.import_name}.observability".lstrip(".")

    @property
    def secret(self) -> str:
        return self.answers.get("modal_secret", "honeycomb-secrets")

    @cached_property
    def files(self) -> list[Path]:
        """Files relative to the root; in a git repository, those that git does not ignore."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=self.root,
            check=False,
            capture_output=True,
        )
        if listed.returncode == 0:
            names = {Path(name.decode()) for name in listed.stdout.split(b"\0") if name}
        else:
            names = {path.relative_to(self.root) for path in self.root.rglob("*")}
        return sorted(
            name
            for name in names
            if (self.root / name).is_file()
            and not any(part in ("node_modules", "site-packages", ".venv") for part in name.parts)
        )

    @cached_property
    def modules(self) -> list[Path]:
        """The user's own Python files that may be part of the service."""
        return [
            name
            for name in self.files
            if name.suffix == ".py"
            and not name.is_relative_to(self.module_dir)
            and not _ASIDE & set(name.parts[:-1])
            and not name.name.startswith("test_")
            and name.name != "conftest.py"
        ]

    def text(self, name: Path) -> str:
        """The file's text, as well as it can be read."""
        return self.content(name).decode(errors="replace")

    def content(self, name: Path) -> bytes:
        """The file's bytes, read once."""
        if name not in self._contents:
            self._contents[name] = (self.root / name).read_bytes()
        return self._contents[name]

    def source(self, name: Path) -> Source:
        """The file parsed, relative to the root. Raises Refused where it does not parse."""
        if name not in self._sources:
            try:
                self._sources[name] = Source(name, self.content(name))
            except Refused as refused:
                self._sources[name] = refused
        found = self._sources[name]
        if isinstance(found, Refused):
            raise found
        return found

    def having(self, name: Path, content: bytes) -> "Project":
        """The same repository with `content` in the file `name`. Raises Refused where it does not
        parse."""
        other = Project(self.root)
        other.__dict__.update(self.__dict__)
        other._contents = {**self._contents, name: content}
        other._sources = {**self._sources}
        if name.suffix == ".py":
            other._sources[name] = Source(name, content)
        return other

    def containing(self, *needles: bytes) -> list[Path]:
        """Of `modules`, those with one of `needles` in them."""
        return [
            name for name in self.modules if any(needle in self.content(name) for needle in needles)
        ]

    def texts(self, *patterns: str) -> list[tuple[Path, str]]:
        """Files whose names match, with their text."""
        return [
            (name, self.text(name))
            for name in self.files
            if any(name.match(pattern) for pattern in patterns)
            and not name.is_relative_to(self.module_dir)
            and (self.root / name).stat().st_size < 1_000_000
        ]
