"""Every span of every answered request arrives, however and whenever the service stops."""

import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.error import URLError

import pytest

from hooks.receiver import Receiver, Span

from .conftest import Render, Workshop
from .service import Service
from .test_service import PROMPT, TREE

CLIENTS: Final = 4
NAMES: Final = sorted(line.strip() for line in TREE.splitlines())
UVICORN: Final = ("uvicorn", "order_intake.api.server:app", "--host=127.0.0.1", "--port={port}")
GUNICORN: Final = (
    "gunicorn",
    "order_intake.api.server:app",
    "--worker-class=uvicorn_worker.UvicornWorker",
    "--bind=127.0.0.1:{port}",
    "--workers=2",
)


@pytest.fixture(scope="module")
def project(render: Render, workshop: Workshop) -> Path:
    project = render()
    workshop.install(project, "gunicorn", "uvicorn-worker")
    return project


Serve = Callable[..., AbstractContextManager[tuple[Receiver, Service]]]


@pytest.fixture
def serve(project: Path, workshop: Workshop) -> Serve:
    """Starts a service by `command`, and the receiver that it is traced to."""

    @contextmanager
    def served(*command: str, **variables: str) -> Iterator[tuple[Receiver, Service]]:
        with Receiver() as receiver:
            variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.endpoint
            with Service(workshop, project, *command, **variables) as service:
                yield receiver, service

    return served


class Asked(Protocol):
    """A service, in whatever it runs."""

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]: ...


@contextmanager
def load(service: Asked) -> Iterator[list[str]]:
    """Asks from several threads, while the block runs; yields the sessions that were answered."""
    answered: list[str] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            try:
                status, session = service.post("/api/sessions", PROMPT)
            except (URLError, HTTPException, OSError):
                # Not answered: the service has stopped, or is about to.
                time.sleep(0.01)
            else:
                assert status == 201
                answered.append(session["id"])

    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield answered
    finally:
        is_over.set()
        for client in clients:
            client.join()


def wait_for(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "What was waited for did not come."
        time.sleep(0.02)


def check_that_nothing_is_lost(answered: list[str], received: list[Span]) -> None:
    """Each session that was answered has a trace of all its spans, each of them once."""
    traces = defaultdict(list)
    for span in received:
        traces[span.trace_id].append(span)
    by_session = {
        span.attributes["session.id"]: sorted(each.name for each in trace)
        for trace in traces.values()
        for span in trace
        if span.name == "session.create"
    }
    arrived = {session: by_session.get(session, []) for session in answered}
    assert answered
    assert arrived == dict.fromkeys(answered, NAMES)
    assert len({span.span_id for span in received}) == len(received)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "command",
    [
        UVICORN,
        (*UVICORN, "--workers=2"),
        (*UVICORN, "--reload"),
        ("fastapi", "dev", "--host=127.0.0.1", "--port={port}"),
    ],
    ids=["uvicorn", "uvicorn --workers 2", "uvicorn --reload", "fastapi dev"],
)
def test_a_stop_under_load_loses_nothing(
    command: tuple[str, ...], how: signal.Signals, serve: Serve
) -> None:
    with (
        serve(*command) as (receiver, service),
        load(service) as answered,
    ):
        wait_for(lambda: bool(answered))
        time.sleep(random.uniform(0, 1.5))
        service.stop(how)

    check_that_nothing_is_lost(answered, receiver.spans)
    assert "Traces are" not in service.log()


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "--preload"])
def test_a_stop_of_gunicorn_under_load_loses_nothing(
    preload: tuple[str, ...], serve: Serve
) -> None:
    with (
        serve(*GUNICORN, *preload) as (receiver, service),
        load(service) as answered,
    ):
        wait_for(lambda: bool(answered))
        time.sleep(random.uniform(0, 1.5))
        service.stop()

    check_that_nothing_is_lost(answered, receiver.spans)


def test_an_interrupt_of_gunicorn_in_a_terminal_loses_nothing(serve: Serve) -> None:
    with (
        serve(*GUNICORN) as (receiver, service),
        load(service) as answered,
    ):
        wait_for(lambda: bool(answered))
        time.sleep(random.uniform(0, 1.5))
        service.stop(signal.SIGINT, workers_too=True)

    check_that_nothing_is_lost(answered, receiver.spans)


def test_workers_that_gunicorn_replaces_under_load_lose_nothing(serve: Serve) -> None:
    with (
        serve(*GUNICORN, "--max-requests=40") as (receiver, service),
        load(service) as answered,
    ):
        wait_for(lambda: len(answered) > 150)
        service.stop()

    check_that_nothing_is_lost(answered, receiver.spans)
    assert len({span.resource["service.instance.id"] for span in receiver.spans}) > 2


@pytest.mark.parametrize(
    "command",
    [(*UVICORN, "--reload"), ("fastapi", "dev", "--host=127.0.0.1", "--port={port}")],
    ids=["uvicorn --reload", "fastapi dev"],
)
def test_an_edit_under_load_loses_nothing(
    command: tuple[str, ...], project: Path, serve: Serve
) -> None:
    with (
        serve(*command) as (receiver, service),
        load(service) as answered,
    ):
        wait_for(lambda: bool(answered))
        # Files are looked at every quarter of a second, and first of all remembered.
        time.sleep(random.uniform(0.5, 1))
        (project / "order_intake/api/server.py").touch()
        wait_for(lambda: service.log().count("Application startup complete.") == 2)
        before = len(answered)
        wait_for(lambda: len(answered) > before + CLIENTS)
        service.stop()

    check_that_nothing_is_lost(answered, receiver.spans)
    assert len({span.resource["service.instance.id"] for span in receiver.spans}) == 2


