"""One prompt on its way to code."""

import uuid
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel, Field

from ..generation import IR


class SessionStatus(StrEnum):
    """How far a session is."""

    DRAFTED = "drafted"
    """There is an IR and no code yet."""
    VALIDATED = "validated"
    """There is code, and it validated."""
    FAILED = "failed"
    """`failure` says why."""


class PromptSession(BaseModel):
    """A prompt and what was made of it."""

    id: str = Field(default_factory=lambda: str(uuid.uuid4()))
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    prompt: str
    user_id: str
    source: str
    """Where the prompt came in: api."""
    provider: str
    model: str
    status: SessionStatus = SessionStatus.DRAFTED
    ir: IR | None = None
    code: str | None = None
    failure: str | None = None

    def fail(self, reason: str) -> None:
        self.status = SessionStatus.FAILED
        self.failure = reason
