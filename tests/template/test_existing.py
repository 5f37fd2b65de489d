"""The template in an existing repository: it adds files, and changes none."""

import hashlib
import subprocess
from pathlib import Path

import copier
import pytest

from ..conftest import TEMPLATE
from ..depth import in_depth
from ..environments import Environment
from .copying import SERVER, Files, add_observability
from .copying import copier as copier_command
from .projects import git, write


def digests(repository: Path) -> dict[str, str]:
    return {
        str(path.relative_to(repository)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(repository.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


SHAPES: list[tuple[Files, str, str]] = [
    ({"acme/__init__.py": "", "acme/main.py": SERVER}, "acme", "acme"),
    ({"src/acme/__init__.py": "", "src/acme/api/server.py": SERVER}, "src/acme", "acme"),
    ({"backend/app/__init__.py": "", "backend/app/main.py": SERVER}, "backend/app", "app"),
    (
        {"backend/__init__.py": "", "backend/app/__init__.py": "", "backend/app/main.py": SERVER},
        "backend/app",
        "backend.app",
    ),
    ({"app/main.py": SERVER}, "app", "app"),
    ({"backend/main.py": SERVER, "backend/requirements.txt": ""}, "backend", ""),
    ({"src/main.py": SERVER}, "src", ""),
    ({"main.py": SERVER}, ".", ""),
    ({"main.py": "", "app/__init__.py": "", "app/main.py": SERVER}, "app", "app"),
    ({"tests/main.py": "", "docs/app.py": "", "acme/asgi.py": SERVER}, "acme", "acme"),
    ({"acme/__init__.py": "", "acme/web/app.py": SERVER}, "acme", "acme"),
    ({"acme/__init__.py": "", "acme/routes.py": SERVER}, "acme", "acme"),
    ({"README.md": ""}, ".", ""),
    ({"python-backend/main.py": SERVER}, "python-backend", ""),
    ({"my-app/src/acme/__init__.py": "", "my-app/src/acme/main.py": SERVER}, "my-app/src/acme", "acme"),
]
LESS_USUAL_SHAPES: list[tuple[Files, str, str]] = [
    ({"platform/x/backend/app/main.py": SERVER}, "platform/x/backend/app", "app"),
    ({"src/agents/__init__.py": "", "src/client/client.py": "", "src/service/service.py": SERVER}, "src/service", "service"),
    ({"multi_agents/__init__.py": "", "multi_agents/main.py": "", "main.py": "", "backend/__init__.py": "", "backend/server/app.py": SERVER}, "backend", "backend"),
    ({"main.py": SERVER, "app/__init__.py": "", "app/routes/__init__.py": "", "app/utils/health.py": ""}, ".", ""),
    ({"api/index.py": SERVER, "api/utils/__init__.py": "", "api/utils/tools.py": ""}, "api", "api"),
    ({"src/backend/fastapi_app/__init__.py": SERVER, "scripts/main.py": ""}, "src/backend/fastapi_app", "fastapi_app"),
    ({"src/bot.py": SERVER}, "src", ""),
    ({"app/__init__.py": "", "app/main.py": SERVER, "app/api/v1/api.py": ""}, "app", "app"),
    ({"worker/main.py": "", "api-server/items.py": "", "api-server/main.py": SERVER, "api-server/Dockerfile": ""}, "api-server", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "package_dir", "import_name"),
    [*SHAPES, *(pytest.param(*each, marks=in_depth) for each in LESS_USUAL_SHAPES)],
)
def test_folder_of_the_server_is_found(
    files: Files, package_dir: str, import_name: str, tmp_path: Path
) -> None:
    write(tmp_path, {"pyproject.toml": "", **files})
    before = digests(tmp_path)

    answers = add_observability(tmp_path)

    assert answers["layout"] == "existing"
    assert (answers["package_dir"], answers["import_name"]) == (package_dir, import_name)
    after = digests(tmp_path)
    assert {name: after[name] for name in before} == before
    folder = "observability" if package_dir == "." else f"{package_dir}/observability"
    tests = "tests/observability" if import_name else "tests/telemetry"
    for name in after.keys() - before.keys() - {".copier-answers.yml"}:
        assert name.startswith((f"{folder}/", f"{tests}/", "honeycomb/", "docs/")), name


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("requirements-web.txt", "existing"),
        ("main.py", "existing"),
        ("src/acme/main.py", "existing"),
        ("backend/src/acme/main.py", "existing"),
        ("platform/backend/src/acme/main.py", "existing"),
        ("web/node_modules/gyp/main.py", "new"),
        ("docs/index.md", "new"),
    ],
)
def test_folder_with_python_files_is_an_existing_repository(
    name: str, layout: str, tmp_path: Path
) -> None:
    write(tmp_path, {"LICENSE": "", name: ""})

    assert add_observability(tmp_path)["layout"] == layout


def test_folder_name_may_be_a_glob_pattern(tmp_path: Path) -> None:
    repository = tmp_path / "shop [v2] *?"
    write(repository, {"requirements.txt": "", "src/acme/main.py": SERVER})

    add_observability(repository)

    assert (repository / "src/acme/observability/__init__.py").exists()
    assert (repository / "src/acme/main.py").read_text() == SERVER


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("honeycomb/board.json", "The folder honeycomb already exists"),
        ("docs/observability.md", "Rename it, or keep it with --skip docs/observability.md"),
        (
            "docs/observability-reference.md",
            "Rename it, or keep it with --skip docs/observability-reference.md",
        ),
        ("docs/runbooks.md", "Rename it, or keep it with --skip docs/runbooks.md"),
    ],
)
def test_existing_file_with_a_name_of_the_template_is_refused(
    name: str, message: str, tmp_path: Path
) -> None:
    write(tmp_path, {"pyproject.toml": "", "acme/__init__.py": "", "acme/main.py": "", name: ""})
    before = digests(tmp_path)

    with pytest.raises(ValueError, match=message):
        add_observability(tmp_path)

    assert digests(tmp_path) == before


