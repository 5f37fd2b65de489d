"""Renderings and projects that the workers of a run make once and share."""

import shutil
from collections.abc import Callable
from functools import partial
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
    reduced,
    write,
)

Once = Callable[[str, Callable[[Path], object]], Path]
Rendered = Callable[[Kind, str], Path]
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
def reduced_template(once: Once) -> Template:
    """A template with few files, whose only release is CURRENT."""
    return Template(once("reduced", reduced))


@pytest.fixture(scope="session")
def rendered(template: Template, once: Once) -> Rendered:
    return partial(_rendered, template, once)


@pytest.fixture(scope="session")
def reduced_rendered(reduced_template: Template, once: Once) -> Rendered:
    return partial(_rendered, reduced_template, once)


def _rendered(template: Template, once: Once, kind: Kind, version: str) -> Path:
    """Return the repository of a project as a release made it, to be copied, not changed."""

    def fill(folder: Path) -> None:
        project = folder / "order-intake" / kind.folder
        write(project, kind.own)
        template.copy(project, version, kind.answers)

    return once(f"{kind.name} {version} of {template.folder.name}", fill) / "order-intake"


@pytest.fixture
def project(template: Template, rendered: Rendered, tmp_path: Path) -> NewProject:
    return partial(_project, template, rendered, tmp_path)


@pytest.fixture
def reduced_project(
    reduced_template: Template, reduced_rendered: Rendered, tmp_path: Path
) -> NewProject:
    return partial(_project, reduced_template, reduced_rendered, tmp_path)


def _project(
    template: Template, rendered: Rendered, folder: Path, kind: Kind, version: str
) -> Project:
    repository = folder / "order-intake"
    shutil.copytree(rendered(kind, version), repository)
    git(repository, "init", "-q", "-b", "main")
    return Project(
        template,
        kind,
        repository / kind.folder,
        base=managed(contents(repository / kind.folder)),
        fresh=managed(contents(rendered(kind, CURRENT) / kind.folder)),
    )
