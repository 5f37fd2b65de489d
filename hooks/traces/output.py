"""Print traces: as trees in a terminal or a pipe, or as lines of JSON."""

import json
from datetime import datetime

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..terminal import printable
from .as_json import trace_json
from .assembly import Trace
from .figures import Summary
from .trace_tree import trace_tree


class TreeOutput:
    """Draws each trace as a tree. On a terminal, the last line shows totals while it waits."""

    def __init__(self, *, attributes: tuple[str, ...] = (), has_live_line: bool = True) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._attributes = attributes
        self._summary = Summary()
        self._live: Live | None = None
        if has_live_line and self._console.is_terminal:
            self._live = Live(Text(), console=self._console, auto_refresh=False, transient=True)
            self._live.start()
            self._refresh()

    def print(self, text: str | Text = "") -> None:
        """Print a line above the totals."""
        self._console.print(text, soft_wrap=True)

    def show(self, trace: Trace) -> None:
        self._summary.add(trace)
        self._console.print(_heading(trace), no_wrap=True, overflow="ellipsis", crop=True)
        self._console.print(
            trace_tree([*trace.spans.values()], trace.logs, attributes=self._attributes)
        )
        self._console.print()
        self._refresh()

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
        self._console.print(Text(str(self._summary), "bold"))

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(Text(f"{self._summary}   Ctrl+C to stop", "dim"), refresh=True)


class JSONOutput:
    """Prints one JSON object per trace. Totals go to stderr."""

    def __init__(self) -> None:
        self._summary = Summary()

    def print(self, text: str | Text = "") -> None:
        Console(stderr=True, highlight=False, markup=False).print(text, soft_wrap=True)

    def show(self, trace: Trace) -> None:
        self._summary.add(trace)
        print(json.dumps(trace_json(trace)), flush=True)

    def close(self) -> None:
        self.print(str(self._summary))


def _heading(trace: Trace) -> Text:
    """The time, the id and the service of a trace, and a note if it is not whole or drawn again."""
    begin = datetime.fromtimestamp(trace.start / 1e9)
    text = Text(f"{begin:%H:%M:%S}  trace {trace.trace_id}  {printable(trace.service)}", "dim")
    if trace.late:
        text.append(f"  {trace.late:,} late", "yellow")
    if trace.dropped:
        text.append(f"  {trace.dropped:,} spans not kept", "yellow")
    return text
