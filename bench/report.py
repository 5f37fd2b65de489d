"""Printing a report, or saving it as JSON."""

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console


def new_console() -> Console:
    """A console that is wide enough for the tables if the output is not a terminal."""
    return Console(width=None if sys.stdout.isatty() else 140, highlight=False)


def conditions() -> dict[str, str]:
    """Date, Python version and machine of a measurement."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
    }


def describe(report: Mapping[str, Any], versions: Iterable[Mapping[str, str]]) -> str:
    """Conditions and package versions of a report, in one line."""
    used = sorted({f"{name} {version}" for each in versions for name, version in each.items()})
    return f"{report['date']}, {report['machine']}, Python {report['python']}, {', '.join(used)}."


def save(report: Mapping[str, Any], file: Path | None) -> None:
    """Write `report` to `file`, if there is one."""
    if file:
        file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def check_limits(exceeded: Sequence[str]) -> None:
    """Raise SystemExit, with status 1, if a limit is exceeded."""
    if exceeded:
        raise SystemExit("\n".join(["", "Limits exceeded:", *exceeded]))
