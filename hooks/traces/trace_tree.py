"""Draw one trace as a tree in the terminal: a waterfall with durations, tokens and cost."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from rich.console import Console, ConsoleOptions, OverflowMethod, RenderableType, RenderResult
from rich.text import Text

from .figures import cost, format_cost, format_duration, input_tokens, model, output_tokens
from .otlp import LogRecord, Span
from .span_tree import Node, span_nodes

_HEADINGS: Final = ("time", "tokens", "cost")
_GAP: Final = "  "
_NARROWEST_BAR: Final = 6
_NARROWEST_DETAIL: Final = 8
_WIDEST_BAR: Final = 40
_MOST_NOTE_LINES: Final = 3
_MOST_ROWS: Final = 200
_MOST_LOGS: Final = 20
_SEVERITY_STYLES: Final = {"WARN": "yellow", "ERRO": "red", "FATA": "red", "CRIT": "red"}


def trace_tree(
    spans: Sequence[Span], logs: Sequence[LogRecord] = (), *, attributes: Sequence[str] = ()
) -> RenderableType:
    """Draw `spans` of one trace as a tree: a waterfall, tokens, cost and a line of totals.

    Log records are drawn below their span, and so are attributes whose names match one of the
    patterns `attributes`. Fits the width, the colours and the characters of the console that prints
    it. A span whose parent is not among `spans` is drawn as another root.
    """
    if not spans:
        return _LogLines(logs) if logs else Text("No spans.")
    return _TraceTree(spans, logs, attributes)


class _Glyphs(NamedTuple):
    branch: str
    last_branch: str
    line: str
    bar_begin: str
    bar: str
    bar_end: str
    rule: str
    cross: str
    arrow: str
    times: str
    cut: str


_UNICODE: Final = _Glyphs("├ ", "└ ", "│ ", "╺", "━", "╸", "─", "✗", "→", "×", "…")
_ASCII: Final = _Glyphs("|-", "`-", "| ", "=", "=", "=", "-", "x", "->", "x", "~")


class _TraceTree:
    def __init__(
        self, spans: Sequence[Span], logs: Sequence[LogRecord], patterns: Sequence[str]
    ) -> None:
        self._spans = spans
        self._nodes = list(span_nodes(spans, logs))
        self._patterns = patterns

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        glyphs = _ASCII if options.ascii_only else _UNICODE
        nodes = self._nodes[:_MOST_ROWS]
        widest = max(2 * options.max_width // 5, 16)
        names = [_name(node, glyphs, widest) for node in nodes]
        figures = [_figures(node.spans, node.time, glyphs) for node in nodes]
        details = [_detail(node.span) for node in nodes]
        count = len(self._spans)
        total = Text(f"{count:,} span{'s' if count > 1 else ''}")
        totals = _figures(self._spans, _extent(self._spans), glyphs)
        grid = _Grid(
            [*names, total], [*figures, totals], details, options.max_width, widest, glyphs
        )
        axis = _Axis(self._spans, grid.bar_width, glyphs)

        yield grid.line(Text("span"), Text(), _HEADINGS, style="dim")
        for node, name, columns, detail in zip(nodes, names, figures, details, strict=True):
            yield grid.line(name, axis.bar(node), columns, detail)
            yield from self._notes(console, node, glyphs, options.max_width, widest)
        if hidden := sum(len(node.spans) for node in self._nodes[_MOST_ROWS:]):
            yield Text(f"{glyphs.cut} {hidden:,} more spans; --json and --web show all", "dim")
        yield Text(glyphs.rule * grid.width, style="dim")
        yield grid.line(total, Text(), totals, style="bold")

    def _notes(
        self, console: Console, node: Node, glyphs: _Glyphs, width: int, widest: int
    ) -> Iterator[Text]:
        """Yield the lines below a span: its error, log records and attributes."""
        guide = Text(_guide(node.rails_below, glyphs, widest), style="dim")
        notes = []
        if error := _error(node):
            notes.append(Text(error, style="red"))
        notes += [_log_line(record) for record in node.logs[:_MOST_LOGS]]
        if len(node.logs) > _MOST_LOGS:
            notes.append(
                Text(f"{glyphs.cut} {len(node.logs) - _MOST_LOGS:,} more log records", "dim")
            )
        if len(node.spans) == 1:
            for name, value in sorted(node.span.attributes.items()):
                if any(fnmatchcase(name, pattern) for pattern in self._patterns):
                    notes.append(Text(f"{_printable(name)} = {_printable(str(value))}", "dim"))
        for note in notes:
            lines = note.wrap(console, max(width - guide.cell_len, 20))
            for line in lines[:_MOST_NOTE_LINES]:
                line.rstrip()
                yield guide + line


class _LogLines:
    """Log records of a trace without spans."""

    def __init__(self, logs: Sequence[LogRecord]) -> None:
        self._logs = logs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from (_log_line(record) for record in self._logs[:_MOST_LOGS])


class _Grid:
    """The widths of the columns: name, bar, a figure under each heading, detail."""

    def __init__(
        self,
        names: Sequence[Text],
        figures: Sequence[tuple[str, ...]],
        details: Sequence[str],
        width: int,
        widest_name: int,
        glyphs: _Glyphs,
    ) -> None:
        self._overflow: OverflowMethod = "crop" if glyphs is _ASCII else "ellipsis"
        self._name_width = min(max(name.cell_len for name in names), widest_name)
        # A column that is empty for every span is left out.
        self._figure_widths = [
            max(len(figure) for figure in (heading, *column)) if any(column) else 0
            for heading, column in zip(_HEADINGS, zip(*figures, strict=True), strict=True)
        ]
        self._detail_width = max(Text(detail).cell_len for detail in details)
        used = self._name_width + sum(
            len(_GAP) + column for column in (*self._figure_widths, self._detail_width) if column
        )
        lacking = _NARROWEST_BAR + len(_GAP) - (width - used)
        if 0 < lacking <= self._detail_width - _NARROWEST_DETAIL:
            self._detail_width -= lacking
            used -= lacking
        room = min(width - used - len(_GAP), _WIDEST_BAR)
        self.bar_width = room if room >= _NARROWEST_BAR else 0
        self.width = min(used + (len(_GAP) + self.bar_width if self.bar_width else 0), width)

    def line(
        self,
        name: Text,
        bar: Text,
        figures: tuple[str, ...],
        detail: str = "",
        *,
        style: str = "",
    ) -> Text:
        name.truncate(self._name_width, overflow=self._overflow, pad=True)
        bar.truncate(self.bar_width, pad=True)
        details = Text(detail, style="dim")
        details.truncate(self._detail_width, overflow=self._overflow)
        columns = [
            name,
            bar,
            *(
                Text(figure.rjust(width))
                for figure, width in zip(figures, self._figure_widths, strict=True)
                if width
            ),
            details,
        ]
        line = Text(_GAP, no_wrap=True, overflow=self._overflow).join(
            column for column in columns if column
        )
        line.rstrip()
        line.stylize_before(style)
        return line


class _Axis:
    """The time axis of the trace, `width` cells wide."""

    def __init__(self, spans: Sequence[Span], width: int, glyphs: _Glyphs) -> None:
        self._start = min(span.start for span in spans)
        self._halves = 2 * width
        self._scale = self._halves / max(_extent(spans), 1)
        self._glyphs = glyphs

    def bar(self, node: Node) -> Text:
        """Draw the time of a row to half a cell, and at least half a cell long."""
        first = min(span.start for span in node.spans)
        last = max(span.end for span in node.spans)
        begin = min(round((first - self._start) * self._scale), self._halves - 1)
        end = max(round((last - self._start) * self._scale), begin + 1)
        cells = {
            (False, False): " ",
            (False, True): self._glyphs.bar_begin,
            (True, False): self._glyphs.bar_end,
            (True, True): self._glyphs.bar,
        }
        return Text(
            "".join(
                cells[begin <= left < end, begin <= left + 1 < end]
                for left in range(0, self._halves, 2)
            ),
            style=_style(node.span),
        )


def _extent(spans: Sequence[Span]) -> int:
    return max(span.end for span in spans) - min(span.start for span in spans)


def _error(node: Node) -> str | None:
    """Return the error of a span, unless one of its children shows it."""
    for event in node.span.events:
        if event.name == "exception":
            kind = str(event.attributes.get("exception.type", "")).rpartition(".")[2]
            message = str(event.attributes.get("exception.message", ""))
            return _printable(": ".join(filter(None, (kind, message)))) or "exception"
    if node.span.status != "error" or node.has_failed_child:
        return None
    return _printable(node.span.status_message) or None


def _log_line(record: LogRecord) -> Text:
    style = _SEVERITY_STYLES.get(record.severity[:4], "dim")
    return Text.assemble(
        (f"{_printable(record.severity)} ".lstrip(), style), _printable(record.body)
    )


def _guide(rails: Sequence[bool], glyphs: _Glyphs, widest: int) -> str:
    """Draw the lines of the tree before a row; those of the outer levels are cut if it is deep."""
    drawn = "".join(glyphs.line if rail else "  " for rail in rails)
    most = widest // 2
    return drawn if len(drawn) <= most else f"{glyphs.cut} {drawn[2 - most :]}"


def _name(node: Node, glyphs: _Glyphs, widest: int) -> Text:
    guide = _guide(node.rails, glyphs, widest)
    if node.depth:
        guide += glyphs.last_branch if node.is_last else glyphs.branch
    name = Text.assemble((guide, "dim"))
    text = _printable(node.span.name) or "(no name)"
    if node.span.status == "error":
        name.append(f"{glyphs.cross} {text}", style="red")
    else:
        name.append(text)
    if len(node.spans) > 1:
        name.append(f" {glyphs.times}{len(node.spans):,}", style="bold")
    if node.is_orphan:
        name.append(" (parent missing)", style="yellow")
    return name


def _figures(spans: Sequence[Span], time: int, glyphs: _Glyphs) -> tuple[str, ...]:
    """Format the duration, tokens and cost of `spans` together; empty if they have none."""
    sent = input_tokens(spans)
    price = cost(spans)
    return (
        format_duration(time),
        "" if sent is None else f"{sent:,.0f} {glyphs.arrow} {output_tokens(spans) or 0:,.0f}",
        "" if price is None else format_cost(price),
    )


def _detail(span: Span) -> str:
    """Return the status of a request, the model of an LLM call or the database of a query."""
    if span.kind == "server" and "http.response.status_code" in span.attributes:
        return _printable(str(span.attributes["http.response.status_code"]))
    return _printable(model(span) or str(span.attributes.get("db.system.name", "")))


def _style(span: Span) -> str:
    if span.status == "error":
        return "red"
    if span.kind == "server":
        return "blue"
    if model(span):
        return "magenta"
    return "cyan" if "db.system.name" in span.attributes else "green"


def _printable(text: str) -> str:
    """Put `text` on one line, without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
