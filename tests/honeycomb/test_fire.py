"""`fire`: the spans that it sends exceed the threshold of each rendered trigger."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from ..conftest import Render
from ..fakes.honeycomb import INGEST_KEY, FakeHoneycomb, Key
from .conftest import Commands, Folder
from .test_queries_over_events import Dataset

FIRED: Final = (
    "high-error-rate",
    "slow-requests",
    "llm-cost-spike",
    "llm-provider-failure",
    "database-failure",
)


@pytest.fixture
def test_environment() -> Iterator[FakeHoneycomb]:
    with FakeHoneycomb(keys={INGEST_KEY: Key("ingest", environment="test")}) as honeycomb:
        yield honeycomb


def fire(folder: Path, honeycomb: FakeHoneycomb, *arguments: str) -> Any:
    commands = Commands(folder, HONEYCOMB_API_KEY=INGEST_KEY, HONEYCOMB_API_ENDPOINT=honeycomb.url)
    return commands.run("fire", *arguments)


def events_of(honeycomb: FakeHoneycomb) -> Iterator[dict[str, Any]]:
    for span in honeycomb.spans:
        shared = {**span.resource, "trace.trace_id": span.trace_id}
        yield {
            **shared,
            **span.attributes,
            "name": span.name,
            "span.kind": span.kind,
            "duration_ms": (span.end - span.start) / 1e6,
            **({"error": True} if span.status == "error" else {}),
        }
        for event in span.events:
            annotation = {"meta.annotation_type": "span_event", "parent_name": span.name}
            yield {**shared, **annotation, "name": event.name, **event.attributes}


@pytest.mark.parametrize("name", FIRED)
def test_spans_exceed_the_threshold(
    name: str, render: Render, test_environment: FakeHoneycomb
) -> None:
    project = render()

    result = fire(project, test_environment, name, "--environment", "test")

    assert (result.code, result.err) == (0, "")
    assert f"with app.fired_by={name} to Acme, test." in result.out
    assert {span.attributes["app.fired_by"] for span in test_environment.spans} == {name}
    (project / "events.json").write_text(json.dumps(list(events_of(test_environment))))
    dataset = Dataset(project)
    trigger = dataset.triggers[name]
    found = dataset.answer(trigger["query"])
    for having in trigger["query"].get("havings", ()):
        assert len(found) >= having["value"]
    operation = trigger["query"]["calculations"][0]
    values = dataset.values(operation.get("column", "name"), trigger["query"])
    result_of: dict[str, Callable[[list[Any]], float]] = {
        "COUNT": len,
        "SUM": sum,
        "P95": min,
        "AVG": lambda each: sum(each) / len(each),
    }
    assert result_of[operation["op"]](values) > trigger["threshold"]["value"] - (
        trigger["threshold"]["op"] == ">="
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing-traffic", "--environment", "test"), "stop all requests to the service in the"),
        (
            ("nothing", "--environment", "test"),
            "There is no trigger 'nothing'. The triggers are: data",
        ),
        (("high-error-rate", "--environment", "staging"), "belongs to the environment 'test', not"),
        (("high-error-rate",), "Missing option '--environment'"),
    ],
)
def test_trigger_that_cannot_fire_is_refused(
    arguments: tuple[str, ...],
    message: str,
    render: Render,
    test_environment: FakeHoneycomb,
) -> None:
    result = fire(render(), test_environment, *arguments)

    assert result.code == 1
    assert message in result.err
    assert not test_environment.spans


def test_production_is_refused(render: Render) -> None:
    with FakeHoneycomb() as honeycomb:
        result = fire(render(), honeycomb, "high-error-rate", "--environment", "Production")

    assert result.code == 1
    assert "'Production' is not a test environment" in result.err
    assert not honeycomb.spans


def test_trigger_on_an_unknown_derived_column_is_refused(
    folder: Folder, test_environment: FakeHoneycomb
) -> None:
    trigger = json.loads((folder.path / "honeycomb/triggers/errors.json").read_text())
    trigger["query"]["filters"] = [{"column": "sli.succeeded", "op": "=", "value": False}]
    folder.write("triggers/errors.json", trigger)

    result = fire(folder.path, test_environment, "errors", "--environment", "test")

    assert result.code == 1
    assert "depends on sli.succeeded, a calculated column" in result.err
