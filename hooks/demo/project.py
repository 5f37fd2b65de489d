"""Render the demo's service and install it."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from ..distribution import template_source
from .process import DemoFailed, clean_environment

INSTALL_SECONDS: Final = 600


def find_uv() -> str:
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise DemoFailed(
            "The demo needs uv. Install it (https://docs.astral.sh/uv), then run the demo again."
        )
    return uv


def render(folder: Path) -> None:
    source = template_source()
    if source is None:
        raise DemoFailed(
            "The demo cannot find its template. Run it from a clone of the repository."
        )
    location, commit = source
    copier = [sys.executable, "-P", "-m", "copier", "copy", "--defaults", "--quiet"]
    _run(
        [*copier, "--vcs-ref", commit, location, str(folder)],
        folder.parent,
        f"Could not render the template in {location}. Fix the error below, then run the demo again.",
    )


def install(folder: Path, uv: str) -> None:
    _run(
        [uv, "sync"],
        folder,
        "Could not install the service. Check that uv can reach its package index, then run the"
        " demo again.",
        f"cd {shlex.quote(str(folder))}\nuv sync",
    )


def _run(command: list[str], folder: Path, failure: str, commands: str = "") -> None:
    try:
        subprocess.run(
            command,
            cwd=folder,
            env=clean_environment(),
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stdout", None) or str(error)
        raise DemoFailed(failure, output, commands) from error
