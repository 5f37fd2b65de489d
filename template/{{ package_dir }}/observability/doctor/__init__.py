"""Why no traces arrive: goes through what can be wrong, in the order in which it goes wrong."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Final, Literal

from ..resource import make_resource
from ..settings import Settings
from ..terminal import coloured, say, wrapped
from . import arrival, configuration, connection, packages
from .findings import Case, Finding

_CHECKS: Final[tuple[Callable[[Case], Iterator[Finding]], ...]] = (
    configuration.check_switches,
    configuration.check_values,
    packages.check_packages,
    configuration.check_sampling,
    configuration.check_service_name,
    configuration.check_key,
    configuration.check_endpoint,
    connection.check_network,
    arrival.check_key_at_honeycomb,
    connection.check_test_span,
    arrival.check_dataset,
)
_SIGNS: Final[Mapping[Literal["ok", "warning", "problem"], tuple[str, str]]] = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "problem": ("✗", "red"),
}


def diagnose(*, as_json: bool, variables: Mapping[str, str] = os.environ) -> int:
    """Prints a line for each thing that is looked at, up to the one that keeps traces from arriving.

    Sends one span, named "doctor". 0 where traces arrive, 1 where they do not. No key is printed.
    """
    findings: list[Finding] = []
    for finding in examine(variables):
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
        say("\nTraces do not arrive: the last line says why, and what to do.")
    elif warnings:
        say(
            f"\nTraces are sent. {warnings} {'line' if warnings == 1 else 'lines'} above may matter."
        )
    else:
        say("\nAll is well: spans are sent, and taken.")
    return 0 if is_healthy else 1


def examine(variables: Mapping[str, str]) -> Iterator[Finding]:
    """What is found, one after the other; a problem is the last."""
    with _listening() as said:
        settings = Settings.from_environment(variables=variables)
        case = Case(variables, settings, make_resource(settings, variables), tuple(said))
        for check in _CHECKS:
            for finding in check(case):
                yield finding
                if finding.level == "problem":
                    return


@contextmanager
def _listening() -> Iterator[list[str]]:
    """What the modules of the service would log, as it becomes findings here."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger = logging.getLogger(__package__.rpartition(".")[0])
    listener = Listener()
    logger.addHandler(listener)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.removeHandler(listener)
        logger.propagate = True


def _print(finding: Finding) -> None:
    sign, colour = _SIGNS[finding.level]
    mark = coloured(sign, colour) if sys.stdout.isatty() else f"{finding.level:8}"
    text = wrapped(finding.text, indent=15)
    say(f"{mark} {finding.about:12} {text}")
