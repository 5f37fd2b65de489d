"""Tests of `find_interpreter`."""

from pathlib import Path

import pytest

from hooks.interpreter import find_interpreter


def environment(folder: Path, program: str = "bin/python") -> Path:
    path = folder / program
    path.parent.mkdir(parents=True)
    path.touch()
    return path


@pytest.mark.parametrize("name", [".venv", "venv", "env"])
@pytest.mark.parametrize("program", ["bin/python", "Scripts/python.exe"])
def test_interpreter_of_a_virtual_environment_at_the_root(
    name: str, program: str, tmp_path: Path
) -> None:
    python = environment(tmp_path / name, program)

    assert find_interpreter(tmp_path) == python
    assert find_interpreter(tmp_path, Path("src/acme/main.py")) == python


def test_nearest_virtual_environment_wins(tmp_path: Path) -> None:
    environment(tmp_path / ".venv")
    nearest = environment(tmp_path / "backend/venv")

    assert find_interpreter(tmp_path, Path("backend/app/main.py")) == nearest


def test_active_environment_is_used_only_if_it_belongs_to_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    python = environment(project / "backend/py311")
    monkeypatch.setenv("VIRTUAL_ENV", str(project / "backend/py311"))
    assert find_interpreter(project, Path("backend/app/main.py")) == python
    assert find_interpreter(project, Path("frontend/main.py")) is None

    environment(tmp_path / "elsewhere")
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "elsewhere"))
    assert find_interpreter(project, Path("backend/app/main.py")) is None


def test_project_without_a_virtual_environment_has_no_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)

    assert find_interpreter(tmp_path, Path("main.py")) is None
