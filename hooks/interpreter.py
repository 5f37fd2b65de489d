"""Find the Python interpreter of a project."""

import os
from pathlib import Path
from typing import Final

_ENVIRONMENTS: Final = (".venv", "venv", "env")
PROGRAMS: Final = ("bin/python", "Scripts/python.exe")


def site_packages(environment: Path) -> list[Path]:
    """Return the folders of the packages of a virtual environment."""
    return [*environment.glob("lib/python*/site-packages"), *environment.glob("Lib/site-packages")]


def find_interpreter(root: Path, near: Path = Path()) -> Path | None:
    """Return the interpreter of the virtual environment nearest to `near`, or None.

    `root` is the project's folder and `near` a file or folder in it, relative to `root`. The
    environment is a folder named .venv, venv or env between the two, or else the active one if it
    is in one of these folders.
    """
    folders = [root / folder for folder in (near, *near.parents)]
    for folder in folders:
        for environment in _ENVIRONMENTS:
            for program in PROGRAMS:
                path = folder / environment / program
                if path.exists():
                    return path
    active = os.environ.get("VIRTUAL_ENV")
    if active and Path(active).parent in folders:
        return next((path for each in PROGRAMS if (path := Path(active) / each).exists()), None)
    return None
