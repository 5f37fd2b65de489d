"""The words of log lines that tests rely on, each in one place."""

import re
from typing import Final

from ..fakes.receiver import Fault

NO_KEY: Final = "HONEYCOMB_API_KEY is not set"
NO_INSTRUMENTATION: Final = "install opentelemetry-instrumentation-fastapi"
FLUSH_FAILED: Final = "could not be sent"
EXPORT: Final = "Traces are "
"""The beginning of every line about exporting spans."""
EXPORT_FAILED: Final = "Traces are not sent"
EXPORT_RECOVERED: Final = re.compile(r"^Traces are sent again; (\d+) spans were lost\.$")
QUEUE_FULL: Final = "HONEYCOMB_SAMPLE_RATE"
NO_RESPONSE: Final = "no answer"

REASONS: Final[dict[Fault, tuple[str, ...]]] = {
    "refuses": ("cannot be reached", "Connection refused"),
    "black hole": ("cannot be reached", "within 5 s"),
    "302": ("302", "redirect"),
    "400": ("400",),
    "401": ("401", "HONEYCOMB_API_KEY"),
    "413": ("413", "size"),
    "429": ("429", "rate limit"),
    "429, retry after 1 s": ("429", "rate limit"),
    "429, retry after 1 h": ("429", "rate limit"),
    "500": ("500",),
    "503": ("503",),
    "half a status line": ("cannot be reached", "BadStatusLine"),
    "no answer": ("cannot be reached", "RemoteDisconnected"),
    "garbage": ("cannot be reached",),
    "endless garbage": ("cannot be reached", "LineTooLong"),
    "one byte every 10 s": ("cannot be reached", "within 5 s"),
}
"""Words of the line that reports a fault."""


def export_lines(log: str) -> list[str]:
    """Return the lines of `log` about exporting spans."""
    return [line for line in log.splitlines() if line.startswith(EXPORT)]


def lost_spans(line: str) -> int:
    """Return the number of dropped spans that the line after a recovery reports."""
    recovered = EXPORT_RECOVERED.match(line)
    assert recovered, line
    return int(recovered[1])
