"""Repositories with the observability module, for tests of `wire`."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from hooks.wire.cli import main

from ..conftest import Render
from ..template.projects import git
from .repositories import Repository

Make = Callable[[Repository], Path]


@pytest.fixture
def make(render: Render) -> Make:
    """Write a repository that contains the module, and commit it; returns its folder."""

    def made(repository: Repository) -> Path:
        folder = render(
            "shop",
            layout="existing",
            package_dir=repository.package_dir,
            import_name=repository.import_name,
        )
        write(repository, folder)
        git(folder, "init")
        (folder / ".git/info/exclude").write_text(".venv\n__pycache__\n")
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "All")
        return folder

    return made


def write(repository: Repository, folder: Path) -> None:
    for name, text in repository.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def wire(folder: Path, *options: str) -> int:
    """Run `wire` in this process and return its exit status. Unless `options` contain --wait, the
    check uses the packages of .venv."""
    wait = [] if "--wait" in options else ["--wait", "0"]
    status: int = main.main([str(folder), *wait, *options], standalone_mode=False)
    return status


def contents(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


def app_option(repository: Repository) -> list[str]:
    return ["--app", repository.app] if repository.app else []
