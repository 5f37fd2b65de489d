"""Settings of the repository's own checks that the module needs."""

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

from .plan import Plan, Step
from .project import Project, tests_dir

# Files that name the commands of a repository's checks.
_CHECKS: Final = (
    "pyproject.toml", "requirements*.txt", "requirements*.in", ".pre-commit-config.yaml",
    ".github/workflows/*.y*ml", ".gitlab-ci.yml", "Makefile", "justfile", "noxfile.py", "tox.ini",
)  # fmt: skip
# Known before `adopt` copies the module; releases have more.
_OPTIONAL_IMPORTS: Final = {"anyio", "certifi", "genai_prices", "starlette"}


def allow_optional_imports(plan: Plan, path: Path, requirements: Sequence[str]) -> None:
    """Add the module's optional imports to the settings of deptry, if the repository runs it."""
    file = _deptry_file(plan.project, path)
    if file is None:
        return
    exists = (plan.project.root / file).exists()
    text = plan.project.text(file) if exists else ""
    settings = _deptry(text)
    present = settings.get("per_rule_ignores", {})
    rules = _deptry_rules(plan.project, settings, requirements)
    missing = {
        rule: absent
        for rule, names in rules.items()
        if (absent := [name for name in names if name not in present.get(rule, ())])
    }
    if not missing:
        return
    if exists and not present:
        content = f"{text}\n{_block(missing)}".encode()
        plan.edit(file, content, "add", "the module's optional imports")
    else:
        advice = f"The repository runs deptry. Add the module's optional imports to {file}:"
        plan.todo.append(Step(advice, _block(missing)))


def name_packages(plan: Plan, path: Path) -> None:
    """Name the packages to setuptools, which refuses to choose between them and honeycomb/."""
    text = plan.project.text(path)
    block = setuptools_settings(plan.project, path, text)
    if block:
        plan.edit(path, f"{text}\n{block}".encode(), "add", "the packages of the distribution")


def setuptools_settings(project: Project, path: Path, text: str) -> str:
    """Return the settings of a flat layout whose packages setuptools finds; empty for any other."""
    if path != Path("pyproject.toml"):
        return ""
    data = tomllib.loads(text)
    requires = data.get("build-system", {}).get("requires", [])
    if "setuptools" in data.get("tool", {}) or not any("setuptools" in each for each in requires):
        return ""
    files = set(project.files)
    packages = sorted(
        {
            each.parts[0]
            for each in project.modules
            if len(each.parts) > 1 and Path(each.parts[0]) / "__init__.py" in files
        }
    )
    if (
        not packages
        or (project.root / "src").is_dir()
        or project.package_dir.parts[:1] != (packages[0],)
    ):
        return ""
    names = ", ".join(f'"{each}*"' for each in packages)
    return f"[tool.setuptools.packages.find]\ninclude = [{names}]\n"


def without_packages_named(project: Project, path: Path) -> bytes | None:
    """Return the file without the packages named to setuptools, or None if they are not named."""
    text = project.text(path)
    start = text.rfind("\n[tool.setuptools.packages.find]\n")
    if start >= 0 and setuptools_settings(project, path, text[:start]) == text[start + 1 :]:
        return text[:start].encode()
    return None


def without_optional_imports(
    project: Project, path: Path, requirements: Sequence[str]
) -> tuple[Path, bytes] | None:
    """Return the file with the settings of deptry, without the module's imports; None if unchanged."""
    file = _deptry_file(project, path)
    if file is None or not (project.root / file).exists():
        return None
    text = project.text(file)
    rules = _deptry_rules(project, _deptry(text), requirements)
    shorter = text.replace(f"\n{_block(rules)}", "", 1)
    return (file, shorter.encode()) if shorter != text else None


def _deptry_file(project: Project, path: Path) -> Path | None:
    """Return the pyproject.toml with the settings of deptry for the packages in `path`, which may not
    exist yet; None if the repository does not run deptry."""
    near = [each / "pyproject.toml" for each in (path.parent, *path.parent.parents)]
    found = [each for each in near if (project.root / each).exists()]
    for each in found:
        if _deptry(project.text(each)):
            return each
    if any(re.search(r"\bdeptry\b", text) for _, text in project.texts(*_CHECKS)):
        return (found or near)[0]
    return None


def _deptry(text: str) -> dict[str, Any]:
    settings: dict[str, Any] = tomllib.loads(text).get("tool", {}).get("deptry", {})
    return settings


def _deptry_rules(
    project: Project, settings: dict[str, Any], requirements: Sequence[str]
) -> dict[str, list[str]]:
    """Return the ignored names by rule: imports of packages that are optional or part of another."""
    folders = [project.module_dir]
    excluded = [*settings.get("exclude", ["tests"]), *settings.get("extend_exclude", [])]
    if not any("tests" in each for each in excluded):
        folders.append(tests_dir(project.import_name, project.module_name))
    names = {name for folder in folders for name in _imports(project.root / folder)}
    names |= _OPTIONAL_IMPORTS
    if project.answers.get("otlp_protocol") == "grpc":
        names.add("grpc")
    own = {project.import_name.split(".")[0], project.module_name}
    optional = sorted(names - own - {*sys.stdlib_module_names, "fastapi", "opentelemetry"})
    # deptry does not find modules in a folder that is not a package.
    package = project.root / project.package_dir
    is_hidden = package != project.root and not (package / "__init__.py").exists()
    return {
        "DEP001": sorted([*optional, *([project.module_name] if is_hidden else [])]),
        "DEP002": sorted(Requirement(each).name for each in requirements),
        "DEP003": optional,
        "DEP004": optional,
    }


def _imports(folder: Path) -> Iterator[str]:
    """Yield the top-level names that the files in `folder` import."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                yield from (each.name.split(".")[0] for each in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.split(".")[0]


def _block(rules: dict[str, list[str]]) -> str:
    lines = [f"{rule} = {json.dumps(names)}\n" for rule, names in rules.items()]
    return "".join(["[tool.deptry.per_rule_ignores]\n", *lines])
