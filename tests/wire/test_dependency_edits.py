"""Packages added to dependency files; the rest of the file stays byte for byte."""

import re
import tomllib
from pathlib import Path

import pytest

from hooks.wire.dependency_edits import with_packages, without_packages
from hooks.wire.dependency_file import find_dependency_file
from hooks.wire.project import Project
from hooks.wire.source import EditRefused

from ..depth import in_depth
from ..environments import Environment
from ..template.copying import add_observability
from ..template.projects import git
from .conftest import Make, contents, wire, write
from .repositories import PLAIN, Repository, server
from .repositories.base import PYPROJECT

PACKAGES = ["genai-prices>=0.2", "opentelemetry-sdk>=1.27,<2"]
LISTS = {
    "one line, sorted": (
        '["anthropic>=2", "fastapi>=0.142", "uvicorn"]  # why',
        (
            '["anthropic>=2", "fastapi>=0.142", "genai-prices>=0.2", "opentelemetry-sdk>=1.27,<2",'
            ' "uvicorn"]  # why'
        ),
    ),
    "one line, new packages first in order": (
        '["uvicorn", "zeep", "fastapi"]',
        '["uvicorn", "zeep", "fastapi", "genai-prices>=0.2", "opentelemetry-sdk>=1.27,<2"]',
    ),
    "one line, one package": (
        '["uvicorn"]',
        '["uvicorn", "genai-prices>=0.2", "opentelemetry-sdk>=1.27,<2"]',
    ),
    "one line, spaces and final comma": (
        '[ "anyio","fastapi", ]',
        '[ "anyio","fastapi", "genai-prices>=0.2", "opentelemetry-sdk>=1.27,<2", ]',
    ),
    "several lines, unsorted, comments": (
        '[\n  # web\n  "uvicorn", # server\n  "fastapi" # last\n  # end\n]',
        (
            '[\n  # web\n  "uvicorn", # server\n  "fastapi", # last\n  # end\n'
            '  "genai-prices>=0.2",\n  "opentelemetry-sdk>=1.27,<2"\n]'
        ),
    ),
    "several lines, sorted, tabs and single quotes": (
        "[\n\t'fastapi',\n\t'uvicorn',\n]",
        "[\n\t'fastapi',\n\t\"genai-prices>=0.2\",\n\t\"opentelemetry-sdk>=1.27,<2\",\n\t'uvicorn',\n]",
    ),
    "several packages per line": (
        '[\n    "anyio", "fastapi",\n    "uvicorn",\n]',
        (
            '[\n    "anyio", "fastapi",\n    "genai-prices>=0.2",\n    "opentelemetry-sdk>=1.27,<2",\n'
            '    "uvicorn",\n]'
        ),
    ),
    "first package on the line of the bracket": (
        '["anyio",\n                "fastapi",\n                "uvicorn"]',
        (
            '["anyio",\n                "fastapi",\n                "genai-prices>=0.2",\n'
            '                "opentelemetry-sdk>=1.27,<2",\n                "uvicorn"]'
        ),
    ),
    "empty": ("[]", '["genai-prices>=0.2", "opentelemetry-sdk>=1.27,<2"]'),
    "empty, two lines": (
        "[\n]",
        '[\n    "genai-prices>=0.2",\n    "opentelemetry-sdk>=1.27,<2",\n]',
    ),
}
FILES = {
    "dependencies": '# Settings\n[project]\nname="acme"\ndependencies = {}\n\n[tool.x]\na = 1 # one\n',
    "returns": '[project]\r\nname = "acme"\r\ndependencies = {}\r\n\r\n[tool.x]\r\na = 1\r\n',
    "no final line break": '[tool.x]\na   =  "1"\n[project]\ndependencies = {}',
    "dotted keys": 'project.name = "acme"\nproject.dependencies = {}\n',
    "tables out of order": (
        '[tool.a]\nx = 1\n[project]\nname = "acme"\ndependencies = {}\n[build-system]\nrequires=[]\n'
        '[tool.b]\ny = 1\n[project.urls]\nHome = "x"\n'
    ),
}


def edit(text: str, folder: Path, name: str = "pyproject.toml") -> str:
    """Return the file after the packages were added. Checks that their removal restores it."""
    (folder / name).write_bytes(text.encode())
    project = Project(folder)
    file = find_dependency_file(project, Path("main.py"))
    content = with_packages(project, file, PACKAGES)
    (folder / name).write_bytes(content)
    project = Project(folder)
    file = find_dependency_file(project, Path("main.py"))
    assert without_packages(project, file, PACKAGES) == text.encode()
    return content.decode()


