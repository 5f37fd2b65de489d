"""`copier-honeycomb adopt`: the module is copied beside the application, which is then traced."""

from pathlib import Path

import pytest
import yaml

from hooks.adopt.cli import adopt

from ..depth import in_depth
from ..template.projects import git
from ..wire.conftest import write
from ..wire.repositories import PLAIN, Repository, server
from ..wire.repositories.base import PYPROJECT

DOCKERFILE = "FROM python:3.12\nWORKDIR /app\nCOPY . .\nRUN pip install -r requirements.txt\nCMD uvicorn {}\n"


def repository(folder: Path, files: dict[str, str | bytes]) -> Path:
    write(Repository("", files), folder)
    git(folder, "init")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "All")
    return folder


def run(folder: Path, *options: str) -> int:
    status: int = adopt.main([str(folder), "--yes", *options], standalone_mode=False)
    return status


def answers(folder: Path) -> dict[str, str]:
    [path] = folder.glob(".copier-answers*.yml")
    found: dict[str, str] = yaml.safe_load(path.read_text())
    return found


@pytest.mark.parametrize(
    ("files", "package_dir", "import_name"),
    [
        (
            {
                "platform/x/backend/app/main.py": PLAIN,
                "platform/x/backend/app/__init__.py": "",
                "platform/x/backend/requirements.txt": "fastapi\n",
                "platform/x/backend/Dockerfile": DOCKERFILE.format("app.main:app"),
            },
            "platform/x/backend/app",
            "app",
        ),
        (
            {
                "aardvark/__init__.py": "",
                "aardvark/main.py": "",
                "web-api/server.py": PLAIN,
                "web-api/requirements.txt": "fastapi\n",
                "Procfile": "web: cd web-api && uvicorn server:app\n",
            },
            "web-api",
            "",
        ),
        pytest.param(
            {
                "backend/web/__init__.py": PLAIN,
                "backend/requirements.txt": "fastapi\n",
                "backend/Dockerfile": DOCKERFILE.format("web:app"),
            },
            "backend/web",
            "web",
            marks=in_depth,
        ),
        pytest.param(
            {
                "src/shop/main.py": PLAIN,
                "src/shop/__main__.py": "import uvicorn\n\nuvicorn.run('shop.main:app')\n",
                "requirements.txt": "fastapi\n",
                "Dockerfile": DOCKERFILE.format("shop.main:app").replace(
                    "CMD uvicorn shop.main:app", "ENV PYTHONPATH=/app/src\nCMD python -m shop"
                ),
            },
            "src/shop",
            "shop",
            marks=in_depth,
        ),
    ],
    ids=[
        "deep monorepo",
        "folder that is no identifier",
        "application in __init__.py",
        "PYTHONPATH",
    ],
)
def test_module_is_beside_the_application_that_is_started(
    files: dict[str, str | bytes],
    package_dir: str,
    import_name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = repository(tmp_path / "shop", files)

    assert run(folder) == 0, capsys.readouterr().out

    found = answers(folder)
    assert (found["package_dir"], found["import_name"]) == (package_dir, import_name)
    assert (folder / package_dir / "observability/__init__.py").exists()
    assert "the module is at /" in capsys.readouterr().out
    assert git(folder, "diff", "--stat", "HEAD").count("|") == 2


@in_depth
def test_service_is_named_after_the_repository_and_its_folder(tmp_path: Path) -> None:
    folder = repository(tmp_path / "shop", {f"backend/{k}": v for k, v in server(PLAIN).items()})

    assert run(folder / "backend") == 0

    assert answers(folder / "backend")["project_name"] == "shop-backend"


def test_nothing_is_copied_if_the_application_cannot_be_traced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = {"Dockerfile": DOCKERFILE.format("acme.main:app").replace("3.12", "3.9")}
    folder = repository(tmp_path / "shop", server(PLAIN, old))

    assert run(folder) == 2

    assert "Dockerfile:1 runs Python 3.9" in capsys.readouterr().out
    assert not git(folder, "status", "--porcelain")


def test_dry_run_shows_the_edits_and_copies_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = repository(tmp_path / "shop", server(PLAIN))

    assert run(folder, "--dry-run") == 0

    output = capsys.readouterr().out
    assert "+from acme.observability import instrument_app\n" in output
    assert "Copy: the template adds acme/observability, its tests, honeycomb and docs\n" in output
    assert not git(folder, "status", "--porcelain")


def test_edits_for_deptry_are_shown_before_the_module_is_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pyproject = f"{PYPROJECT}\n[tool.deptry]\n"
    folder = repository(tmp_path / "shop", server(PLAIN, {"pyproject.toml": pyproject}))

    assert run(folder) == 0

    output = capsys.readouterr().out
    rules = (folder / "pyproject.toml").read_text().partition("per_rule_ignores]\n")[2]
    assert rules.count("\n") == 4
    assert all(f"+{line}\n" in output for line in rules.splitlines())


def test_reason_for_which_copier_refuses_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = repository(tmp_path / "shop", server(PLAIN, {"docs/runbooks.md": "mine\n"}))

    assert run(folder) == 2

    assert capsys.readouterr().out.endswith(
        "\nError: The template was not copied: docs/runbooks.md already exists. Rename it, or keep it"
        " with --skip docs/runbooks.md\n"
    )
    assert not git(folder, "status", "--porcelain")

    assert run(folder, "--skip", "docs/runbooks.md") == 0
    assert (folder / "docs/runbooks.md").read_text() == "mine\n"


@in_depth
def test_module_that_was_copied_beside_another_package_is_moved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = server(PLAIN, {"zoo/__init__.py": "", "zoo/main.py": ""})
    folder = repository(tmp_path / "shop", files)
    assert run(folder, "--data", "package_dir=zoo", "--data", "import_name=zoo") in (0, 2)
    git(folder, "checkout", "-q", ".")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Copy")
    (folder / "zoo/observability/spans.py").write_text("# mine\n")

    assert run(folder, "--allow-dirty") == 2
    assert "zoo/observability/spans.py was edited, so the module is not" in capsys.readouterr().out

    git(folder, "checkout", "-q", ".")
    assert run(folder) == 0
    assert answers(folder)["package_dir"] == "acme"
    assert (folder / "acme/observability/spans.py").exists()
    assert not (folder / "zoo/observability").exists()
    assert "from acme.observability" in (folder / "tests/observability/test_trace.py").read_text()
