"""Self-check: the effective settings, and one test span through the pipeline of the service."""

import argparse
import json
import logging
import os
import shlex
import sys
from logging.handlers import MemoryHandler
from typing import Any, Final

from opentelemetry.trace import format_trace_id

from . import flush, get_tracer, setup_observability
from ._settings import Settings
from ._setup import create_resource

_FORMER_COMMANDS: Final = ("doctor", "plan", "apply", "marker")


def main(arguments: list[str]) -> int:
    """Exit status: 0 if the span was accepted or nothing is exported, otherwise 1."""
    if arguments and arguments[0] in _FORMER_COMMANDS:
        command = f"uvx --from TEMPLATE copier-honeycomb {shlex.join(arguments)}"
        source = "with the TEMPLATE that docs/observability.md names"
        print(f"`{arguments[0]}` has moved: run `{command}`, {source}.", file=sys.stderr)
        return 1
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json = parser.parse_args(arguments).json
    log, logger = MemoryHandler(1_000, logging.CRITICAL + 1), logging.getLogger(__package__)
    logger.addHandler(log)
    logger.propagate = False
    settings = Settings()
    span = _export_test_span(settings, log)
    headers = {name: _redacted(value) for name, value in settings.headers.items()}
    service_name = create_resource(settings).attributes["service.name"]
    shown = vars(settings) | {"service_name": service_name, "headers": headers}
    if as_json:
        print(json.dumps({"settings": shown, "warnings": _messages(log), "span": span}))
    else:
        lines = [f"{name:20} {value}" for name, value in shown.items()]
        lines += [f"warning: {message}" for message in _messages(log)]
        outcome = {True: "accepted", False: f"not accepted: {span['reason']}", None: "not exported"}
        print(*lines, f"Test span {span['trace_id'] or ''} {outcome[span['accepted']]}", sep="\n")
    return 1 if span["accepted"] is False else 0


def _export_test_span(settings: Settings, log: MemoryHandler) -> dict[str, Any]:
    if not settings.enabled or settings.exporter != "otlp":
        missing = [each for each in _messages(log) if "API_KEY " in each or "no traces" in each]
        outcome = {"accepted": False, "reason": missing[0]} if missing else {"accepted": None}
        return {"trace_id": None, "reason": None} | outcome
    # The span is exported at any sample rate.
    os.environ.pop("OTEL_TRACES_SAMPLER", None)
    os.environ["HONEYCOMB_SAMPLE_RATE"] = "1"
    setup_observability()
    span = get_tracer(__name__).start_span("self-check")
    span.end()
    accepted = flush()
    reason = None if accepted else (_messages(log) or ["The receiver did not respond in time."])[-1]
    trace_id = format_trace_id(span.get_span_context().trace_id)
    return {"trace_id": trace_id, "accepted": accepted, "reason": reason}


def _messages(log: MemoryHandler) -> list[str]:
    # Settings are read twice, and log their warnings twice.
    warnings = [record for record in log.buffer if record.levelno >= logging.WARNING]
    return list(dict.fromkeys(record.getMessage() for record in warnings))


def _redacted(value: str) -> str:
    """The characters that identify the kind of a key, and its length."""
    kind = value[:6] if value[:2] == "hc" and value[5:6] == "_" else ""
    return f"{kind}...({len(value)} characters)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
