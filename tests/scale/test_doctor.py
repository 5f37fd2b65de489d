"""`doctor` with a Collector or Refinery at the endpoint."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from hooks.doctor import arrival, gateway

from ..conftest import Render, Workshop
from ..depth import in_depth
from ..fakes.honeycomb import CONFIGURATION_KEY, INGEST_KEY, FakeHoneycomb
from ..fakes.refinery import FakeRefinery
from ..honeycomb.conftest import Commands, Result
from ..service.process import free_port
from .programs import Collector, Refinery, new_project, write

Start = Callable[[str], AbstractContextManager[str]]
UNKNOWN_KEY: Final = INGEST_KEY[:-1] + "z"


@pytest.fixture(scope="module")
def commands(render: Render, workshop: Workshop) -> Commands:
    project = render()
    workshop.install(project)
    (project / ".venv").symlink_to(workshop.environment)
    return Commands(project, HONEYCOMB_API_KEY=INGEST_KEY)


@pytest.fixture
def honeycomb() -> Iterator[FakeHoneycomb]:
    with FakeHoneycomb() as honeycomb:
        yield honeycomb


@pytest.fixture(params=["fake", pytest.param("real", marks=in_depth)])
def refinery(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Start Refinery in front of a Honeycomb at this URL, and yield its own URL."""

    @contextmanager
    def start(honeycomb: str) -> Iterator[str]:
        if request.param == "fake":
            with FakeRefinery(honeycomb) as fake:
                yield fake.url
            return
        program = request.getfixturevalue("refinery_program")
        project = new_project(tmp_path / "project")
        write(project, "refinery")
        # The key is for Honeycomb to check.
        anybody = {"AccessKeys": {"AcceptOnlyListedKeys": False}}
        with Refinery(program, project, honeycomb, anybody) as real:
            yield real.endpoints.http

    return start


def findings(result: Result) -> list[tuple[str, str]]:
    """Level and text of the findings about the gateway."""
    return [
        (finding["level"], finding["text"])
        for finding in result.json["findings"]
        if finding["about"] == "gateway"
    ]


def test_refinery_that_reaches_honeycomb_is_recognised(
    refinery: Start, commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    with refinery(honeycomb.url) as url:
        result = commands.run("doctor", "--json", OTEL_EXPORTER_OTLP_ENDPOINT=url)

    assert result.code == 0
    [(level, text)] = findings(result)
    assert level == "ok"
    assert text == (
        f"Refinery 3.2.2 at {url} is ready, and Honeycomb knows the key: team Acme, environment"
        " Production"
    )


def test_two_samplers_are_one_warning(
    refinery: Start, commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    with refinery(honeycomb.url) as url:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "HONEYCOMB_SAMPLE_RATE": "4"}
        result = commands.run("doctor", "--json", **variables)

    [(level, text), _] = findings(result)
    assert level == "warning"
    assert text == (
        "the service keeps 1 in 4 traces, and Refinery samples what is left. Weights are multiplied,"
        " but errors of other services in dropped traces are lost. Unset HONEYCOMB_SAMPLE_RATE."
    )
    assert sum(finding["level"] == "warning" for finding in result.json["findings"]) == 1


def test_refinery_that_discards_spans_is_diagnosed(refinery: Start, commands: Commands) -> None:
    with refinery(f"http://127.0.0.1:{free_port()}") as url:
        result = commands.run("doctor", "--json", OTEL_EXPORTER_OTLP_ENDPOINT=url)

    assert result.code == 1
    [(level, text)] = findings(result)
    assert level == "problem"
    assert text == (
        f"Refinery 3.2.2 at {url} does not reach Honeycomb (503), so it accepts spans and discards"
        " them. Check HoneycombAPI in refinery.yaml, and the network of Refinery."
    )


def test_key_that_honeycomb_does_not_know_is_diagnosed_behind_refinery(
    refinery: Start, commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    with refinery(honeycomb.url) as url:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "HONEYCOMB_API_KEY": UNKNOWN_KEY}
        result = commands.run("doctor", "--json", **variables)

    [(level, text)] = findings(result)
    assert level == "problem"
    assert text.startswith("Honeycomb does not know the key (401), so Refinery 3.2.2 at ")


@in_depth
def test_collector_is_recognised_and_forwards_the_test_span(
    commands: Commands,
    honeycomb: FakeHoneycomb,
    collector_program: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = new_project(tmp_path / "project")
    write(project, "collector")
    monkeypatch.setattr(arrival, "ARRIVAL_TIMEOUT", 60.0)
    with Collector(collector_program, project, honeycomb.url) as collector:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoints.http,
            "HONEYCOMB_API_ENDPOINT": honeycomb.url,
            "HONEYCOMB_CONFIG_KEY": CONFIGURATION_KEY,
        }
        monkeypatch.setattr(gateway, "HEALTH_PORT", free_port())
        unknown = commands.run("doctor", "--json", **variables)
        monkeypatch.setattr(gateway, "HEALTH_PORT", urlsplit(collector.health).port)
        healthy = commands.run("doctor", "--json", **variables)

    name = f"a Collector at {collector.endpoints.http}"
    assert findings(healthy) == [("ok", f"{name}, healthy")]
    [(level, text)] = findings(unknown)
    assert (level, text.startswith(f"{name}; its health check on port")) == ("ok", True)
    [dataset] = [each for each in healthy.json["findings"] if each["about"] == "dataset"]
    assert dataset["level"] == "ok"
    assert dataset["text"].startswith("order-intake, last written to ")
    assert [span.name for span in honeycomb.spans] == ["self-check"] * 2


@in_depth
def test_collector_that_does_not_forward_spans_is_reported(
    commands: Commands,
    honeycomb: FakeHoneycomb,
    collector_program: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrival, "ARRIVAL_TIMEOUT", 0.1)
    project = new_project(tmp_path / "project")
    write(project, "collector")
    honeycomb.store.take_span("order-intake", {})
    for dataset in honeycomb.store.datasets.values():
        dataset["last_written_at"] = "2026-01-01T00:00:00Z"
    honeycomb.ingest_status = 503
    with Collector(collector_program, project, honeycomb.url) as collector:
        result = commands.run(
            "doctor",
            "--json",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoints.http,
            HONEYCOMB_API_ENDPOINT=honeycomb.url,
            HONEYCOMB_CONFIG_KEY=CONFIGURATION_KEY,
        )

    [dataset] = [each for each in result.json["findings"] if each["about"] == "dataset"]
    assert dataset["level"] == "unknown"
    assert "so the test span has not arrived" in dataset["text"]
