"""The self-check of the project's module, run in the project's environment."""

import json
import os
import subprocess
from collections.abc import Mapping
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
    try:
        return SelfCheck.from_json(json.loads(done.stdout))
    except (ValueError, KeyError, TypeError):
        pass
    if not (main := project.module_dir / "__main__.py").is_file():
        raise ProjectError(f"{_outdated(project)}Run `{project.update_command()}`.")
    if "add_subparsers" in main.read_text(encoding="utf-8"):
        raise ProjectError(
            f"{_outdated(project)}Run `{project.update_command()}`, or the doctor of that release:"
            f" `python -m {project.module} doctor`."
        )
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no output"]
    raise ProjectError(
        f"`python -m {project.module}` fails in {python}: {printable(lines[-1])[:300].rstrip('.')}. Install the"
        " project's packages, or fix the error."
    )


def _outdated(project: Project) -> str:
    return f"The project was made by {project.release}; doctor needs {_REQUIRED} or later. "
