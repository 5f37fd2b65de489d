"""Small repositories in the shapes of real ones, and the result of `wire` in each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

NOTHING: Final[Mapping[str, str | bytes]] = {}
HELLO: Final = """

@app.get("/hello/{name}")
async def hello(name: str) -> str:
    return name
"""
PYPROJECT: Final = """\
[project]
name = "acme"
version = "1"
requires-python = ">=3.11"
dependencies = [
    "fastapi",
    "uvicorn",
]
"""


@dataclass(frozen=True)
class Repository:
    """The files of a repository, and the expected result of `wire`."""

    name: str
    files: dict[str, str | bytes]
    added: dict[str, list[str]] = field(default_factory=dict)
    """The lines that are added, by file."""
    printed: tuple[str, ...] = ()
    """Texts in the output."""
    status: int = 0
    """The exit status."""
    app: str | None = None
    """The value of `--app`."""
    served: str = ""
    """`module:name` of the application; empty if it cannot run here."""
    root: str = "."
    """The folder that imports are relative to."""
    replaced: int = 0
    """The number of lines that are changed, such as lists on one line."""
    package_dir: str = "acme"
    """The folder that contains the module."""
    import_name: str = "acme"


def server(text: str, more: Mapping[str, str | bytes] = NOTHING) -> dict[str, str | bytes]:
    return {"acme/__init__.py": "", "acme/main.py": text, "pyproject.toml": PYPROJECT, **more}


IMPORT: Final = "from acme.observability import instrument_app"
CALL: Final = "instrument_app(app)"
SDK: Final = '    "opentelemetry-sdk>=1.27,<2",'
PLAIN: Final = "from fastapi import FastAPI\n\napp = FastAPI()\n" + HELLO


def wired(
    name: str,
    text: str | bytes,
    lines: list[str] | None = None,
    more: Mapping[str, str | bytes] = NOTHING,
) -> Repository:
    """Return a repository with a server in acme/main.py that is wired."""
    files: dict[str, str | bytes] = {
        "acme/__init__.py": "", "acme/main.py": text, "pyproject.toml": PYPROJECT, **more,
    }  # fmt: skip
    added = {"acme/main.py": lines or ["", IMPORT, CALL], "pyproject.toml": [SDK]}
    return Repository(name, files, added, served="acme.main:app")


def refused(
    name: str, text: str, *printed: str, status: int = 1, more: Mapping[str, str | bytes] = NOTHING
) -> Repository:
    """Return a repository with a server in acme/main.py that is not edited, and the printed texts."""
    files: dict[str, str | bytes] = {
        "acme/__init__.py": "", "acme/main.py": text, "pyproject.toml": PYPROJECT, **more,
    }  # fmt: skip
    return Repository(
        name, files, {"pyproject.toml": [SDK]} if status == 1 else {}, printed, status
    )
