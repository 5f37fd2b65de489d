"""Modal functions that a web function, another function or a schedule calls: one trace each."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from hooks.traces.receiver import Receiver

from ...fakes.modal import Deployment
from ..process import wait_until
from .app import App, deploy, lineage, running

JOBS = """
from collections.abc import Iterator

import modal
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from order_intake.observability import inject, instrument_app, traced
from order_intake.observability.integrations.modal import enter_container, traced_call

app = modal.App("jobs")
settings = {
    "image": modal.Image.debian_slim().add_local_python_source("order_intake"),
    "secrets": [modal.Secret.from_name("honeycomb-secrets")],
}


@app.function(**settings)
def count(text: str, trace_context: dict[str, str] | None = None) -> int:
    with traced_call("jobs.count", trace_context):
        with traced("split"):
            words = text.split()
        if not words:
            raise ValueError("no words")
        return len(words)


@app.function(**settings)
@modal.concurrent(max_inputs=10)
async def summarise(texts: list[str], trace_context: dict[str, str] | None = None) -> int:
    with traced_call("jobs.summarise", trace_context):
        counts = count.map.aio(texts, kwargs={"trace_context": inject()})
        return sum([number async for number in counts])


@app.function(**settings)
def words(text: str, trace_context: dict[str, str] | None = None) -> Iterator[str]:
    with traced_call("jobs.words", trace_context):
        yield from text.split()


@app.cls(**settings)
class Counter:
    @modal.method()
    async def longest(self, text: str, trace_context: dict[str, str] | None = None) -> int:
        with traced_call("jobs.Counter", trace_context):
            return max(map(len, text.split()))


@app.function(schedule=modal.Cron("0 * * * *"), **settings)
def clean_up() -> None:
    with traced_call("jobs.clean_up", trigger="timer"):
        count.remote("one", inject())


@app.function(**settings)
@modal.concurrent(max_inputs=10)
@modal.asgi_app()
def serve() -> FastAPI:
    enter_container("jobs.serve", serve)
    api = FastAPI()
    instrument_app(api)

    @api.exception_handler(Exception)
    async def failed(request: object, error: Exception) -> JSONResponse:
        return JSONResponse("failed", 500)

    @api.get("/remote")
    async def remote() -> int:
        return await count.remote.aio("one two", inject())

    @api.get("/sync")
    def sync() -> int:
        return count.remote("one two", inject())

    @api.get("/spawn")
    async def spawn() -> None:
        await count.spawn.aio("one", inject())

    @api.get("/map")
    async def map() -> int:
        return await summarise.remote.aio(["one", "two words"], inject())

    @api.get("/starmap")
    async def starmap() -> int:
        lengths = count.starmap.aio([("one",), ("two words",)], kwargs={"trace_context": inject()})
        return sum([number async for number in lengths])

    @api.get("/generator")
    async def generator() -> list[str]:
        return [word async for word in words.remote_gen.aio("one two", inject())]

    @api.get("/method")
    async def method() -> int:
        return await Counter().longest.remote.aio("one three", inject())

    @api.get("/fail")
    async def fail() -> int:
        return await count.remote.aio("", inject())

    @api.get("/local")
    async def local() -> int:
        return count.local("one")

    @api.get("/alone")
    async def alone() -> int:
        return await count.remote.aio("one")

    return api
"""


@pytest.fixture(scope="module")
def functions(
    project: Path, modal_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Deployment]:
    return deploy(JOBS, project, modal_python, tmp_path_factory.mktemp("jobs"))


@pytest.fixture
def app(functions: list[Deployment], image: Path) -> Iterator[App]:
    with running(functions, image, Receiver()) as app:
        yield app


def test_calls_between_containers_are_in_the_trace_of_their_caller(app: App) -> None:
    results = {
        "remote": 2,
        "sync": 2,
        "spawn": None,
        "map": 3,
        "starmap": 3,
        "generator": ["one", "two"],
        "method": 5,
        "local": 1,
        "alone": 1,
    }
    assert {path: app.get(f"/{path}")[1] for path in results} == results
    assert app.get("/fail")[0] == 500
    app.calls.schedule(app.functions["clean_up"])
    wait_until(lambda: app.calls.finished(app.functions["clean_up"]) == 1, "the scheduled call")
    wait_until(lambda: app.calls.finished(app.functions["count"]) == 10, "all calls")

    # Modal scales down by a message and preempts by SIGINT; SIGTERM is not documented.
    spans = app.stop(count="SIGTERM", words="SIGINT", summarise="SIGTERM")

    called = ["GET /{} > jobs.count", "GET /{} > jobs.count > split"]
    assert Counter(lineage(span, spans) for span in spans) == Counter(
        [
            *(f"GET /{path}" for path in (*results, "fail")),
            *(
                each.format(path)
                for path in ("remote", "sync", "spawn", "starmap", "starmap", "local", "fail")
                for each in called
            ),
            "GET /map > jobs.summarise",
            *["GET /map > jobs.summarise > jobs.count"] * 2,
            *["GET /map > jobs.summarise > jobs.count > split"] * 2,
            "GET /generator > jobs.words",
            "GET /method > jobs.Counter",
            "jobs.count",
            "jobs.count > split",
            "jobs.clean_up",
            "jobs.clean_up > jobs.count",
            "jobs.clean_up > jobs.count > split",
        ]
    )
    workers = [span for span in spans if span.name.startswith("jobs.")]
    for span in workers:
        assert span.resource["faas.name"] in (span.name, "jobs.serve")
    [local] = [span for span in workers if span.resource["faas.name"] == "jobs.serve"]
    assert (local.name, local.kind) == ("jobs.count", "internal")
    remote = [span for span in workers if span is not local]
    assert {span.kind for span in remote} == {"server"}
    assert {(span.name, span.attributes["faas.trigger"]) for span in remote} == {
        ("jobs.count", "other"),
        ("jobs.summarise", "other"),
        ("jobs.words", "other"),
        ("jobs.Counter", "other"),
        ("jobs.clean_up", "timer"),
    }
    assert len({span.attributes["faas.invocation_id"] for span in remote}) == len(remote)
    cold = Counter(span.name for span in remote if "faas.coldstart" in span.attributes)
    assert cold == dict.fromkeys({span.name for span in remote}, 1)
    # The exception of a function is one event in the trace of its caller.
    assert {span.name for span in spans if span.status == "error"} == {"jobs.count", "GET /fail"}
    [(name, exception)] = [
        (span.name, event.attributes["exception.message"])
        for span in spans
        for event in span.events
    ]
    assert (name, exception) == ("jobs.count", "no words")
