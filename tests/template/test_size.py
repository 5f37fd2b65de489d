"""Size budgets: everything that is rendered becomes code that somebody reviews."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from ..conftest import TEMPLATE, Render
from .copying import SERVER, add_observability
from .projects import write

EXISTING_FILES: Final = 42
MODULE_FILES: Final = 22
MODULE_LINES: Final = 3_000
EXISTING_LINES: Final = 5_500
SELF_CHECK_LINES: Final = 80
MODULE_TEST_FILES: Final = 4
MODULE_TEST_LINES: Final = 350
NEW_FILES: Final = 80
SETTINGS_LINES: Final = 200


def lines(files: Iterable[Path]) -> int:
    return sum(len(path.read_text().splitlines()) for path in files)


@pytest.fixture(params=["http/protobuf", "grpc"])
def added(request: pytest.FixtureRequest, tmp_path: Path) -> list[Path]:
    """The files that are added to an existing repository, without _grpc.py."""
    own = {"pyproject.toml": "", "acme/__init__.py": "", "acme/main.py": SERVER}
    write(tmp_path, own)
    add_observability(tmp_path, otlp_protocol=request.param)
    return [
        path
        for path in tmp_path.rglob("*")
        if path.is_file()
        and path.relative_to(tmp_path).as_posix() not in own
        and path.name != "_grpc.py"
    ]


def test_files_in_an_existing_repository(added: list[Path]) -> None:
    assert len(added) <= EXISTING_FILES
    assert lines(added) <= EXISTING_LINES


def test_module(added: list[Path]) -> None:
    module = [path for path in added if path.suffix == ".py" and "tests" not in path.parts]
    assert len(module) <= MODULE_FILES
    assert lines(module) <= MODULE_LINES
    assert lines(path for path in module if path.name == "__main__.py") <= SELF_CHECK_LINES


def test_tests_of_the_module(added: list[Path]) -> None:
    tests = [path for path in added if "tests" in path.parts]
    assert len(tests) <= MODULE_TEST_FILES
    assert lines(tests) <= MODULE_TEST_LINES


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_files_of_a_new_service(protocol: str, render: Render) -> None:
    rendered = [path for path in render(otlp_protocol=protocol).rglob("*") if path.is_file()]
    assert len(rendered) <= NEW_FILES


def test_settings_of_the_template() -> None:
    assert lines([TEMPLATE / "copier.yml"]) <= SETTINGS_LINES
