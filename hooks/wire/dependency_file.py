"""Find the file that declares the service's dependencies, and read the versions it allows."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from .project import Project
from .source import EditRefused

_FASTAPI = frozenset({"fastapi", "fastapi-slim"})
# Extras and groups that repeat the packages of others, or are not those of the service.
_ALL_EXTRAS = ("all", "full", "dev", "test", "tests", "testing", "docs", "lint")


NO_FILE = "No supported dependency file was found. Install these packages:"


@dataclass(frozen=True)
class DependencyFile:
    """A file that declares dependencies."""

    path: Path
    kind: Literal["pyproject", "poetry", "pipfile", "requirements", "conda", "inline"]
    versions: Mapping[str, str]
    """The version specifier of each package, by normalized name."""
    table: tuple[str, ...] = ()
    """The keys of the list or table in pyproject.toml, such as `project`, `dependencies`."""
    python: str = ""
    """The version specifier of Python."""
    is_optional: bool = False
    """True if the table is an extra, or FastAPI is an optional dependency in Poetry's table."""

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.versions)

    @property
    def has_fastapi(self) -> bool:
        return bool(self.names & _FASTAPI)


def find_dependency_file(
    project: Project, server: Path, *, prefer_installed: bool = True
) -> DependencyFile:
    """Return the dependency file nearest to the server: with `prefer_installed`, one that a container
    installs. Raises EditRefused if there is none."""
    found = [
        each for each in (read_dependency_file(project, name) for name in project.files) if each
    ]
    installed = _installed_in_containers(project) if prefer_installed else set()

    def rank(each: DependencyFile) -> tuple[int, ...]:
        folder = each.path.parent
        is_above = server.is_relative_to(folder)
        return (
            int(is_above),
            int(each.has_fastapi),
            int(each.path in installed),
            len(folder.parts) if is_above else 0,
            int(each.kind != "conda"),
            int(each.kind != "requirements"),
            int(each.path.suffix == ".in"),
            int(each.path.name in ("requirements.txt", "requirements.in")),
        )

    if not found:
        raise EditRefused(NO_FILE)
    return max(found, key=rank)


def inline_dependencies(path: Path, packages: Sequence[str]) -> DependencyFile:
    """Return the packages that a command in the file `path` installs."""
    return DependencyFile(path, "inline", _versions(packages))


def newest_version(project: Project, file: DependencyFile, package: str) -> Version | None:
    """Return the newest version that can be installed, or None if it is not limited."""
    declared = newest_in(file.versions.get(package, ""))
    if file.kind == "inline":
        return declared
    if file.kind == "requirements" and declared is not None:
        # A lock file beside it does not apply to a file that pins its packages.
        return declared
    return locked_version(project, file, package) or declared


def locked_version(project: Project, file: DependencyFile, package: str) -> Version | None:
    """Return the version in the nearest lock file, which may be above the project."""
    if file.path.suffix == ".in":
        compiled = file.path.with_suffix(".txt")
        if (project.root / compiled).exists():
            text = project.text(compiled)
            if match := re.search(rf"(?mi)^{package}==([\w.]+)", text):
                return Version(match[1])
    for path in lock_files(project, file.path.parent):
        text = project.text(path)
        if path.name == "Pipfile.lock":
            match = re.search(rf'"{package}": \{{[^}}]*?"version": "==([^"]+)"', text)
        else:
            match = re.search(rf'(?m)^name = "{package}"\r?\nversion = "([^"]+)"', text)
        if match:
            return Version(match[1])
    return None


def locked_names(project: Project, file: DependencyFile) -> frozenset[str]:
    """Return the packages in the nearest lock file."""
    for path in lock_files(project, file.path.parent):
        if path.name != "Pipfile.lock":
            return frozenset(re.findall(r'(?m)^name = "([^"]+)"\r?$', project.text(path)))
    return frozenset()


def lock_files(project: Project, folder: Path) -> list[Path]:
    """Return the lock files in `folder` and above, up to the repository's, the nearest first."""
    return [
        path
        for each in (folder, *project.above(folder))
        for name in ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock")
        if (project.root / (path := each / name)).exists()
    ]


def newest_in(specifier: str) -> Version | None:
    """Return the newest version that a specifier allows, or None if it has no upper bound."""
    newest: Version | None = None
    for each in _specifiers(specifier):
        try:
            bound = Version(each.version.removesuffix(".*"))
        except InvalidVersion:
            continue
        if each.operator == "<":
            bound = Version(f"{bound}.dev0")
        # `~=0.110` does not limit releases of 0.x; `~=0.110.2` does.
        is_bound = each.operator in ("==", "===", "<", "<=") or (
            each.operator == "~=" and len(bound.release) > 2
        )
        if is_bound:
            newest = bound if newest is None else min(newest, bound)
    return newest


def oldest_in(specifier: str) -> Version | None:
    """Return the oldest version that a specifier allows, or None if it has no lower bound."""
    bounds = [
        Version(each.version)
        for each in _specifiers(specifier)
        if each.operator in (">=", ">", "~=")
    ]
    return max(bounds, default=None)


def allows_old_python(file: DependencyFile) -> bool:
    """Return True if the project declares that it supports Python 3.10."""
    text = file.python.replace("^", ">=").strip()
    try:
        return bool(text) and SpecifierSet(text).contains("3.10.0")
    except ValueError:
        return False


