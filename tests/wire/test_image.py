"""`wire --check` with the packages that an image would contain, installed by the real uv."""

import subprocess
import sys
import tomllib
import venv
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from hooks.wire.image.commands import uv_commands
from hooks.wire.image.errors import ImageNotBuilt
from hooks.wire.image.lock_files import locked_versions, poetry_requirements, specifier
from hooks.wire.project import Project
from hooks.wire.routes.find import find_routes

from ..depth import in_depth
from ..environments import Environment
from .conftest import Make, wire, write
from .repositories import PLAIN, Repository, server
from .repositories.routes import DOCKERFILE

IMPORTS_HTTPX = "import httpx\n" + PLAIN
POETRY = """\
[tool.poetry.dependencies]
python = "^3.11"
fastapi = "^0.110.1"
httpx = { version = "~0.27", optional = true, extras = ["http2"] }
private = { git = "https://example.com/private.git", tag = "v1" }
[tool.poetry.extras]
client = ["httpx"]
[tool.poetry.group.dev.dependencies]
pytest = "*"
[tool.poetry.group.server.dependencies]
gunicorn = "22.0.0"
"""
POETRY_LOCK = """\
[[package]]
name = "fastapi"
version = "0.110.3"

[[package]]
name = "twice"
version = "1"

[[package]]
name = "twice"
version = "2"
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the environments of images in a folder of the test, and uv's cache where it is."""
    uv_cache = subprocess.run(["uv", "cache", "dir"], check=True, capture_output=True, text=True)
    monkeypatch.setenv("UV_CACHE_DIR", uv_cache.stdout.strip())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/copier-honeycomb/images"


def commands_of(folder: Path, files: dict[str, str | bytes]) -> list[list[str]]:
    """Return the words of the commands for the only route of a repository."""
    write(Repository("", {"acme/__init__.py": "", "acme/main.py": PLAIN, **files}), folder)
    project = Project(folder).with_answers({"package_dir": "acme", "import_name": "acme"})
    [route] = find_routes(project)[0]
    return [list(each.words) for each in uv_commands(route.container)]


@pytest.mark.parametrize(
    ("instructions", "words"),
    [
        ("RUN pip install -r requirements.txt gunicorn poetry",
         ["pip", "install", "-r", "app/requirements.txt", "gunicorn"]),
        ("RUN uv pip install --system --extra-index-url https://x/simple -c requirements.txt fastapi",
         ["pip", "install", "--index", "https://x/simple", "--index-strategy=unsafe-best-match", "-c", "app/requirements.txt", "fastapi"]),
        ("RUN pip install '.[api]'", ["pip", "install", "-r", "app/pyproject.toml", "--extra", "api"]),
        ("RUN uv sync --frozen --no-dev --no-install-project --extra=api",
         ["sync", "--no-install-workspace", "--no-install-local", "--frozen", "--no-dev", "--extra", "api"]),
        ("RUN poetry install --no-root --only main",
         ["pip", "install", "-r", "app/.image-requirements.txt", "-c", "app/.image-constraints.txt"]),
        ("RUN pip install -r local.txt",
         ["pip", "install", "-r", "app/local.txt", "-r", "app/pyproject.toml", "--extra", "api"]),
        ("RUN pdm install --prod", ["pip", "install", "-r", "app/pyproject.toml"]),
        ("RUN pipenv install --system --deploy", ["pip", "install", "-r", "app/.image-requirements.txt"]),
        ("RUN python setup.py install", ["pip", "install", "-r", "app/pyproject.toml"]),
        ("RUN pip wheel --no-deps -w /wheels -r requirements.txt", ["pip", "install", "-r", "app/requirements.txt"]),
        ("RUN uv build", ["pip", "install", "-r", "app/pyproject.toml"]),
        ("RUN python -m build", ["pip", "install", "-r", "app/pyproject.toml"]),
    ],
)  # fmt: skip
def test_command_of_an_image_as_a_command_of_uv(
    instructions: str, words: list[str], tmp_path: Path
) -> None:
    files: dict[str, str | bytes] = {
        "Dockerfile": f"FROM python:3.12\nWORKDIR /app\nCOPY . .\n{instructions}\nCMD uvicorn acme.main:app\n",
        "requirements.txt": "fastapi\n",
        "local.txt": "-e .[api]  # the service\nuvicorn\n",
        "pyproject.toml": '[project]\nname = "acme"\nversion = "1"\n',
        "poetry.lock": POETRY_LOCK,
        "Pipfile": '[packages]\nfastapi = "*"\n',
    }

    assert commands_of(tmp_path, files) == [words]


@pytest.mark.parametrize("arguments", ["", 'frozen=False, extra_options="--frozen"'])
def test_uv_sync_of_a_modal_image_is_frozen_once(arguments: str, tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "deploy.py": "import modal\n\nfrom acme.main import app as api\n\napp = modal.App('x')\n\n\n"
        f"@app.function(image=modal.Image.debian_slim().uv_sync({arguments}))\n"
        "@modal.asgi_app()\ndef serve():\n    return api\n",
        "pyproject.toml": '[project]\nname = "acme"\nversion = "1"\n',
        "uv.lock": "",
    }

    [words] = commands_of(tmp_path, files)

    assert words == ["sync", "--no-install-workspace", "--no-install-local", "--frozen"]


def test_packages_of_a_base_image_and_of_a_builder_stage(tmp_path: Path) -> None:
    dockerfile = (
        "FROM python:3.12 AS build\nRUN pip install --prefix=/out httpx\n"
        "FROM tiangolo/uvicorn-gunicorn-fastapi:python3.11\nCOPY --from=build /out /usr/local\nCOPY . /app\n"
        "CMD uvicorn acme.main:app\n"
    )

    assert commands_of(tmp_path, {"Dockerfile": dockerfile}) == [
        ["pip", "install", "fastapi", "gunicorn", "uvicorn[standard]"],
        ["pip", "install", "httpx"],
    ]


def test_outdated_lock_file_of_poetry_is_reported(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "Dockerfile": "FROM python:3.12\nCOPY . .\nRUN poetry install --only main\nCMD uvicorn acme.main:app\n",
        "pyproject.toml": POETRY,
        "poetry.lock": POETRY_LOCK,
    }

    with pytest.raises(
        ImageNotBuilt, match="poetry.lock lacks private. Update it with `poetry lock`"
    ):
        commands_of(tmp_path, files)


def test_lock_file_without_the_added_packages_is_no_failure_yet(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "Dockerfile": "FROM python:3.12\nCOPY . .\nRUN poetry install --only main\nCMD uvicorn acme.main:app\n",
        "pyproject.toml": '[tool.poetry]\nname = "acme"\n[tool.poetry.dependencies]\nfastapi = "*"\n',
        "poetry.lock": POETRY_LOCK,
    }
    folder = make(Repository("image", server(PLAIN, files)))
    venv.create(folder / ".venv")

    assert wire(folder, "--yes", "--wait", "60") == 0
    assert (
        "Not checked: acme.main:app with the files and packages of Dockerfile:4: poetry.lock lacks"
        " opentelemetry-instrumentation-fastapi, opentelemetry-sdk. Update it with `poetry lock`.\n"
    ) in capsys.readouterr().out


