"""The files that `copier-honeycomb scale` writes, and its errors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from hooks.cli import cli

Run = Callable[..., Result]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    answers = {
        "project_name": "order-intake",
        "honeycomb_region": "eu",
        "modal_secret": "honeycomb",
    }
    (tmp_path / ".copier-answers.yml").write_text(yaml.safe_dump(answers))
    return tmp_path


@pytest.fixture
def run(project: Path) -> Run:
    """Run `scale` in the project, with these variables alone."""

    def run(*arguments: str, **variables: str) -> Result:
        unset: dict[str, str | None] = {
            "HONEYCOMB_SAMPLE_RATE": None,
            "HONEYCOMB_KEEP_SLOW_MS": None,
            "HONEYCOMB_KEEP_COST_USD": None,
            "HONEYCOMB_API_ENDPOINT": None,
            "OTEL_EXPORTER_OTLP_ENDPOINT": None,
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": None,
        }
        command = ["scale", *arguments, "--project", str(project)]
        return CliRunner().invoke(cli, command, env=unset | variables)

    return run


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def rules(project: Path) -> dict[str, dict[str, Any]]:
    """The rules of Refinery by name."""
    [sampler] = read(project / "refinery/rules.yaml")["Samplers"].values()
    return {rule["Name"]: rule for rule in sampler["RulesBasedSampler"]["Rules"]}


def test_refinery_keeps_what_the_service_would_keep(run: Run, project: Path) -> None:
    result = run(
        "refinery",
        HONEYCOMB_SAMPLE_RATE="20",
        HONEYCOMB_KEEP_SLOW_MS="1999.5",
        HONEYCOMB_KEEP_COST_USD="0.00005",
    )

    assert result.exit_code == 0, result.output
    assert {
        name: (rule["SampleRate"], [tuple(each.values()) for each in rule.get("Conditions", [])])
        for name, rule in rules(project).items()
    } == {
        "errors": (1, [("error", "exists")]),
        "slow": (1, [("duration_ms", ">", 2000, "float")]),
        "expensive": (1, [("llm.cost_usd", ">", 0.00005, "float")]),
        "rest": (20, []),
    }


def test_options_override_variables(run: Run, project: Path) -> None:
    options = ("--sample-rate=5", "--keep-slow-ms=300", "--keep-cost-usd=0.2")
    run("refinery", *options, HONEYCOMB_SAMPLE_RATE="20", HONEYCOMB_KEEP_SLOW_MS="2000")

    written = rules(project)
    assert written["rest"]["SampleRate"] == 5
    assert written["slow"]["Conditions"][0]["Value"] == 300
    assert written["expensive"]["Conditions"][0]["Value"] == 0.2


def test_collector_samples_only_if_asked_even_if_the_service_does(run: Run, project: Path) -> None:
    run("collector", HONEYCOMB_SAMPLE_RATE="20")
    path = project / "collector/collector.yaml"
    assert read(path)["service"]["pipelines"]["traces"]["processors"] == ["memory_limiter"]
    assert "SampleRate" not in path.read_text()
    assert "feature-gates" not in (project / "collector/compose.yaml").read_text()

    run("collector", "--sample-rate=20", "--force")
    processors = read(path)["processors"]
    policies = {each["name"]: each for each in processors["tail_sampling"]["policies"]}
    assert list(policies) == ["errors", "slow", "expensive", "rest"]
    assert policies["rest"]["probabilistic"] == {"sampling_percentage": 5.0}
    assert "recordpolicy" in (project / "collector/compose.yaml").read_text()


@pytest.mark.parametrize("program", ["collector", "refinery"])
def test_spans_are_forwarded_to_the_region_of_the_project(
    program: str, run: Run, project: Path
) -> None:
    run(program)
    assert "https://api.eu1.honeycomb.io" in (project / f"{program}/{program}.yaml").read_text()


def test_nodes_of_refinery_call_each_other_by_host_name(run: Run, project: Path) -> None:
    run("refinery", "--nodes=3")

    services = read(project / "refinery/compose.yaml")["services"]
    nodes = {name: service["hostname"] for name, service in services.items() if name != "https"}
    assert nodes == {f"refinery-{number}": f"refinery-{number}" for number in (1, 2, 3)}
    peers = read(project / "refinery/refinery.yaml")["PeerManagement"]["Peers"]
    assert peers == [f"http://{name}:8081" for name in nodes]
    assert all(f"--to {name}:8080" in services["https"]["command"] for name in nodes)


def test_tested_collector_is_the_one_in_the_compose_file(run: Run, project: Path) -> None:
    run("collector")

    image = read(project / "collector/compose.yaml")["services"]["collector"]["image"]
    name, _, version = image.partition(":")
    assert name == "otel/opentelemetry-collector-contrib"
    modules = (Path(__file__).parent / "collector/go.mod").read_text()
    assert f"/otelcol v{version}\n" in modules
    assert f"/tailsamplingprocessor v{version}\n" in modules


def test_key_is_not_written(run: Run, project: Path) -> None:
    run("refinery", HONEYCOMB_API_KEY="c4n4ry")
    run("collector", HONEYCOMB_API_KEY="c4n4ry")

    written = [path.read_text() for path in project.glob("*/*.yaml")]
    assert len(written) == 5
    assert not any("c4n4ry" in text for text in written)


def test_output_lists_the_variables_of_a_service(run: Run, project: Path) -> None:
    output = run("refinery").output

    assert (
        "  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:8080\n  HONEYCOMB_SAMPLE_RATE=1\n" in output
    )
    assert (
        "  modal secret create honeycomb-endpoint"
        " OTEL_EXPORTER_OTLP_ENDPOINT=https://otel.example.com\n"
    ) in output

    answers = project / ".copier-answers.yml"
    answers.write_text(answers.read_text() + "otlp_protocol: grpc\n")
    output = run("refinery").output
    assert "  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317\n" in output
    assert "https://otel.example.com OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\n" in output


def test_edited_file_is_replaced_only_with_force(run: Run, project: Path) -> None:
    run("refinery")
    assert run("refinery").exit_code == 0
    edited = project / "refinery/rules.yaml"
    edited.write_text(edited.read_text().replace("SampleRate: 10", "SampleRate: 50"))

    result = run("refinery")

    assert result.exit_code == 1
    assert result.output == (
        "Error: refinery/rules.yaml would be replaced. Commit your edits, run this again with"
        " --force, and compare with `git diff`.\n"
    )
    assert rules(project)["rest"]["SampleRate"] == 50
    assert run("refinery", "--force").exit_code == 0
    assert rules(project)["rest"]["SampleRate"] == 10


def test_folder_that_cannot_be_created_is_named(run: Run, project: Path) -> None:
    (project / "refinery").write_text("a file")

    result = run("refinery")

    assert result.exit_code == 1
    path = project / "refinery/compose.yaml"
    assert result.output == f"Error: Could not write {path}: File exists.\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HONEYCOMB_SAMPLE_RATE", "0"),
        ("HONEYCOMB_SAMPLE_RATE", "ten"),
        ("HONEYCOMB_KEEP_SLOW_MS", "0"),
        ("HONEYCOMB_KEEP_COST_USD", "-1"),
        ("HONEYCOMB_KEEP_COST_USD", "inf"),
        ("HONEYCOMB_API_ENDPOINT", "api.honeycomb.io"),
    ],
)
def test_invalid_variable_is_named(name: str, value: str, run: Run, project: Path) -> None:
    result = run("refinery", **{name: value})

    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {name}")
    assert not (project / "refinery").exists()
