"""What a repository declares that it depends on, and in which versions."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from .project import Project
from .source import Refused


@dataclass(frozen=True)
class Declared:
    """A file that declares dependencies."""

    path: Path
    kind: str
    """pep621, poetry or requirements."""
    versions: Mapping[str, str]
    """The version specifier of each package."""
    python: str = ""
    """The version specifier of Python."""

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.versions)


def declared_in(project: Project, server: Path) -> Declared:
    """The file nearest to the server that declares what it needs. Raises Refused for none."""
    found = [each for each in (_read(project, name) for name in project.files) if each]
    installed = _installed_by_container(project)

    def rank(each: Declared) -> tuple[int, ...]:
        folder = each.path.parent
        is_above = server.is_relative_to(folder)
        return (
            int(is_above),
            int("fastapi" in each.names or "fastapi-slim" in each.names),
            int(each.path in installed),
            len(folder.parts) if is_above else 0,
            int(each.kind != "requirements"),
            int(each.path.suffix == ".in"),
            int(each.path.name in ("requirements.txt", "requirements.in")),
        )

    if not found:
        raise Refused(
            "No file here declares dependencies that can be added to: install these yourself."
        )
    return max(found, key=rank)


def newest_version(project: Project, declared: Declared, package: str) -> Version | None:
    """The newest version that the repository lets in, or None where that is today's."""
    return locked_version(project, declared, package) or newest_in(
        declared.versions.get(package, "")
    )


def locked_version(project: Project, declared: Declared, package: str) -> Version | None:
    """The version in the nearest lock file."""
    for folder in (declared.path.parent, *declared.path.parent.parents):
        for lock in ("uv.lock", "poetry.lock", "pdm.lock"):
            path = project.root / folder / lock
            if path.exists():
                match = re.search(
                    rf'^name = "{package}"\nversion = "([^"]+)"', path.read_text(), re.MULTILINE
                )
                if match:
                    return Version(match[1])
    if declared.path.suffix == ".in":
        compiled = project.root / declared.path.with_suffix(".txt")
        if compiled.exists():
            match = re.search(
                rf"^{package}==([\w.]+)", compiled.read_text(), re.MULTILINE | re.IGNORECASE
            )
            if match:
                return Version(match[1])
    return None


def newest_in(text: str) -> Version | None:
    """The newest version that a specifier lets in, or None where that is today's."""
    newest: Version | None = None
    for specifier in _specifiers(text):
        try:
            bound = Version(specifier.version.removesuffix(".*"))
        except InvalidVersion:
            continue
        if specifier.operator == "<":
            bound = Version(f"{bound}.dev0")
        if specifier.operator in ("==", "===", "<", "<="):
            newest = bound if newest is None else min(newest, bound)
        elif specifier.operator == "~=" and len(bound.release) > 2:
            # Releases of 0.x count in the second place.
            newest = bound if newest is None else min(newest, bound)
    return newest


def oldest_in(text: str) -> Version | None:
    """The oldest version that a specifier lets in, or None where it does not say."""
    bounds = [
        Version(specifier.version)
        for specifier in _specifiers(text)
        if specifier.operator in (">=", ">", "~=")
    ]
    return max(bounds, default=None)


def lets_in_old_python(declared: Declared) -> bool:
    """Whether the repository says that it runs on a Python before 3.11."""
    text = declared.python.replace("^", ">=").strip()
    try:
        return bool(text) and SpecifierSet(text).contains("3.10.0")
    except ValueError:
        return False


def _specifiers(text: str) -> SpecifierSet:
    text = text.strip()
    if re.match(r"\^|~(?!=)", text):
        # Poetry: ^0.110 and ~0.110 let in 0.110.x.
        return SpecifierSet(f"=={'.'.join(text.lstrip('^~').split('.')[:2])}.*")
    try:
        return SpecifierSet("" if text == "*" else text if not text[:1].isdigit() else f"=={text}")
    except ValueError:
        return SpecifierSet()


def _read(project: Project, name: Path) -> Declared | None:
    if name.name == "pyproject.toml":
        try:
            data = tomllib.loads(project.content(name).decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            return None
        dependencies = data.get("project", {}).get("dependencies")
        if isinstance(dependencies, list):
            python = str(data["project"].get("requires-python", ""))
            return replace(_declared(name, "pep621", dependencies), python=python)
        poetry = data.get("tool", {}).get("poetry", {}).get("dependencies")
        if isinstance(poetry, dict):
            versions: dict[str, str] = {}
            for package, entry in poetry.items():
                version = entry.get("version", "") if isinstance(entry, dict) else entry
                versions[canonicalize_name(package)] = str(version)
            return Declared(name, "poetry", versions, versions.get("python", ""))
        return None
    if re.fullmatch(r"requirements[\w.-]*\.(txt|in)", name.name) or (
        name.parent.name == "requirements" and name.suffix in (".txt", ".in")
    ):
        if re.search(r"dev|test|lint|docs", name.stem):
            return None
        return _declared(name, "requirements", project.text(name).splitlines())
    return None


def _declared(name: Path, kind: str, lines: Sequence[object]) -> Declared:
    versions: dict[str, str] = {}
    for line in lines:
        try:
            requirement = Requirement(str(line).split(" #")[0].split(" \\")[0].strip())
        except InvalidRequirement:
            continue
        versions[canonicalize_name(requirement.name)] = str(requirement.specifier)
    return Declared(name, kind, versions)


def _installed_by_container(project: Project) -> set[Path]:
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
