"""Arrange the spans of a trace as the rows of a tree."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from .otlp import LogRecord, Span

GROUP: Final = 6
"""Number of equal siblings that share a row."""


class Node(NamedTuple):
    """A row: a span, or several equal siblings without children, such as repeated queries."""

    spans: tuple[Span, ...]
    rails: tuple[bool, ...]
    """For each level outside the parent's, if further siblings of the ancestor follow below."""
    rails_below: tuple[bool, ...]
    """The same for text below this row."""
    depth: int
    is_last: bool
    is_orphan: bool
    """The parent is not part of the trace, though the span was not called from another service."""
    has_failed_child: bool
    logs: tuple[LogRecord, ...]

    @property
    def span(self) -> Span:
        return self.spans[0]

    @property
    def time(self) -> int:
        """The sum of the durations, in nanoseconds."""
        return sum(span.end - span.start for span in self.spans)


def span_nodes(
    spans: Sequence[Span], logs: Sequence[LogRecord] = (), *, group: int = GROUP
) -> Iterator[Node]:
    """Yield rows from top to bottom: a span before its children, those by start time.

    At least `group` equal siblings share a row.

    Each span is on exactly one row, even if parents are missing or parents form a circle.
    """
    tree = _Tree(spans, logs, group)
    roots = sorted(tree.roots, key=lambda span: (span.parent_id is not None, span.kind != "server"))
    # An explicit stack, because a trace may be deeper than Python's recursion limit.
    stack = [_Entry(group, (), 0, True) for group in reversed(tree.grouped(roots))]
    while stack:
        entry = stack.pop()
        children = tree.children(entry.spans[0]) if len(entry.spans) == 1 else []
        inner = (*entry.rails, not entry.is_last) if entry.depth else entry.rails
        yield Node(
            entry.spans,
            entry.rails,
            (*inner, bool(children)),
            entry.depth,
            entry.is_last,
            is_orphan=not entry.depth and tree.is_orphan(entry.spans[0]),
            has_failed_child=any(child.status == "error" for child in children),
            logs=tuple(record for span in entry.spans for record in tree.logs(span)),
        )
        groups = tree.grouped(children)
        stack += [
            _Entry(group, inner, entry.depth + 1, number == len(groups))
            for number, group in reversed(list(enumerate(groups, 1)))
        ]


class _Entry(NamedTuple):
    spans: tuple[Span, ...]
    rails: tuple[bool, ...]
    depth: int
    is_last: bool


class _Tree:
    def __init__(self, spans: Sequence[Span], logs: Sequence[LogRecord], group: int) -> None:
        self._group = group
        ids = {span.span_id for span in spans}
        self.roots: list[Span] = []
        self._children: dict[str, list[Span]] = {}
        for span in sorted(spans, key=lambda span: span.start):
            if span.parent_id in ids and span.parent_id is not None:
                self._children.setdefault(span.parent_id, []).append(span)
            else:
                self.roots.append(span)
        self._break_circles(spans)
        self._logs: dict[str, list[LogRecord]] = {}
        first = self.roots[0].span_id if self.roots else ""
        for record in sorted(logs, key=lambda record: record.time):
            owner = record.span_id if record.span_id in ids else first
            self._logs.setdefault(owner, []).append(record)

    def is_orphan(self, span: Span) -> bool:
        return span.parent_id is not None and span.kind not in ("server", "consumer")

    def children(self, span: Span) -> list[Span]:
        return self._children.get(span.span_id, [])

    def logs(self, span: Span) -> list[LogRecord]:
        return self._logs.get(span.span_id, [])

    def grouped(self, siblings: Sequence[Span]) -> list[tuple[Span, ...]]:
        """Group equal siblings at the place of the first, if there are many."""
        equal: dict[tuple[str, str], list[Span]] = {}
        for span in siblings:
            if (
                not (self.children(span) or self.logs(span) or span.events)
                and span.status != "error"
            ):
                equal.setdefault((span.name, span.kind), []).append(span)
        groups = {
            group[0].span_id: tuple(group) for group in equal.values() if len(group) >= self._group
        }
        grouped = {span.span_id for group in groups.values() for span in group}
        return [
            groups.get(span.span_id, (span,))
            for span in siblings
            if span.span_id in groups or span.span_id not in grouped
        ]

    def _break_circles(self, spans: Sequence[Span]) -> None:
        """Make a root of the first span of each circle, which no root leads to."""
        reached: set[str] = set()

        def reach(top: Span) -> None:
            stack = [top]
            while stack:
                reached.add((span := stack.pop()).span_id)
                stack += self.children(span)

        for root in self.roots:
            reach(root)
        for span in spans:
            if span.span_id not in reached:
                self._children[str(span.parent_id)].remove(span)
                self.roots.append(span)
                reach(span)
