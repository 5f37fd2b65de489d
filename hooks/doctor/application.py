"""Check of the project's own code."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .findings import Case, Finding, warning

_CALL: Final = re.compile(rb"\binstrument_app(\s*\(| as )")
_SKIPPED: Final = ("node_modules", "site-packages", "__pycache__", "tests", "test")


def check_application(case: Case) -> Iterator[Finding]:
    """Check if requests are traced, which the self-check does not need."""
    if "fastapi" in case.packages and not any(
        _CALL.search(_content(path)) for path in _python_files(case)
    ):
        yield warning(
            "application",
            "no Python file of the project calls instrument_app, so its requests are not traced. Run"
            " `copier-honeycomb wire`, which adds the call.",
        )


def _python_files(case: Case) -> Iterator[Path]:
    """The Python files of the project, except the module, tests and environments."""
    for name, folders, files in os.walk(case.project.root):
        parent = Path(name)
        folders[:] = [
            each
            for each in folders
            if not each.startswith(".")
            if each not in _SKIPPED
            if parent / each != case.project.module_dir
            if not (parent / each / "pyvenv.cfg").exists()
        ]
        yield from (parent / each for each in files if each.endswith(".py"))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
