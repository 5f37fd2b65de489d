"""The tests and the types of a rendered service, with the newest and with older packages."""

from typing import Any

import pytest

from ..conftest import Render, Workshop
from ..depth import in_depth
from .answer_combinations import as_answers, covering_combinations, every_combination, label, pairs


def test_chosen_combinations_cover_each_pair_of_answers() -> None:
    everything = set().union(*map(pairs, every_combination()))
    covered = set().union(*map(pairs, covering_combinations()))

    assert covered == everything
    assert len(covering_combinations()) <= 6


@pytest.mark.parametrize(
    "combination",
    [
        combination if number < 1 else pytest.param(combination, marks=in_depth)
        for number, combination in enumerate(covering_combinations())
    ],
    ids=label,
)
def test_rendered_tests_and_type_checks_pass(
    combination: dict[str, Any], render: Render, workshop: Workshop
) -> None:
    project = render(**as_answers(combination))
    workshop.install(project)

    workshop.tool(project, "mypy")
    assert " passed" in workshop.tool(project, "pytest", "-q")


@pytest.mark.parametrize(
    "requirements",
    [
        # tests/module covers these for the module.
        pytest.param(
            ("fastapi==0.141.*", "opentelemetry-instrumentation-fastapi"), marks=in_depth
        ),
        ("fastapi==0.115.*", "opentelemetry-instrumentation-fastapi", "httpx"),
        pytest.param(("sqlalchemy==2.0.*",), marks=in_depth),
    ],
    ids=" ".join,
)
def test_rendered_tests_pass_with_older_packages(
    requirements: tuple[str, ...], render: Render, workshop: Workshop
) -> None:
    project = render()
    workshop.install(project, *requirements)

    assert " passed" in workshop.tool(project, "pytest", "-q")