def test_poetry_dependencies_as_requirements() -> None:
    pyproject = tomllib.loads(POETRY)
    git = "private @ git+https://example.com/private.git@v1"

    assert poetry_requirements(pyproject, ["install", "--only", "main"], frozenset()) == [
        "fastapi>=0.110.1,<0.111",
        git,
    ]
    assert poetry_requirements(pyproject, ["install", "--without=dev"], frozenset({"client"})) == [
        "fastapi>=0.110.1,<0.111",
        "httpx[http2]>=0.27,<0.28",
        git,
        "gunicorn==22.0.0",
    ]
    assert "gunicorn==22.0.0" not in poetry_requirements(pyproject, ["export"], frozenset())
    assert locked_versions("poetry.lock", POETRY_LOCK) == {
        "fastapi": "fastapi==0.110.3",
        "twice": "",
    }
    pipfile_lock = '{"default": {"a": {"version": "==1"}}}'
    assert locked_versions("Pipfile.lock", pipfile_lock) == {"a": "a==1"}


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ("*", ""),
        ("^1.2.3", ">=1.2.3,<2"),
        ("^0.0.3", ">=0.0.3,<0.0.4"),
        ("~1.2.3", ">=1.2.3,<1.3"),
        ("~1", ">=1,<2"),
        (">=1, <2", ">=1,<2"),
        ("1.2.*", "==1.2.*"),
        ("^1 || ^2", ""),
    ],
)
def test_version_constraint_of_poetry_as_a_specifier(constraint: str, expected: str) -> None:
    assert specifier(constraint) == expected


