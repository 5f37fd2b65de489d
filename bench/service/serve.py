"""Serve the application with uvicorn.

    python -m bench.service.serve VARIANT PORT

`VARIANT` is a module of `bench.service.telemetry`. The first line on stdout is JSON: the cost of
start-up. Each line on stdin is answered with one line: the CPU and memory used so far, for `flush`
after every span is exported.
"""

import time

_began = time.perf_counter()
_cpu_before = time.process_time()

import json
import resource
import sys
from pathlib import Path
from threading import Thread

import uvicorn

from bench.service.app import Service
from bench.service.telemetry import Telemetry, telemetry


def _used() -> dict[str, float]:
    return {"cpu_seconds": time.process_time(), "memory_mb": _memory_mb()}


def _memory_mb() -> float:
    """Resident memory; its peak on systems without /proc."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def _print(values: dict[str, float]) -> None:
    print(json.dumps(values), flush=True)


def _answer(traced_by: Telemetry) -> None:
    for line in sys.stdin:
        if line.strip() == "flush":
            traced_by.flush()
        _print(_used())


def main() -> None:
    variant, port = sys.argv[1:]
    traced_by = telemetry(variant)
    app = Service(traced_by).app
    started = {
        "cpu_seconds": time.process_time() - _cpu_before,
        "wall_seconds": time.perf_counter() - _began,
    }
    _print(started)
    Thread(target=_answer, args=[traced_by], daemon=True).start()
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main()
