"""Break a call on one line into one argument per line if an insertion would make it too long."""

import re
import tomllib
from collections.abc import Sequence
from itertools import pairwise

import libcst as cst

from .project import Project
from .source import Insertion, Source

_DEFAULT = 88


def limit(project: Project, source: Source) -> int:
    """Return the line length of the linter or formatter, else of the file's longest line."""
    files = set(project.files)
    for folder in source.path.parents:
        for name in ("ruff.toml", ".ruff.toml", "pyproject.toml"):
            if folder / name not in files:
                continue
            try:
                data = tomllib.loads(project.text(folder / name))
            except tomllib.TOMLDecodeError:
                continue
            tools = data.get("tool", {})
            tables = [data, tools.get("ruff", {}), tools.get("black", {})]
            for table in tables:
                if isinstance(length := table.get("line-length"), int):
                    return length
    return max(_DEFAULT, *map(len, source.text.splitlines()))


def is_too_long(project: Project, source: Source, node: cst.CSTNode, added: str) -> bool:
    """Return True if `node` is on one line, and `added` would make that line too long."""
    start, end = source.start(node), source.end(node)
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
        start = source.start(node.func.attr)  # the rest of a chain may be on other lines
    if b"\n" in source.utf8[start:end]:
        return False
    line = source.utf8[source.line_start(start) : source.line_end(end)].decode().rstrip()
    return len(line) + len(added) > limit(project, source)


def one_per_line(
    source: Source,
    node: cst.Call | cst.List,
    first: Sequence[str],
    last: Sequence[str],
    indentation: str,
) -> list[Insertion]:
    """Break the items of `node`, after the items `first` and before the items `last`.

    `indentation` is that of the closing bracket.
    """
    items: Sequence[cst.Arg | cst.BaseElement] = (
        node.args if isinstance(node, cst.Call) else node.elements
    )
    inner = f"{source.newline}{indentation}    "
    begin = source.start(items[0])
    insertions = [Insertion(begin, "".join(f"{inner}{each}," for each in first) + inner)]
    for each, following in pairwise(items):
        # The white space after the comma becomes part of the next line's indentation.
        between = source.utf8[source.end(each) : source.start(following)]
        comma = source.end(each) + (between.index(b",") + 1 if b"," in between else 0)
        spaces = source.start(following) - comma
        insertions.append(Insertion(comma, inner[: len(inner) - spaces]))
    end = source.end(node) - 1
    has_comma = re.search(rb",\s*\Z", source.utf8[source.start(items[-1]) : end]) is not None
    added = "".join(f"{inner}{each}," for each in last)
    return [
        *insertions,
        Insertion(end, f"{'' if has_comma else ','}{added}{source.newline}{indentation}"),
    ]


def joined(text: str, *methods: str) -> str:
    """Return `text` with each call of `methods` on one line that has a line for each argument."""

    def join(match: re.Match[str]) -> str:
        items = " ".join(line.strip() for line in match[3].splitlines()).removesuffix(",")
        return f"{match[1]}{match[2]}{items.replace('[ ', '[').replace(', ]', ']')})"

    names = "|".join(methods)
    pattern = rf"(?m)^([ \t]*)((?:\S[^\n]*)?\.(?:{names})\()\r?\n((?:\1[ \t]+[^\n]*\n)+)\1\)"
    return re.sub(pattern, join, text)
