"""Runs `copier-honeycomb` in the process of the test, against a fake Honeycomb."""

import io
import json
import os
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import pytest

from hooks import cli
from hooks.doctor import arrival
from hooks.honeycomb import client

from ..fakes.honeycomb import CONFIGURATION_KEY, FakeHoneycomb

_TELEMETRY: Final = ("HONEYCOMB_", "MODAL_", "OTEL_", "ENVIRONMENT", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Result:
    """Exit status and output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Commands:
    """Runs commands in `folder`, with `variables` instead of the machine's."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.variables = variables

    def run(self, *arguments: str, **variables: str) -> Result:
        kept = {name: text for name, text in os.environ.items() if not name.startswith(_TELEMETRY)}
        out, err = io.StringIO(), io.StringIO()
        code: Any = 0
        with (
            patch.dict(os.environ, kept | self.variables | variables, clear=True),
            chdir(self.folder),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            try:
                cli.main(arguments)
            except SystemExit as stopped:
                code = stopped.code
        return Result(code, out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True, scope="session")
def _short_pauses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(client, "FIRST_PAUSE", 0.001)
        patched.setattr(arrival, "ARRIVAL_TIMEOUT", 0.1)
        patched.setattr(arrival, "POLL_SECONDS", 0.02)
        patched.setattr(arrival, "RESPONSE_TIMEOUT", 60.0)
        yield


QUERY: Final = {
    "calculations": [{"op": "COUNT"}],
    "filters": [{"column": "span.kind", "op": "=", "value": "server"}],
    "time_range": 3600,
}
# One object of each kind, with each kind of reference.
FILES: Final[dict[str, Any]] = {
    "derived_columns/succeeded.json": {
        "alias": "sli.succeeded",
        "expression": 'IF($span.kind = "server", !EXISTS($error))',
    },
    "slos/succeed.json": {
        "name": "Succeed",
        "sli": {"alias": "sli.succeeded"},
        "time_period_days": 30,
        "target_per_million": 950000,
    },
    "burn_alerts/succeed.json": {
        "slo": {"name": "Succeed"},
        "alert_type": "exhaustion_time",
        "exhaustion_minutes": 240,
        "recipients": [{"type": "email", "target": "on-call@example.com"}],
    },
    "triggers/errors.json": {
        "name": "Errors",
        "description": "Too many errors.",
        "query": {**QUERY, "filters": [{"column": "error", "op": "exists"}]},
        "threshold": {"op": ">", "value": 5},
        "frequency": 900,
        "recipients": [],
    },
    "boards/overview.json": {
        "name": "Overview",
        "type": "flexible",
        "preset_filters": [{"column": "service.version", "alias": "Version"}],
        "panels": [
            {"type": "text", "text_panel": {"content": "# Overview"}},
            {"type": "slo", "slo_panel": {"slo": {"name": "Succeed"}}},
            {
                "type": "query",
                "query_panel": {
                    "query": QUERY,
                    "query_annotation": {"name": "Requests", "description": "Each hour."},
                },
            },
            {
                "type": "query",
                "position": {"x_coordinate": 6, "width": 6, "height": 4},
                "query_panel": {
                    "query": {**QUERY, "breakdowns": ["sli.succeeded", "llm.cost_usd"]},
                    "query_annotation": {"name": "By success"},
                    "query_style": "table",
                    "visualization_settings": {"charts": [{"chart_type": "tsbar"}]},
                },
            },
        ],
    },
}
_REGISTRY: Final = "groups:\n  - attributes:\n      - {id: llm.cost_usd, type: double}\n"
_ANSWERS: Final = """\
_commit: 0.4.0
_src_path: gh:example/copier-honeycomb
project_name: order-intake
package_name: order_intake
honeycomb_region: us
honeycomb_plan: pro
"""


class Folder:
    """A project that has the template's answers and definitions, but no code."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / ".copier-answers.yml").write_text(_ANSWERS)
        (path / "honeycomb").mkdir()
        (path / "honeycomb/telemetry.yaml").write_text(_REGISTRY)
        for name, body in FILES.items():
            self.write(name, body)

    def write(self, name: str, body: Any) -> None:
        path = self.path / "honeycomb" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(body))

    def remove(self, name: str) -> None:
        (self.path / "honeycomb" / name).unlink()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def honeycomb() -> Iterator[FakeHoneycomb]:
    with FakeHoneycomb(plan="pro") as honeycomb:
        yield honeycomb


@pytest.fixture
def commands(folder: Folder, honeycomb: FakeHoneycomb) -> Commands:
    """Commands in `folder`, with a key of `honeycomb`."""
    return Commands(
        folder.path, HONEYCOMB_API_ENDPOINT=honeycomb.url, HONEYCOMB_CONFIG_KEY=CONFIGURATION_KEY
    )
