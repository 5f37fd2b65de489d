"""The command line of Copier, and the template copied into an existing repository."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import copier as copier_library
import yaml

from .projects import ANSWERS_FILE, copy_sources

Files = dict[str, str]

SERVER = """\
from fastapi import FastAPI

app = FastAPI()


@app.get("/hello/{name}")
async def hello(name: str) -> str:
    return name
"""


def copier(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "copier", *arguments],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


@cache
def _sources() -> TemporaryDirectory[str]:
    folder = TemporaryDirectory()
    copy_sources(Path(folder.name))
    return folder


def add_observability(repository: Path, **answers: str) -> dict[str, str]:
    """Copy the template into `repository`, without questions, and return the recorded answers."""
    copier_library.run_copy(
        _sources().name, repository, data=answers, defaults=True, unsafe=False, quiet=True
    )
    recorded: dict[str, str] = yaml.safe_load((repository / ANSWERS_FILE).read_text())
    return recorded
