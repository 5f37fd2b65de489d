"""Telemetry that is set up already."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .find import Creation
from .project import Project

_SETUPS: Final = (
    (
        "OpenTelemetry",
        re.compile(r"\bset_tracer_provider\(|\bconfigure_azure_monitor\(|\bTraceloop\.init\("),
    ),
    ("Logfire", re.compile(r"\blogfire\.configure\(")),
    ("Datadog", re.compile(r"^\s*(?:import ddtrace|from ddtrace)\b|\bddtrace-run\b")),
    ("New Relic", re.compile(r"\bnewrelic\.agent\.initialize\(|\bnewrelic-admin run-program\b")),
    ("Sentry", re.compile(r"\bsentry_sdk\.init\(")),
)


@dataclass(frozen=True)
class Present:
    """A set-up, and what becomes of it."""

    what: str
    path: Path
    line: int
    advice: str
    stops: bool
    """Whether nothing is wired beside it without being told."""


def present(project: Project, app: Creation, module: str) -> list[Present]:
    """Each set-up in the repository, the first place of each kind."""
    found: dict[str, Present] = {}
    files = [(name, (project.root / name).read_text(errors="replace")) for name in project.modules]
    files += project.texts(
        "Dockerfile*", "Procfile*", "*.sh", "docker-compose*.y*ml", "compose*.y*ml"
    )
    for path, text in files:
        for number, line in enumerate(text.splitlines(), start=1):
            if line.lstrip().startswith("#"):
                continue
            for what, pattern in _SETUPS:
                if what not in found and pattern.search(line):
                    found[what] = _judge(what, path, number, line, app, module)
    return list(found.values())


def _judge(what: str, path: Path, number: int, line: str, app: Creation, module: str) -> Present:
    if what == "Sentry":
        return Present(
            what,
            path,
            number,
            "Sentry goes on as before; it makes no spans of OpenTelemetry.",
            False,
        )
    if what in ("OpenTelemetry", "Logfire"):
        if path == app.path and number < app.line and not line[:1].isspace():
            advice = (
                "it comes before the application is made: ours adds a processor to its provider."
            )
            return Present(what, path, number, advice, False)
        advice = (
            "it has to run before ours, which then adds a processor to its provider: call it above the"
            f" line that makes the application, or call {module}.instrument_app(app) right after it."
        )
        return Present(what, path, number, advice, True)
    return Present(
        what,
        path,
        number,
        f"{what} traces by itself, so that each request would be traced twice: remove it, or say --beside.",
        True,
    )
