"""Select the traces to show."""

import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

import click

from .assembly import Trace, TraceAssembler

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m)?")
_TICK_SECONDS: Final = 0.1
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}


class Duration(click.ParamType[float]):
    """Seconds, given as 500ms, 2s, 1.5m or 2."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        match = _DURATION.fullmatch(str(value).strip().lower())
        if match is None:
            self.fail(f"{value!r} is not a duration. Write 500ms or 2s, for example.", param, ctx)
        return float(match[1]) * _UNITS[match[2] or "s"]


@dataclass(frozen=True)
class Filter:
    """The traces to show; without a condition, all."""

    errors: bool = False
    """Only traces with an error."""
    slow: float | None = None
    """Only traces that last at least so many seconds."""
    name: str | None = None
    """Only traces with a span whose name contains this, in any case; `*` matches any text."""

    def matches(self, trace: Trace) -> bool:
        if self.errors and not trace.has_error:
            return False
        if self.slow is not None and trace.duration < self.slow * 1e9:
            return False
        if self.name is None:
            return True
        pattern = f"*{self.name.lower().replace('[', '[[]')}*"
        return any(fnmatchcase(span.name.lower(), pattern) for span in trace.spans.values())


def completed(
    assembler: TraceAssembler, wanted: Filter, process: subprocess.Popen[bytes] | None = None
) -> Iterator[Trace]:
    """Yield traces as they complete, while `process` runs, if there is one."""
    while process is None or process.poll() is None:
        yield from filter(wanted.matches, assembler.completed())
        time.sleep(_TICK_SECONDS)
