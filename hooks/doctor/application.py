"""Check of the project's own code."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..files import listed_files
from .findings import Case, Finding, warning

_CALL: Final = re.compile(rb"\binstrument_app(\s*\(| as )")
_SKIPPED: Final = ("tests", "test")


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
    """The Python files of the project, except the module and tests."""
    for name in listed_files(case.project.root):
        path = case.project.root / name
        if (
            name.suffix == ".py"
            and not any(each in _SKIPPED or each.startswith(".") for each in name.parts)
            and not path.is_relative_to(case.project.module_dir)
        ):
            yield path


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
