"""The self-check of the project's module, run in the project's environment."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from ..project import Project, ProjectError
from ..terminal import printable

_TIMEOUT: Final = 60.0
_REQUIRED: Final = "0.4.0"


@dataclass(frozen=True)
class SelfCheck:
    """The output of `python -m <package>.observability --json`."""

    enabled: bool
    service_name: str
    exporter: str
    protocol: str
    endpoint: str
    headers: Mapping[str, str]
    """Redacted values by name."""
    sample_rate: int
    warnings: tuple[str, ...]
    """Messages that the module logged."""
    accepted: bool | None
    """True if the test span was accepted; None if nothing is exported."""
    reason: str
    """The reason why the span was not accepted."""
    trace_id: str
    """Trace of the test span, empty if nothing is exported."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        settings, span = content["settings"], content["span"]
        return cls(
            enabled=settings["enabled"],
            service_name=settings["service_name"],
            exporter=settings["exporter"],
            protocol=settings["protocol"],
            endpoint=settings["endpoint"],
            headers=settings["headers"],
            sample_rate=settings["sample_rate"],
            warnings=tuple(content["warnings"]),
            accepted=span["accepted"],
            reason=span["reason"] or "",
            trace_id=span["trace_id"] or "",
        )


def run_self_check(project: Project, python: Path) -> SelfCheck:
    """Run the self-check with the variables of this process. Raises ProjectError if it fails."""
    arguments = ["-m", project.module, "--json"]
    path = [str(project.import_root), os.environ.get("PYTHONPATH", "")]
    try:
        done = subprocess.run(
            [python, *arguments],
            cwd=project.root,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))},
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProjectError(f"{python} could not be run: {error}.") from None
    # Code that is imported may print too.
    for line in reversed(done.stdout.splitlines()):
        with suppress(ValueError, KeyError, TypeError):
            return SelfCheck.from_json(json.loads(line))
    main = project.module_dir / "__main__.py"
    if not main.is_file() and (main.with_name("_setup.py").is_file() or not main.parent.is_dir()):
        missing = main if main.parent.is_dir() else main.parent
        raise ProjectError(
            f"{missing.relative_to(project.root)} does not exist. Restore it from git, or correct"
            f" package_dir and module_name in {project.answers_file}."
        )
    if not main.is_file():
        raise ProjectError(f"{_outdated(project)}Run `{project.update_command()}`.")
    if "add_subparsers" in main.read_text(encoding="utf-8"):
        raise ProjectError(
            f"{_outdated(project)}Run `{project.update_command()}`, or the doctor of that release:"
            f" `python -m {project.module} doctor`."
        )
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no output"]
    raise ProjectError(
        f"`python -m {project.module}` fails in {python}: {printable(lines[-1])[:300].rstrip('.')}"
        f"{_place(project, done.stderr)}. Install the project's packages, or fix the error."
    )


def _place(project: Project, traceback: str) -> str:
    """The file and line of an error that the project's code raises, in brackets."""
    for path, line in re.findall(r'^  File "(.+)", line (\d+)', traceback, re.MULTILINE)[-1:]:
        with suppress(ValueError):
            place = Path(path).relative_to(project.root)
            if not place.parts[0].startswith("."):
                return f" ({place}, line {line})"
    return ""


def _outdated(project: Project) -> str:
    return f"The project was made by {project.release}; doctor needs {_REQUIRED} or later. "
