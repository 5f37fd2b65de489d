"""What a command prints: colours on a terminal only, and never where NO_COLOR asks for none."""

import os
import shutil
import sys
import textwrap
from typing import Final

_CODES: Final = {"green": 32, "yellow": 33, "red": 31, "dim": 2, "bold": 1}


def is_colourful() -> bool:
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def coloured(text: str, colour: str) -> str:
    """`text` in a colour, where there are colours."""
    return f"\033[{_CODES[colour]}m{text}\033[0m" if is_colourful() else text


def wrapped(text: str, *, indent: int) -> str:
    """`text` in lines that fit beside a margin of `indent` characters; in one line off a terminal."""
    if not sys.stdout.isatty():
        return text
    width = max(40, shutil.get_terminal_size().columns - indent)
    lines = textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)
    return ("\n" + " " * indent).join(lines)


def say(text: str = "") -> None:
    """Prints a line; a terminal that lacks a character shows a question mark."""
    passing("")
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def complain(text: str) -> None:
    """Prints a line beside the output, so that a script that reads the output can go on."""
    passing("")
    print(text, file=sys.stderr, flush=True)


def passing(text: str) -> None:
    """Shows `text` until the next line, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:100]}", end="", file=sys.stderr, flush=True)


def printable(text: object) -> str:
    """`text` without what could move the cursor: it comes from elsewhere."""
    return "".join(filter(str.isprintable, str(text)))