@pytest.mark.parametrize("moment", ["at once", "while prices are loaded"])
def test_a_stop_in_the_first_moments_loses_nothing(moment: str, serve: Serve) -> None:
    with (
        serve() as (receiver, service),
    ):
        answered = [service.post("/api/sessions", PROMPT)[1]["id"]]
        time.sleep(0.2 * (moment == "while prices are loaded"))
        service.stop()

    check_that_nothing_is_lost(answered, receiver.spans)


def test_of_a_service_that_samples_every_failed_trace_arrives(serve: Serve) -> None:
    with (
        serve(
            HONEYCOMB_SAMPLE_RATE="1000000",
            # Each trace is slow, so that each one is kept.
            HONEYCOMB_KEEP_SLOW_MS="0.001",
        ) as (receiver, service),
        load(service) as answered,
    ):
        wait_for(lambda: bool(answered))
        time.sleep(random.uniform(0, 1))
        service.stop()

    check_that_nothing_is_lost(answered, receiver.spans)
    assert not any("SampleRate" in span.attributes for span in receiver.spans)


# Threads make spans all the while, so that a lock is held at many a fork.
FORKS = """
import multiprocessing
import sys
import threading
import time

from order_intake.observability import TokenUsage, flush, llm_call, setup_observability, traced

setup_observability()
is_over = threading.Event()
made = [0] * 3


def work(thread):
    while not is_over.is_set():
        with traced("in parent"):
            made[thread] += 1
        time.sleep(0.001)


def in_child(number):
    with traced("in child"):
        with llm_call("anthropic", "claude-sonnet-4-6") as call:
            call.record_usage(TokenUsage(input_tokens=10, output_tokens=1))
    # Ten of them load the prices at once.
    flush(20)


threads = [threading.Thread(target=work, args=[thread]) for thread in range(3)]
for thread in threads:
    thread.start()
if sys.argv[1] == "loading prices":
    with llm_call("anthropic", "claude-sonnet-4-6") as call:
        call.record_usage(TokenUsage(input_tokens=10, output_tokens=1))
elif sys.argv[1] == "serving":
    time.sleep(0.3)
context = multiprocessing.get_context("fork")
children = [context.Process(target=in_child, args=[number]) for number in range(10)]
for child in children:
    child.start()
    time.sleep(0.004)
for child in children:
    child.join(30)
    if child.exitcode is None:
        child.kill()
is_over.set()
for thread in threads:
    thread.join()
flush()
print(sum(made), [child.exitcode for child in children])
"""


@pytest.mark.parametrize("rate", ["1", "1000000"])
@pytest.mark.parametrize("parent", ["serving", "connecting", "loading prices"])
def test_processes_that_are_forked_after_set_up_send_their_spans_and_only_theirs(
    parent: str, rate: str, project: Path, workshop: Workshop
) -> None:
    python = str(workshop.environment / "bin/python")
    with Receiver() as receiver:
        printed = workshop.run(
            project,
            python,
            "-c",
            FORKS,
            parent,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_BSP_SCHEDULE_DELAY="1",
            HONEYCOMB_SAMPLE_RATE=rate,
            HONEYCOMB_KEEP_SLOW_MS="0.000001",
        )

    made, exit_codes = printed.strip().split(" ", 1)
    assert exit_codes == str([0] * 10), printed
    names = [span.name for span in receiver.spans]
    assert names.count("in child") == 10
    assert names.count("llm.call") == 10 + (parent == "loading prices")
    assert names.count("in parent") == int(made)
    assert len({span.span_id for span in receiver.spans}) == len(names)


ANSWERING = """
from fastapi import FastAPI
from PACKAGE.observability import instrument_app, setup_observability, traced
setup_observability()
app = FastAPI()
instrument_app(app)

@app.get("/healthz")
async def healthz(): return {}

@app.get("/work")
async def work():
    with traced("work"):
        return {}
"""


def test_where_no_lifespan_runs_an_interrupt_loses_nothing(project: Path, serve: Serve) -> None:
    [server] = project.glob("*/api/server.py")
    (project / "answering.py").write_text(ANSWERING.replace("PACKAGE", server.parents[1].name))

    with (
        serve(
            *("uvicorn", "answering:app", "--host=127.0.0.1", "--port={port}", "--lifespan=off")
        ) as (receiver, service),
    ):
        for _ in range(50):
            assert service.get("/work")[0] == 200
        service.stop(signal.SIGINT)

    assert sorted(span.name for span in receiver.spans) == ["GET /work"] * 50 + ["work"] * 50


def test_a_stop_sends_a_kept_trace_that_still_has_an_open_span(project: Path, serve: Serve) -> None:
    program = """
import asyncio
from fastapi import FastAPI
from PACKAGE.observability import instrument_app, setup_observability, traced
setup_observability()
app = FastAPI()
instrument_app(app)
tasks = []

@app.get("/healthz")
async def healthz(): return {}

@app.get("/begin")
async def begin():
    async def work():
        with traced("work"):
            await asyncio.sleep(60)
    tasks.append(asyncio.create_task(work()))
    await asyncio.sleep(0.01)
    return {}
"""
    [server] = project.glob("*/api/server.py")
    (project / "unfinished.py").write_text(program.replace("PACKAGE", server.parents[1].name))

    with (
        serve(
            *("uvicorn", "unfinished:app", "--host=127.0.0.1", "--port={port}"),
            HONEYCOMB_SAMPLE_RATE="1000000",
            HONEYCOMB_KEEP_SLOW_MS="1",
        ) as (receiver, service),
    ):
        for _ in range(3):
            assert service.get("/begin")[0] == 200
        service.stop()

    assert [span.name for span in receiver.spans if span.kind == "server"] == ["GET /begin"] * 3
