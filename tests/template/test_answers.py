"""The questions: defaults are always valid, and an invalid answer is rejected with a valid example."""

import re
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import copier as copier_library
import pytest
import yaml
from packaging.requirements import Requirement
from pytest_copie.plugin import Copie

from ..conftest import TEMPLATE, Render, Workshop
from .copying import copier

NAME = "Use lowercase letters a to z"
TAKEN = "is already a name in Python or in this project"
FOLDER = "Use the path of the folder relative to the repository"

BAD_ANSWERS = [
    *[
        ("project_name", value, NAME)
        for value in (
            "Order-Intake",
            "order_intake",
            "order intake",
            " order",
            "order ",
            "order\n",
            "-order",
            "order-",
            "order--intake",
            "1order",
            "ordеr",  # the fourth letter is Cyrillic
            "ｏrder",  # the first letter is fullwidth
            "café",
            'or"der',
            "or'der",
            "../x",
            "a/b",
            "a\\b",
            "~",
            ".",
            "$HOME",
            "`id`",
            "{{ 1 }}",
            "a;b",
            "x" * 41,
        )
    ],
    *[
        ("project_name", value, "is the name of a package that the service depends on")
        for value in ("fastapi", "opentelemetry-sdk", "genai-prices", "modal", "pyyaml")
    ],
    *[
        ("package_name", value, NAME)
        for value in (
            "Intake",
            "order-intake",
            "order intake",
            "_order",
            "order_",
            "order__intake",
            "2fast",
            "ordеr",
            "ｉntake",
            "intake\n",
            'in"take',
            "in'take",
            "../x",
            "x/../y",
            "/etc",
            "a.b",
            "a\\b",
            "{% raw %}",
            "None",
            "x" * 41,
        )
    ],
    *[
        ("package_name", value, TAKEN)
        for value in (
            "class",
            "async",
            "match",
            "type",
            "json",
            "email",
            "logging",
            "distutils",
            "fastapi",
            "anthropic",
            "opentelemetry",
            "sqlalchemy",
            "genai_prices",
            "modal",
            "httpx2",
            "grpc",
            "google",
            "tests",
            "honeycomb",
            "docs",
            "con",
            "nul",
            "com1",
        )
    ],
    *[
        ("modal_secret", value, "Use the name of a Modal secret")
        for value in ("", "-x", "a b", 'a"b', "a/b", "../x", "é", "x" * 65, "a\n")
    ],
    *[
        ("modal_secret", value, "That is a key")
        for value in ("hcaik_" + "x" * 58, "0123456789abcdef" * 2, "hcxlk_abc", "sk-ant-api03-x")
    ],
    *[
        (question, value, "Invalid choice")
        for question, value in (
            ("layout", "both"),
            ("honeycomb_region", "US"),
            ("honeycomb_plan", "premium"),
            ("otlp_protocol", "http"),
        )
    ],
]


@pytest.mark.parametrize(("question", "answer", "message"), BAD_ANSWERS)
def test_invalid_answer_is_rejected(
    question: str, answer: str, message: str, copie: Copie, sources: Path
) -> None:
    result = copie.copy(extra_answers={question: answer}, template_dir=sources)

    assert result.exit_code != 0
    assert message in str(result.exception)
    assert result.project_dir is None or not list(result.project_dir.iterdir())


@pytest.mark.parametrize("folder", ["..", "/etc", "src/../..", "a//b", "a b", "./a", "a/", "c:\\a"])
def test_package_folder_outside_the_repository_is_rejected(
    folder: str, copie: Copie, sources: Path
) -> None:
    answers = {"layout": "existing", "package_dir": folder}
    result = copie.copy(extra_answers=answers, template_dir=sources)

    assert result.exit_code != 0
    assert FOLDER in str(result.exception)


COMPUTED = {
    "here": ("/etc/", "copier copy TEMPLATE order-intake"),
    "recorded": ("{}", "--answers-file .copier-answers.yml"),
    "refused": ("no", "such as layout=existing"),
    "updated_from": ("v0.3.0 {{ 1 }}", "such as v0.3.0"),
    "template_source": ("$(id)", "copier copy TEMPLATE order-intake"),
    "observability_dir": ("../outside", "package_dir=src/acme"),
    "observability": ("os; import acme", "import_name=acme"),
    "tests_dir": ("../outside", "module_name=telemetry"),
    "service_dir": ("../outside", "package_name=order_intake"),
    "service_tests_dir": ("../outside", "layout=new"),
    "retired_files": ("README.md", "copier update"),
    "package_dir": ("src/acme", "as in order_intake"),
    "import_name": ("acme", "as in order_intake"),
    "module_name": ("telemetry", "is named observability"),
}
"""A value that a new service computes, one from outside that it rejects, and the end of the message."""


@pytest.mark.parametrize("name", COMPUTED)
def test_computed_value_cannot_be_set_from_outside(
    name: str, sources: Path, tmp_path: Path
) -> None:
    value, example = COMPUTED[name]
    answers = {"layout": "new", name: value}

    with pytest.raises(ValueError, match=rf"{name}.*{re.escape(example)}$"):
        copier_library.run_copy(str(sources), tmp_path / "service", answers, defaults=True)
    assert not (tmp_path / "service").exists()


