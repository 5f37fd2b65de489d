"""Check that a request to the application creates a SERVER span, in the project's environment."""

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..interpreter import find_interpreter
from .app_calls import AppCall
from .imports import module_for
from .probe import MARK
from .project import Project

REQUIRED_RELEASE: Final = "0.4.0"
"""The first release with `observability.testing`."""
_TIMEOUT: Final = 120
_PROBE: Final = Path(__file__).with_name("probe.py")
# Nothing is exported and every trace is kept, even if the project's .env file sets otherwise.
_VARIABLES: Final = {
    "HONEYCOMB_SAMPLE_RATE": "1",
    "OTEL_SDK_DISABLED": "false",
    "OTEL_TRACES_EXPORTER": "none",
}


@dataclass(frozen=True)
class Check:
    """The SERVER span of one request, or the reason why there is none."""

    app: str
    span: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    failure: str = ""


def check(project: Project, app: AppCall) -> Check:
    """Import the application in the project's interpreter and send one request to it, in process."""
    python = find_interpreter(project.root, app.path.parent)
    if python is None:
        return Check(app.label, failure="the project has no virtual environment (.venv)")
    arguments = probe_arguments(project, app)
    root, module = Path(arguments[0]), arguments[3]
    try:
        done = subprocess.run(
            # Not run by its path, which would put its folder on the import path.
            [python, "-c", _PROBE.read_text(), *arguments],
            # Relative paths in the settings, such as .env, are relative to this folder.
            cwd=root if (root / ".env").exists() else project.root,
            env=_environment(),
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(app.label, failure=f"{python} failed ({type(error).__name__})")
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(MARK):
            result = json.loads(line.removeprefix(MARK))
            if "is_old" in result:
                result = {"failure": _old_module(module)}
            return Check(app.label, **result)
    last = (done.stderr.strip().splitlines() or ["it printed no result"])[-1]
    return Check(app.label, failure=last[:300])


def probe_arguments(project: Project, app: AppCall) -> list[str]:
    """Return the import root, the application's module and variable, and the module to trace it."""
    module = module_for(project, project.source(app.path))
    if module.startswith("."):
        module = project.module
        root, name = _root_and_name(project, app.path)
    else:
        root, name = _import_path(project, app.path, module)
    return [str(root), name, app.function or app.name, module]


def _old_module(module: str) -> str:
    return (
        f"--check requires {module}.testing, which release {REQUIRED_RELEASE} of the template added;"
        " run `copier update` first"
    )


def _environment() -> dict[str, str]:
    prefixes = ("HONEYCOMB_", "OTEL_", "VIRTUAL_ENV", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return kept | _VARIABLES


def _root_and_name(project: Project, server: Path) -> tuple[Path, str]:
    """Return the import root above the package, and the server's name there."""
    depth = len(project.import_name.split(".")) if project.import_name else 0
    parts = project.package_dir.parts
    base = Path(*parts[: len(parts) - depth])
    is_below = server.is_relative_to(base)
    return project.root / base, _dotted(server.relative_to(base) if is_below else server)


def _import_path(project: Project, server: Path, module: str) -> tuple[Path, str]:
    """Return the folder that `module` is imported from, and the server's name there."""
    parts = module.split(".")
    folder = project.module_dir.parts
    base = Path(*folder[: len(folder) - len(parts)])
    if server.is_relative_to(base):
        return project.root / base, _dotted(server.relative_to(base))
    return project.root, _dotted(server)


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
