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
    separator = "\n" if text.endswith("\n") else "\n\n"
    plan.edit(path, f"{text}{separator}{block}".encode(), "add", "the module's optional imports")


def without_settings(project: Project, path: Path, requirements: Sequence[str]) -> bytes | None:
    """Return the file without the settings that `allow_optional_imports` added, if it has them."""
    text = project.text(path)
    block = deptry_settings(project, requirements)
    if not block or not text.endswith(block):
        return None
    before = text.removesuffix(block)
    return (before[:-1] if before.endswith("\n\n") else before).encode()


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
