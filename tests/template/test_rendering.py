"""Every combination of answers renders clean files."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import copier
import pytest
import yaml

from ..conftest import TEMPLATE, Render
from .answer_combinations import as_answers, covering_combinations, every_combination, label
from .conftest import Once

# Characters and names that Windows forbids in a file name.
FORBIDDEN = re.compile(r'[<>:"|?*\\]|[ .]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)


def files(project: Path) -> list[Path]:
    return sorted(
        path for path in project.rglob("*") if path.is_file() and ".git" not in path.parts
    )


# All 48 in depth only, since they cost 20 s of CPU; otherwise a few that contain each pair of answers.
COMBINATIONS = every_combination() if "TEST_IN_DEPTH" in os.environ else covering_combinations()


@pytest.fixture(scope="module")
def renderings(sources: Path, once: Once) -> Path:
    """A folder with a rendering of each combination of answers."""

    def fill(folder: Path) -> None:
        for combination in COMBINATIONS:
            copier.run_copy(
                str(sources),
                folder / label(combination),
                data=as_answers(combination),
                defaults=True,
                quiet=True,
            )

    return once("renderings", fill)


def test_every_rendering_is_clean(renderings: Path) -> None:
    projects = sorted(renderings.iterdir())
    assert len(projects) == len(COMBINATIONS)
    seen: set[tuple[str, str]] = set()
    for project in projects:
        rendered = files(project)
        assert len(rendered) > 40
        for path in rendered:
            name = path.relative_to(project)
            text = path.read_text()
            if (str(name), text) in seen:
                continue
            seen.add((str(name), text))
            assert not any(FORBIDDEN.search(part) for part in name.parts), path
            assert path.suffix != ".jinja", path
            assert text.endswith("\n"), path
            assert not text.startswith("\n"), path
            assert not text.endswith("\n\n"), path
            assert not re.search(r"[ \t]+$", text, re.MULTILINE), path
            assert not re.search(r"{{|{%|}%|{#|#}", text), path
            assert "\n\n\n\n" not in text, path
            # ruff formats the examples in documents too.
            if path.suffix not in (".py", ".md"):
                assert "\n\n\n" not in text, path


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_finds_nothing_in_any_rendering(command: list[str], renderings: Path) -> None:
    # Ruff applies the settings in the pyproject.toml of each project.
    done = subprocess.run(
        ["ruff", *command, "--no-cache", "."],
        cwd=renderings,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout


def test_no_ignored_file_is_rendered(render: Render) -> None:
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


def test_renderings_of_the_same_answers_are_identical(render: Render) -> None:
    def contents(project: Path) -> dict[Path, bytes]:
        # The answers file names the commit, which is temporary if there are uncommitted changes.
        return {
            path.relative_to(project): path.read_bytes()
            for path in files(project)
            if path.name != ".copier-answers.yml"
        }

    assert contents(render()) == contents(render.anew())


def test_only_files_with_jinja_have_its_suffix() -> None:
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
    assert statements == ["template/{% yield path from retired_files.split() %}{{ path }}{% endyield %}"]


def test_misspelt_variable_is_an_error(tmp_path: Path, sources: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(sources, broken)
    (broken / "template/README.md.jinja").write_text("# {{ projet_name }}\n")

    with pytest.raises(Exception, match="'projet_name' is undefined"):
        copier.run_copy(str(broken), tmp_path / "rendered", defaults=True, quiet=True)
    assert not (tmp_path / "rendered").exists()


def test_template_needs_no_trust() -> None:
    settings = yaml.safe_load((TEMPLATE / "copier.yml").read_text())

    assert not {"_tasks", "_jinja_extensions", "_migrations"} & set(settings)
