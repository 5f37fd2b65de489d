"""`python -m <package>.observability`: the settings and the outcome of a test span."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ..environments import Environment
from ..fakes.receiver import FaultyReceiver

KEY = "hcaik_" + "k" * 58


def run(
    python: Environment, project: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    return python.run(project, "-m", "observability", *arguments, variables=variables)


def check(python: Environment, project: Path, **variables: str) -> Any:
    """Return the result of a self-check with exit status 0."""
    done = run(python, project, "--json", **variables)
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout)


@pytest.mark.parametrize("end", ["oldest", "newest"])
def test_accepted_span_is_sent_at_any_sample_rate(
    end: str, http_rendering: Path, request: pytest.FixtureRequest
) -> None:
    python: Environment = request.getfixturevalue(end)

    with FaultyReceiver() as receiver:
        result = check(
            python,
            http_rendering,
            HONEYCOMB_API_KEY=KEY,
            HONEYCOMB_SAMPLE_RATE="1000000",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        )

    [span] = receiver.spans
    assert span.name == "self-check"
    assert result["span"] == {"trace_id": span.trace_id, "accepted": True, "reason": None}
    assert result["warnings"] == []
    settings = result["settings"]
    assert settings["enabled"] is True
    assert settings["service_name"] == "shop"
    assert settings["sample_rate"] == 1_000_000
    assert settings["endpoint"] == f"{receiver.endpoint}/v1/traces"


def test_key_is_redacted(newest: Environment, http_rendering: Path) -> None:
    with FaultyReceiver() as receiver:
        variables = {
            "HONEYCOMB_API_KEY": KEY,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=a-secret",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        }
        done = run(newest, http_rendering, "--json", **variables)

    headers = json.loads(done.stdout)["settings"]["headers"]
    assert headers["x-honeycomb-team"].startswith("hcaik_...")
    assert "64 characters" in headers["x-honeycomb-team"]
    assert headers.keys() == {"x-honeycomb-team", "x-tenant"}
    assert "kkk" not in done.stdout
    assert "secret" not in done.stdout


def test_rejected_span_exits_with_1_and_the_reason(
    newest: Environment, http_rendering: Path
) -> None:
    with FaultyReceiver("401") as receiver:
        variables = {
            "HONEYCOMB_API_KEY": KEY,
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        }
        as_json = run(newest, http_rendering, "--json", **variables)
        as_text = run(newest, http_rendering, **variables)

    result = json.loads(as_json.stdout)
    assert (as_json.returncode, as_text.returncode) == (1, 1)
    assert result["span"]["accepted"] is False
    assert "(401). Set HONEYCOMB_API_KEY to an ingest key" in result["span"]["reason"]
    assert result["warnings"] == [result["span"]["reason"]]
    assert result["span"]["reason"] in as_text.stdout


@pytest.mark.parametrize(
    ("variables", "enabled", "exporter"),
    [
        ({"HONEYCOMB_ENABLED": "false", "HONEYCOMB_API_KEY": KEY}, False, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "none", "HONEYCOMB_API_KEY": KEY}, True, "none"),
    ],
    ids=["disabled", "exporter none"],
)
def test_without_an_exporter_the_span_is_neither_accepted_nor_rejected(
    variables: dict[str, str],
    enabled: bool,
    exporter: str,
    newest: Environment,
    http_rendering: Path,
) -> None:
    result = check(newest, http_rendering, **variables)

    assert result["span"]["accepted"] is result["span"]["reason"] is None
    assert result["settings"]["enabled"] is enabled
    assert result["settings"]["exporter"] == exporter
    assert result["warnings"] == []


def test_invalid_setting_is_one_warning(newest: Environment, http_rendering: Path) -> None:
    with FaultyReceiver() as receiver:
        result = check(
            newest,
            http_rendering,
            HONEYCOMB_KEEP_SLOW_MS="soon",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        )

    [warning] = result["warnings"]
    assert warning.startswith("HONEYCOMB_KEEP_SLOW_MS must be a number above 0")
    assert result["settings"]["keep_slow_ms"] == 10_000


def test_failed_setup_is_the_reason(newest: Environment, http_rendering: Path) -> None:
    broken = """
import sys
from opentelemetry import trace
trace.set_tracer_provider(trace.NoOpTracerProvider())
from observability.__main__ import main
sys.exit(main(["--json"]))
"""
    done = newest.run(http_rendering, "-c", broken, variables={"HONEYCOMB_API_KEY": KEY})

    assert done.returncode == 1
    reason = "Could not set up telemetry; the service runs without it: NoOpTracerProvider does"
    assert json.loads(done.stdout)["span"]["reason"].startswith(reason)


@pytest.mark.parametrize("command", ["doctor", "plan", "apply", "marker"])
def test_former_command_exits_with_1_and_the_new_command(
    command: str, newest: Environment, http_rendering: Path
) -> None:
    done = run(newest, http_rendering, command)

    assert done.returncode == 1
    [line] = done.stdout.splitlines()
    assert f"copier-honeycomb {command}" in line
