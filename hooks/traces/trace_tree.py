"""Draw one trace as a tree in the terminal: a waterfall with durations, tokens and cost."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from .otlp import Span

_HEADINGS: Final = ("time", "tokens", "cost")
_GAP: Final = "  "
_NARROWEST_BAR: Final = 6
_WIDEST_BAR: Final = 40
_MOST_ERROR_LINES: Final = 3


def trace_tree(spans: Sequence[Span]) -> RenderableType:
    """Draw `spans` of one trace as a tree: a waterfall, tokens, cost and a line of totals.

    Fits the width, the colours and the characters of the console that prints it. A span whose
    parent is not among `spans` is drawn as another root.
    """
    return _TraceTree(spans) if spans else Text("No spans.")


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


_UNICODE: Final = _Glyphs("├ ", "└ ", "│ ", "╺", "━", "╸", "─", "✗", "→")
_ASCII: Final = _Glyphs("|-", "`-", "| ", "=", "=", "=", "-", "x", "->")


class _TraceTree:
    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = spans

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        glyphs = _ASCII if options.ascii_only else _UNICODE
        branches = list(_branches(self._spans, glyphs))
        names = [_name(branch, glyphs) for branch in branches]
        figures = [_figures([branch.span], glyphs) for branch in branches]
        details = [_detail(branch.span) for branch in branches]
        count = len(self._spans)
        total = Text(f"{count} span{'s' if count > 1 else ''}")
        totals = _figures(self._spans, glyphs)
        grid = _Grid([*names, total], [*figures, totals], details, width=options.max_width)
        axis = _Axis(self._spans, grid.bar_width, glyphs)

        yield grid.line(Text("span"), Text(), _HEADINGS, style="dim")
        for branch, name, columns, detail in zip(branches, names, figures, details, strict=True):
            yield grid.line(name, axis.bar(branch.span), columns, detail)
            if branch.error:
                below = options.max_width - len(branch.guide_below)
                error = Text(branch.error, style="red").wrap(console, max(below, 20))
                for line in error[:_MOST_ERROR_LINES]:
                    line.rstrip()
                    yield Text.assemble((branch.guide_below, "dim"), line)
        yield Text(glyphs.rule * grid.width, style="dim")
        yield grid.line(total, Text(), totals, style="bold")


class _Grid:
    """The widths of the columns: name, bar, a figure under each heading, detail."""

    def __init__(
        self,
        names: Sequence[Text],
        figures: Sequence[tuple[str, ...]],
        details: Sequence[str],
        *,
        width: int,
    ) -> None:
        self._name_width = min(max(name.cell_len for name in names), max(2 * width // 5, 16))
        # A column that is empty for every span is left out.
        self._figure_widths = [
            max(len(figure) for figure in (heading, *column)) if any(column) else 0
            for heading, column in zip(_HEADINGS, zip(*figures, strict=True), strict=True)
        ]
        detail_width = max(len(detail) for detail in details)
        used = self._name_width + sum(
            len(_GAP) + column for column in (*self._figure_widths, detail_width) if column
        )
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
        name.truncate(self._name_width, overflow="ellipsis", pad=True)
        bar.truncate(self.bar_width, pad=True)
        columns = [
            name,
            bar,
            *(
                Text(figure.rjust(width))
                for figure, width in zip(figures, self._figure_widths, strict=True)
                if width
            ),
            Text(detail, style="dim"),
        ]
        line = Text(_GAP, no_wrap=True, overflow="ellipsis").join(
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
        self._scale = self._halves / max(max(span.end for span in spans) - self._start, 1)
        self._glyphs = glyphs

    def bar(self, span: Span) -> Text:
        """Draw the time of `span` to half a cell, and at least half a cell long."""
        begin = min(round((span.start - self._start) * self._scale), self._halves - 1)
        end = max(round((span.end - self._start) * self._scale), begin + 1)
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
            style=_style(span),
        )


class _Branch(NamedTuple):
    span: Span
    guide: str
    """The lines of the tree before the name of the span."""
    guide_below: str
    """The lines of the tree before further text about the span."""
    error: str | None


def _branches(spans: Sequence[Span], glyphs: _Glyphs) -> Iterator[_Branch]:
    """Yield `spans` from top to bottom: a span before its children, those by start time."""
    ids = {span.span_id for span in spans}
    children: dict[str | None, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.start):
        children.setdefault(span.parent_id if span.parent_id in ids else None, []).append(span)

    def grow(span: Span, guide: str, below: str) -> Iterator[_Branch]:
        within = children.get(span.span_id, [])
        leads_on = below + (glyphs.line if within else "  ")
        yield _Branch(span, guide, leads_on, _error(span, within))
        for child in within[:-1]:
            yield from grow(child, below + glyphs.branch, below + glyphs.line)
        for child in within[-1:]:
            yield from grow(child, below + glyphs.last_branch, below + "  ")

    for root in sorted(children.get(None, []), key=lambda span: span.kind != "server"):
        yield from grow(root, "", "")


def _error(span: Span, children: Sequence[Span]) -> str | None:
    """Return the error of `span`, unless one of its children shows it."""
    for event in span.events:
        if event.name == "exception":
            kind = str(event.attributes.get("exception.type", "")).rpartition(".")[2]
            message = str(event.attributes.get("exception.message", ""))
            return _printable(": ".join(filter(None, (kind, message)))) or "exception"
    if span.status != "error" or any(child.status == "error" for child in children):
        return None
    return _printable(span.status_message) or None


def _name(branch: _Branch, glyphs: _Glyphs) -> Text:
    span = branch.span
    name = Text.assemble((branch.guide, "dim"))
    if span.status == "error":
        return name.append(f"{glyphs.cross} {_printable(span.name)}", style="red")
    return name.append(_printable(span.name))


def _figures(spans: Sequence[Span], glyphs: _Glyphs) -> tuple[str, ...]:
    """Format the duration, tokens and cost of `spans` together; empty if they have none."""
    duration = max(span.end for span in spans) - min(span.start for span in spans)
    sent = _sum(spans, "llm.input_tokens")
    received = _sum(spans, "llm.output_tokens")
    cost = _sum(spans, "llm.cost_usd")
    return (
        _duration(duration),
        "" if sent is None else f"{sent:,.0f} {glyphs.arrow} {received or 0:,.0f}",
        "" if cost is None else f"${cost:,.{5 if cost < 1 else 2}f}",
    )


def _sum(spans: Sequence[Span], attribute: str) -> float | None:
    values = [
        value for span in spans if isinstance(value := span.attributes.get(attribute), int | float)
    ]
    return sum(values) if values else None


def _duration(nanoseconds: int) -> str:
    milliseconds = nanoseconds / 1e6
    if milliseconds >= 999.5:
        return f"{milliseconds / 1000:.2f} s"
    digits = 0 if milliseconds >= 99.95 else 1 if milliseconds >= 9.995 else 2
    return f"{milliseconds:.{digits}f} ms"


def _detail(span: Span) -> str:
    """Return the status of a request, the model of an LLM call or the database of a query."""
    names = ["llm.model", "db.system.name"]
    if span.kind == "server":
        names.insert(0, "http.response.status_code")
    return next(
        (_printable(str(span.attributes[name])) for name in names if name in span.attributes), ""
    )


def _style(span: Span) -> str:
    if span.status == "error":
        return "red"
    if span.kind == "server":
        return "blue"
    if "llm.model" in span.attributes:
        return "magenta"
    return "cyan" if "db.system.name" in span.attributes else "green"


def _printable(text: str) -> str:
    """Put `text` on one line, without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
