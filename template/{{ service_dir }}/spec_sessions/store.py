"""Storage of sessions: SQLite on one machine, PostgreSQL for several."""

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
from sqlalchemy.schema import CreateTable

from .session import PromptSession

DEFAULT_URL: Final = "sqlite+aiosqlite:///sessions.db"

_sessions = Table(
    "sessions",
    MetaData(),
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
    """Reads and writes the sessions of one database.

    Raises SQLAlchemyError if the database fails, or OSError if it cannot be reached.
    """

    def __init__(self, url: str = DEFAULT_URL) -> None:
        self._engine: AsyncEngine = create_async_engine(
            _async_url(url),
            # Errors quote the statement, but not its parameters, which contain prompts.
            hide_parameters=True,
            # Replaces connections that the server closed, because they were idle or it restarted.
            pool_pre_ping=True,
        )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "SessionStore":
        """Use the database at DATABASE_URL, or a SQLite file in the working directory.

        Raises ValueError if the URL is malformed or its database is not supported.
        """
        return cls(environment.get("DATABASE_URL", "").strip() or DEFAULT_URL)

    async def open(self) -> None:
        """Create the table if it does not exist."""
        async with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                # Fails if another container creates the table at the same time.
                await connection.execute(text("SELECT pg_advisory_xact_lock(1)"))
            # create_all() looks first and creates then, and another worker may be faster.
            await connection.execute(CreateTable(_sessions, if_not_exists=True))

    async def close(self) -> None:
        await self._engine.dispose()

    async def add(self, session: PromptSession) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(insert(_sessions).values(**_row(session)))

    async def save(self, session: PromptSession) -> None:
        """Update the status, code and failure of a session."""
        changed = {"status": session.status, "code": session.code, "failure": session.failure}
        async with self._engine.begin() as connection:
            await connection.execute(
                update(_sessions).where(_sessions.c.id == session.id).values(**changed)
            )

    async def get(self, session_id: str) -> PromptSession | None:
        if "\0" in session_id:  # PostgreSQL does not store null bytes in text
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
    # SQLite does not store the time zone.
    created_at = row["created_at"].replace(tzinfo=row["created_at"].tzinfo or UTC)
    return PromptSession.model_validate({**row, "created_at": created_at})


def _async_url(text: str) -> URL:
    """Convert a URL to the async driver; hosts issue postgres:// URLs with libpq's options."""
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
        "DATABASE_URL must be postgresql://user:password@host/database or sqlite:///file.db."
    )