@pytest.mark.parametrize(
    ("taken", "name"),
    [
        (["acme/observability.py"], "telemetry"),
        (["acme/observability/mine.py", "acme/telemetry.py"], "tracing"),
        (["tests/observability/test_x.py"], "telemetry"),
    ],
)
def test_module_has_another_name_if_the_usual_one_is_taken(
    taken: list[str], name: str, tmp_path: Path
) -> None:
    files = ["pyproject.toml", "acme/__init__.py", "acme/main.py", *taken]
    write(tmp_path, dict.fromkeys(files, ""))
    before = digests(tmp_path)

    with pytest.raises(ValueError, match="already exists"):
        add_observability(tmp_path, module_name="observability")
    assert digests(tmp_path) == before
    assert add_observability(tmp_path)["module_name"] == name

    after = digests(tmp_path)
    assert {each: after[each] for each in before} == before
    assert f"acme/{name}/spans.py" in after
    [imports] = (tmp_path / "tests" / name).glob("test_trace.py")
    assert f"acme.{name}" in imports.read_text()
    assert f"acme.{name}" in (tmp_path / "docs/observability.md").read_text()


@pytest.mark.parametrize("name", ["json", "Observability", "a-b", "a.b", "../x", "tests", ""])
def test_name_that_cannot_be_a_module_is_rejected(name: str, tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": "", "main.py": SERVER})

    with pytest.raises(ValueError, match="Use a name in lowercase letters"):
        add_observability(tmp_path, module_name=name)


def test_new_service_keeps_the_readme_and_gitignore_of_its_folder(tmp_path: Path) -> None:
    write(tmp_path, {"README.md": "mine\n", ".gitignore": "mine\n", "LICENSE": ""})

    assert add_observability(tmp_path)["layout"] == "new"

    assert (tmp_path / "README.md").read_text() == (tmp_path / ".gitignore").read_text() == "mine\n"


def test_new_service_is_refused_in_a_folder_that_has_its_files(tmp_path: Path) -> None:
    write(tmp_path, {".github/workflows/ci.yml": "", "package.json": ""})
    before = digests(tmp_path)

    with pytest.raises(ValueError, match=r"ci\.yml already exists, so this folder is not free"):
        add_observability(tmp_path)

    assert digests(tmp_path) == before


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        (
            {"main.py": "", "docs/runbooks.md": ""},
            [],
            "docs/runbooks.md already exists. Rename it, or keep it with --skip docs/runbooks.md",
        ),
        (
            {"main.py": "", ".copier-answers.yml": "_src_path: https://git.example/other\n"},
            [],
            ".copier-answers.yml belongs to another template. Run the command again with"
            " --answers-file .copier-answers.honeycomb.yml",
        ),
        *(
            pytest.param(*each, marks=in_depth)
            for each in [
                (
                    {"a/b/c/d/e/main.py": SERVER, "pyproject.toml": ""},
                    ["--data", "layout=new"],
                    "pyproject.toml already exists, so this folder is not free for a new service."
                    " Name another folder or, if this one contains a service, run"
                    " `copier-honeycomb adopt`",
                ),
                (
                    {"main.py": SERVER},
                    ["--data", "package_dir=../x"],
                    "Use the path of the folder relative to the repository, without ./ or ../: src/acme",
                ),
                (
                    {"main.py": SERVER},
                    ["--data", "module_name=json"],
                    "Use a name in lowercase letters that no other module has: telemetry",
                ),
            ]
        ),
    ],
    ids=["document", "other template", "new service", "folder", "name"],
)
def test_refused_copy_prints_one_sentence_and_no_traceback(
    files: Files, options: list[str], message: str, sources: Path, tmp_path: Path
) -> None:
    write(tmp_path, files)
    before = digests(tmp_path)

    done = copier_command("copy", "--defaults", *options, str(sources), ".", cwd=tmp_path)

    assert done.returncode == 1
    assert done.stderr == f"{message}\n'nothing_was_copied' is undefined\n"
    assert digests(tmp_path) == before


