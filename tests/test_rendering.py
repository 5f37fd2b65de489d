"""Every combination of answers renders to code that a careful colleague could have written."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml

from .answers import as_answers, covering_combinations, every_combination, label, pairs
from .conftest import TEMPLATE, Render, Workshop

# Characters and names that Windows refuses in a file name.
ILLEGAL = re.compile(r'[<>:"|?*\\]|[ .]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)


def files(project: Path) -> list[Path]:
    return sorted(
        path for path in project.rglob("*") if path.is_file() and ".git" not in path.parts
    )


@pytest.mark.parametrize("combination", every_combination(), ids=label)
def test_a_rendering_is_clean(combination: dict[str, Any], render: Render) -> None:
    project = render(**as_answers(combination))

    rendered = files(project)
    assert len(rendered) > 40
    for path in rendered:
        name = path.relative_to(project)
        assert not any(ILLEGAL.search(part) for part in name.parts), name
        assert path.suffix != ".jinja", name
        text = path.read_text()
        assert text.endswith("\n"), name
        assert not text.startswith("\n"), name
        assert not text.endswith("\n\n"), name
        assert not re.search(r"[ \t]+$", text, re.MULTILINE), name
        assert not re.search(r"{{|{%|%}|{#|#}", text), name
        assert "\n\n\n\n" not in text, name
        if path.suffix != ".py":
            assert "\n\n\n" not in text, name
    for tool in (["check"], ["format", "--check"]):
        done = subprocess.run(
            ["ruff", *tool, "--no-cache", "."],
            cwd=project,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout


def test_the_combinations_whose_tests_are_run_cover_each_pair_of_answers() -> None:
    everything = set().union(*map(pairs, every_combination()))
    covered = set().union(*map(pairs, covering_combinations()))

    assert covered == everything
    assert len(covering_combinations()) <= 6


@pytest.mark.parametrize("combination", covering_combinations(), ids=label)
def test_the_tests_of_a_rendering_pass_and_its_types_hold(
    combination: dict[str, Any], render: Render, workshop: Workshop
) -> None:
    project = render(**as_answers(combination))
    workshop.install(project)

    workshop.tool(project, "mypy")
    assert " passed" in workshop.tool(project, "pytest", "-q")


@pytest.mark.parametrize(
    "requirements",
    [
        ("fastapi==0.141.*", "opentelemetry-instrumentation-fastapi"),
        ("fastapi==0.115.*", "opentelemetry-instrumentation-fastapi", "httpx"),
        ("sqlalchemy==2.0.*",),
    ],
    ids=" ".join,
)
def test_the_tests_of_a_rendering_pass_with_older_packages(
    requirements: tuple[str, ...], render: Render, workshop: Workshop
) -> None:
    project = render()
    workshop.install(project, *requirements)

    assert " passed" in workshop.tool(project, "pytest", "-q")


def test_nothing_is_rendered_that_git_would_ignore(render: Render) -> None:
    project = render()
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard"],
        cwd=project,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()

    assert sorted(listed) == [str(path.relative_to(project)) for path in files(project)]
    assert not {"uv.lock", ".env"} & set(listed)


def test_two_renderings_with_the_same_answers_are_the_same(render: Render) -> None:
    def contents(project: Path) -> dict[Path, bytes]:
        # The answers' file names the commit; while one is not made yet, a passing one.
        return {
            path.relative_to(project): path.read_bytes()
            for path in files(project)
            if path.name != ".copier-answers.yml"
        }

    assert contents(render()) == contents(render.anew())


def test_only_files_with_jinja_in_them_are_named_so() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "template"],
        cwd=TEMPLATE,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in listed.split("\0")[:-1]:
        has_jinja = bool(re.search(r"{{|{%", (TEMPLATE / name).read_text()))
        assert has_jinja == name.endswith(".jinja"), name


def test_no_name_in_the_template_has_a_condition() -> None:
    paths = [path.relative_to(TEMPLATE) for path in (TEMPLATE / "template").rglob("*")]
    statements = [str(path) for path in paths if "{%" in path.name]

    # Renders one empty file for each retired file.
    assert statements == ["template/{% yield path from retired %}{{ path }}{% endyield %}"]


def test_a_misspelt_variable_stops_the_render(tmp_path: Path, render: Render) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(TEMPLATE / "template", broken / "template")
    shutil.copy(TEMPLATE / "copier.yml", broken)
    (broken / "template/README.md.jinja").write_text("# {{ projet_name }}\n")

    with pytest.raises(Exception, match="'projet_name' is undefined"):
        copier.run_copy(str(broken), tmp_path / "rendered", defaults=True, quiet=True)
    assert not (tmp_path / "rendered").exists()


def test_the_template_needs_no_trust() -> None:
    settings = yaml.safe_load((TEMPLATE / "copier.yml").read_text())

    assert not {"_tasks", "_jinja_extensions", "_migrations"} & set(settings)
