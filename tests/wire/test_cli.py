"""The output, prompts and exit statuses of `copier-honeycomb wire`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import TEMPLATE
from ..environments import Environment
from ..template.projects import git
from .conftest import Make, contents, wire
from .repositories import LAYOUTS, PLAIN, REFUSED, SERVERS, Repository, server

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
    "Dockerfile": """\
FROM python:3.12-slim
WORKDIR /app
COPY . .
RUN pip install .
CMD ["uvicorn", "shop.main:app", "--host", "0.0.0.0"]
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


def test_documentation_shows_the_output(
    make: Make, newest: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = Repository("shop", dict(SHOP), package_dir="src/shop", import_name="shop")
    folder = make(shop)
    (folder / ".venv").symlink_to(newest.folder)

    assert wire(folder) == 0

    output = [line.rstrip() for line in capsys.readouterr().out.rstrip().splitlines()]
    documented = (TEMPLATE / "docs/copying.md").read_text().splitlines()
    first = documented.index("--- a/src/shop/main.py")
    assert documented[first : first + len(output)] == output


def test_dry_run_prints_the_edits_and_changes_no_file(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(SERVERS[0])
    before = contents(folder, SERVERS[0].files)

    assert wire(folder, "--dry-run") == 0

    output = capsys.readouterr().out
    assert "+instrument_app(app)\n" in output
    assert "Would change: acme/main.py: add instrument_app(app)\n" in output
    assert "Would change: pyproject.toml: add opentelemetry-sdk>=1.27,<2\n" in output
    assert "Changed" not in output
    assert contents(folder, before) == before


def test_edits_removal_and_second_runs_are_reported(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(SERVERS[0])

    assert wire(folder, "--yes") == 0
    output = capsys.readouterr().out
    assert "\nChanged: acme/main.py: added instrument_app(app)\n" in output
    assert "\nChanged: pyproject.toml: added opentelemetry-sdk>=1.27,<2\n" in output

    assert wire(folder, "--yes") == 0
    assert capsys.readouterr().out == (
        "Already done: acme/main.py: instrument_app(app)\nAlready done: pyproject.toml: packages\n"
        "Note: No Dockerfile, compose file, Procfile or Modal function that starts acme.main:app was"
        " found, so the deployment was not checked. It must install the packages and contain"
        " acme/observability.\n"
        "No file was changed.\n"
    )

    assert wire(folder, "--yes", "--remove") == 0
    output = capsys.readouterr().out
    assert "\nChanged: acme/main.py: removed instrument_app\n" in output
    assert output.endswith("\nChanged: pyproject.toml: removed packages\n")


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


def test_llm_calls_are_printed_with_a_snippet_to_paste(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(Repository("claude", server(PLAIN, {"acme/claude.py": CLAUDE})))

    assert wire(folder, "--dry-run") == 0

    output = capsys.readouterr().out
    assert (
        output[output.index("LLM call") :]
        == """\
LLM call: acme/claude.py:7 is traced automatically, with tokens and cost. To create the span yourself:
    from acme.observability import llm_call

    async def lines(...):
        ...
        with llm_call("anthropic", "a") as call:
            answer = claude.messages.create(...)
            call.record_usage(answer.usage, model=answer.model)
LLM call: acme/claude.py:12 is traced automatically.
LLM call: acme/claude.py:17 is traced automatically.
"""
    )


FRAMEWORKS = """\
import boto3
import langchain_openai
import pydantic_ai
from agents import Agent, Runner
from google import genai
from mistralai import Mistral

bedrock = boto3.client("bedrock-runtime")


def pieces(client):
    return client.chat.completions.create(model="a", messages=[], stream=True)
"""


def test_instrumentation_of_each_imported_sdk_is_added(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(Repository("frameworks", server(PLAIN, {"acme/models.py": FRAMEWORKS})))

    assert wire(folder, "--dry-run") == 0

    output = capsys.readouterr().out
    added = re.findall(r"^\+ *\"(opentelemetry-instrumentation-[a-z-]+)>=", output, re.MULTILINE)
    assert added == [
        "opentelemetry-instrumentation-genai-bedrock",
        "opentelemetry-instrumentation-genai-langchain",
        "opentelemetry-instrumentation-genai-openai",
        "opentelemetry-instrumentation-genai-openai-agents",
        "opentelemetry-instrumentation-google-genai",
    ]
    assert (
        "Note: Calls of mistralai are not traced automatically. Wrap each in llm_call.\n" in output
    )
    assert "Note: openai-agents uploads its own traces, prompts and results included" in output
    assert output.endswith(
        "LLM call: acme/models.py:12 is traced automatically, but without tokens and cost. Add"
        ' stream_options={"include_usage": True} to the call.\n'
    )


def test_prompt_chooses_one_of_several_applications(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [two] = [each for each in LAYOUTS if each.name == "two equally likely applications"]
    folder = make(two)
    answers = iter(["acme.two:app", "y"])
    monkeypatch.setattr("builtins.input", lambda *prompt: next(answers))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)

    assert wire(folder) == 0

    assert "Changed: acme/two.py: added instrument_app(app)\n" in capsys.readouterr().out
    assert (folder / "acme/one.py").read_bytes() == PLAIN.encode()


@pytest.mark.parametrize("stop", [EOFError, KeyboardInterrupt])
def test_ctrl_c_and_ctrl_d_at_the_prompt_change_no_file(
    stop: type[BaseException],
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = make(SERVERS[0])
    before = contents(folder, SERVERS[0].files)

    def answer(*prompt: str) -> str:
        raise stop

    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert wire(folder) == 1

    assert capsys.readouterr().out.endswith("\nStopped. No file was changed.\n")
    assert contents(folder, before) == before


def test_folder_without_the_module_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert wire(tmp_path) == 2
    assert "Run `copier-honeycomb adopt`, which adds it." in capsys.readouterr().out

    assert wire(tmp_path / "shop") == 2
    assert capsys.readouterr().out == f"Error: {tmp_path}/shop is not a folder.\n"

    (tmp_path / ".copier-answers.yml").write_text("<<<<<<< before\n_commit: 1\n=======\n")
    assert wire(tmp_path) == 2
    assert capsys.readouterr().out.startswith("Error: .copier-answers.yml is not valid YAML.")


def test_uncommitted_changes_are_not_mixed_with_edits(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(SERVERS[0])
    before = contents(folder, SERVERS[0].files)
    (folder / "acme/__init__.py").write_text("# mine\n")

    assert wire(folder, "--yes") == 2
    assert "There are uncommitted changes (acme/__init__.py)." in capsys.readouterr().out
    assert (folder / "acme/main.py").read_bytes() == before["acme/main.py"]

    assert wire(folder, "--yes", "--allow-dirty") == 0
    assert (folder / "acme/main.py").read_bytes() != before["acme/main.py"]


def test_beside_edits_a_repository_with_existing_telemetry(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    [datadog] = [each for each in REFUSED if each.name == "existing Datadog"]
    folder = make(datadog)

    assert wire(folder, "--yes", "--beside") == 0

    assert "Note: acme/main.py:1 configures Datadog." in capsys.readouterr().out
    assert b"\ninstrument_app(app)\n" in (folder / "acme/main.py").read_bytes()


def test_file_that_cannot_be_written_leaves_all_files_unchanged(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(SERVERS[0])
    before = contents(folder, SERVERS[0].files)
    replaced: list[Path] = []
    replace = Path.replace

    def fail_at_the_second(self: Path, target: Path) -> Path:
        replaced.append(target)
        if len(replaced) == 2:
            raise OSError("the disk is full")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_at_the_second)
    assert wire(folder, "--yes") == 2
    assert "No file was changed, because one cannot be written" in capsys.readouterr().out

    assert contents(folder, before) == before
    assert not git(folder, "status", "--porcelain")


def test_wire_is_a_command_of_copier_honeycomb_and_returns_its_exit_status(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from hooks.cli import main; main()", "wire", str(tmp_path)],
        cwd=TEMPLATE,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2, done.stderr
    assert "Run `copier-honeycomb adopt`, which adds it." in done.stdout
