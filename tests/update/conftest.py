"""Projects of every release, and small ones, for tests of `copier-honeycomb update`."""

from pathlib import Path

import copier
import pytest

from ..template.conftest import Once, once, project, rendered, sources, template
from .small import Small, copy_small, release_template

__all__ = ["once", "project", "rendered", "sources", "template"]


@pytest.fixture
def small(once: Once, tmp_path: Path) -> Small:
    """A project of the first release of a small template."""
    source = once("small-template", release_template)
    rendering = once(
        "small-project",
        lambda folder: copier.run_copy(
            str(source), folder, defaults=True, quiet=True, vcs_ref="v1.0.0"
        ),
    )
    return copy_small(source, rendering, tmp_path / "shop")
