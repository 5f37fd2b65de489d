"""Commands, Dockerfiles, compose files and other descriptions of how an application is deployed."""

from pathlib import Path, PurePosixPath

import pytest

from hooks.wire.app_calls import all_app_calls
from hooks.wire.project import Project
from hooks.wire.routes.find import find_routes, unread_starts
from hooks.wire.routes.installs import Install, find_installs
from hooks.wire.routes.local_projects import import_root, local_projects
from hooks.wire.routes.shell import commands, expand, find_start

from .conftest import write
from .repositories import PLAIN, Repository

APP = PurePosixPath("/app")


@pytest.mark.parametrize(
    ("command", "started"),
    [
        ("uvicorn acme.main:app --port $PORT", ("acme.main", "app", "")),
        ("exec poetry run uvicorn --factory acme.main:make", ("acme.main", "make", "")),
        ("PORT=80 gunicorn -w 2 -k uvicorn.workers.UvicornWorker acme.main:app", ("acme.main", "app", "")),
        ("uv run --no-sync fastapi run acme/main.py --port 80", ("", "*", "acme/main.py")),
        ("fastapi run --workers 4", ("", "*", ".")),
        ("python -m uvicorn acme.main:app", ("acme.main", "app", "")),
        ("python3 -u server.py", ("", "", "server.py")),
        ("python -m acme", ("acme", "", "")),
        ("uv run main.py", ("", "", "main.py")),
        ("sh -c 'alembic upgrade head && uvicorn acme.main:app'", ("acme.main", "app", "")),
        ("opentelemetry-instrument hypercorn acme.main:app", ("acme.main", "app", "")),
        ("${APP_COMMAND:-uvicorn acme.main:app}", None),
    ],
)  # fmt: skip
def test_start_command_names_the_application(
    command: str, started: tuple[str, str, str] | None
) -> None:
    starts = [find_start(each) for each in commands(command, APP, {})]
    found = [
        (each.module, each.attribute, each.file) for each in starts if each and not each.script
    ]

    assert found == ([started] if started else [])


def test_start_command_is_run_in_its_folder_and_path() -> None:
    [start] = [
        find_start(each)
        for each in commands("cd src && PYTHONPATH=lib uvicorn --app-dir web main:app", APP, {})
    ]

    assert start is not None
    assert start.folder == APP / "src"
    assert start.path == (APP / "src/web", APP / "src/lib")


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$A/${B}", "a/b"),
        ("${C:-c}", "c"),
        ("${A:+x}${C:+y}", "x"),
        ("${C:-${D:-$A:$B}}", "a:b"),
        ("$UNKNOWN", "$UNKNOWN"),
    ],
)
def test_variables_are_expanded(text: str, expanded: str) -> None:
    assert expand(text, {"A": "a", "B": "b"}) == expanded


@pytest.mark.parametrize(
    ("command", "installed"),
    [
        ("pip install --no-cache-dir -r requirements.txt", Install(APP, files=("requirements.txt",))),
        ("pip3 install -i https://x/simple 'fastapi[standard]==0.115' uvicorn",
         Install(APP, packages=("fastapi[standard]==0.115", "uvicorn"))),
        ("python -m pip install -e .[api,db]",
         Install(APP, projects=(".",), extras=frozenset({"api", "db"}), is_editable=True)),
        ("uv pip install --system -r a.txt -c c.txt", Install(APP, files=("a.txt",))),
        ("uv sync --frozen --no-dev --no-install-project",
         Install(APP, projects=(".",), has_project=False, is_locked=True, is_editable=True)),
        ("poetry install --no-root --only main",
         Install(APP, projects=(".",), extras=frozenset({"main"}), has_project=False, is_locked=True, is_editable=True)),
        ("poetry install --only-root",
         Install(APP, projects=(".",), is_locked=True, is_editable=True)),
        ("pipenv install --system --deploy", Install(APP, files=("Pipfile",), is_locked=True)),
        ("pip install /wheels/*", Install(APP)),
    ],
)  # fmt: skip
def test_install_command_names_files_projects_and_packages(
    command: str, installed: Install
) -> None:
    [found] = [each for one in commands(command, APP, {}) for each in find_installs(one)]

    assert found == installed