def _specifiers(text: str) -> SpecifierSet:
    text = text.strip()
    if re.match(r"\^|~(?!=)", text):
        # In Poetry, ^0.110 and ~0.110 allow 0.110.x.
        return SpecifierSet(f"=={'.'.join(text.lstrip('^~').split('.')[:2])}.*")
    try:
        return SpecifierSet("" if text == "*" else text if not text[:1].isdigit() else f"=={text}")
    except ValueError:
        return SpecifierSet()


def read_dependency_file(project: Project, name: Path) -> DependencyFile | None:
    """Return the packages that the file `name` declares, or None if it declares none."""
    if name.name == "Pipfile":
        return _read_pipfile(project, name)
    if re.fullmatch(r"(?:conda-)?env(?:ironment)?[\w.-]*\.ya?ml", name.name):
        return _read_conda(project, name)
    if name.name == "pyproject.toml":
        try:
            data = tomllib.loads(project.content(name).decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            return None
        return _read_pyproject(name, data)
    if re.fullmatch(r"requirements[\w.-]*\.(txt|in)", name.name) or (
        name.parent.name == "requirements" and name.suffix in (".txt", ".in")
    ):
        if re.search(r"dev|test|lint|docs", name.stem):
            return None
        versions = _versions(project.text(name).splitlines())
        return DependencyFile(name, "requirements", versions)
    return None


def _read_pyproject(name: Path, data: dict[str, Any]) -> DependencyFile | None:
    files = [
        DependencyFile(name, "pyproject", _versions(items), table) for table, items in _lists(data)
    ]
    # The first list that contains FastAPI, else the project's dependencies.
    with_fastapi = [each for each in files if each.has_fastapi]
    file = next(iter(sorted(with_fastapi, key=lambda each: each.table[-1] in _ALL_EXTRAS)), None)
    if file is None and files and files[0].table == ("project", "dependencies"):
        file = files[0]
    if file is not None:
        return replace(file, python=str(data.get("project", {}).get("requires-python", "")))
    return _read_poetry(name, data.get("tool", {}).get("poetry", {}))


def _read_poetry(name: Path, poetry: dict[str, Any]) -> DependencyFile | None:
    """Return Poetry's table that contains FastAPI, else that of the dependencies."""
    tables: dict[tuple[str, ...], Any] = {("dependencies",): poetry.get("dependencies")}
    for group, entry in poetry.get("group", {}).items():
        tables["group", group, "dependencies"] = entry.get("dependencies")
    python = str((poetry.get("dependencies") or {}).get("python", ""))
    files = [
        DependencyFile(
            name,
            "poetry",
            _poetry_versions(packages),
            ("tool", "poetry", *keys),
            python,
            any(
                isinstance(packages.get(each), dict) and packages[each].get("optional")
                for each in _FASTAPI
            ),
        )
        for keys, packages in tables.items()
        if isinstance(packages, dict)
    ]
    return next((each for each in files if each.has_fastapi), files[0] if files else None)


def _read_conda(project: Project, name: Path) -> DependencyFile | None:
    """Return the packages of a conda environment, those that pip installs included."""
    try:
        data = yaml.safe_load(project.text(name))
    except yaml.YAMLError:
        return None
    entries = data.get("dependencies") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        return None
    lines: list[object] = []
    for entry in entries:
        if isinstance(entry, dict):
            lines += entry.get("pip") or []
        else:  # `fastapi=0.115` is any 0.115
            lines.append(re.sub(r"(?<=\w) ?=([\w.]+).*", r"==\1.*", str(entry)))
    return DependencyFile(name, "conda", _versions(lines))


def _read_pipfile(project: Project, name: Path) -> DependencyFile | None:
    try:
        packages = tomllib.loads(project.text(name)).get("packages")
    except tomllib.TOMLDecodeError:
        return None
    if not isinstance(packages, dict):
        return None
    return DependencyFile(name, "pipfile", _poetry_versions(packages), ("packages",))


def _poetry_versions(packages: dict[str, Any]) -> dict[str, str]:
    return {
        canonicalize_name(package): str(
            entry.get("version", "") if isinstance(entry, dict) else entry
        )
        for package, entry in packages.items()
    }


def _lists(data: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], list[object]]]:
    """Yield the lists of requirements in a pyproject.toml: dependencies, extras, PEP 735 groups."""
    project = data.get("project", {})
    if isinstance(project.get("dependencies"), list):
        yield ("project", "dependencies"), project["dependencies"]
    for extra, items in project.get("optional-dependencies", {}).items():
        yield ("project", "optional-dependencies", extra), items
    for group, items in data.get("dependency-groups", {}).items():
        yield ("dependency-groups", group), items


def _versions(lines: Sequence[object]) -> dict[str, str]:
    versions: dict[str, str] = {}
    for line in lines:
        try:
            requirement = Requirement(str(line).split(" #")[0].split(" \\")[0].strip())
        except InvalidRequirement:
            continue
        versions[canonicalize_name(requirement.name)] = str(requirement.specifier)
    return versions


def _installed_in_containers(project: Project) -> set[Path]:
    """Return the requirements files that Dockerfiles and Modal images install."""
    found: set[Path] = set()
    texts = project.texts("Dockerfile*", "*.Dockerfile")
    texts += [(name, project.text(name)) for name in project.containing(b"modal")]
    for path, text in texts:
        for match in re.findall(r"[\w./-]*requirements[\w./-]*\.(?:txt|in)", text):
            for folder in (path.parent, Path()):
                name = folder / match.lstrip("./")
                if (project.root / name).exists():
                    found.add(name)
    return found
