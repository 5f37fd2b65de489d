"""A Python file that is edited by inserting text; every existing byte stays as it is."""

import io
import os.path
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar, cast

import libcst as cst
from libcst.metadata import (
    ByteSpanPositionProvider,
    CodeSpan,
    MetadataWrapper,
    ParentNodeProvider,
)

Node = TypeVar("Node", bound=cst.CSTNode)
BOM = b"\xef\xbb\xbf"


class EditRefused(Exception):
    """An edit that is not made: the reason in one sentence, and a snippet to paste instead."""

    def __init__(self, message: str, snippet: str = "") -> None:
        super().__init__(message)
        self.snippet = snippet


@dataclass(frozen=True, order=True)
class Insertion:
    """Text to insert before the byte at `offset`."""

    offset: int
    text: str


class Source:
    """A module's text, its syntax tree, and the position of each node in the text."""

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        """Raises EditRefused if the file does not parse."""
        self.path = path
        self.content = path.read_bytes() if content is None else content
        self._bom = BOM if self.content.startswith(BOM) else b""
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(self.content).readline)
            self.encoding = "utf-8" if encoding == "utf-8-sig" else encoding
            self.text = self.content[len(self._bom) :].decode(self.encoding)
            # Parsed as text, so that positions count UTF-8 bytes for every encoding.
            self.module = cst.parse_module(self.text)
        except (cst.ParserSyntaxError, SyntaxError, UnicodeError, ValueError, LookupError) as error:
            line, reason = "", str(error)
            if isinstance(error, cst.ParserSyntaxError):
                line, reason = f":{error.raw_line}", error.message
            raise EditRefused(f"{path}{line} does not parse ({reason}).") from None

    @cached_property
    def _wrapper(self) -> MetadataWrapper:
        return MetadataWrapper(self.module, unsafe_skip_copy=True)

    @cached_property
    def _spans(self) -> Mapping[cst.CSTNode, CodeSpan]:
        return self._wrapper.resolve(ByteSpanPositionProvider)

    @cached_property
    def parents(self) -> Mapping[cst.CSTNode, cst.CSTNode]:
        return self._wrapper.resolve(ParentNodeProvider)

    @cached_property
    def _by_type(self) -> dict[type, list[cst.CSTNode]]:
        """All nodes by type, each list in source order."""
        found: dict[type, list[cst.CSTNode]] = {}
        for node in self.parents:
            found.setdefault(type(node), []).append(node)
        return found

    def nodes(self, kind: type[Node], inside: cst.CSTNode | None = None) -> list[Node]:
        """Return the nodes of the type `kind`, in source order: all, or those in the node `inside`."""
        nodes = cast("list[Node]", self._by_type.get(kind, []))
        if inside is not None:
            start, end = self.start(inside), self.end(inside)
            nodes = [node for node in nodes if start <= self.start(node) and self.end(node) <= end]
        return sorted(nodes, key=self.start)

    @cached_property
    def _exact(self) -> int:
        # LibCST does not round-trip a final comment that is indented deeper than the code.
        return len(os.path.commonprefix([self.module.code, self.text]).encode())

    @property
    def has_bom(self) -> bool:
        return bool(self._bom)

    @cached_property
    def utf8(self) -> bytes:
        """The text in UTF-8, which positions refer to."""
        return self.text.encode()

    @cached_property
    def newline(self) -> str:
        first = self.text.find("\n")
        return "\r\n" if first > 0 and self.text[first - 1] == "\r" else "\n"

    def start(self, node: cst.CSTNode) -> int:
        return self._spans[node].start

    def end(self, node: cst.CSTNode) -> int:
        return self._spans[node].start + self._spans[node].length

    def code(self, node: cst.CSTNode) -> str:
        return self.utf8[self.start(node) : self.end(node)].decode()

    def line(self, node: cst.CSTNode) -> int:
        return self.utf8.count(b"\n", 0, self.start(node)) + 1

    def line_start(self, offset: int) -> int:
        return self.utf8.rfind(b"\n", 0, offset) + 1

    def line_end(self, offset: int) -> int:
        """Return the offset after the line break of the line at `offset`."""
        end = self.utf8.find(b"\n", offset)
        return len(self.utf8) if end < 0 else end + 1

    def indentation(self, offset: int) -> str:
        """Return the leading white space of the line at `offset`."""
        line = self.utf8[self.line_start(offset) :]
        return line[: len(line) - len(line.lstrip(b" \t"))].decode()

    def starts_line(self, node: cst.CSTNode) -> bool:
        """Return True if only white space precedes `node` on its line."""
        start = self.start(node)
        return not self.utf8[self.line_start(start) : start].strip()

    def line_after(self, offset: int, text: str) -> Insertion:
        """Insert `text` as a new line below the line at `offset`."""
        end = self.line_end(offset)
        if not self.utf8[:end].endswith(b"\n"):
            return Insertion(end, self.newline + text)
        return Insertion(end, text + self.newline)

    def line_before(self, offset: int, text: str) -> Insertion:
        return Insertion(self.line_start(offset), text + self.newline)

    def item_before(self, node: cst.CSTNode, items: Iterable[str]) -> Insertion:
        """Insert `items` before `node` in its list: on new lines if `node` starts a line."""
        if self.starts_line(node):
            indentation = self.indentation(self.start(node))
            lines = self.newline.join(f"{indentation}{item}," for item in items)
            return self.line_before(self.start(node), lines)
        return Insertion(self.start(node), "".join(f"{item}, " for item in items))

    def with_insertions(self, insertions: Iterable[Insertion]) -> bytes:
        """Return the file's bytes with all `insertions`. Raises EditRefused if they do not parse."""
        insertions = list(insertions)
        if any(insertion.offset > self._exact for insertion in insertions):
            raise EditRefused(f"{self.path} cannot be edited safely. Add these lines:")
        result = self.utf8
        # From the end, so that offsets stay valid; insertions at one offset keep their order.
        for insertion in sorted(insertions, key=lambda each: each.offset)[::-1]:
            offset = insertion.offset
            result = result[:offset] + insertion.text.encode() + result[offset:]
        content = self._bom + result.decode().encode(self.encoding)
        Source(self.path, content)
        return content
