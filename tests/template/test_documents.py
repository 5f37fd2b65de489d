"""Commands and links in the rendered documents are valid."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from ..conftest import UV, Render, Workshop

DOCUMENTS = ("README.md", ".env.example", "docs/observability.md", "docs/runbooks.md")
# On a separate line, after assignments of variables, or in a sentence.
COMMAND = re.compile(r"(?:^ {4}|`)((?:[A-Z_]+=\S+ )*uvx? [^`\n]+)", re.MULTILINE)


@pytest.fixture(scope="module")
def project(render: Render, workshop: Workshop) -> Path:
    project = render()
    workshop.install(project)
    shutil.copy(project / ".env.example", project / ".env")
    return project


def documented(project: Path) -> set[str]:
    return {
        command.strip()
        for name in DOCUMENTS
        for command in COMMAND.findall((project / name).read_text())
    }


def test_every_documented_command_exists(
    project: Path, workshop: Workshop
) -> None:
    commands = documented(project)

    assert len(commands) > 20
    for command in sorted(commands):
        for part in command.split(" && "):
            words = shlex.split(part)
            while "=" in words[0]:
                del words[0]
            program = [UV] if words[0] == "uv" else [UV, "tool", "run"]
            # Every program rejects an unknown option, even together with --help.
            workshop.run(project, *program, *words[1:], "--help")


def test_every_link_within_a_document_names_a_heading(project: Path) -> None:
    for name in DOCUMENTS:
        text = (project / name).read_text()
        headings = {
            re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
            for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        }
        assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings, name