DOCKERFILE = """\
FROM python:3.12-slim AS base
ARG HOME_DIR=/srv
WORKDIR $HOME_DIR
FROM base AS build
COPY requirements.txt .
RUN pip install --prefix=/install -r requirements.txt
COPY . .
FROM base
COPY --from=build /install /usr/local
COPY --from=build /srv/acme acme
RUN <<EOF
pip install extra
EOF
CMD ["uvicorn", "acme.main:app"]
"""
FILES = {"acme/__init__.py": "", "acme/main.py": PLAIN, "requirements.txt": "fastapi\n"}


def routes_of(folder: Path, files: dict[str, str]) -> list[tuple[str, str]]:
    write(Repository("", {**files}), folder)
    project = Project(folder).with_answers({"package_dir": "acme", "import_name": "acme"})
    assert all_app_calls(project)
    return [(str(route.place), route.app.label) for route in find_routes(project)[0]]


@pytest.mark.parametrize(
    ("files", "routes"),
    [
        ({"compose.yaml": "services:\n  api:\n    image: python:3.12\n    working_dir: /code\n    volumes: [./:/code]\n    command: sh -c 'pip install -r requirements.txt && uvicorn acme.main:app'\n"},
         [("compose.yaml:2", "acme.main:app")]),
        ({"compose.yaml": "services:\n  api:\n    image: python:3.12\n    working_dir: /code\n    volumes: [./:/code]\n    entrypoint: uvicorn acme.main:app\n"},
         [("compose.yaml:2", "acme.main:app")]),
        ({"handler.py": "from mangum import Mangum\n\nfrom acme.main import app\n\nhandler = Mangum(app)\n",
          "Dockerfile": 'FROM public.ecr.aws/lambda/python:3.12\nCOPY . ${LAMBDA_TASK_ROOT}/\nCMD ["handler.handler"]\n'}, [("Dockerfile:3", "acme.main:app")]),
        ({"Dockerfile": DOCKERFILE}, [("Dockerfile:14", "acme.main:app")]),
        ({"Dockerfile": "FROM python:3.12 AS base\nONBUILD COPY . /srv\nONBUILD WORKDIR /srv\nFROM base\nCMD uvicorn acme.main:app\n"},
         [("Dockerfile:5", "acme.main:app")]),
        ({"Procfile": "web: gunicorn acme.main:app\nworker: celery -A x\n"}, [("Procfile:1", "acme.main:app")]),
        ({"render.yaml": "services:\n- name: api\n  runtime: python\n  startCommand: uvicorn acme.main:app\n"},
         [("render.yaml:4", "acme.main:app")]),
        ({"railway.toml": '[deploy]\nstartCommand = "uvicorn acme.main:app"\n'}, [("railway.toml:2", "acme.main:app")]),
        ({"vercel.json": '{"functions": {"api/**": {"excludeFiles": "web/**"}}}', "api/index.py": "from acme.main import app\n"}, [("vercel.json:1", "acme.main:app")]),
        ({"vercel.json": '{"builds": [{"src": "acme/main.py", "use": "@vercel/python"}]}'}, [("vercel.json:1", "acme.main:app")]),
        ({"pyproject.toml": '[project.scripts]\nserve = "acme.cli:main"\n', "acme/cli.py": 'import uvicorn\n\n\ndef main():\n    uvicorn.run("acme.main:app")\n',
          "Procfile": "web: serve\n"}, [("Procfile:1", "acme.main:app")]),
        ({"pyproject.toml": '[project]\nname = "acme"\n', "acme/__main__.py": "from .cli import main\n\nmain()\n", "acme/cli.py": 'import uvicorn\n\n\ndef main():\n    uvicorn.run("acme.main:app")\n',
          "Dockerfile": "FROM python:3.12 AS build\nWORKDIR /src\nCOPY . .\nRUN pip wheel -w /dist .\nFROM python:3.12\nCOPY --from=build /dist /dist\nRUN pip install /dist/*.whl\nCMD python -m acme\n"},
         [("Dockerfile:8", "acme.main:app")]),
        ({"run.py": "from acme.main import app as served\n\nimport uvicorn\nuvicorn.run(served)\n", "Procfile": "web: python run.py\n"},
         [("Procfile:1", "acme.main:app")]),
        ({"asgi.py": "from wrap import Wrap\nfrom acme.main import app\n\napplication = Wrap(app)\n", "Procfile": "web: uvicorn asgi:application\n"},
         [("Procfile:1", "acme.main:app")]),
    ],
    ids=["compose image", "compose entrypoint", "Lambda", "stages", "ONBUILD", "Procfile", "Render", "Railway", "Vercel", "Vercel builds", "console script", "wheel", "runner", "wrapper"],
)  # fmt: skip
def test_application_is_found_on_its_way_to_production(
    files: dict[str, str], routes: list[tuple[str, str]], tmp_path: Path
) -> None:
    assert routes_of(tmp_path, {**FILES, **files}) == routes


