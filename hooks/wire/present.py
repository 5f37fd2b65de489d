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
    (
        "FastAPIInstrumentor",
        re.compile(
            r"\bFastAPIInstrumentor(?:\(\))?\.instrument(?:_app)?\(|\blogfire\.instrument_fastapi\("
        ),
    ),
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
    files = [(name, project.text(name)) for name in project.modules]
    files += project.texts(
        "Dockerfile*", "Procfile*", "*.sh", "docker-compose*.y*ml", "compose*.y*ml"
    )
    for path, text in files:
        for number, line in enumerate(text.splitlines(), start=1):
            if line.lstrip().startswith("#"):
                continue
            for what, pattern in _SETUPS:
                if what not in found and pattern.search(line):
                    is_first = _runs_first(project, path, number, text, app)
                    found[what] = _judge(what, path, number, is_first, module)
    return list(found.values())


def _runs_first(project: Project, path: Path, number: int, text: str, app: Creation) -> bool:
    """Whether a line surely runs before the application is made: above it in its own file, or in a
    function that is called there."""
    lines = text.splitlines()
    if not lines[number - 1][:1].isspace():
        return path == app.path and number < app.line
    functions = [
        match[1] for line in lines[:number] if (match := re.match(r"(?:async )?def (\w+)\(", line))
    ]
    if not functions:
        return False
    above = project.text(app.path).splitlines()[: app.line - 1]
    call = re.compile(rf"^\s*(?:\w+\.)*{functions[-1]}\(")
    inside = "" if not app.function else rf"^\s*(?:async )?def {app.function}\("
    started = not inside
    for line in above:
        started = started or bool(re.match(inside, line))
        if started and call.match(line) and (app.function or not line[:1].isspace()):
            return True
    return False


def _judge(what: str, path: Path, number: int, is_first: bool, module: str) -> Present:
    if what == "Sentry":
        return Present(
            what,
            path,
            number,
            "Sentry goes on as before; it makes no spans of OpenTelemetry.",
            False,
        )
    if what == "FastAPIInstrumentor":
        advice = (
            "take that line out, as the module traces requests by itself and with stable names."
        )
        return Present(what, path, number, advice, False)
    if what in ("OpenTelemetry", "Logfire"):
        if is_first:
            advice = (
                "it comes before the application is made: ours adds a processor to its provider."
            )
            return Present(what, path, number, advice, False)
        advice = (
            "it has to run before ours, which then adds a processor to its provider: call it above the"
            f" line that makes the application, or call instrument_app(app) of {module} right after it."
        )
        return Present(what, path, number, advice, True)
    return Present(
        what,
        path,
        number,
        f"{what} traces by itself, so that each request would be traced twice: remove it, or say --beside.",
        True,
    )