def test_file_nearest_to_the_server_that_declares_fastapi_is_used(tmp_path: Path) -> None:
    declared = ("requirements.txt", "api/requirements.txt", "worker/requirements.txt")
    files = dict.fromkeys(declared, "fastapi\n") | {"api/app/requirements.txt": "httpx\n"}
    write(Repository("", {**files, "api/app/main.py": PLAIN}), tmp_path)

    project = Project(tmp_path).with_answers({"package_dir": "api/app", "import_name": "app"})
    file = find_dependency_file(project, Path("api/app/main.py"))

    assert file.path == Path("api/requirements.txt")


@pytest.mark.parametrize("style", LISTS)
@pytest.mark.parametrize("kind", FILES)
def test_packages_are_added_at_their_sorted_place_or_at_the_end(
    kind: str, style: str, tmp_path: Path
) -> None:
    before, after = LISTS[style]
    text = FILES[kind]
    if "\r\n" in text:
        before, after = before.replace("\n", "\r\n"), after.replace("\n", "\r\n")

    assert edit(text.replace("{}", before), tmp_path) == text.replace("{}", after)


@pytest.mark.parametrize(
    "table", ["[dependency-groups]\nserver", '[project.optional-dependencies]\n"api"']
)
def test_packages_are_added_to_the_group_or_extra_that_contains_fastapi(
    table: str, tmp_path: Path
) -> None:
    text = (
        '[project]\nname = "acme"\ndependencies = ["anyio"]\n\n' + table + " = [\n"
        '    "fastapi", # web\n    {include-group = "x"},\n]\nx = ["pytest"]\n'
    )
    if "optional" in table:
        text = text.replace('    {include-group = "x"},\n', "")

    added = '    "genai-prices>=0.2",\n    "opentelemetry-sdk>=1.27,<2",\n]\nx'
    assert edit(text, tmp_path) == text.replace("]\nx", added)


POETRY = '[tool.poetry.dependencies]\npython = "^3.11" # py\nfastapi = "*"\n'
POETRY_ADDED = 'genai-prices = ">=0.2"\nopentelemetry-sdk = ">=1.27,<2"\n'


@pytest.mark.parametrize(
    "rest",
    ["", "\n# Tools\n[tool.x]\na = 1\n", "[tool.poetry.group.dev.dependencies]\npytest='*'\n"],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_packages_are_added_at_the_end_of_poetrys_table(
    newline: str, rest: str, tmp_path: Path
) -> None:
    text, expected = (
        each.replace("\n", newline) for each in (POETRY + rest, POETRY + POETRY_ADDED + rest)
    )

    assert edit(text, tmp_path) == expected


def test_poetrys_table_without_a_final_line_break(tmp_path: Path) -> None:
    assert edit(POETRY.rstrip(), tmp_path) == (POETRY + POETRY_ADDED).rstrip()


def test_inline_table_of_poetry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EditRefused, match="cannot be edited") as refused:
        edit('[tool.poetry]\ndependencies = {fastapi = "*"}\n', tmp_path)

    assert refused.value.snippet == "\n".join(PACKAGES)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("fastapi\nuvicorn\n", "fastapi\ngenai-prices>=0.2\nopentelemetry-sdk>=1.27,<2\nuvicorn\n"),
        ("uvicorn\nfastapi", "uvicorn\nfastapi\ngenai-prices>=0.2\nopentelemetry-sdk>=1.27,<2"),
        (
            "# web\r\nfastapi\r\nzeep\r\n",
            "# web\r\nfastapi\r\nzeep\r\ngenai-prices>=0.2\r\nopentelemetry-sdk>=1.27,<2\r\n",
        ),
        (
            "fastapi[standard]>=0.100 # web\nzeep==4.2\n",
            "fastapi[standard]>=0.100 # web\ngenai-prices>=0.2\nopentelemetry-sdk>=1.27,<2\nzeep==4.2\n",
        ),
    ],
    ids=["sorted", "unsorted", "comments", "specifiers"],
)
def test_packages_are_added_to_requirements_files(before: str, after: str, tmp_path: Path) -> None:
    assert edit(before, tmp_path, "requirements.txt") == after


DEPTRY = "\n[tool.deptry]\nknown_first_party = []\n"
STEP = "name: checks\nsteps:\n  - run: deptry .\n"


