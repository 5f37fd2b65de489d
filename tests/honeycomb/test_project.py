"""Facts about a project: its answers, its variables, and the release it was made by."""

import subprocess
from pathlib import Path

import pytest

from hooks.project import ProjectError, find_project
from hooks.release import ROOT, releases

from .conftest import Commands, Folder

ANSWERS = "project_name: shop\nhoneycomb_region: eu\npackage_name: shop\n"


def test_any_answers_file_of_the_template_is_found(tmp_path: Path) -> None:
    (tmp_path / ".copier-answers.yml").write_text("_src_path: gh:another/template\n")
    (tmp_path / ".copier-answers.honeycomb.yml").write_text(ANSWERS)
    (tmp_path / "answers.yml").write_text(ANSWERS.replace("shop", "till"))

    assert find_project(tmp_path).answers["project_name"] == "shop"
    assert find_project(tmp_path, "answers.yml").answers["project_name"] == "till"
    with pytest.raises(ProjectError, match=r"was not rendered from this template"):
        find_project(tmp_path, ".copier-answers.yml")


def test_command_that_updates_the_project_names_another_answers_file(tmp_path: Path) -> None:
    (tmp_path / ".copier-answers.honeycomb.yml").write_text(ANSWERS)

    assert find_project(tmp_path).update_command("-r", ":current:") == (
        "uvx copier update --defaults -r :current: --answers-file .copier-answers.honeycomb.yml"
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--project", "nowhere"], "The folder {}/nowhere does not exist."),
        (["--answers-file", "a.yml"], "The file {}/a.yml does not exist."),
        ([], "{} was not rendered from this template."),
    ],
)
def test_missing_project_is_reported_in_one_sentence(
    arguments: list[str], error: str, tmp_path: Path
) -> None:
    result = Commands(tmp_path).run("check", *arguments)

    assert result.code == 1
    assert error.format(tmp_path) in result.err


def test_conflict_in_the_answers_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".copier-answers.yml").write_text("<<<<<<< before\na: 1\n")

    with pytest.raises(ProjectError, match=r"is not valid YAML. Resolve the conflict"):
        find_project(tmp_path)


def test_service_name_and_version_come_from_variables_before_the_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "SHOP_VERSION", "MODAL_IMAGE_ID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".copier-answers.yml").write_text(ANSWERS)
    project = find_project(tmp_path)

    assert (project.service_name, project.service_version) == ("shop", "dev")
    monkeypatch.setenv("SHOP_VERSION", "1")
    assert project.service_version == "1"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=a%20b, service.version=2,x")
    assert (project.service_name, project.service_version) == ("a b", "2")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "c")
    assert project.service_name == "c"


def test_endpoint_comes_from_variables_before_the_region(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HONEYCOMB_API_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".copier-answers.yml").write_text(ANSWERS)
    project = find_project(tmp_path)

    assert project.honeycomb_endpoint == "https://api.eu1.honeycomb.io"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    assert project.honeycomb_endpoint == "https://api.eu1.honeycomb.io"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://api.honeycomb.io/x")
    assert project.honeycomb_endpoint == "https://api.honeycomb.io"
    monkeypatch.setenv("HONEYCOMB_API_ENDPOINT", "http://name:password@[::1]:8080/")
    assert project.honeycomb_endpoint == "http://[::1]:8080"
    for value in ("api.honeycomb.io", "https://", "https://api.honeycomb.io:65536"):
        monkeypatch.setenv("HONEYCOMB_API_ENDPOINT", value)
        with pytest.raises(ProjectError, match="HONEYCOMB_API_ENDPOINT is not a valid URL"):
            _ = project.honeycomb_endpoint


def test_variables_of_the_env_file_do_not_override_the_environment(
    commands: Commands, folder: Folder
) -> None:
    key = commands.variables.pop("HONEYCOMB_CONFIG_KEY")
    (folder.path / ".env").write_text(f"HONEYCOMB_CONFIG_KEY={key}\nOTEL_SERVICE_NAME=from-file\n")

    assert "HONEYCOMB_CONFIG_KEY is not set" in commands.run("plan").err
    arguments = ("plan", "--env-file", ".env")
    assert "dataset from-file" in commands.run(*arguments).out
    assert "dataset set" in commands.run(*arguments, OTEL_SERVICE_NAME="set").out
    assert "does not exist" in commands.run("plan", "--env-file", "missing").err


@pytest.mark.parametrize("release", releases())
def test_definitions_of_each_release_are_valid(release: str, tmp_path: Path) -> None:
    import copier

    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "template")], check=True)
    project = tmp_path / "order-intake"
    copier.run_copy(
        str(tmp_path / "template"), project, defaults=True, quiet=True, vcs_ref=releases()[release]
    )

    result = Commands(project).run("check")

    if release == "0.1.0":
        assert result.code == 1
        assert "releases before 0.2.0 have none: run `uvx copier update --defaults`." in result.err
    else:
        assert (result.code, result.out) == (0, "18 definitions are valid.\n")