def test_skip_keeps_an_existing_document(tmp_path: Path) -> None:
    name = "docs/observability.md"
    write(tmp_path, {"pyproject.toml": "", "acme/__init__.py": "", name: "mine\n"})

    done = copier_command(
        "copy", "--defaults", "--vcs-ref=HEAD", "--skip", name, str(TEMPLATE), ".", cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / name).read_text() == "mine\n"
    assert f"\n    uvx --from {TEMPLATE} copier-honeycomb wire .\n" in done.stderr


def test_second_copy_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": "", "acme/__init__.py": "", "acme/main.py": SERVER})
    add_observability(tmp_path)
    before = digests(tmp_path)

    add_observability(tmp_path)

    assert digests(tmp_path) == before


def test_strict_ruff_settings_of_the_repository_find_nothing_in_the_new_files(
    tmp_path: Path,
) -> None:
    settings = (
        '[tool.ruff]\nline-length = 79\nlint.select = ["ALL"]\nformat.quote-style = "single"\n'
    )
    write(tmp_path, {"pyproject.toml": settings, "acme/__init__.py": ""})
    add_observability(tmp_path)

    for command in (["format", "--check"], ["check"]):
        paths = ["acme/observability", "tests"]
        done = subprocess.run(
            ["ruff", *command, "--no-cache", *paths],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout


def test_update_keeps_detected_answers(tmp_path: Path) -> None:
    template = tmp_path / "template"
    git(tmp_path, "clone", "-q", str(TEMPLATE), str(template))
    repository = tmp_path / "repository"
    write(repository, {"pyproject.toml": "", "backend/__init__.py": ""})
    write(repository, {"backend/app/__init__.py": "", "backend/app/main.py": SERVER})
    copier.run_copy(str(template), repository, defaults=True, quiet=True, vcs_ref="HEAD")
    git(repository, "init", "-q")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "All")
    before = digests(repository)
    [spans] = template.glob("template/*/spans.py")
    spans.write_text(spans.read_text() + "\n# A later fix.\n")
    git(template, "commit", "-qam", "fix")

    copier.run_update(repository, defaults=True, quiet=True, overwrite=True, vcs_ref="HEAD")

    after = digests(repository)
    changed = {name for name in after if before.get(name) != after[name]} - {".copier-answers.yml"}
    assert {name for name in changed if not name.startswith(".git/")} == {
        "backend/app/observability/spans.py"
    }


@in_depth
@pytest.mark.parametrize("python", ["older", "newest"])
def test_strict_mypy_of_the_repository_finds_nothing_in_the_new_files(
    python: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    environment: Environment = request.getfixturevalue(python)
    write(tmp_path, {"pyproject.toml": "", "acme/__init__.py": "", "acme/main.py": SERVER})
    add_observability(tmp_path)

    done = subprocess.run(
        ["mypy", "--strict", "--python-executable", environment.python, "acme"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout
