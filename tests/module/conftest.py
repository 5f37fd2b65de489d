"""Renderings of the module that all tests of this folder share."""

from pathlib import Path

import pytest

from ..conftest import Render

# Runs in other environments, against a rendering: see test_suite.py.
collect_ignore = ["sdk_suite", "suite"]


@pytest.fixture(scope="session")
def rendering(render: Render) -> Path:
    """A flat project with gRPC selected: its folder is the path to import `observability` from."""
    return render("shop", layout="existing", package_dir=".", otlp_protocol="grpc")


@pytest.fixture(scope="session")
def http_rendering(render: Render) -> Path:
    """The same project with the defaults, and therefore without `_grpc.py`."""
    return render("shop", layout="existing", package_dir=".")
