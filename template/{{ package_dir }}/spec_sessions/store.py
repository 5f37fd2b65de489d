"""Where sessions are kept: SQLite for one machine, PostgreSQL for more."""

import os
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    MetaData,
    String,
    Table,
    Text,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.engine import URL, RowMapping, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from .session import PromptSession

DEFAULT_URL: Final = "sqlite+aiosqlite:///sessions.db"

_metadata = MetaData()
_sessions = Table(
    "sessions",
    _metadata,
    Column("id", String(36), primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("prompt", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("ir", JSON),
    Column("code", Text),
    Column("failure", Text),
)


class SessionStore:
    """The sessions of one database."""

    def __init__(self, url: str = DEFAULT_URL) -> None:
        # An error names the statement; its parameters hold prompts and stay out of it.
        self._engine: AsyncEngine = create_async_engine(_async_url(url), hide_parameters=True)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "SessionStore":
        """The database of DATABASE_URL, else a SQLite file in the working directory.

        Raises ValueError for a URL that is none, or of a database without a driver here.
        """
        return cls(environment.get("DATABASE_URL", "").strip() or DEFAULT_URL)

    async def open(self) -> None:
        """Makes the table where it is missing."""
        async with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                # Containers that start together would make it at the same time, and fail.
                await connection.execute(text("SELECT pg_advisory_xact_lock(1)"))
            await connection.run_sync(_metadata.create_all)

    async def close(self) -> None:
        await self._engine.dispose()

    async def add(self, session: PromptSession) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(insert(_sessions).values(**_row(session)))

    async def save(self, session: PromptSession) -> None:
        """Keeps what became of a session: its status, code and failure."""
        changed = {"status": session.status, "code": session.code, "failure": session.failure}
        async with self._engine.begin() as connection:
            await connection.execute(
                update(_sessions).where(_sessions.c.id == session.id).values(**changed)
            )

    async def get(self, session_id: str) -> PromptSession | None:
        if "\0" in session_id:  # no text for PostgreSQL
            return None
        async with self._engine.connect() as connection:
            result = await connection.execute(select(_sessions).where(_sessions.c.id == session_id))
            row = result.mappings().one_or_none()
        return None if row is None else _session(row)


def _row(session: PromptSession) -> dict[str, Any]:
    row = session.model_dump()
    row["status"] = session.status.value
    return row


def _session(row: RowMapping) -> PromptSession:
    # SQLite forgets the time zone.
    created_at = row["created_at"].replace(tzinfo=row["created_at"].tzinfo or UTC)
    return PromptSession.model_validate({**row, "created_at": created_at})


def _async_url(text: str) -> URL:
    """The URL with the async driver, as hosts hand out postgres:// with libpq's options."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = make_url("no://")
    if url.drivername in ("postgres", "postgresql", "postgresql+asyncpg"):
        ssl = url.query.get("sslmode") or url.query.get("ssl")
        url = url.set(drivername="postgresql+asyncpg").difference_update_query(
            ["sslmode", "ssl", "channel_binding"]
        )
        return url.update_query_dict({"ssl": ssl}) if ssl else url
    if url.drivername in ("sqlite", "sqlite+aiosqlite"):
        return url.set(drivername="sqlite+aiosqlite")
    raise ValueError(
        "DATABASE_URL is neither postgresql://user:password@host/database nor sqlite:///file.db."
    )
