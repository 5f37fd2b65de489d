"""The tests in suite/, run in environments with older and newer packages, against a rendering."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import pytest

from ..conftest import TEMPLATE
from ..depth import in_depth
from ..environments import LLAMA_INDEX, LLM_SDKS, NEWEST, OLDER, OLDEST, Environment, environment

SUITE: Final = Path(__file__).parent / "suite"
# Middle versions matter only to the integration with the library that they are a version of.
_FASTAPI: Final = ("test_fastapi.py", "test_redaction.py", "test_requests.py")
_SQLALCHEMY: Final = ("test_sqlalchemy.py", "test_redaction.py")
# Tests whose spans the tracer provider creates, without those that start a process each.
_TRACES: Final = (
    "test_fastapi.py",
    "test_http_clients.py",
    "test_llm.py",
    "test_logging.py",
    "test_modal.py",
    "test_processor.py",
    "test_redaction.py",
    "test_requests.py",
    "test_sampling.py",
    "test_spans.py",
    "test_sqlalchemy.py",
)
_BASE: Final = ("genai-prices", "opentelemetry-sdk", "pytest", "sqlalchemy")
_CONTRIB: Final = "opentelemetry-instrumentation-fastapi"
_HTTPX2: Final = (
    "test_failed_request_is_an_error",
    "test_redirect_is_a_part_of_its_request",
    "test_request_inside_a_span_that_describes_it_has_no_span",
    "test_request_is_a_span_whose_context_is_sent",
    "test_request_of_a_tool_has_a_span",
    "test_request_of_an_llm_call_or_outside_a_trace_has_no_span",
)
_WITH_GRPC: Final = {
    "test_grpc_falls_back_to_http_with_a_warning": "requires gRPC not to be selected"
}
_PRICED: Final = (
    "test_agent_inside_an_open_call_leaves_the_cost_to_its_own_calls",
    "test_call_of_a_tool_inside_a_call_has_its_own_cost",
    "test_cached_tokens_have_separate_prices",
    "test_call_without_usage_has_that_of_the_span_of_the_sdk",
    "test_loading_prices_neither_delays_the_call_nor_lengthens_its_span",
    "test_model_and_tier_of_the_response_decide_the_cost",
    "test_names_in_usage_are_looked_up_once",
    "test_other_call_inside_an_open_call_has_a_span",
    "test_outermost_span_of_a_call_has_its_cost",
    "test_prices_that_do_not_load_delay_neither_requests_nor_the_shutdown",
    "test_raw_usage_has_its_price",
    "test_several_calls_inside_an_open_call_have_the_cost",
    "test_tokens_of_the_whole_call_count_not_those_of_its_parts",
    "test_usage_without_a_number_of_tokens_is_a_type_error",
)
_WITHOUT_GRPC: Final = dict.fromkeys(
    ("test_endpoint_over_grpc_has_no_path", "test_endpoint_over_grpc_may_be_host_and_port"),
    "requires gRPC to be selected",
)


@dataclass(frozen=True)
class Case:
    """An environment, the tests that run in it, and those that must be skipped, with the reason."""

    requirements: tuple[str, ...]
    files: tuple[str, ...]
    skipped: dict[str, str]


CASES: Final = {
    "newest": Case(
        NEWEST,
        (),
        {
            **_WITH_GRPC,
            "test_request_that_the_contrib_package_traces_too_has_one_span": (
                "requires opentelemetry-instrumentation-fastapi"
            ),
        },
    ),
    "oldest": Case(
        OLDEST,
        (),
        {
            **_WITH_GRPC,
            **dict.fromkeys(_HTTPX2, "requires httpx2"),
            **dict.fromkeys(_PRICED, "requires genai-prices"),
            "test_log_records_and_metrics_are_exported_over_grpc": (
                "requires opentelemetry-exporter-otlp-proto-grpc"
            ),
            "test_request_that_a_contrib_package_traces_too_has_one_span": (
                "requires opentelemetry-instrumentation-requests"
            ),
            "test_server_spans_have_modal_ids_and_the_first_is_a_cold_start": "requires modal",
        },
    ),
    "fastapi-0.141": Case(("fastapi==0.141.*", "httpx2", _CONTRIB, *_BASE), _FASTAPI, {}),
    "fastapi-0.115": Case(OLDER, _FASTAPI, {}),
    "sqlalchemy-2.0": Case(("fastapi", "httpx2", *_BASE, "sqlalchemy==2.0.*"), _SQLALCHEMY, {}),
}


def run_suite(python: Environment, rendering: Path, *files: str) -> dict[str, str]:
    """Run `files`, or all, and return the reason of each skipped test. Fail if one fails."""
    # Outside suite/, because several environments run it at the same time.
    report = python.folder / f"{rendering.parent.name}.xml"
    done = python.run(
        SUITE,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *files),
        variables={"PYTHONPATH": str(rendering)},
    )
    assert done.returncode == 0, done.stdout
    skipped: dict[str, str] = {}
    for test in ElementTree.parse(report).iter("testcase"):
        if (skip := test.find("skipped")) is not None:
            skipped[test.attrib["name"].partition("[")[0]] = skip.attrib["message"]
    return skipped


@pytest.mark.parametrize("name", CASES)
def test_suite_passes_with_older_and_newer_packages(
    name: str, shared: Path, rendering: Path
) -> None:
    case = CASES[name]
    python = environment(shared, name, case.requirements)

    assert run_suite(python, rendering, *case.files) == case.skipped


def test_suite_passes_without_grpc(newest: Environment, http_rendering: Path) -> None:
    assert not (http_rendering / "observability/_grpc.py").exists()
    skipped = run_suite(newest, http_rendering, "test_settings.py")

    assert skipped == _WITHOUT_GRPC


def test_suite_passes_without_the_tracer_provider_of_the_module(
    newest: Environment, rendering: Path, tmp_path: Path
) -> None:
    project = shutil.copytree(rendering, tmp_path / "project")
    (project / "observability/_tracer_provider.py").unlink()

    assert run_suite(newest, project, *_TRACES) == {}


@in_depth  # imports ten SDKs and frameworks; test_oldest_and_newest.py calls the two most used
@pytest.mark.parametrize(
    ("name", "requirements", "arguments"),
    [
        ("llm-sdks", LLM_SDKS, ["--ignore=test_llama_index.py"]),
        ("llama-index", LLAMA_INDEX, ["test_llama_index.py"]),
    ],
)
def test_sdk_suite_passes(
    name: str,
    requirements: tuple[str, ...],
    arguments: list[str],
    shared: Path,
    rendering: Path,
) -> None:
    done = environment(shared, name, requirements).run(
        SUITE.with_name("sdk_suite"),
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments),
        variables={"PYTHONPATH": f"{rendering}:{TEMPLATE}"},
    )

    assert done.returncode == 0, done.stdout
