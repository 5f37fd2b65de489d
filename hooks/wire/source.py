"""A Python file that is edited by inserting bytes: every byte that was there stays as it was."""

import io
import os.path
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper, ParentNodeProvider

BOM = b"\xef\xbb\xbf"


class Refused(Exception):
    """Something that is not done, in one sentence, with what to do instead."""

    def __init__(self, message: str, snippet: str = "") -> None:
        super().__init__(message)
        self.snippet = snippet


@dataclass(frozen=True, order=True)
class Insertion:
    """Text that goes in front of the byte at `offset`."""

    offset: int
    text: str


class Source:
    """A module's text, its syntax tree, and where in the text each node is."""

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        """Raises Refused where the file does not parse."""
        self.path = path
        self.content = path.read_bytes() if content is None else content
        self._bom = BOM if self.content.startswith(BOM) else b""
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(self.content).readline)
            self.encoding = "utf-8" if encoding == "utf-8-sig" else encoding
            self.text = self.content[len(self._bom) :].decode(self.encoding)
            # As text, so that positions are in UTF-8 whatever the file is in.
            wrapper = MetadataWrapper(cst.parse_module(self.text), unsafe_skip_copy=True)
            self.module = wrapper.module
            # A comment at the end that is indented further than the code is not kept exactly.
            self._exact = len(os.path.commonprefix([self.module.code, self.text]).encode())
            self._spans = wrapper.resolve(ByteSpanPositionProvider)
            self.parents = wrapper.resolve(ParentNodeProvider)
        except (cst.ParserSyntaxError, SyntaxError, UnicodeError, ValueError, LookupError) as error:
            where = f":{error.raw_line}" if isinstance(error, cst.ParserSyntaxError) else ""
            what = error.message if isinstance(error, cst.ParserSyntaxError) else error
            raise Refused(f"{path}{where} does not parse ({what}).") from None

    @property
    def has_bom(self) -> bool:
        return bool(self._bom)

    @cached_property
    def utf8(self) -> bytes:
        """The text in UTF-8, which positions count in."""
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
        """The offset after the line break of the line that `offset` is in."""
        end = self.utf8.find(b"\n", offset)
        return len(self.utf8) if end < 0 else end + 1

    def indentation(self, offset: int) -> str:
        """White space at the start of the line that `offset` is in."""
        line = self.utf8[self.line_start(offset) :]
        return line[: len(line) - len(line.lstrip(b" \t"))].decode()

    def line_after(self, offset: int, text: str) -> Insertion:
        """`text` as a line of its own below the line that `offset` is in."""
        end = self.line_end(offset)
        if not self.utf8[:end].endswith(b"\n"):
            return Insertion(end, self.newline + text)
        return Insertion(end, text + self.newline)

    def line_before(self, offset: int, text: str) -> Insertion:
        return Insertion(self.line_start(offset), text + self.newline)

    def with_insertions(self, insertions: Iterable[Insertion]) -> bytes:
        """The file's bytes with all of them. Raises Refused where the result does not parse."""
        insertions = list(insertions)
        if any(insertion.offset > self._exact for insertion in insertions):
            raise Refused(f"{self.path} cannot be read exactly: put these lines in yourself.")
        result = self.utf8
        # From the end, so that offsets stay right; of two at one offset, the first stays first.
        for insertion in sorted(insertions, key=lambda each: each.offset)[::-1]:
            offset = insertion.offset
            result = result[:offset] + insertion.text.encode() + result[offset:]
        content = self._bom + result.decode().encode(self.encoding)
        Source(self.path, content)
        return content
