"""The service that is measured: one POST that makes six spans, traced in one of several ways.

    python app.py VARIANT PORT

`VARIANT` is a module of `telemetry`. The model answers at once and the database is SQLite in
memory, so that nothing is waited for. Each line on stdin is answered by one on stdout, of JSON:
`flush` after everything that was traced is sent, `measure` with what this process has used so far.
"""

import time

_began = time.perf_counter()
_cpu_before = time.process_time()

import itertools
import json
import resource
import sys
import uuid
from pathlib import Path
from threading import Thread

# Services use it, and instrumentation imports it: it is not what tracing adds to start-up.
import sqlalchemy.ext.asyncio  # noqa: F401
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import Column, MetaData, String, Table, Text, create_engine
from sqlalchemy.pool import StaticPool
from telemetry import Telemetry, Usage, telemetry

PROVIDER = "anthropic"
MODEL = "claude-sonnet-4-6"

_metadata = MetaData()
_sessions = Table(
    "sessions", _metadata, Column("id", String(36), primary_key=True), Column("prompt", Text)
)


class SessionRequest(BaseModel):
    """What a client sends."""

    prompt: str


class SessionResponse(BaseModel):
    """What a client gets."""

    id: str
    code: str


class Service:
    """The application and what it works with."""

    def __init__(self, traced_by: Telemetry) -> None:
        self._telemetry = traced_by
        self._engine = create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
        traced_by.set_up()
        self.app = FastAPI(title="bench-service")
        traced_by.instrument(self.app, self._engine)
        self.app.post("/api/sessions", status_code=201)(self.create_session)
        self._calls = itertools.count()
        _metadata.create_all(self._engine)

    async def create_session(self, body: SessionRequest) -> SessionResponse:
        session_id = str(uuid.uuid4())
        with self._telemetry.span(
            "session.create",
            {
                "session.id": session_id,
                "session.source": "api",
                "session.prompt_length": len(body.prompt),
                "user.id": "anonymous",
            },
        ) as span:
            ir = await self._generate_ir(body.prompt)
            span.set_attribute("session.holes_count", 2)
            span.set_attribute("session.status", "drafted")
            with self._engine.begin() as connection:
                connection.execute(_sessions.insert().values(id=session_id, prompt=body.prompt))
        return SessionResponse(id=session_id, code=await self._generate_code(ir))

    async def _generate_ir(self, prompt: str) -> str:
        with self._telemetry.span(
            "ir.generate", {"ir.provider": PROVIDER, "ir.model": MODEL}
        ) as span:
            with self._telemetry.llm_call(PROVIDER, MODEL) as call:
                # Calls differ: as good as no two have the same tokens and so the same cost.
                number = next(self._calls)
                usage = Usage(200 + number * 37 % 997, 100 + number * 91 % 2999)
                self._telemetry.record_usage(call, usage)
            span.set_attribute("ir.holes_count", 2)
            span.set_attribute("ir.constraints_count", 3)
            span.set_attribute("ir.validation_status", "valid")
            return prompt.lower()

    async def _generate_code(self, ir: str) -> str:
        with self._telemetry.span(
            "code.generate", {"code.language": "python", "code.generator": MODEL}
        ) as span:
            code = f'def answer() -> str:\n    return "{ir}"\n'
            span.set_attribute("code.retries", 0)
            span.set_attribute("code.success", True)
            span.set_attribute("code.lines", code.count("\n"))
            return code


def _measured() -> dict[str, float]:
    return {"cpu_seconds": time.process_time(), "memory_mb": _memory_mb()}


def _memory_mb() -> float:
    """Resident now; on systems that do not tell, the most there was."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def _say(values: dict[str, float]) -> None:
    print(json.dumps(values), flush=True)


def _answer(traced_by: Telemetry) -> None:
    for line in sys.stdin:
        if line.strip() == "flush":
            traced_by.flush()
        _say(_measured())


def main() -> None:
    variant, port = sys.argv[1:]
    traced_by = telemetry(variant)
    app = Service(traced_by).app
    started = {
        "cpu_seconds": time.process_time() - _cpu_before,
        "wall_seconds": time.perf_counter() - _began,
    }
    _say(started)
    Thread(target=_answer, args=[traced_by], daemon=True).start()
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main()
