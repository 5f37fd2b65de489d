"""The files and packages of a container, or of another machine that runs the application."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final, Self

from .installs import Install
from .shell import Start

ROOT: Final = PurePosixPath("/")
_FASTAPI_FILES: Final = ("main.py", "app.py", "api.py", "app/main.py", "app/app.py", "app/api.py")


@dataclass(frozen=True)
class Place:
    """A line of a file in the repository."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Copied:
    """Files that an instruction copied from the repository."""

    place: Place
    target: PurePosixPath
    """The folder that they are copied to."""
    last_line: int = 0
    """The last line of the instruction, if more files can be copied below it."""


@dataclass(frozen=True)
class Installed:
    """Packages that an instruction installs, and the files of the repository that declare them."""

    place: Place
    command: Install
    files: tuple[Path, ...]
    """Requirements files and pyproject.toml files."""
    available: Mapping[PurePosixPath, Path] = field(default_factory=dict, compare=False, repr=False)
    """The files of the repository that the command can read."""
    variables: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


@dataclass
class Container:
    """A file system with an import path. All paths of the repository are relative to the project."""

    name: str
    """The route, such as `backend/Dockerfile`."""
    files: dict[PurePosixPath, Path] = field(default_factory=dict)
    """The repository's file at each absolute path."""
    copies: dict[PurePosixPath, Copied] = field(default_factory=dict)
    """The instruction that copied each file."""
    folders: set[PurePosixPath] = field(default_factory=lambda: {ROOT})
    folder: PurePosixPath = ROOT
    """The working directory."""
    variables: dict[str, str] = field(default_factory=dict)
    installed: list[Installed] = field(default_factory=list)
    path: list[PurePosixPath] = field(default_factory=list)
    """Folders on the import path, besides those of the start command and PYTHONPATH."""
    built: list[PurePosixPath] = field(default_factory=list)
    """Those of them whose code is in packages, and is copied with these to another stage."""
    projects: list[Path] = field(default_factory=list)
    """The pyproject.toml files of the projects that are installed."""
    python: tuple[int, int] | None = None
    python_place: Place | None = None
    base: str = ""
    """The image that it is built from; empty if that contains no packages but Python's."""
    client: str = ""
    """A package that the platform adds when the container starts, behind those of the image."""
    starts: list[tuple[Place, Start]] = field(default_factory=list)
    read: Callable[[Path], str] = lambda path: ""
    """Reads a file of the repository."""
    main: PurePosixPath | None = None
    """The file that is imported first, if it is known."""
    context: Path | None = None
    """The folder whose files a Dockerfile copies."""
    ignore: Path | None = None
    """The file that excludes files from it."""
    unknown: str = ""
    """The reason why the files are not known; empty if they are."""

    @property
    def paths(self) -> set[PurePosixPath]:
        """The files and folders."""
        return {*self.files, *self.folders}

    def copy(self) -> Self:
        """Return a container that starts as this one is."""
        return replace(
            self,
            files=dict(self.files),
            copies=dict(self.copies),
            folders=set(self.folders),
            variables=dict(self.variables),
            installed=list(self.installed),
            path=list(self.path),
            built=list(self.built),
            projects=list(self.projects),
            starts=list(self.starts),
        )

    def add(self, target: PurePosixPath, source: Path, copied: Copied | None = None) -> None:
        target = normal(target)
        self.files[target] = source
        if copied is not None:
            self.copies[target] = copied
        self.folders.update(target.parents)

    def below(self, folder: PurePosixPath) -> Iterator[tuple[PurePosixPath, Path]]:
        """Yield the files in `folder`, by their path relative to it."""
        for path, source in list(self.files.items()):
            if path.is_relative_to(folder):
                yield path.relative_to(folder), source

    def find(self, path: str, folder: PurePosixPath | None = None) -> PurePosixPath:
        """Return the absolute path of `path`, relative to the working directory."""
        return normal((folder or self.folder) / path)

    def import_path(self, start: Start) -> list[PurePosixPath]:
        """Return the folders that Python imports from, for the command `start`."""
        variable = self.variables.get("PYTHONPATH", "")
        named = [self.find(each) for each in variable.split(":") if each and "$" not in each]
        own = [self.file_root(start)] if start.file else [start.folder]
        return list(dict.fromkeys(map(normal, [*start.path, *own, *named, *self.path])))

    def file_root(self, start: Start) -> PurePosixPath:
        """Return the folder that is on the import path because `start.file` is served or run."""
        folder = self.served_file(start).parent
        if start.attribute:  # `fastapi run` imports from above the outermost package
            while folder / "__init__.py" in self.files:
                folder = folder.parent
        return folder

    def served_file(self, start: Start) -> PurePosixPath:
        """Return the path of `start.file`; `fastapi run` without one looks at the usual names."""
        if start.attribute == "*" and start.file == ".":
            paths = (self.find(name, start.folder) for name in _FASTAPI_FILES)
            return next((path for path in paths if path in self.files), start.folder / "main.py")
        return self.find(start.file, start.folder)

    def module(self, name: str, roots: Iterable[PurePosixPath]) -> PurePosixPath | None:
        """Return the file that `import name` imports, or None."""
        for root in roots:
            path = root.joinpath(*name.split("."))
            for candidate in (path / "__init__.py", path.with_name(f"{path.name}.py")):
                if candidate in self.files:
                    return candidate
        return None

    def places_of(self, source: Path) -> list[PurePosixPath]:
        """Return the paths of a file of the repository."""
        return [path for path, each in self.files.items() if each == source]


def normal(path: PurePosixPath) -> PurePosixPath:
    """Return `path` without `..`."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            if len(parts) > 1:
                parts.pop()
        else:
            parts.append(part)
    return PurePosixPath(*parts)


def path_changes(text: str, file: PurePosixPath) -> list[PurePosixPath]:
    """Return the folders that the Python file `file` with this text adds to sys.path."""
    found: list[PurePosixPath] = []
    for argument in re.findall(r"(?m)^\s*sys\.path\.(?:append|insert)\((?:\d+,\s*)?(.+)\)", text):
        names = re.findall(r"[\"']([^\"']*)[\"']", argument)
        if "__file__" not in argument:
            found += [PurePosixPath(name) for name in names[:1] if name.startswith("/")]
            continue
        levels = argument.count("dirname(") + argument.count(".parent")
        if above := re.search(r"\.parents\[(\d+)\]", argument):
            levels = int(above[1]) + 1
        if levels <= len(file.parents):
            base = file.parents[levels - 1] if levels else file
            found.append(normal(base.joinpath(*names)))
    return found
