"""Steps of the rendered CI that need the template: they are never red if it cannot be reached."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from uv import find_uv_bin

from ..conftest import TEMPLATE


def workflow(source: str, name: str = "ci.yml") -> Any:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE),
        extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    text = environment.get_template(f"template/.github/workflows/{name}.jinja")
    return yaml.safe_load(
        text.render(
            _copier_answers={"_src_path": source, "_commit": "v1.0.0"},
            _copier_conf={"answers_file": ".copier-answers.yml"},
        )
    )


def step(jobs: Any, name: str) -> str:
    [found] = [
        each["run"]
        for job in jobs["jobs"].values()
        for each in job["steps"]
        if each.get("name") == name
    ]
    return str(found)


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a step like GitHub does, with `uvx` from the environment of the tests."""
    (folder / "bin").mkdir()
    (folder / "bin/uvx").write_text(f'#!/bin/sh\nexec "{find_uv_bin()}" tool run --quiet "$@"\n')
    (folder / "bin/uvx").chmod(0o755)
    return subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env=os.environ | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_each_action_is_pinned_to_one_commit() -> None:
    folders = [TEMPLATE / ".github/workflows", TEMPLATE / "template/.github/workflows"]
    text = "".join(path.read_text() for folder in folders for path in folder.iterdir())

    pinned = set(re.findall(r"uses: ([\w/-]+)@([0-9a-f]{40}) # v\d+\.\d+\.\d+\n", text))
    assert dict(pinned).keys() == set(re.findall(r"uses: ([\w/-]+)", text))
    assert len(pinned) == len(dict(pinned)) == 4


@pytest.mark.parametrize("source", ["/home/me/template", "../template", "file:///template"])
def test_validation_is_left_out_for_a_local_template(source: str) -> None:
    names = [each.get("name") for each in workflow(source)["jobs"]["test"]["steps"]]

    assert "Validate honeycomb/" not in names
    assert "uv run pytest" in [
        each.get("run") for each in workflow(source)["jobs"]["test"]["steps"]
    ]


def test_validation_is_skipped_with_a_notice_if_the_template_is_unreachable(tmp_path: Path) -> None:
    jobs = workflow("https://127.0.0.1:9/nobody/template.git")

    done = run(step(jobs, "Validate honeycomb/"), tmp_path)

    assert done.returncode == 0, done.stdout
    assert "::notice::The template cannot be reached from here" in done.stdout


def test_validation_fails_for_an_invalid_definition(tmp_path: Path) -> None:
    script = step(workflow("https://me:t0ken@example/template.git"), "Validate honeycomb/")
    assert "git+https://example/template.git@v1.0.0 " in script
    script = script.replace("git+https://example/template.git@v1.0.0", f"'{TEMPLATE}'")

    done = run(script, tmp_path)

    assert done.returncode == 1
    assert f"{tmp_path} was not rendered from this template" in done.stdout


def test_update_check_is_skipped_with_a_notice_if_the_template_is_unreachable(
    tmp_path: Path,
) -> None:
    answers = "_commit: 0.3.0\n_src_path: https://127.0.0.1:9/nobody/template\n"
    (tmp_path / ".copier-answers.yml").write_text(answers)
    jobs = workflow("https://127.0.0.1:9/nobody/template", "template.yml")

    done = run(step(jobs, "Check for a newer release"), tmp_path)

    assert done.returncode == 0, done.stdout
    assert "::notice::The template cannot be reached from here" in done.stdout
