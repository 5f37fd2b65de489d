"""Modal functions with several callers or without a result, and inputs that end early."""

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from hooks.traces.receiver import Receiver

from ...depth import in_depth
from ..process import wait_until
from .app import deploy, lineage, running

JOBS: Final = """
import asyncio
import time
from pathlib import Path

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
        return len(text.split())


@app.function(**settings)
@modal.batched(max_batch_size=4, wait_ms=100_000)
def batch(texts: list[str], trace_context: list[dict[str, str]]) -> list[int]:
    with traced_call("jobs.batch", trace_context):
        with traced("split"):
            return [len(text.split()) for text in texts]


@app.function(**settings)
def slow(started: str, trace_context: dict[str, str] | None = None) -> None:
    with traced_call("jobs.slow", trace_context), traced("wait"):
        Path(started).touch()
        while True:
            time.sleep(0.01)


@app.function(**settings)
@modal.concurrent(max_inputs=10)
async def slow_async(started: str, trace_context: dict[str, str] | None = None) -> None:
    with traced_call("jobs.slow_async", trace_context), traced("wait"):
        Path(started).touch()
        await asyncio.sleep(600)


@app.function(**settings)
@modal.concurrent(max_inputs=10)
@modal.asgi_app()
def serve() -> FastAPI:
    enter_container("jobs.serve", serve)
    api = FastAPI()
    instrument_app(api)
    calls = {}

    @api.exception_handler(Exception)
    async def failed(request: object, error: Exception) -> JSONResponse:
        return JSONResponse(type(error).__name__, 500)

    @api.get("/for_each")
    async def for_each() -> None:
        await count.for_each.aio(["one", "two words"], kwargs={"trace_context": inject()})

    @api.get("/spawn_map")
    async def spawn_map() -> None:
        await count.spawn_map.aio(["one", "two words"], kwargs={"trace_context": inject()})

    @api.get("/batch")
    async def batched(text: str) -> int:
        return await batch.remote.aio(text, inject())

    @api.get("/batch_map")
    async def batch_map() -> list[int]:
        contexts = [inject()] * 2
        return [number async for number in batch.map.aio(["one", "two words"], contexts)]

    @api.get("/spawn/{function}")
    async def spawn(function: str, started: str) -> None:
        worker = slow if function == "slow" else slow_async
        calls[function] = await worker.spawn.aio(started, inject())

    @api.get("/cancel/{function}")
    async def cancel(function: str) -> None:
        await calls[function].cancel.aio()

    @api.get("/remote")
    async def remote(started: str) -> None:
        await slow.remote.aio(started, inject())

    return api
"""


class Links(Receiver):
    """Also keeps the links of spans: the trace and span IDs, by the name of the span."""

    def __init__(self) -> None:
        super().__init__()
        self.links: dict[str, list[tuple[str, str]]] = defaultdict(list)

    def add_spans(self, request: Any) -> None:
        super().add_spans(request)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    ids = [(link.trace_id.hex(), link.span_id.hex()) for link in span.links]
                    self.links[span.name] += ids


@in_depth  # five more containers; the calls that most applications make are in test_functions.py
def test_calls_of_batches_and_inputs_that_end_early(
    project: Path, modal_python: Path, image: Path, tmp_path: Path
) -> None:
    functions = deploy(JOBS, project, modal_python, tmp_path)
    receiver = Links()
    with running(functions, image, receiver) as app, ThreadPoolExecutor(4) as threads:
        assert [app.get(f"/{path}")[0] for path in ("for_each", "spawn_map")] == [200, 200]
        # Four inputs of three callers: one batch.
        results = [threads.submit(app.get, path) for path in ("/batch?text=a", "/batch?text=b+c")]
        assert app.get("/batch_map") == (200, [1, 2])
        assert {str(result.result()[1]) for result in results} == {"1", "2"}

        for function in ("slow", "slow_async"):
            started = tmp_path / function
            app.get(f"/spawn/{function}?started={started}")
            wait_until(started.exists, f"start of {function}")
            assert app.get(f"/cancel/{function}")[0] == 200
            finished = app.functions[function]
            wait_until(lambda id=finished: app.calls.finished(id) == 1, f"end of {function}")  # type: ignore[misc]

        started = tmp_path / "timeout"
        timed_out = threads.submit(app.get, f"/remote?started={started}")
        wait_until(started.exists, "start of the call that times out")
        app.calls.time_out(app.functions["slow"])
        assert timed_out.result() == (500, "FunctionTimeoutError")
        wait_until(lambda: app.calls.finished(app.functions["count"]) == 4, "spawned calls")
        # Modal does not document how it stops a container after a timeout.
        spans = app.stop(slow="SIGINT")

    assert Counter(lineage(span, spans) for span in spans) == Counter(
        [
            *(f"GET /{path}" for path in ("for_each", "spawn_map", "batch", "batch", "batch_map")),
            *["GET /for_each > jobs.count"] * 2,
            *["GET /spawn_map > jobs.count"] * 2,
            *("jobs.batch", "jobs.batch > split"),
            *["GET /spawn/{function}"] * 2,
            *["GET /cancel/{function}"] * 2,
            *("GET /spawn/{function} > jobs.slow", "GET /spawn/{function} > jobs.slow > wait"),
            "GET /spawn/{function} > jobs.slow_async",
            "GET /spawn/{function} > jobs.slow_async > wait",
            *("GET /remote", "GET /remote > jobs.slow", "GET /remote > jobs.slow > wait"),
        ]
    )
    # A batch is in none of the traces of its callers, and linked to each of them once.
    callers = [span for span in spans if span.name in ("GET /batch", "GET /batch_map")]
    assert len(callers) == 3
    assert sorted(receiver.links["jobs.batch"]) == sorted(
        (span.trace_id, span.span_id) for span in callers
    )
    [batch] = [span for span in spans if span.name == "jobs.batch"]
    assert (batch.kind, batch.attributes["faas.trigger"]) == ("server", "other")
    # A cancelled input is not a failure, a timeout is one, of its caller and of what it interrupts.
    failed = Counter(lineage(span, spans) for span in spans if span.status == "error")
    assert failed == Counter(
        ["GET /remote", "GET /remote > jobs.slow", "GET /remote > jobs.slow > wait"]
    )
    [(name, kind)] = [
        (span.name, event.attributes["exception.type"]) for span in spans for event in span.events
    ]
    assert (name, kind) == ("GET /remote", "modal.exception.FunctionTimeoutError")
