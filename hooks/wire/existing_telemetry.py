"""Find telemetry that the repository already configures."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .app_calls import AppCall
from .project import Project

_PATTERNS: Final = {
    "OpenTelemetry": re.compile(
        r"\bset_tracer_provider\(|\bconfigure_azure_monitor\(|\bTraceloop\.init\("
    ),
    "Logfire": re.compile(r"\blogfire\.configure\("),
    "Datadog": re.compile(r"^\s*(?:import ddtrace|from ddtrace)\b|\bddtrace-run\b"),
    "New Relic": re.compile(r"\bnewrelic\.agent\.initialize\(|\bnewrelic-admin run-program\b"),
    "FastAPIInstrumentor": re.compile(
        r"\bFastAPIInstrumentor(?:\(\))?\.instrument(?:_app)?\(|\blogfire\.instrument_fastapi\("
    ),
    "Sentry": re.compile(r"\bsentry_sdk\.init\("),
}


@dataclass(frozen=True)
class ExistingTelemetry:
    """A line that configures telemetry."""

    product: str
    path: Path
    line: int
    advice: str
    conflicts: bool
    """True if the service is not wired without `--beside`."""


def existing_telemetry(project: Project, app: AppCall) -> list[ExistingTelemetry]:
    """Return the first line that configures each product."""
    found: dict[str, ExistingTelemetry] = {}
    files = [(name, project.text(name)) for name in project.modules]
    files += project.texts(
        "Dockerfile*", "Procfile*", "*.sh", "docker-compose*.y*ml", "compose*.y*ml"
    )
    for path, text in files:
        for number, line in enumerate(text.splitlines(), start=1):
            if line.lstrip().startswith("#"):
                continue
            for product, pattern in _PATTERNS.items():
                if product not in found and pattern.search(line):
                    runs_first = _runs_first(project, path, number, text, app)
                    advice, conflicts = _advice(product, runs_first, app)
                    found[product] = ExistingTelemetry(product, path, number, advice, conflicts)
    return list(found.values())


def _runs_first(project: Project, path: Path, number: int, text: str, app: AppCall) -> bool:
    """Return True if a line certainly runs before the application is created.

    It is above it in the same file or function, or in a function that is called above it.
    """
    lines = text.splitlines()
    is_above = path == app.path and number < app.line
    if not lines[number - 1][:1].isspace():
        return is_above
    functions = [
        match[1] for line in lines[:number] if (match := re.match(r"(?:async )?def (\w+)\(", line))
    ]
    if not functions:
        return False
    if is_above and functions[-1] == app.function:
        return True
    above = project.text(app.path).splitlines()[: app.line - 1]
    call = re.compile(rf"^\s*(?:[\w.]+ = )?(?:\w+\.)*{functions[-1]}\(")
    factory = rf"^\s*(?:async )?def {app.function}\(" if app.function else ""
    in_scope = not factory
    for line in above:
        in_scope = in_scope or bool(re.match(factory, line))
        if in_scope and call.match(line) and (app.function or not line[:1].isspace()):
            return True
    return False


def _advice(product: str, runs_first: bool, app: AppCall) -> tuple[str, bool]:
    """Return advice for the user, and True if the product conflicts with the module."""
    if product == "Sentry":
        return "Sentry is not affected; it creates no OpenTelemetry spans.", False
    if product == "FastAPIInstrumentor":
        advice = "Remove that line; the module traces requests, with stable attribute names."
        return advice, False
    if product in ("Datadog", "New Relic"):
        advice = "Each request would be traced twice. Remove it, or use --beside."
        return f"{product} traces requests too. {advice}", True
    if runs_first:
        advice = (
            "It runs before the application is created; the module adds a span processor to its"
            " tracer provider."
        )
        return advice, False
    advice = (
        "It must run before instrument_app, which then adds a span processor to its tracer"
        f" provider. Call it above {app.path}:{app.line}, or move the line with instrument_app below"
        " the call; a lifespan function is too late for both."
    )
    return advice, True