def test_requirements_are_compiled_by_the_command_that_compiled_them_and_then_installed(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    files: dict[str, str | bytes] = {
        "acme/__init__.py": "",
        "acme/main.py": PLAIN,
        "requirements.in": "fastapi\n",
        "requirements.txt": "# This file was autogenerated by uv via the following command:\n"
        "#    uv pip compile requirements.in -o requirements.txt\nfastapi==0.150.0\n",
        "Procfile": "web: uvicorn acme.main:app\n",
    }

    wire(make(Repository("compiled", files)), "--yes")

    assert (
        "    uv pip compile requirements.in -o requirements.txt\n    pip install -r requirements.txt\n"
    ) in capsys.readouterr().out


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": PYPROJECT + DEPTRY},
        {"pyproject.toml": PYPROJECT, ".github/workflows/checks.yml": STEP},
        {"pyproject.toml": f"[tool.ruff]\n{DEPTRY}", "requirements.txt": "fastapi\n"},
    ],
    ids=["settings", "workflow", "requirements"],
)
def test_optional_imports_are_added_to_the_settings_of_deptry_and_removed(
    files: dict[str, str | bytes], make: Make
) -> None:
    folder = make(Repository("deptry", server(PLAIN, files)))
    before = contents(folder, files)

    assert wire(folder, "--yes") == 0

    rules = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["deptry"]
    assert {"certifi", "genai_prices", "starlette"} <= set(rules["per_rule_ignores"]["DEP001"])
    assert rules["per_rule_ignores"]["DEP002"] == ["opentelemetry-sdk"]
    wired = contents(folder, files)
    assert wire(folder, "--yes") == 0
    assert contents(folder, files) == wired

    assert wire(folder, "--yes", "--remove") == 0
    assert contents(folder, files) == before


def test_only_imports_that_deptry_reports_are_left_to_the_user(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    ignores = '[tool.deptry.per_rule_ignores]\nDEP003 = ["starlette", "certifi"]\n'
    folder = make(Repository("deptry", server(PLAIN, {"pyproject.toml": PYPROJECT + ignores})))

    assert wire(folder, "--yes") == 0

    text = "The repository runs deptry. Add the module's optional imports to pyproject.toml:"
    [printed] = re.findall(rf"(?s){text}\n(.*?DEP004[^\n]*)", capsys.readouterr().out)
    rules = tomllib.loads(printed)["tool"]["deptry"]["per_rule_ignores"]
    assert rules["DEP003"] == [
        each for each in rules["DEP001"] if each not in ("starlette", "certifi")
    ]


IMPORTS = "import openai\nfrom fastapi import FastAPI\n\napp = FastAPI()\n"


@in_depth
@pytest.mark.parametrize(
    ("files", "settings"),
    [
        ({"acme/__init__.py": "", "acme/main.py": IMPORTS}, ""),
        (
            {"backend/items.py": "", "backend/main.py": f"import items\n{IMPORTS}"},
            'exclude = ["venv"]\nknown_first_party = ["items"]\n',
        ),
    ],
    ids=["package", "no package, with tests"],
)
@pytest.mark.parametrize("python", ["older", "newest"])
def test_deptry_of_the_repository_finds_nothing_in_the_new_files(
    python: str,
    files: dict[str, str | bytes],
    settings: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    environment: Environment = request.getfixturevalue(python)
    fastapi = {"older": "fastapi==0.115.*", "newest": "fastapi"}[python]
    pyproject = (
        f'[project]\nname = "acme"\nversion = "1"\ndependencies = ["{fastapi}", "openai"]\n'
        '[dependency-groups]\ndev = ["anyio", "pytest", "starlette"]\n'
    )
    every_file: dict[str, str | bytes] = {
        "pyproject.toml": f"{pyproject}[tool.deptry]\n{settings}",
        **files,
    }
    write(Repository("", every_file), tmp_path)
    git(tmp_path, "init", "-q")
    before = environment.run(tmp_path, "-m", "deptry", ".")
    assert before.returncode == 0, before.stdout
    add_observability(tmp_path)

    assert wire(tmp_path, "--yes", "--allow-dirty") == 0

    after = environment.run(tmp_path, "-m", "deptry", ".")
    assert after.returncode == 0, after.stdout


@pytest.mark.parametrize("end", ["\n", ""])
def test_packages_of_a_flat_layout_are_named_to_setuptools(end: str, make: Make) -> None:
    build = '\n[build-system]\nrequires = ["setuptools>=61"]'
    folder = make(Repository("flat", server(PLAIN, {"pyproject.toml": PYPROJECT + build + end})))
    before = (folder / "pyproject.toml").read_bytes()

    assert wire(folder, "--yes") == 0

    tools = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]
    assert tools["setuptools"] == {"packages": {"find": {"include": ["acme*"]}}}
    after = (folder / "pyproject.toml").read_bytes()
    assert wire(folder, "--yes") == 0
    assert (folder / "pyproject.toml").read_bytes() == after

    assert wire(folder, "--yes", "--remove") == 0
    assert (folder / "pyproject.toml").read_bytes() == before
