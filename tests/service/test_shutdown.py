"""Every span of every request is exported, however and whenever the service stops."""

import random
import signal
from pathlib import Path
from typing import Final

import pytest

from ..depth import in_depth
from .conftest import Serve
from .messages import export_lines
from .process import wait_until
from .traces import CLIENTS, PROMPT, SPANS, check_that_nothing_is_lost, load

TERM, INT = signal.SIGTERM, signal.SIGINT
UVICORN: Final = ("uvicorn", "order_intake.api.server:app", "--host=127.0.0.1", "--port={port}")
WORKERS: Final = (*UVICORN, "--workers=2")
RELOAD: Final = (*UVICORN, "--reload")
FASTAPI_DEV: Final = ("fastapi", "dev", "--host=127.0.0.1", "--port={port}")
GUNICORN: Final = (
    "gunicorn",
    "order_intake.api.server:app",
    "--worker-class=uvicorn_worker.UvicornWorker",
    "--bind=127.0.0.1:{port}",
    "--workers=2",
    # By default, workers that need 30 s to start, as on a busy machine, are killed.
    "--timeout=600",
)


def wait_for_load(sessions: list[str]) -> None:
    """Wait for a random number of sessions, so that the service stops at a random moment."""
    count = random.randint(1, 60)
    wait_until(lambda: len(sessions) >= count, f"{count} sessions")


# A platform stops the server with SIGTERM, a developer stops a reloader with SIGINT (Ctrl+C). The
# other two combinations differ from these in nothing but the supervisor's own signal handling.
@pytest.mark.parametrize(
    ("command", "how"),
    [
        pytest.param(UVICORN, TERM, id="uvicorn-SIGTERM"),
        pytest.param(UVICORN, INT, id="uvicorn-SIGINT"),
        pytest.param(WORKERS, TERM, id="uvicorn --workers-SIGTERM"),
        pytest.param(WORKERS, INT, id="uvicorn --workers-SIGINT", marks=in_depth),
        pytest.param(RELOAD, TERM, id="uvicorn --reload-SIGTERM", marks=in_depth),
        pytest.param(RELOAD, INT, id="uvicorn --reload-SIGINT", marks=in_depth),
        pytest.param(FASTAPI_DEV, TERM, id="fastapi dev-SIGTERM", marks=in_depth),
        pytest.param(FASTAPI_DEV, INT, id="fastapi dev-SIGINT"),
        pytest.param(GUNICORN, TERM, id="gunicorn-SIGTERM"),
        pytest.param((*GUNICORN, "--preload"), TERM, id="gunicorn --preload-SIGTERM"),
    ],
)
def test_shutdown_under_load_loses_no_span(
    command: tuple[str, ...], how: signal.Signals, serve: Serve
) -> None:
    with (
        serve(*command) as (receiver, service),
        load(service) as sessions,
    ):
        wait_for_load(sessions)
        service.stop(how)

    check_that_nothing_is_lost(sessions, receiver.spans)
    assert export_lines(service.log()) == []


def test_ctrl_c_in_the_terminal_of_gunicorn_loses_no_span(serve: Serve) -> None:
    with (
        serve(*GUNICORN) as (receiver, service),
        load(service) as sessions,
    ):
        wait_for_load(sessions)
        service.stop(signal.SIGINT, workers_too=True)

    check_that_nothing_is_lost(sessions, receiver.spans)


def test_workers_that_gunicorn_replaces_under_load_lose_no_span(serve: Serve) -> None:
    with (
        serve(*GUNICORN, "--max-requests=40") as (receiver, service),
        load(service) as sessions,
    ):
        wait_until(lambda: len(sessions) > 150, "150 sessions")
        service.stop()

    check_that_nothing_is_lost(sessions, receiver.spans)
    assert len({span.resource["service.instance.id"] for span in receiver.spans}) > 2


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(RELOAD, id="uvicorn --reload"),
        # The same reloader.
        pytest.param(FASTAPI_DEV, id="fastapi dev", marks=in_depth),
    ],
)
def test_reload_under_load_loses_no_span(
    command: tuple[str, ...], project: Path, serve: Serve
) -> None:
    source = project / "order_intake/api/server.py"

    with (
        serve(*command) as (receiver, service),
        load(service) as sessions,
    ):
        wait_for_load(sessions)

        def reloaded() -> bool:
            # The reloader notices only edits that follow its first look at the files.
            if service.log().count("Reloading...") == 0:
                source.touch()
            return service.log().count("Application startup complete.") > 1

        wait_until(reloaded, "a reload")
        before = len(sessions)
        wait_until(lambda: len(sessions) > before + CLIENTS, "sessions after the reload")
        service.stop(signal.SIGINT)

    check_that_nothing_is_lost(sessions, receiver.spans)
    assert len({span.resource["service.instance.id"] for span in receiver.spans}) > 1


