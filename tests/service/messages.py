"""The words of log lines that tests rely on, each in one place."""

import re
from typing import Final

from ..fakes.receiver import Fault

NO_KEY: Final = "HONEYCOMB_API_KEY is not set"
NO_INSTRUMENTATION: Final = "requires opentelemetry-instrumentation-fastapi"
FLUSH_FAILED: Final = "Could not flush pending spans"
EXPORT: Final = "Trace export "
"""The beginning of every line about exporting spans."""
EXPORT_FAILED: Final = "Trace export is failing"
EXPORT_RECOVERED: Final = re.compile(r"^Trace export recovered; (\d+) spans were dropped\.$")
EXPORT_STOPPED: Final = re.compile(r"^Trace export stopped; (\d+) spans were dropped\.$")
QUEUE_FULL: Final = "HONEYCOMB_SAMPLE_RATE"
NO_RESPONSE: Final = "no response"

REASONS: Final[dict[Fault, tuple[str, ...]]] = {
    "refuses": ("could not reach", "Connection refused"),
    "black hole": ("is slow", "no response"),
    "302": ("302", "Check the endpoint"),
    "400": ("400",),
    "401": ("401", "HONEYCOMB_API_KEY"),
    "413": ("413", "Too Large"),
    "429": ("429", "Too Many Requests"),
    "429, retry after 1 s": ("429", "Too Many Requests"),
    "429, retry after 1 h": ("429", "Too Many Requests"),
    "500": ("500",),
    "503": ("503",),
    "half a status line": ("could not reach", "BadStatusLine"),
    "no answer": ("could not reach", "RemoteDisconnected"),
    "garbage": ("could not reach",),
    "endless garbage": ("could not reach", "LineTooLong"),
    "one byte every 10 s": ("is slow", "no response"),
}
"""Words of the line that reports a fault."""


def export_lines(log: str) -> list[str]:
    """Return the lines of `log` about exporting spans."""
    return [line for line in log.splitlines() if line.startswith(EXPORT)]


def lost_spans(line: str) -> int:
    """Return the number of dropped spans that the line after a recovery or a shutdown reports."""
    reported = EXPORT_RECOVERED.match(line) or EXPORT_STOPPED.match(line)
    assert reported, line
    return int(reported[1])
