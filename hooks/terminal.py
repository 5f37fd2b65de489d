"""Output of the commands. rich decides on colours: a terminal has them, unless NO_COLOR is set."""

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

_MAX_PROGRESS = 100


def console(*, stderr: bool = False) -> Console:
    """A console on the current stdout or stderr, which breaks lines on a terminal only."""
    output = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    output.soft_wrap = not output.is_terminal
    return output


def say(*parts: Text | str) -> None:
    """Print the parts joined as they are. Indented lines, such as commands to copy, are not broken."""
    progress("")
    output = console()
    for line in Text.assemble(*parts).split(allow_blank=True):
        output.print(line, soft_wrap=line.plain.startswith(" ") or None)


def say_wrapped(label: Text | str, text: Text | str) -> None:
    """Print `text` after `label`; on a terminal, further lines are indented to where it begins."""
    progress("")
    output = console()
    if not output.is_terminal:
        output.print(Text.assemble(label, " ", text))
        return
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_row(label, text)
    output.print(grid)


def complain(text: str) -> None:
    """Print a line to stderr, so that a script that reads the output is not disturbed."""
    progress("")
    console(stderr=True).print(text)


def progress(text: str) -> None:
    """Show `text` until the next line is printed, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:_MAX_PROGRESS]}", end="", file=sys.stderr, flush=True)


def printable(text: object) -> str:
    """`text` from a server or a file, without characters that control a terminal."""
    return "".join(filter(str.isprintable, str(text)))