def test_projects_that_an_installation_makes_importable(tmp_path: Path) -> None:
    texts = {
        "pyproject.toml": '[tool.uv.workspace]\nmembers = ["packages/*"]\n[tool.uv.sources]\nx = {path = "../x"}\n',
        "packages/a/pyproject.toml": '[tool.setuptools.packages.find]\nwhere = ["lib"]\n',
        "packages/a/lib/a.py": "",
        "packages/b/pyproject.toml": '[tool.poetry]\npackages = [{include = "b", from = "source"}]\n',
        "packages/b/source/b/__init__.py": "",
        "c/src/c.py": "",
        "requirements.txt": "-e ./c[web]\n./wheels/d.whl\nfastapi\n",
    }
    write(Repository("", {**texts}), tmp_path)
    files = {APP / name: Path(name) for name in texts}

    def roots(command: str) -> list[str]:
        [install] = [found for each in commands(command, APP, {}) for found in find_installs(each)]
        read = Project(tmp_path).text
        folders = local_projects(install, files, read)
        return [str(import_root(folder, files, read)) for folder in folders]

    members = ["/app/packages/a/lib", "/app/packages/b/source", "/x"]
    assert roots("uv sync --frozen") == ["/app", *members]
    assert roots("uv sync --no-install-project") == members
    assert roots("uv sync --no-install-workspace") == []
    assert roots("pip install -r requirements.txt") == ["/app/c/src"]


def test_servers_on_machines_that_cannot_be_reconstructed_are_named(tmp_path: Path) -> None:
    files = {
        "deploy/acme.service": "[Service]\n# uvicorn\nExecStart=/opt/venv/bin/uvicorn acme.main:app\n",
        "deploy/supervisord.conf": "[program:web]\ncommand=gunicorn acme.main:app\n",
        "fly.toml": '[processes]\nweb = "uvicorn acme.main:app"\n',
        "k8s/web.yaml": "kind: Deployment\nspec:\n  command: [uvicorn, acme.main:app]\n",
        "k8s/image.yaml": "kind: Deployment\nspec:\n  image: fastapi\n",
        "ci.yaml": "run: uvicorn acme.main:app\n",
    }
    write(Repository("", {**FILES, **files}), tmp_path)

    found = [str(place) for place in unread_starts(Project(tmp_path))]

    assert found == [
        "deploy/acme.service:3",
        "deploy/supervisord.conf:2",
        "fly.toml:2",
        "k8s/web.yaml:3",
    ]
