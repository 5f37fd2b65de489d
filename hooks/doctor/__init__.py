"""The command doctor: checks, in the order in which things go wrong, why traces do not arrive."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final, TypeAlias

import click
from rich.text import Text

from ..interpreter import find_interpreter
from ..project import Project, ProjectError, project_options
from ..terminal import progress, say, say_wrapped
from . import application, arrival, configuration, connection, gateway, packages
from .findings import Case, Finding, Level, problem
from .self_check import run_self_check

_Check: TypeAlias = Callable[[Case], Iterator[Finding]]

CHECK_TIMEOUT: Final = 120.0
"""Seconds, more than the deadlines of its requests together."""
_CHECKS: Final[tuple[_Check, ...]] = (
    configuration.check_switches,
    configuration.check_values,
    configuration.check_names,
    configuration.check_requests,
    application.check_application,
    packages.check_packages,
    configuration.check_sampling,
    configuration.check_service_name,
    configuration.check_key,
    configuration.check_endpoint,
    connection.check_network,
    gateway.check_gateway,
    arrival.check_key_at_honeycomb,
    connection.check_test_span,
    arrival.check_dataset,
)
_SIGNS: Final[dict[Level, tuple[str, str]]] = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "unknown": ("?", "yellow"),
    "problem": ("✗", "red"),
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@click.option(
    "--python",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The project's Python (default: that of its .venv).",
)
@project_options
def doctor(project: Project, *, as_json: bool, python: Path | None) -> int:
    """Diagnose why traces do not reach Honeycomb.

    Runs the self-check of the project's module in the project's environment, which sends one test
    span, and stops at the first failed check. No key is printed. Exit status: 0 healthy, 1 broken,
    2 if something that may keep traces from arriving could not be checked.
    """
    findings: list[Finding] = []
    for finding in examine(project, python and python.absolute()):
        findings.append(finding)
        if not as_json:
            _print(finding)
    levels = [finding.level for finding in findings]
    status = 1 if "problem" in levels else 2 if "unknown" in levels else 0
    if as_json:
        report = {"healthy": status == 0, "findings": [asdict(finding) for finding in findings]}
        say(json.dumps(report, indent=2))
        return status
    warnings = levels.count("warning")
    if status == 1:
        say("\nTraces do not arrive: the last line names the cause and the remedy.")
    elif status == 2:
        say("\nTraces may not arrive: see the line that begins with unknown.")
    elif warnings:
        say(f"\nTraces are sent. {warnings} {'warning' if warnings == 1 else 'warnings'}.")
    else:
        say("\nAll checks passed: the test span was accepted.")
    return status


def examine(project: Project, python: Path | None) -> Iterator[Finding]:
    """The findings one by one; a problem is the last."""
    python = python or find_interpreter(project.root, project.package_dir)
    if python is None:
        yield problem(
            "environment",
            "The project does not have an environment (.venv). Install its packages, as with `uv"
            " sync`, or name its Python with --python.",
        )
        return
    progress("Running the self-check ...")
    started = time.time()
    try:
        case = Case(
            project,
            run_self_check(project, python),
            packages.versions(python),
            packages.import_errors(python),
            started,
        )
    except ProjectError as error:
        yield problem("self-check", str(error))
        return
    for check in _CHECKS:
        for finding in _within_deadline(check, case):
            yield finding
            if finding.level == "problem":
                return


def _within_deadline(check: _Check, case: Case) -> Iterator[Finding]:
    """The findings of a check. A resolver or a server that never finishes is a finding too."""
    results: SimpleQueue[Finding | Exception | None] = SimpleQueue()

    def run() -> None:
        try:
            for finding in check(case):
                results.put(finding)
            results.put(None)
        except Exception as error:  # noqa: BLE001 - raised again below
            results.put(error)

    Thread(target=run, daemon=True).start()
    deadline = time.monotonic() + CHECK_TIMEOUT
    while True:
        try:
            result = results.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            about = check.__name__.removeprefix("check_").replace("_", " ")
            yield problem(
                about,
                f"The check did not finish within {CHECK_TIMEOUT:g} s: {case.origin}, or the resolver of"
                " this machine, is too slow.",
            )
            return
        if result is None:
            return
        if isinstance(result, Exception):
            raise result
        yield result


def _print(finding: Finding) -> None:
    sign, style = _SIGNS[finding.level]
    mark = sign if sys.stdout.isatty() else f"{finding.level:8}"
    say_wrapped(Text.assemble((mark, style), f" {finding.about:12}"), finding.text)
