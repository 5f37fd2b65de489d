"""Pictures of terminal output in the documents: SVG without fonts or other resources from elsewhere.

`UPDATE_PICTURES=1 uv run pytest -k picture` draws them again.
"""

import io
import os
from pathlib import Path
from typing import Final

from rich.console import Console, RenderableType
from rich.terminal_theme import TerminalTheme

from .conftest import TEMPLATE

FOLDER: Final = TEMPLATE / "docs/images"
_MARGIN: Final = 16
# As rich draws.
_CELL_WIDTH: Final = 12.2
_CELL_HEIGHT: Final = 24.4
_THEME: Final = TerminalTheme(
    (22, 27, 34),
    (201, 209, 217),
    [
        (72, 79, 88),
        (255, 123, 114),
        (86, 211, 100),
        (227, 179, 65),
        (121, 192, 255),
        (210, 168, 255),
        (86, 212, 221),
        (177, 186, 196),
    ],
)
_FORMAT: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 WIDTH HEIGHT" role="img">
<style>
.{unique_id}-matrix {{
  font: {char_height}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre;
}}
{styles}
</style>
<defs>{lines}</defs>
<rect width="WIDTH" height="HEIGHT" rx="10" fill="#161b22"/>
<g transform="translate(MARGIN, MARGIN)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def check_picture(name: str, content: RenderableType, *, width: int) -> None:
    """Assert that the picture `name` shows `content`, or draw it if UPDATE_PICTURES is set."""
    console = Console(
        record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(content)
    size = {
        "WIDTH": round(width * _CELL_WIDTH + 2 * _MARGIN),
        "HEIGHT": round(len(console.render_lines(content)) * _CELL_HEIGHT + 2 * _MARGIN),
        "MARGIN": _MARGIN,
    }
    drawn = console.export_svg(theme=_THEME, code_format=_FORMAT, unique_id=Path(name).stem)
    for name_of_size, pixels in size.items():
        drawn = drawn.replace(name_of_size, str(pixels))
    drawn = "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"
    path = FOLDER / name
    if "UPDATE_PICTURES" in os.environ:
        path.write_text(drawn, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == drawn, (
        f"docs/images/{name} is outdated. Draw it again: UPDATE_PICTURES=1 uv run pytest -k picture"
    )
