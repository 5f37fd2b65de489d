"""The self-check of a rendered module: `python -m <package>.observability`."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hooks.traces.receiver import Receiver

from ..conftest import Render, Workshop
from ..fakes.honeycomb import INGEST_KEY, FakeHoneycomb
from ..fakes.receiver import FaultyReceiver

SETTINGS = {
    "enabled",
    "service_name",
    "service_version",
    "environment",
    "exporter",
    "protocol",
    "endpoint",
    "headers",
    "timeout",
    "sample_rate",
    "keep_slow_ms",
    "keep_cost_usd",
}


@pytest.fixture(scope="module")
def project(render: Render, workshop: Workshop) -> Path:
    project = render()
    workshop.install(project)
    return project


def self_check(
    project: Path, workshop: Workshop, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [workshop.environment / "bin/python", "-m", "order_intake.observability", *arguments],
        cwd=project,
        env=workshop.variables | variables,
        check=False,
        capture_output=True,
        text=True,
    )


def report(project: Path, workshop: Workshop, status: int, **variables: str) -> Any:
    done = self_check(project, workshop, "--json", **variables)
    assert (done.returncode, done.stderr) == (status, ""), done.stdout + done.stderr
    assert INGEST_KEY not in done.stdout
    return json.loads(done.stdout)


@pytest.mark.parametrize("rate", ["1", "1000000"])
def test_test_span_is_accepted_at_any_sample_rate(
    rate: str, project: Path, workshop: Workshop
) -> None:
    with FakeHoneycomb() as honeycomb:
        reported = report(
            project,
            workshop,
            0,
            HONEYCOMB_API_KEY=INGEST_KEY,
            HONEYCOMB_API_ENDPOINT=honeycomb.url,
            HONEYCOMB_SAMPLE_RATE=rate,
            OTEL_SERVICE_NAME="shop",
        )

    [span] = honeycomb.spans
    assert span.name == "self-check"
    assert reported["span"] == {"trace_id": span.trace_id, "accepted": True, "reason": None}
    assert reported["warnings"] == []
    assert reported["settings"].keys() >= SETTINGS
    assert reported["settings"]["service_name"] == span.resource["service.name"] == "shop"
    assert reported["settings"]["sample_rate"] == int(rate)
    assert reported["settings"]["headers"] == {"x-honeycomb-team": "hcaik_...(64 characters)"}


@pytest.mark.parametrize("fault", ["401", "413", "500", "garbage"])
def test_rejected_span_has_a_reason(fault: Any, project: Path, workshop: Workshop) -> None:
    with FaultyReceiver(fault) as receiver:
        reported = report(project, workshop, 1, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)

    assert reported["span"]["accepted"] is False
    assert reported["span"]["reason"] in reported["warnings"]


def test_missing_key_is_the_reason(project: Path, workshop: Workshop) -> None:
    reported = report(project, workshop, 1)

    assert reported["span"]["accepted"] is False
    assert reported["span"]["reason"].startswith("HONEYCOMB_API_KEY is not set")


@pytest.mark.parametrize(
    "variables",
    [
        {"HONEYCOMB_ENABLED": "false"},
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_SAMPLER": "always_off"},
        {"OTEL_TRACES_EXPORTER": "console"},
        {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_exported_if_telemetry_is_off(
    variables: dict[str, str], project: Path, workshop: Workshop
) -> None:
    with Receiver() as receiver:
        variables |= {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        reported = report(project, workshop, 0, **variables)

    assert reported["span"] == {"trace_id": None, "accepted": None, "reason": None}
    assert not receiver.spans


def test_text_shows_settings_and_outcome(project: Path, workshop: Workshop) -> None:
    with Receiver() as receiver:
        endpoint = receiver.endpoint
        done = self_check(project, workshop, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)

    assert done.returncode == 0
    assert f"endpoint             {endpoint}/v1/traces\n" in done.stdout
    assert done.stdout.endswith(f"\nTest span {receiver.spans[0].trace_id} accepted\n")


def test_former_command_names_its_replacement(project: Path, workshop: Workshop) -> None:
    for arguments in (["plan", "--prune"], ["doctor"], ["apply"], ["marker", "--url", "a b"]):
        done = self_check(project, workshop, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        [line] = done.stderr.splitlines()
        command = f"`uvx --from TEMPLATE copier-honeycomb {shlex.join(arguments)}`"
        assert line == f"It has moved: run {command}; docs/observability.md names TEMPLATE."
