"""Call the application in this process, without a server or a client: the work for callgrind.

    python -m bench.service.in_process VARIANT WARM_UP_REQUESTS REQUESTS

Every phase starts and ends with a call of the C function `getsid`, which nothing else here uses:
callgrind writes its counters and resets them at each call (`--dump-before=getsid`).
"""

import asyncio
import gc
import json
import os
import sys
from collections.abc import MutableMapping
from typing import Any

# Every variant needs it: not a part of what tracing adds to start-up.
import uvicorn  # noqa: F401
from fastapi import FastAPI

from bench.service.app import Service
from bench.service.telemetry import telemetry

_BODY = json.dumps({"prompt": "Write a function that greets somebody by name. " * 4}).encode()
_SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": "/api/sessions",
    "raw_path": b"/api/sessions",
    "query_string": b"",
    "root_path": "",
    "headers": [
        (b"host", b"127.0.0.1"),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(_BODY)).encode()),
    ],
    "client": ("127.0.0.1", 50_000),
    "server": ("127.0.0.1", 8_000),
}


def _end_phase() -> None:
    os.getsid(0)
    # Each phase starts without garbage: else the number of full collections in it would vary.
    gc.collect()
    os.getsid(0)


async def _call(app: FastAPI, requests: int) -> None:
    created = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": _BODY, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal created
        created += message.get("status") == 201

    for _ in range(requests):
        await app({**_SCOPE, "state": {}}, receive, send)
    if created != requests:
        raise SystemExit(f"{requests - created} of {requests} requests failed.")


async def main() -> None:
    variant, warm_up, requests = sys.argv[1:]
    _end_phase()
    traced_by = telemetry(variant)
    app = Service(traced_by).app
    _end_phase()
    for count in (1, int(warm_up), int(requests)):
        await _call(app, count)
        traced_by.flush()
        _end_phase()


if __name__ == "__main__":
    asyncio.run(main())
