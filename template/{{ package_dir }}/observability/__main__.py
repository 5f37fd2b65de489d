"""Self-check: the effective settings, and one test span through the pipeline of the service."""

import argparse
import json
import logging
import os
import shlex
import sys
from dataclasses import asdict
from logging.handlers import MemoryHandler
from typing import Any, Final

from opentelemetry import trace

from . import defaults, flush, setup_observability
from .resource import make_resource
from .settings import Settings

_FORMER_COMMANDS: Final = ("doctor", "plan", "apply", "marker")


def main(arguments: list[str]) -> int:
    """Exit status: 0 if the span was accepted or nothing is exported, otherwise 1."""
    if arguments and arguments[0] in _FORMER_COMMANDS:
        command = shlex.join(["uvx", "--from", defaults.TEMPLATE, "copier-honeycomb", *arguments])
        print(f"`{arguments[0]}` is now a command of the template. Run: {command}", file=sys.stderr)
        return 1
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json = parser.parse_args(arguments).json
    log = MemoryHandler(capacity=1000, flushLevel=logging.CRITICAL + 1)
    logger = logging.getLogger(__package__)
    logger.addHandler(log)
    logger.propagate = False
    settings = Settings.from_environment()
    span = _export_test_span(settings, log)
    shown = _shown(settings)
    if as_json:
        print(json.dumps({"settings": shown, "warnings": _messages(log), "span": span}))
    else:
        for name, value in shown.items():
            print(f"{name:20} {value}")
        outcome = {True: "accepted", False: f"not accepted: {span['reason']}", None: "not exported"}
        print(f"\nTest span {span['trace_id'] or ''} {outcome[span['accepted']]}")
    return 1 if span["accepted"] is False else 0


def _export_test_span(settings: Settings, log: MemoryHandler) -> dict[str, Any]:
    if not settings.enabled or settings.exporter != "otlp":
        return {"trace_id": None, "accepted": None, "reason": None}
    # The span is kept whatever the sample rate is.
    os.environ.pop("OTEL_TRACES_SAMPLER", None)
    os.environ["HONEYCOMB_SAMPLE_RATE"] = "1"
    setup_observability()
    span = trace.get_tracer(__name__).start_span("self-check")
    span.end()
    accepted = flush() and settings.has_destination
    reason = None if accepted else (_messages(log) or ["The receiver did not respond in time."])[-1]
    trace_id = trace.format_trace_id(span.get_span_context().trace_id)
    return {"trace_id": trace_id, "accepted": accepted, "reason": reason}


def _messages(log: MemoryHandler) -> list[str]:
    return [record.getMessage() for record in log.buffer if record.levelno >= logging.WARNING]


def _shown(settings: Settings) -> dict[str, Any]:
    resource = make_resource(settings).attributes
    headers = {name: _redacted(value) for name, value in settings.headers.items()}
    return asdict(settings) | {"service_name": resource["service.name"], "headers": headers}


def _redacted(value: str) -> str:
    """The characters that identify the kind of a key, and its length."""
    kind = value[:6] if value[:2] == "hc" and value[5:6] == "_" else ""
    return f"{kind}...({len(value)} characters)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
