"""Self-check: the effective settings, and one test span through the pipeline of the service."""

import argparse
import json
import logging
import os
import re
import shlex
import sys
from typing import Any

from opentelemetry.trace import format_trace_id

from . import flush, get_tracer
from ._settings import Settings
from ._setup import create_resource, set_up


def main(arguments: list[str]) -> int:
    """Exit status: 0 if the span was accepted or nothing is exported, otherwise 1."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.command:  # doctor, plan, apply and marker of earlier releases
        command = f"uvx --from TEMPLATE copier-honeycomb {shlex.join(options.command)}"
        parser.exit(1, f"It has moved: run `{command}`; docs/observability.md names TEMPLATE.\n")
    warnings: list[str] = []
    handler: Any = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())
    logging.getLogger(__package__).addHandler(handler)
    logging.getLogger(__package__).propagate = False
    settings = Settings()
    shown = vars(settings) | {
        "service_name": create_resource(settings).attributes["service.name"],
        "headers": {  # the characters that identify the kind of a key, and its length
            name: re.sub("^(hc..._)?.*", rf"\1...({len(value)} characters)", value)
            for name, value in settings.headers.items()
        },
    }
    trace_id = accepted = reason = None
    if settings.enabled and settings.exporter == "otlp":
        settings.sample_rate = 1  # or the test span might be dropped
        set_up(settings)
        span = get_tracer(__name__).start_span("self-check")
        span.end()
        context = span.get_span_context()
        trace_id, accepted = format_trace_id(context.trace_id), context.is_valid and flush()
        reason = None if accepted else ["The receiver did not respond in time.", *warnings][-1]
    elif reason := next((each for each in warnings if re.search("API_KEY |no traces", each)), None):
        accepted = False
    if options.json:
        outcome = {"trace_id": trace_id, "accepted": accepted, "reason": reason}
        print(json.dumps({"settings": shown, "warnings": warnings, "span": outcome}), flush=True)
    else:
        lines = [f"{name:20} {value}" for name, value in shown.items()]
        lines += [f"warning: {message}" for message in warnings]
        outcomes = {True: "accepted", False: f"not accepted: {reason}", None: "not exported"}
        print(*lines, f"Test span {trace_id or ''} {outcomes[accepted]}", sep="\n", flush=True)
    return 1 if accepted is False else 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # without a shutdown, which would try again for seconds
