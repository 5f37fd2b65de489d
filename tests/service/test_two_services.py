"""A service that calls another: one trace, through real servers and a client that leaves a stream."""

import shutil
import socket
from pathlib import Path
from typing import Final

from hooks.traces.receiver import Receiver

from ..conftest import Workshop
from .process import Service
from .traces import PROMPT, TREE, tree

GATEWAY: Final = """
import asyncio, os
from collections.abc import AsyncIterator
import httpx2
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from order_intake.observability import instrument_app, setup_observability

setup_observability("gateway")
app = FastAPI()
instrument_app(app)


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


def notify() -> None:
    raise ValueError("no mail server")


@app.post("/orders")
async def order(body: dict[str, str], tasks: BackgroundTasks) -> int:
    tasks.add_task(notify)
    async with httpx2.AsyncClient(timeout=60) as client:
        response = await client.post(os.environ["BACKEND"] + "/api/sessions?token=secret", json=body)
    return response.status_code


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def pieces() -> AsyncIterator[str]:
        while True:
            yield "piece"
            await asyncio.sleep(0.01)

    return StreamingResponse(pieces())
"""


def test_a_request_and_the_services_behind_it_are_one_trace(
    project: Path, workshop: Workshop, tmp_path: Path
) -> None:
    copy = shutil.copytree(project, tmp_path / "project")
    (copy / "gateway.py").write_text(GATEWAY)
    command = ("uvicorn", "gateway:app", "--host=127.0.0.1", "--port={port}")
    with Receiver() as receiver:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        with (
            Service(workshop, copy, **variables) as backend,
            Service(workshop, copy, *command, **variables, BACKEND=backend.url) as gateway,
        ):
            assert gateway.post("/orders", PROMPT) == (200, 201)
            host, _, port = gateway.url.removeprefix("http://").rpartition(":")
            with socket.create_connection((host, int(port))) as client:
                client.sendall(b"GET /stream HTTP/1.1\r\nhost: gateway\r\n\r\n")
                while b"piece" not in client.recv(65_536):
                    pass
            gateway.stop()
            backend.stop()
        spans = receiver.spans

    [stream] = [span for span in spans if span.name == "GET /stream"]
    assert (stream.status, stream.attributes["request.client_disconnected"]) == ("unset", True)
    inner = "".join(f"    {line}\n" for line in TREE.splitlines())
    expected = f"POST /orders\n  POST\n{inner}  BackgroundTask notify\n"
    assert tree([span for span in spans if span is not stream]) == expected
    assert {span.resource["service.name"] for span in spans} == {"gateway", "order-intake"}
    [request] = [span for span in spans if span.name == "POST"]
    assert str(request.attributes["url.full"]).endswith("/api/sessions")  # without the query
    [failure] = [event for span in spans for event in span.events]
    assert failure.attributes["exception.message"] == "no mail server"
