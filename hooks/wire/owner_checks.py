"""Settings of the repository's own checks that the module needs."""

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

from .plan import Plan, Step
from .project import Project

_IMPORT = re.compile(r"(?m)^\s*(?:from|import) ([a-z_]\w*)")


def allow_optional_imports(plan: Plan, path: Path, requirements: Sequence[str]) -> None:
    """Add the module's optional imports to the settings of deptry, if `path` has any."""
    text = plan.project.text(path)
    settings = (
        tomllib.loads(text).get("tool", {}).get("deptry") if path.name == "pyproject.toml" else None
    )
    if settings is None:
        return
    block = deptry_settings(plan.project, requirements)
    if not block or block in text:
        return
    if "per_rule_ignores" in settings:
        plan.todo.append(
            Step(f"{path} configures deptry. Add the module's optional imports:", block)
        )
        return
    plan.edit(path, f"{text}\n{block}".encode(), "add", "the module's optional imports")


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


def without_settings(project: Project, path: Path, requirements: Sequence[str]) -> bytes | None:
    """Return the file without the settings that were added to it, or None if there are none."""
    text = project.text(path)
    shorter = text
    if (start := text.rfind("\n[tool.setuptools.packages.find]\n")) >= 0:
        block = text[start + 1 :]
        if setuptools_settings(project, path, text[:start]) == block:
            shorter = text[:start]
    if deptry := deptry_settings(project, requirements):
        shorter = shorter.removesuffix(f"\n{deptry}")
    return shorter.encode() if shorter != text else None


def deptry_settings(project: Project, requirements: Sequence[str]) -> str:
    """Return the rules for imports of packages that are optional or part of another package."""
    sources = [
        path.read_text() for path in sorted((project.root / project.module_dir).rglob("*.py"))
    ]
    names = {name for text in sources for name in _IMPORT.findall(text)}
    names -= {*sys.stdlib_module_names, project.import_name.split(".")[0], project.module_name}
    if not names:
        return ""
    optional = ", ".join(f'"{name}"' for name in sorted(names - {"fastapi", "opentelemetry"}))
    packages = ", ".join(f'"{Requirement(each).name}"' for each in sorted(requirements))
    return (
        "[tool.deptry.per_rule_ignores]\n"
        f"DEP001 = [{optional}]\nDEP002 = [{packages}]\nDEP003 = [{optional}]\n"
    )
