"""A repository that exists gets new files only, and the module runs on what it may have installed."""

import hashlib
import re
import subprocess
from pathlib import Path

import copier
import pytest
import yaml

from hooks.demo.receiver import Receiver

from .conftest import TEMPLATE
from .environments import Environment
from .fakes.llm import LLMAPIs
from .test_answers import copier as copier_command
from .updates import git, write

SERVER = """\
from fastapi import FastAPI

app = FastAPI()


@app.get("/hello/{name}")
async def hello(name: str) -> str:
    return name
"""

Files = dict[str, str]


def add_observability(repository: Path, **answers: str) -> dict[str, str]:
    """Copies the template over `repository` as its user would, and returns the recorded answers."""
    data = [f"--data={name}={value}" for name, value in answers.items()]
    command = ["copy", "--defaults", "--quiet", *data, "--vcs-ref=HEAD", str(TEMPLATE), "."]
    done = copier_command(*command, cwd=repository)
    assert done.returncode == 0, done.stderr
    recorded: dict[str, str] = yaml.safe_load((repository / ".copier-answers.yml").read_text())
    return recorded


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
]


@pytest.mark.parametrize(("files", "package_dir", "import_name"), SHAPES)
def test_the_folder_of_the_server_is_found(
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
        ("docs/index.md", "new"),
    ],
)
def test_a_folder_with_python_in_it_is_a_repository_that_exists(
    name: str, layout: str, tmp_path: Path
) -> None:
    write(tmp_path, {"LICENSE": "", name: ""})

    assert add_observability(tmp_path)["layout"] == layout


def test_a_folder_may_have_a_name_that_is_a_pattern(tmp_path: Path) -> None:
    repository = tmp_path / "shop [v2] *?"
    write(repository, {"requirements.txt": "", "src/acme/main.py": SERVER})

    copier.run_copy(str(TEMPLATE), repository, defaults=True, quiet=True, vcs_ref="HEAD")

    assert (repository / "src/acme/observability/setup.py").exists()
    assert (repository / "src/acme/main.py").read_text() == SERVER


@pytest.mark.parametrize("name", ["acme/observability.py", "acme/observability/mine.py"])
def test_a_module_of_that_name_is_not_hidden(name: str, tmp_path: Path) -> None:
    refused(tmp_path, {name: ""}, "rename it, or type another folder")


@pytest.mark.parametrize("name", ["tests/observability/test_x.py", "honeycomb/board.json"])
def test_a_folder_that_is_there_already_is_left_alone(name: str, tmp_path: Path) -> None:
    refused(tmp_path, {name: ""}, "is there already")


def refused(repository: Path, files: Files, message: str) -> None:
    write(repository, {"pyproject.toml": "", "acme/__init__.py": "", "acme/main.py": "", **files})
    before = digests(repository)

    with pytest.raises(ValueError, match=message):
        copier.run_copy(str(TEMPLATE), repository, defaults=True, quiet=True, vcs_ref="HEAD")

    assert digests(repository) == before


def test_a_document_that_is_there_already_is_kept_where_that_is_said(tmp_path: Path) -> None:
    name = "docs/observability.md"
    refused(tmp_path, {name: "mine\n"}, f"rename it, or keep it with --skip {name}")

    done = copier_command(
        "copy", "--defaults", "--vcs-ref=HEAD", "--skip", name, str(TEMPLATE), ".", cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / name).read_text() == "mine\n"
    assert "wire ." in done.stderr