def test_shutdown_during_the_first_request_loses_no_span(serve: Serve) -> None:
    # Prices are still being loaded.
    with serve() as (receiver, service):
        sessions = [service.post("/api/sessions", PROMPT)[1]["id"]]
        service.stop()

    check_that_nothing_is_lost(sessions, receiver.spans)


@pytest.mark.parametrize("how", [TERM, INT])
def test_shutdown_flushes_the_queue(how: signal.Signals, serve: Serve) -> None:
    with serve(OTEL_BSP_SCHEDULE_DELAY="600000") as (receiver, service):
        for _ in range(20):
            service.post("/api/sessions", PROMPT)
        assert not receiver.spans
        service.stop(how)

    assert len(receiver.spans) == 20 * SPANS


def test_shutdown_of_a_sampling_service_exports_every_slow_trace(serve: Serve) -> None:
    with (
        serve(
            HONEYCOMB_SAMPLE_RATE="1000000",
            # Every trace is slow, so every trace is kept.
            HONEYCOMB_KEEP_SLOW_MS="0.001",
        ) as (receiver, service),
        load(service) as sessions,
    ):
        wait_for_load(sessions)
        service.stop()

    check_that_nothing_is_lost(sessions, receiver.spans)
    assert not any("SampleRate" in span.attributes for span in receiver.spans)


WITHOUT_LIFESPAN: Final = """
from fastapi import FastAPI
from order_intake.observability import instrument_app, setup_observability, traced

setup_observability()
app = FastAPI()
instrument_app(app)


@app.get("/healthz")
async def healthz():
    return {}


@app.get("/work")
async def work():
    with traced("work"):
        return {}
"""


def test_sigint_without_lifespan_events_loses_no_span(project: Path, serve: Serve) -> None:
    (project / "without_lifespan.py").write_text(WITHOUT_LIFESPAN)
    command = ("uvicorn", "without_lifespan:app", "--host=127.0.0.1", "--port={port}")

    with serve(*command, "--lifespan=off") as (receiver, service):
        for _ in range(50):
            assert service.get("/work")[0] == 200
        service.stop(signal.SIGINT)

    assert sorted(span.name for span in receiver.spans) == ["GET /work"] * 50 + ["work"] * 50


UNFINISHED: Final = """
import asyncio

from fastapi import FastAPI
from order_intake.observability import instrument_app, setup_observability, traced

setup_observability()
app = FastAPI()
instrument_app(app)
tasks = []


@app.get("/healthz")
async def healthz():
    return {}


@app.get("/begin")
async def begin():
    async def work():
        with traced("work"):
            started.set()
            await asyncio.sleep(600)

    started = asyncio.Event()
    tasks.append(asyncio.create_task(work()))
    await started.wait()
    await asyncio.sleep(0.01)
    return {}
"""


def test_shutdown_exports_a_kept_trace_that_still_has_an_open_span(
    project: Path, serve: Serve
) -> None:
    (project / "unfinished.py").write_text(UNFINISHED)

    with serve(
        *("uvicorn", "unfinished:app", "--host=127.0.0.1", "--port={port}"),
        HONEYCOMB_SAMPLE_RATE="1000000",
        HONEYCOMB_KEEP_SLOW_MS="1",
    ) as (receiver, service):
        for _ in range(3):
            assert service.get("/begin")[0] == 200
        service.stop()

    assert [span.name for span in receiver.spans if span.kind == "server"] == ["GET /begin"] * 3