def test_check_finds_a_package_that_the_image_lacks_and_the_virtual_environment_has(
    make: Make, newest: Environment, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dockerfile = DOCKERFILE.replace("requirements.txt", "requirements-prod.txt")
    files = server(
        IMPORTS_HTTPX, {"Dockerfile": dockerfile, "requirements-prod.txt": "fastapi\nuvicorn\n"}
    )
    folder = make(Repository("image", files))
    (folder / ".venv").symlink_to(newest.folder)
    failure = (
        "Check failed: acme.main:app with the files and packages of Dockerfile:6: No module named"
        " 'httpx' in the packages that Dockerfile:4 installs, although .venv has it. Add its package to"
        " requirements-prod.txt.\n"
    )

    assert wire(folder, "--yes", "--wait", "60") == 0
    assert failure in capsys.readouterr().out
    [made] = cache.glob("*/made")

    assert wire(folder, "--check") == 0
    assert "and the packages of .venv sent the span GET /openapi.json" in capsys.readouterr().out

    before = made.stat().st_mtime_ns
    assert wire(folder, "--check", "--wait", "60") == 1
    assert failure in capsys.readouterr().out
    assert (before, [made]) == (made.stat().st_mtime_ns, list(cache.glob("*/made")))

    with (folder / "requirements-prod.txt").open("a") as file:
        file.write("httpx\n")
    assert wire(folder, "--check", "--wait", "60") == 0
    output = capsys.readouterr().out
    assert "with the files and packages of Dockerfile:6 sent the span GET /openapi.json" in output
    assert " that Dockerfile:4 installs, with Python 3." in output


@in_depth
@pytest.mark.parametrize(
    ("code", "requirements", "failure"),
    [
        (
            "from fastapi.absent import app\n",
            "fastapi\n",
            (
                "with the files and packages of Dockerfile:6: acme.main cannot be imported (ModuleNotFoundError:"
                " No module named 'fastapi.absent'). Dockerfile:4 installs a version of fastapi without it. Pin"
                " the one that the code needs.\n"
            ),
        ),
        (
            PLAIN,
            "fastapi==0.115.0\npydantic<1\n",
            "Dockerfile:6: Dockerfile:4 cannot be installed. Because fastapi==0.115.0 depends on one of:",
        ),
    ],
    ids=["another version", "conflict"],
)
def test_check_fails_if_the_image_would(
    code: str,
    requirements: str,
    failure: str,
    make: Make,
    newest: Environment,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dockerfile = DOCKERFILE.replace("python:3.12-slim", f"python:3.{sys.version_info[1]}")
    files = {"Dockerfile": dockerfile, "requirements.txt": requirements}
    folder = make(Repository("image", server(PLAIN, files)))
    (folder / ".venv").symlink_to(newest.folder)
    assert wire(folder, "--yes") == 0
    (folder / "acme/main.py").write_text(code + (folder / "acme/main.py").read_text())
    capsys.readouterr()

    assert wire(folder, "--check", "--wait", "120") == 1
    assert failure in capsys.readouterr().out


@in_depth
def test_check_without_an_index_uses_the_virtual_environment_and_reports_it(
    make: Make,
    newest: Environment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = server(PLAIN, {"Dockerfile": DOCKERFILE, "requirements.txt": "fastapi\nabsent-here\n"})
    folder = make(Repository("image", files))
    (folder / ".venv").symlink_to(newest.folder)
    monkeypatch.setenv("UV_OFFLINE", "1")

    wire(folder, "--yes", "--wait", "60")

    output = capsys.readouterr().out
    assert "with the files of Dockerfile:6 and the packages of .venv sent the span" in output
    assert (
        "Note: the packages of Dockerfile:6 were not used: the package index cannot be reached.\n"
        in output
    )


@in_depth
@pytest.mark.parametrize(
    ("responds", "seconds", "reason"),
    [
        (True, "60", "the package index requires credentials that this machine lacks"),
        (
            False,
            "3",
            "there was not enough time to install them; run `copier-honeycomb wire --check --wait 600`",
        ),
    ],
    ids=["private", "slow"],
)
def test_check_with_an_index_that_sends_no_package_uses_the_virtual_environment(
    responds: bool,
    seconds: str,
    reason: str,
    make: Make,
    newest: Environment,
    capsys: pytest.CaptureFixture[str],
) -> None:
    is_done = Event()

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not responds:
                is_done.wait(60)
            self.send_error(401)

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as index:
        Thread(target=index.serve_forever, daemon=True).start()
        install = f"pip install -i http://user:token@127.0.0.1:{index.server_port}/simple"
        dockerfile = DOCKERFILE.replace("pip install", install)
        files = server(PLAIN, {"Dockerfile": dockerfile, "requirements.txt": "fastapi\n"})
        folder = make(Repository("image", files))
        (folder / ".venv").symlink_to(newest.folder)

        wire(folder, "--yes", "--wait", seconds)
        is_done.set()
        index.shutdown()

    output = capsys.readouterr().out
    assert "with the files of Dockerfile:6 and the packages of .venv sent the span" in output
    assert f"Note: the packages of Dockerfile:6 were not used: {reason}.\n" in output
    assert "token" not in output


@in_depth
@pytest.mark.parametrize(
    ("more", "missing", "found"),
    [
        pytest.param(
            {
                "Dockerfile": DOCKERFILE.replace("-r requirements.txt", ".").replace(
                    "requirements.txt", "pyproject.toml"
                ),
                "pyproject.toml": '[project]\nname = "acme"\nversion = "1"\ndependencies = ["fastapi"]\n\n'
                '[project.optional-dependencies]\nclient = ["httpx"]\n',
            },
            "Dockerfile:4 installs",
            ("Dockerfile", "install .", "install .[client]"),
            id="extra",
        ),
        pytest.param(
            {
                "web.py": "import modal\n\nfrom images import image\n\napp = modal.App('x', image=image)\n\n\n"
                "@app.function()\n@modal.asgi_app()\ndef serve():\n    from acme.main import app\n\n    return app\n",
                "images.py": "import modal\n\nimage = modal.Image.debian_slim().pip_install(\n"
                '    "fastapi",\n).add_local_python_source("acme", "images")\n',
            },
            "images.py:3 installs",
            ("images.py", '"fastapi",', '"fastapi", "httpx",'),
            id="Modal image in another file",
        ),
    ],
)
def test_check_finds_a_package_that_is_not_installed_in_the_image(
    more: dict[str, str | bytes],
    missing: str,
    found: tuple[str, str, str],
    make: Make,
    newest: Environment,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = make(Repository("image", server(IMPORTS_HTTPX, more)))
    (folder / ".venv").symlink_to(newest.folder)

    wire(folder, "--yes", "--wait", "120")
    output = capsys.readouterr().out
    assert (
        f"No module named 'httpx' in the packages that {missing}, although .venv has it" in output
    )

    file, before, after = found
    (folder / file).write_text((folder / file).read_text().replace(before, after))
    assert wire(folder, "--check", "--wait", "120") == 0, capsys.readouterr().out