def test_copied_again_nothing_of_the_users_is_changed(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": "", "acme/__init__.py": "", "acme/main.py": SERVER})
    add_observability(tmp_path)
    # Names the commit, which is a passing one while there are changes here that are not committed.
    answers = tmp_path / ".copier-answers.yml"
    first, before = answers.read_text(), digests(tmp_path)

    add_observability(tmp_path)
    answers.write_text(re.sub(r"(?m)^_commit: .*$", first.splitlines()[1], answers.read_text()))

    assert digests(tmp_path) == before


def test_the_repositorys_own_ruff_settings_find_nothing_in_the_new_files(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("package_dir", ["src/acme", "."])
@pytest.mark.parametrize("ends", ["oldest", "newest"])
def test_the_tests_of_the_module_pass_at_both_ends(
    ends: str, package_dir: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    python: Environment = request.getfixturevalue(ends)
    folder = "" if package_dir == "." else f"{package_dir}/"
    write(tmp_path, {"pyproject.toml": "", f"{folder}main.py": SERVER})
    if folder:
        write(tmp_path, {f"{folder}__init__.py": ""})
    assert add_observability(tmp_path)["package_dir"] == package_dir

    done = python.run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")

    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


USED = """
from contextlib import suppress
from sqlalchemy import create_engine, text
engine = create_engine("sqlite://")
with engine.connect() as connection:
    connection.execute(text("SELECT 1"))

from fastapi import FastAPI
app = FastAPI()
from acme.observability import instrument_app
instrument_app(app)

@app.get("/hello/{name}")
def hello(name: str) -> str:
    with engine.connect() as connection:
        connection.execute(text("SELECT 2"))
    return name

from fastapi.testclient import TestClient
with TestClient(app) as client:
    client.get("/hello/you")
"""


@pytest.mark.parametrize("ends", ["oldest", "newest"])
def test_one_call_traces_a_service_and_an_engine_that_was_made_before(
    ends: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    python: Environment = request.getfixturevalue(ends)
    write(tmp_path, {"pyproject.toml": "", "acme/__init__.py": "", "acme/main.py": SERVER})
    add_observability(tmp_path)

    with Receiver() as receiver:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        done = python.run(tmp_path, "-c", USED, variables=variables)
        assert done.returncode == 0, done.stdout
        query, server = sorted(receiver.wait_for(2), key=lambda span: span.kind)

    assert (server.name, server.kind, server.parent_id) == ("GET /hello/{name}", "server", None)
    assert server.attributes == {
        "http.request.method": "GET",
        "http.route": "/hello/{name}",
        "http.response.status_code": 200,
    }
    assert (query.name, query.parent_id) == ("SELECT", server.span_id)
    assert query.attributes["db.query.text"] == "SELECT ?"


BARE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("anthropic", "sqlalchemy", "httpx", "httpx2", "modal", "openai", "genai_prices"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from acme.observability import flush, instrument_app, llm_call, traced, TokenUsage
from fastapi import FastAPI
app = FastAPI()
instrument_app(app)
with traced("work"), llm_call("openai", "gpt-4o") as call:
    call.record_usage(TokenUsage(input_tokens=1, output_tokens=1))
flush()
"""


@pytest.mark.parametrize("ends", ["oldest", "newest"])
def test_what_is_not_there_is_not_needed(
    ends: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    python: Environment = request.getfixturevalue(ends)
    write(tmp_path, {"pyproject.toml": "", "acme/__init__.py": "", "acme/main.py": SERVER})
    add_observability(tmp_path)

    with Receiver() as receiver:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        done = python.run(tmp_path, "-W", "ignore", "-c", BARE, variables=variables)
        assert done.returncode == 0, done.stdout
        assert {span.name for span in receiver.wait_for(2)} == {"work", "llm.call"}

    # One line says that costs are missing.
    assert len(done.stdout.splitlines()) == 1, done.stdout
    assert "LLM prices could not be loaded" in done.stdout


CALLS = """
import sys
from acme.observability import flush, setup_observability
setup_observability()
import anthropic, openai
hello = [{"role": "user", "content": "Hello"}]
anthropic.Anthropic(api_key="k", base_url=sys.argv[1]).messages.create(
    model="claude-sonnet-4-6", max_tokens=9, messages=hello)
openai.OpenAI(api_key="k", base_url=sys.argv[1] + "/v1").chat.completions.create(
    model="gpt-4o-mini", messages=hello)
flush()
"""


def test_calls_of_both_sdks_carry_their_cost_without_an_edit(
    newest: Environment, tmp_path: Path
) -> None:
    write(tmp_path, {"pyproject.toml": "", "acme/__init__.py": "", "acme/main.py": SERVER})
    add_observability(tmp_path)

    with LLMAPIs() as apis, Receiver() as receiver:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        done = newest.run(tmp_path, "-c", CALLS, apis.url, variables=variables)
        assert done.returncode == 0, done.stdout
        spans = receiver.wait_for(2)

    told = {
        str(span.attributes["llm.provider"]): (
            span.attributes["llm.model"],
            span.attributes["llm.input_tokens"],
            span.attributes["llm.output_tokens"],
            round(float(str(span.attributes["llm.cost_usd"])), 7),
        )
        for span in spans
    }
    assert told == {
        # 120 in at 3 dollars a million, 5,000 read at 0.30, 2,000 written at 3.75, 60 out at 15.
        "anthropic": ("claude-sonnet-4-6", 7120, 60, 0.01026),
        # 600 in at 0.15, 400 read at 0.075, 100 out at 0.60.
        "openai": ("gpt-4o-mini", 1000, 100, 0.00018),
    }


def test_an_update_keeps_the_answers_that_were_found(tmp_path: Path) -> None:
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
    [logs] = template.glob("template/*/observability/logs.py")
    logs.write_text(logs.read_text() + "\n# A later fix.\n")
    git(template, "commit", "-qam", "fix")

    copier.run_update(repository, defaults=True, quiet=True, overwrite=True, vcs_ref="HEAD")

    after = digests(repository)
    changed = {name for name in after if before.get(name) != after[name]} - {".copier-answers.yml"}
    assert {name for name in changed if not name.startswith(".git/")} == {
        "backend/app/observability/logs.py"
    }
