"""Work in threads and in other processes: in its trace, and exported when its process ends."""

import os
import ssl
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
import trustme

from hooks.traces.otlp import Span
from hooks.traces.receiver import Receiver

from ..depth import in_depth
from ..environments import Environment
from .suite.receivers import Proxy, ScriptedReceiver

POOL: Final = """
import asyncio, contextvars, multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from observability import extract, inject, setup_observability, traced

def work(name, carrier):
    setup_observability()
    with extract(carrier), traced(name):
        pass

def step(name):
    with traced(name):
        pass

async def threads():
    await asyncio.to_thread(step, "to_thread")
    with ThreadPoolExecutor(1) as pool:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(pool, contextvars.copy_context().run, step, "executor")

if __name__ == "__main__":
    setup_observability()
    start = multiprocessing.get_context(sys.argv[1])
    # The second request uses the process that the first one started.
    with ProcessPoolExecutor(1, mp_context=start) as pool:
        for request in ("first", "second"):
            with traced(request):
                pool.submit(work, f"{request} job", inject()).result()
                asyncio.run(threads())
"""


def path(span: Span, spans: list[Span]) -> str:
    parents = {each.span_id: each.name for each in spans}
    return f"{parents[span.parent_id]} > {span.name}" if span.parent_id else span.name


@pytest.mark.parametrize("start", ["fork", "spawn", pytest.param("forkserver", marks=in_depth)])
def test_threads_and_processes_are_in_the_trace_of_their_request(
    start: str, newest: Environment, http_rendering: Path, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(POOL)
    with Receiver() as receiver:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "PYTHONPATH": str(http_rendering),
            # Only the end of a process exports.
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
        }
        done = newest.run(tmp_path, str(program), start, variables=variables)
    assert (done.returncode, done.stdout) == (0, "")

    spans = receiver.spans
    assert Counter(path(span, spans) for span in spans) == Counter(
        [
            each
            for request in ("first", "second")
            for each in (
                request,
                f"{request} > {request} job",
                f"{request} > to_thread",
                f"{request} > executor",
            )
        ]
    )


SHORT: Final = """
from observability import setup_observability, traced
setup_observability()
with traced("only"):
    pass
"""


@pytest.mark.parametrize("count", [3, pytest.param(100, marks=in_depth)])
def test_short_process_loses_no_span(
    count: int, newest: Environment, http_rendering: Path, tmp_path: Path
) -> None:
    with Receiver() as receiver:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "PYTHONPATH": str(http_rendering),
        }

        def run(_: int) -> tuple[int, str]:
            done = newest.run(tmp_path, "-c", SHORT, variables=variables)
            return done.returncode, done.stdout

        # More processes at a time than processors: each waits for its turn.
        with ThreadPoolExecutor(4 * (os.cpu_count() or 1)) as pool:
            outcomes = list(pool.map(run, range(count)))

    assert outcomes == [(0, "")] * count
    assert [span.name for span in receiver.spans] == ["only"] * count


@in_depth  # waits for the end of the shutdown
def test_process_ends_although_a_tls_handshake_arrives_byte_by_byte(
    newest: Environment, http_rendering: Path, tmp_path: Path
) -> None:
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    # The whole handshake would need a minute, and its request may last for ten.
    with ScriptedReceiver(tls=tls) as receiver, Proxy(receiver.port, size=1) as proxy:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": proxy.url.replace("http", "https"),
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "authority.pem"),
            "OTEL_EXPORTER_OTLP_TIMEOUT": "600",
            "PYTHONPATH": str(http_rendering),
        }
        done = newest.run(tmp_path, "-c", SHORT, variables=variables)
        assert receiver.requests == 0

    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "Trace export is failing: no response before the shutdown.",
        "Trace export stopped; 1 spans were dropped.",
    ]
