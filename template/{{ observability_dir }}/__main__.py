"""Self-check: the effective settings, and one test span through the pipeline of the service."""

import argparse
import json
import logging
import os
import re
import shlex
import sys
from collections.abc import Iterable
from typing import Any

from opentelemetry.trace import format_trace_id

from . import flush, get_tracer, setup_observability
from ._settings import Settings
from ._setup import create_resource


def main(arguments: list[str]) -> int:
    """Exit status: 0 if the span was accepted or nothing is exported, otherwise 1."""
    if arguments[:1] in (["doctor"], ["plan"], ["apply"], ["marker"]):  # of earlier releases
        command = f"uvx --from TEMPLATE copier-honeycomb {shlex.join(arguments)}"
        source = "with the TEMPLATE that docs/observability.md names"
        print(f"`{arguments[0]}` has moved: run `{command}`, {source}.", file=sys.stderr)
        return 1
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json = parser.parse_args(arguments).json
    warnings: dict[str, None] = {}  # each once: settings are read twice
    handler: Any = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.setdefault(record.getMessage())
    logging.getLogger(__package__).addHandler(handler)
    logging.getLogger(__package__).propagate = False
    settings = Settings()
    span = _export_test_span(settings, warnings)
    shown = vars(settings) | {
        "service_name": create_resource(settings).attributes["service.name"],
        # The characters that identify the kind of a key, and its length.
        "headers": {
            name: re.sub("^(hc..._)?.*", rf"\1...({len(value)} characters)", value)
            for name, value in settings.headers.items()
        },
    }
    lines = [f"{name:20} {value}" for name, value in shown.items()]
    lines += [f"warning: {message}" for message in warnings]
    outcome = {True: "accepted", False: f"not accepted: {span['reason']}", None: "not exported"}
    lines.append(f"Test span {span['trace_id'] or ''} {outcome[span['accepted']]}")
    report = {"settings": shown, "warnings": list(warnings), "span": span}
    print(json.dumps(report) if as_json else "\n".join(lines), flush=True)
    return 1 if span["accepted"] is False else 0


def _export_test_span(settings: Settings, warnings: Iterable[str]) -> dict[str, Any]:
    if not settings.enabled or settings.exporter != "otlp":
        reason = next((each for each in warnings if re.search("API_KEY |no traces", each)), None)
        return {"trace_id": None, "accepted": False if reason else None, "reason": reason}
    # The span is exported at any sample rate.
    os.environ.pop("OTEL_TRACES_SAMPLER", None)
    os.environ["HONEYCOMB_SAMPLE_RATE"] = "1"
    setup_observability()
    span = get_tracer(__name__).start_span("self-check")
    span.end()
    accepted = flush()
    reason = None if accepted else ["The receiver did not respond in time.", *warnings][-1]
    trace_id = format_trace_id(span.get_span_context().trace_id)
    return {"trace_id": trace_id, "accepted": accepted, "reason": reason}


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # without a shutdown, which would try again for seconds