def test_all_computed_values_are_tried() -> None:
    questions = yaml.safe_load((TEMPLATE / "copier.yml").read_text())
    # A secret answer is not recorded, so ours is computed too.
    computed = {
        name
        for name, question in questions.items()
        if not name.startswith("_") and (question.get("when") is False or question.get("secret"))
    }

    assert computed <= COMPUTED.keys()


def test_questions_fit_a_terminal_of_80_columns() -> None:
    questions = yaml.safe_load((TEMPLATE / "copier.yml").read_text())
    asked = {
        name: question["help"]
        for name, question in questions.items()
        if not name.startswith("_") and question.get("ask") is not False and "help" in question
    }

    assert {"layout", "otlp_protocol"} <= asked.keys()
    # Copier begins the line with a symbol. A longer question is cut off above its choices.
    assert not {name: text for name, text in asked.items() if len(text) > 77}


def test_at_least_sixty_invalid_answers_are_tried() -> None:
    assert len(BAD_ANSWERS) >= 60


@pytest.mark.parametrize(
    ("folder", "project_name", "package_name"),
    [
        ("order-intake", "order-intake", "order_intake"),
        ("Order Intake 2", "order-intake-2", "order_intake_2"),
        ("2026_orders", "orders", "orders"),
        ("Überweisung", "berweisung", "berweisung"),
        ("日本", "my-service", "my_service"),
        ("...", "my-service", "my_service"),
        ("test", "test-service", "test_service"),
        ("fastapi", "fastapi-service", "fastapi_service"),
        ("a'b\"c", "a-b-c", "a_b_c"),
        ("[x]*?", "x", "x"),
        ("x" * 60, "x" * 40, "x" * 40),
        ("a" * 35 + "-bcd-efg", "a" * 35 + "-bcd", "a" * 35 + "_bcd"),
    ],
)
def test_any_folder_name_gives_valid_defaults(
    folder: str, project_name: str, package_name: str, render: Render
) -> None:
    answers = yaml.safe_load((render(folder) / ".copier-answers.yml").read_text())

    assert answers["project_name"] == project_name
    assert answers["package_name"] == package_name


def test_answers_file_contains_the_answers_and_nothing_else(render: Render) -> None:
    answers = yaml.safe_load((render() / ".copier-answers.yml").read_text())

    assert {name for name in answers if not name.startswith("_")} == {
        "layout",
        "project_name",
        "package_name",
        "honeycomb_region",
        "honeycomb_plan",
        "otlp_protocol",
        "modal_secret",
    }


def taken_names() -> set[str]:
    names = (TEMPLATE / "hooks/questions/taken_names.jinja").read_text()
    return set(re.sub(r"{#.*?#}", "", names).split())


def test_names_of_the_standard_library_are_taken() -> None:
    # A name with a capital letter, cProfile, is rejected anyway.
    names = {name for name in sys.stdlib_module_names if re.fullmatch(r"[a-z]\w*", name)}

    assert {name for name in names if name == name.lower()} <= taken_names()


def test_names_of_the_dependencies_are_taken(render: Render, workshop: Workshop) -> None:
    project = render(otlp_protocol="grpc")
    workshop.install(project)

    [site_packages] = workshop.environment.glob("lib/python*/site-packages")
    installed = list(distributions(path=[str(site_packages)]))
    names = {
        found.metadata["Name"].lower().replace("-", "_").replace(".", "_") for found in installed
    }
    assert len(names) > 50
    assert names <= taken_names()


def test_copy_needs_neither_trust_nor_answers(tmp_path: Path) -> None:
    done = copier("copy", "--defaults", "--vcs-ref=HEAD", str(TEMPLATE), "my service", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(
        "Created my-service. Start it, with its traces in this terminal and without an account:\n"
        "\n"
        "    cd 'my service'\n"
        f"    uvx --from {TEMPLATE} copier-honeycomb traces -- uv run fastapi dev\n"
        "\n"
        "Send it a request in another terminal:\n"
        "\n"
        "    curl http://127.0.0.1:8000/api/sessions -H 'Content-Type: application/json'"
        """ -d '{"prompt": "Write a hello world function"}'\n"""
        "\n"
        "docs/observability.md describes custom spans, and how to send the traces to Honeycomb.\n\n"
    )
    assert "returning empty dict" not in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "my service/my_service/api/server.py").exists()


def test_answers_of_another_template_are_not_overwritten(tmp_path: Path) -> None:
    theirs = "_src_path: gh:somebody/else\nproject_name: theirs\n"
    (tmp_path / ".copier-answers.yml").write_text(theirs)

    done = copier("copy", "--defaults", "--vcs-ref=HEAD", str(TEMPLATE), ".", cwd=tmp_path)

    assert done.returncode == 1
    assert "--answers-file .copier-answers.honeycomb.yml" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".copier-answers.yml"]
    assert (tmp_path / ".copier-answers.yml").read_text() == theirs

    option = "--answers-file=.copier-answers.honeycomb.yml"
    done = copier("copy", "--defaults", option, "--vcs-ref=HEAD", str(TEMPLATE), ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".copier-answers.yml").read_text() == theirs
    assert (tmp_path / ".copier-answers.honeycomb.yml").exists()


def test_tools_accept_the_oldest_copier_that_the_template_accepts() -> None:
    settings = yaml.safe_load((TEMPLATE / "copier.yml").read_text())
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["project"]

    lines = [line for line in project["dependencies"] if line.startswith("copier>")]
    required = {str(Requirement(line).specifier) for line in lines}
    assert required == {f"<10,>={settings['_min_copier_version']}"}
