"""Commands and links in the documents of a rendered project and of this repository are valid."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from hooks.cli import _COMMANDS

from ..conftest import TEMPLATE, UV, Render, Workshop

RENDERED = (
    "AGENTS.md",
    "README.md",
    ".env.example",
    "docs/observability.md",
    "docs/observability-reference.md",
    "docs/runbooks.md",
)
# On a separate line, after assignments of variables, or in a sentence.
COMMAND = re.compile(r"(?:^|`)((?:[A-Z_]+=\S+ )*uvx? [^`\n]+)", re.MULTILINE)
BLOCK = re.compile(r"^```sh\n(.+?)^```|((?:^ {4}[^\n]+\n)+)", re.MULTILINE | re.DOTALL)
# Commands that discard uncommitted work.
UNDO = ("git restore", "git clean", "git reset", "git checkout")


@pytest.fixture(scope="module")
def project(render: Render, workshop: Workshop) -> Path:
    project = render()
    workshop.install(project)
    shutil.copy(project / ".env.example", project / ".env")
    return project


@pytest.fixture(scope="module")
def documents(project: Path) -> list[Path]:
    own = [TEMPLATE / "README.md", *sorted(TEMPLATE.glob("docs/*.md"))]
    return [*own, *(project / name for name in RENDERED)]


def test_every_documented_command_exists(project: Path, workshop: Workshop) -> None:
    commands = {
        command.strip()
        for name in RENDERED
        for command in COMMAND.findall((project / name).read_text())
    }

    assert len(commands) > 15
    # After `traces --` is the command that it starts.
    for command in sorted({part for each in commands for part in re.split(" && | -- ", each)}):
        words = shlex.split(command)
        while "=" in words[0]:
            del words[0]
        program = [UV] if words[0] == "uv" else [UV, "tool", "run"]
        # Every program rejects an unknown option, even together with --help.
        workshop.run(project, *program, *words[1:], "--help")


def test_readme_is_short_and_lists_each_command() -> None:
    readme = (TEMPLATE / "README.md").read_text()

    assert len(readme.splitlines()) <= 150
    tools = readme.partition("## Tools")[2].partition("## ")[0]
    rows = [line.split("|")[1] for line in tools.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", "".join(rows))) == _COMMANDS.keys() - {"demo", "release"}


@pytest.mark.parametrize("answers", [{}, {"layout": "existing", "package_dir": "acme"}])
def test_guide_and_reference_are_short(answers: dict[str, str], render: Render) -> None:
    docs = render(**answers) / "docs"

    guide, reference = (docs / "observability.md", docs / "observability-reference.md")
    assert len((guide.read_text() + reference.read_text()).splitlines()) <= 600


def test_instructions_for_agents_are_short_and_name_each_attribute_and_board(
    project: Path, render: Render
) -> None:
    agents = (project / "AGENTS.md").read_text()
    groups = yaml.safe_load((project / "honeycomb/telemetry.yaml").read_text())["groups"]
    declared = {each["id"]: each["type"] for group in groups for each in group["attributes"]}
    # The section that the guide of an existing repository contains has fewer attributes.
    existing = (render(layout="existing", package_dir="acme") / "docs/observability.md").read_text()
    section = existing.partition("````markdown\n")[2].partition("````\n")[0]

    assert len(agents.splitlines()) <= 60
    assert section.startswith("## Observability\n")
    for text in (agents, section):
        table = text.partition("| attribute | type |")[2]
        rows = re.findall(r"^\| (`.+`) \| (\w+) \|$", table, re.MULTILINE)
        types = {name: kind for names, kind in rows for name in re.findall(r"`([\w.]+)`", names)}
        assert types.items() >= {"llm.cost_usd": "double", "user.id": "string"}.items()
        for name, kind in types.items():
            assert declared.get(name, kind) == kind, name
        for board in (project / "honeycomb/boards").iterdir():
            assert json.loads(board.read_text())["name"].partition(": ")[2] in text
    names = {name for name in declared if not name.startswith("modal.")}
    assert names <= set(re.findall(r"`([\w.]+)`", agents))


def test_every_link_within_the_documents_has_a_target(documents: list[Path]) -> None:
    for document in documents:
        links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", document.read_text())
        for path, heading in links:
            target = document.parent / path if path else document
            assert target.exists(), (document, path)
            if heading:
                assert heading in headings(target), (document, heading)


def headings(document: Path) -> set[str]:
    return {
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    }


def test_no_block_of_commands_combines_an_undo_with_another_command(documents: list[Path]) -> None:
    blocks = [
        fenced or indented
        for document in documents
        for fenced, indented in BLOCK.findall(document.read_text())
    ]
    assert len(blocks) > 20
    undoing = [block for block in blocks if any(command in block for command in UNDO)]
    assert len(undoing) == 1
    assert undoing[0].strip() == "git restore --staged --worktree . && git clean -fdq"
