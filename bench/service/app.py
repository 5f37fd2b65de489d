"""The measured application: one POST that makes six spans, traced in one of several ways.

The model answers immediately and the database is SQLite in memory, so nothing waits.
"""

import itertools
import uuid

# Services use it, and instrumentation imports it: not a part of what tracing adds to start-up.
import sqlalchemy.ext.asyncio  # noqa: F401
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import Column, MetaData, String, Table, Text, create_engine
from sqlalchemy.pool import StaticPool

from bench.service.telemetry import Telemetry, Usage

PROVIDER = "anthropic"
MODEL = "claude-sonnet-4-6"

_metadata = MetaData()
_sessions = Table(
    "sessions", _metadata, Column("id", String(36), primary_key=True), Column("prompt", Text)
)


class SessionRequest(BaseModel):
    """The body of a request."""

    prompt: str


class SessionResponse(BaseModel):
    """The body of a response."""

    id: str
    code: str


class Service:
    """The application, and the database that it writes to."""

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
                # Token counts differ from call to call, so that no cost can be cached.
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
