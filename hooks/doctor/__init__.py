"""The command doctor: checks, in the order in which things go wrong, why traces do not arrive."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
from rich.text import Text

from ..interpreter import find_interpreter
from ..project import Project, ProjectError, project_options
from ..terminal import progress, say, say_wrapped
from . import arrival, configuration, connection, gateway, packages
from .findings import Case, Finding, Level, problem
from .self_check import run_self_check

_CHECKS: Final[tuple[Callable[[Case], Iterator[Finding]], ...]] = (
    configuration.check_switches,
    configuration.check_values,
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
    span, and stops at the first failed check. No key is printed. Exit status: 0 healthy, 1 broken.
    """
    findings: list[Finding] = []
    for finding in examine(project, python and python.absolute()):
        findings.append(finding)
        if not as_json:
            _print(finding)
    is_healthy = findings[-1].level != "problem"
    if as_json:
        report = {"healthy": is_healthy, "findings": [asdict(finding) for finding in findings]}
        say(json.dumps(report, indent=2))
        return 0 if is_healthy else 1
    warnings = sum(1 for finding in findings if finding.level == "warning")
    if not is_healthy:
        say("\nTraces do not arrive: the last line names the cause and the remedy.")
    elif warnings:
        say(f"\nTraces are sent. {warnings} {'warning' if warnings == 1 else 'warnings'}.")
    else:
        say("\nAll checks passed: the test span was accepted.")
    return 0 if is_healthy else 1


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
    try:
        case = Case(project, run_self_check(project, python), packages.versions(python))
    except ProjectError as error:
        yield problem("self-check", str(error))
        return
    for check in _CHECKS:
        for finding in check(case):
            yield finding
            if finding.level == "problem":
                return


def _print(finding: Finding) -> None:
    sign, style = _SIGNS[finding.level]
    mark = sign if sys.stdout.isatty() else f"{finding.level:8}"
    say_wrapped(Text.assemble((mark, style), f" {finding.about:12}"), finding.text)
