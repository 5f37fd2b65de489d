"""Renderings and projects that the workers of a run make once and share."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from .projects import (
    CURRENT,
    Kind,
    Project,
    Template,
    clone,
    contents,
    copy_sources,
    git,
    managed,
    write,
)

Once = Callable[[str, Callable[[Path], object]], Path]
NewProject = Callable[[Kind, str], Project]


@pytest.fixture(scope="session")
def once(shared: Path) -> Once:
    """Returns the folder of this name, filled by the first worker of the run that needs it."""

    def folder(name: str, fill: Callable[[Path], object]) -> Path:
        made = shared / f"{name}.made"
        with FileLock(shared / f"{name}.lock"):
            if not made.exists():
                fill(shared / name)
                made.touch()
        return shared / name

    return folder


@pytest.fixture(scope="session")
def sources(once: Once) -> Path:
    """The template without its repository: rendering it needs no clone."""
    return once("sources", copy_sources)


@pytest.fixture(scope="session")
def template(once: Once) -> Template:
    return Template(once("copier-honeycomb", clone))


@pytest.fixture(scope="session")
def rendered(template: Template, once: Once) -> Callable[[Kind, str], Path]:
    """Returns the repository of a project as a release made it, to be copied, not changed."""

    def repository(kind: Kind, version: str) -> Path:
        def fill(folder: Path) -> None:
            project = folder / "order-intake" / kind.folder
            write(project, kind.own)
            template.copy(project, version, kind.answers)

        return once(f"{kind.name} {version}", fill) / "order-intake"

    return repository


@pytest.fixture
def project(
    template: Template, rendered: Callable[[Kind, str], Path], tmp_path: Path
) -> NewProject:
    def new(kind: Kind, version: str) -> Project:
        repository = tmp_path / "order-intake"
        shutil.copytree(rendered(kind, version), repository)
        git(repository, "init", "-q", "-b", "main")
        folder = repository / kind.folder
        return Project(
            template,
            kind,
            folder,
            base=managed(contents(folder)),
            fresh=managed(contents(rendered(kind, CURRENT) / kind.folder)),
        )

    return new
