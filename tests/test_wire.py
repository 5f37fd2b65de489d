"""`wire` on small repositories: the edits, none the second time, a span, and all of it taken back."""

import ast
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import copier
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hooks.wire import cli
from hooks.wire.find import candidates
from hooks.wire.project import Project
from hooks.wire.server import unwire_server, wire_server
from hooks.wire.source import Refused

from .conftest import TEMPLATE
from .environments import Environment
from .repositories import (
    ALL,
    DEPENDENCIES,
    LAYOUTS,
    MODAL,
    PLAIN,
    REFUSED,
    SERVERS,
    Repository,
    server,
)
from .updates import git

# What the template adds depends on which files are there, not on what they hold.
_rendered: dict[frozenset[str], Path] = {}


def make(repository: Repository, folder: Path) -> dict[str, bytes]:
    """Writes the repository, adds the module and commits; returns what its files hold."""
    names = frozenset(repository.files)
    if names not in _rendered:
        _rendered[names] = Path(tempfile.mkdtemp(dir=folder.parent)) / "shop"
        write(repository, _rendered[names])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", copier.errors.DirtyLocalWarning)
            copier.run_copy(
                str(TEMPLATE),
                _rendered[names],
                data={"layout": "existing"},
                defaults=True,
                quiet=True,
                vcs_ref="HEAD",
            )
    shutil.copytree(_rendered[names], folder, dirs_exist_ok=True)
    write(repository, folder)
    git(folder, "init")
    (folder / ".git/info/exclude").write_text(".venv\n__pycache__\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "All")
    return contents(folder, repository.files)


def write(repository: Repository, folder: Path) -> None:
    for name, text in repository.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def wire(folder: Path, *options: str) -> int:
    return cli.main([str(folder), *options])


def contents(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


def changed_lines(before: bytes, after: bytes) -> tuple[list[str], list[str]]:
    """Lines that are gone, and those that are new."""
    old, new = before.splitlines(), after.splitlines()
    gone = list((Counter(old) - Counter(new)).elements())
    added = list((Counter(new) - Counter(old)).elements())
    return [line.decode("latin-1") for line in gone], [line.decode("latin-1") for line in added]


@pytest.mark.parametrize("repository", ALL, ids=lambda each: each.name)
def test_a_repository_is_wired_once_and_unwired_to_the_byte(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = make(repository, tmp_path)
    options = ["--yes", *(["--app", repository.app] if repository.app else [])]

    assert wire(tmp_path, *options) == repository.code
    said = capsys.readouterr().out
    for text in repository.said:
        assert text in said

    after = contents(tmp_path, before)
    gone: list[str] = []
    for name in before:
        lost, added = changed_lines(before[name], after[name])
        expected = repository.added.get(name, [])
        assert sorted(filter(str.strip, added)) == sorted(filter(str.strip, expected)), name
        gone += lost
        if name.endswith(".py") and after[name] != before[name]:
            compile_with_its_own_grammar(after[name])
    assert len(gone) == repository.replaced, gone
    assert not git(tmp_path, "ls-files", "--others", "--exclude-standard")

    assert wire(tmp_path, *options) == repository.code
    assert contents(tmp_path, before) == after

    wire(tmp_path, "--yes", "--remove", *(["--app", repository.app] if repository.app else []))
    assert contents(tmp_path, before) == before


def compile_with_its_own_grammar(content: bytes) -> None:
    # Which is newer than that of some Pythons that run this.
    if b"class Box[T]" not in content:
        ast.parse(content)


RUNNABLE = [
    each
    for each in [*SERVERS, *LAYOUTS, *DEPENDENCIES[-1:], *MODAL[:1]]
    if each.served and each.name not in ("newer syntax", "a module named as a package")
]
TESTS = """\
from {module} import {name} as app


def test_the_route_is_there() -> None:
    assert "/hello/{{name}}" in str([getattr(route, "path", "") for route in app.routes])
"""


@pytest.mark.parametrize("repository", RUNNABLE, ids=lambda each: each.name)
def test_a_request_to_a_wired_application_is_a_server_span(
    repository: Repository,
    oldest: Environment,
    newest: Environment,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make(repository, tmp_path)
    (tmp_path / ".venv").symlink_to(newest.folder)
    options = ["--app", repository.app] if repository.app else []

    assert wire(tmp_path, "--yes", *options) == 0
    said = capsys.readouterr().out
    assert "One request gave the span GET /openapi.json" in said
    assert "http.response.status_code = 200" in said

    (tmp_path / ".venv").unlink()
    (tmp_path / ".venv").symlink_to(oldest.folder)
    assert wire(tmp_path, "--check", *options) == 0, capsys.readouterr().out


def test_an_application_that_is_not_wired_gives_no_span_and_it_says_why(
    newest: Environment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(SERVERS[0], tmp_path)

    assert wire(tmp_path, "--check") == 1
    assert "there is no environment (.venv)" in capsys.readouterr().out

    (tmp_path / ".venv").symlink_to(newest.folder)
    assert wire(tmp_path, "--check") == 1
    assert "instrument_app was not called on this application" in capsys.readouterr().out

    (tmp_path / "acme/main.py").write_text("import missing_package\n" + PLAIN)
    assert wire(tmp_path, "--check") == 1
    assert "No module named 'missing_package'" in capsys.readouterr().out


@pytest.mark.parametrize("repository", LAYOUTS[:5], ids=lambda each: each.name)
def test_a_repositorys_own_tests_pass_before_and_after(
    repository: Repository, newest: Environment, tmp_path: Path
) -> None:
    module, _, name = repository.served.partition(":")
    tests = f"{repository.root}/tests/test_app.py".removeprefix("./")
    files = {**repository.files, tests: TESTS.format(module=module, name=name)}
    make(Repository(repository.name, files), tmp_path)
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_app.py"]
    folder = tmp_path / repository.root

    before = newest.run(folder, *command, variables={"PYTHONPATH": "."})
    assert wire(tmp_path, "--yes") == 0
    after = newest.run(folder, *command, variables={"PYTHONPATH": "."})

    assert "1 passed" in before.stdout, before.stdout
    assert "1 passed" in after.stdout, after.stdout


SHOP = {
    "pyproject.toml": """\
[project]
name = "shop"
version = "1.4.0"
requires-python = ">=3.11"
dependencies = [
    "anthropic>=2",
    "fastapi>=0.115",
    "uvicorn",
]
""",
    "src/shop/__init__.py": "",
    "src/shop/prices.py": "RATE = 0.2\n",
    "src/shop/main.py": """\
from anthropic import AsyncAnthropic
from fastapi import FastAPI

from shop.prices import RATE

app = FastAPI(title="Shop")
claude = AsyncAnthropic(api_key="none")


@app.post("/describe")
async def describe(article: str) -> str:
    message = await claude.messages.create(
        model="claude-sonnet-4-6",
        max_tokens=500,
        messages=[{"role": "user", "content": article}],
    )
    return str(message.content) + str(RATE)
""",
}


def test_the_readme_shows_what_is_said(
    newest: Environment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(Repository("shop", dict(SHOP)), tmp_path)
    (tmp_path / ".venv").symlink_to(newest.folder)

    assert wire(tmp_path) == 0

    said = [line.rstrip() for line in capsys.readouterr().out.rstrip().splitlines()]
    readme = (TEMPLATE / "README.md").read_text().splitlines()
    first = readme.index("    --- a/src/shop/main.py")
    shown = [line.removeprefix("    ") for line in readme[first : first + len(said)]]
    assert shown == said


CLAUDE = """\
from anthropic import Anthropic

claude = Anthropic()


async def lines(question):
    answer = claude.messages.create(model="a", max_tokens=9, messages=[])
    yield answer


async def pieces(question):
    async with claude.messages.stream(model="a", max_tokens=9, messages=[]) as stream:
        return await stream.get_final_text()


def events(question):
    return claude.messages.create(model="a", max_tokens=9, messages=[], stream=True)
"""


def test_what_is_shown_for_a_call_can_be_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(Repository("claude", server(PLAIN, {"acme/claude.py": CLAUDE})), tmp_path)

    assert wire(tmp_path, "--dry-run") == 0

    said = capsys.readouterr().out
    assert (
        said[said.index("LLM calls") :]
        == """\
LLM calls
  acme/claude.py:7 is a span with tokens and cost by itself. A span of your own instead:
      from acme.observability import llm_call

      async def lines(...):
          ...
          with llm_call("anthropic", "a") as call:
              answer = claude.messages.create(...)
              call.record_usage(answer.usage, model=answer.model)
  acme/claude.py:12 is a span by itself.
  acme/claude.py:17 is a span by itself.
"""
    )


@pytest.mark.parametrize("stop", [EOFError, KeyboardInterrupt])
def test_ctrl_c_and_ctrl_d_at_the_question_change_nothing(
    stop: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = make(SERVERS[0], tmp_path)

    def typed(*prompt: str) -> str:
        raise stop

    monkeypatch.setattr("builtins.input", typed)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert wire(tmp_path) == 1

    assert capsys.readouterr().out.endswith("\nStopped.\n")
    assert contents(tmp_path, before) == before


def test_without_the_module_it_says_what_to_do_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert wire(tmp_path) == 2
    assert "run `copier copy` first" in capsys.readouterr().out

    assert wire(tmp_path / "shop") == 2
    assert "There is no folder" in capsys.readouterr().out

    (tmp_path / ".copier-answers.yml").write_text("<<<<<<< before\n_commit: 1\n=======\n")
    assert wire(tmp_path) == 2
    assert capsys.readouterr().out.startswith(".copier-answers.yml is no YAML that can be read")


def test_changes_that_are_not_committed_are_not_mixed_with_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = make(SERVERS[0], tmp_path)
    (tmp_path / "acme/__init__.py").write_text("# mine\n")

    assert wire(tmp_path, "--yes") == 2
    assert "acme/__init__.py are not committed" in capsys.readouterr().out
    assert (tmp_path / "acme/main.py").read_bytes() == before["acme/main.py"]

    assert wire(tmp_path, "--yes", "--allow-dirty") == 0
    assert (tmp_path / "acme/main.py").read_bytes() != before["acme/main.py"]


def test_beside_telemetry_that_is_there_it_is_wired_where_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [datadog] = [each for each in REFUSED if each.name == "their Datadog"]
    make(datadog, tmp_path)

    assert wire(tmp_path, "--yes", "--beside") == 0

    assert "acme/main.py:1 sets Datadog up" in capsys.readouterr().out
    assert b"\ninstrument_app(app)\n" in (tmp_path / "acme/main.py").read_bytes()


def test_a_dry_run_shows_the_edits_and_makes_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = make(SERVERS[0], tmp_path)

    assert wire(tmp_path, "--dry-run") == 0

    assert "+instrument_app(app)" in capsys.readouterr().out
    assert contents(tmp_path, before) == before


def test_a_file_that_cannot_be_written_leaves_all_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = make(SERVERS[0], tmp_path)
    replaced: list[Path] = []
    replace = Path.replace

    def fail_at_the_second(self: Path, target: Path) -> Path:
        replaced.append(target)
        if len(replaced) == 2:
            raise OSError("the disk is full")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_at_the_second)
    assert wire(tmp_path, "--yes") == 2
    assert "Nothing was changed" in capsys.readouterr().out

    assert contents(tmp_path, before) == before
    assert not git(tmp_path, "status", "--porcelain")


MAIN = Path("acme/main.py")

# Modules as people write them, put together from parts.
STATEMENTS = st.sampled_from(
    [
        "X = 1  # a comment",
        "# a comment of its own",
        "",
        "    # indented comment",
        "def f(a, /, *, b: int = 1) -> None:\n    return None",
        "@decorated(\n    1,\n)\nclass C:\n    x: int = 1",
        "async def g():\n    async with a as b, c as d:\n        yield (await e)",
        "if X:\n    pass\nelif Y:\n    pass\nelse:\n    pass",
        "match X:\n    case {'a': [1, *rest]} if rest:\n        pass\n    case _:\n        pass",
        "try:\n    pass\nexcept* ValueError:\n    pass",
        "type Alias[T] = list[T]",
        "def generic[T: int](x: T) -> T: return x",
        "print(f'{X!r:>{Y}} {\"nested\"}')",
        "lambda: (yield)",
        "x = y = 1; z = 2",
        '"""A string\nof lines."""',
        "größe = 'ß'",
        "with (open('a') as a, open('b') as b,): pass",
    ]
)
IMPORTS = st.sampled_from(
    [
        "import os",
        "import os  # why",
        "from typing import (\n    Any,  # all\n    Final,\n)",
        "from acme.models import X",
        "from .settings import Y",
        "import acme.other as other",
        "",
        "# a comment above",
    ]
)
MAKES = st.sampled_from(
    [
        "app = FastAPI()",
        "app: FastAPI = FastAPI(title='x')  # made here",
        "app = FastAPI(\n    title='x',\n    # inside\n    docs_url=None,\n)",
        "if True:\n    app = FastAPI()",
        "if os:\n    app = FastAPI()\nelse:\n    app = FastAPI(title='y')",
        "def create_app():\n\tapp = FastAPI()\n\treturn app",
        "def create_app():\n  app = FastAPI()  # made\n  return app",
        "class App(FastAPI): pass\napp = App()",
        "app = FastAPI(); version = 1",
        "with open('x') as f:\n    app = FastAPI()",
    ]
)


@st.composite
def modules(draw: st.DrawFn) -> bytes:
    head = draw(
        st.sampled_from(["", "#!/usr/bin/env python\n", '"""Docs."""\n', '"""Docs."""\n\n'])
    )
    future = draw(st.sampled_from(["", "from __future__ import annotations\n"]))
    imports = draw(st.lists(IMPORTS, max_size=4))
    place = draw(st.integers(0, len(imports)))
    imports.insert(place, "from fastapi import FastAPI")
    before = draw(st.lists(STATEMENTS, max_size=3))
    after = draw(st.lists(STATEMENTS, max_size=3))
    lines = [*imports, *before, draw(MAKES), *after]
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "cp1252"]))
    cookie = f"# -*- coding: {encoding} -*-\n" if encoding in ("latin-1", "cp1252") else ""
    if head.startswith("#!"):
        head, cookie = head + cookie, ""
    text = cookie + head + future + "\n".join(lines) + draw(st.sampled_from(["\n", "", "\n\n"]))
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    return text.replace("\n", ending).encode(encoding)


def in_memory(content: bytes) -> Project:
    """A repository of one server module, without a disk."""
    project = Project(Path("/nowhere"))
    others = [Path("acme/models.py"), Path("acme/settings.py")]
    project.__dict__.update(
        answers={"package_dir": "acme", "import_name": "acme"},
        files=[MAIN, *others],
        _contents={MAIN: content, **dict.fromkeys(others, b"")},
    )
    return project


@settings(
    max_examples=200, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(modules())
@example(b"\xef\xbb\xbffrom fastapi import FastAPI\nimport acme.other as other\napp = FastAPI()\n")
def test_any_module_gets_lines_and_nothing_else_and_gives_them_back(content: bytes) -> None:
    project = in_memory(content)
    try:
        project.source(MAIN)
    except Refused:
        # Some parts do not go together, such as a statement in front of an import of the future.
        return
    app = candidates(project)[0]

    lines = wire_server(project, app)

    before, after = content.splitlines(keepends=True), lines.content.splitlines(keepends=True)
    if before and not before[-1].endswith(b"\n"):
        # The last line gets its break when one comes below it.
        after = [line.rstrip(b"\r\n") for line in after]
        before = [line.rstrip(b"\r\n") for line in before]
    rest = iter(after)
    assert all(line in rest for line in before), "a line is changed, moved or gone"
    added = Counter(after) - Counter(before)
    assert {line.strip() for line in added} - {b""} <= {
        b"from acme.observability import instrument_app",
        b"from .observability import instrument_app",
        b"instrument_app(app)",
    }
    wired = in_memory(lines.content)
    again = wire_server(wired, candidates(wired)[0])
    assert again.is_there
    assert again.content == lines.content
    assert unwire_server(wired, MAIN) == content
