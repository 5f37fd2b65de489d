"""Worker processes of multiprocessing end with os._exit, and flush before."""

from pathlib import Path
from typing import Final

import pytest

from hooks.traces.receiver import Receiver

from ..conftest import Workshop

WORKERS: Final = """
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from order_intake.observability import setup_observability, traced

setup_observability()


def work(number):
    setup_observability()
    with traced("in worker"):
        return number


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with traced("in parent"):
        pass
    process = context.Process(target=work, args=[1])
    process.start()
    process.join()
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert sorted(pool.map(work, range(6))) == list(range(6))
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_worker_process_flushes_when_it_exits(
    method: str, project: Path, workshop: Workshop
) -> None:
    program = project / "workers.py"
    program.write_text(WORKERS)
    with Receiver() as receiver:
        workshop.tool(
            project,
            "python",
            str(program),
            method,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_BSP_SCHEDULE_DELAY="600000",
            PYTHONPATH=str(project),
        )

    names = [span.name for span in receiver.spans]
    assert sorted(names) == ["in parent"] + ["in worker"] * 7
    assert len({span.span_id for span in receiver.spans}) == len(names)
