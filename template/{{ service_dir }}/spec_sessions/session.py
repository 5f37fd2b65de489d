"""A session: a prompt, its specification and its code."""

import uuid
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel, Field

from ..generation import IR


class SessionStatus(StrEnum):
    """Progress of a session."""

    DRAFTED = "drafted"
    """Has an IR, but no code yet."""
    VALIDATED = "validated"
    """Has validated code."""
    FAILED = "failed"
    """`failure` has the reason."""


class PromptSession(BaseModel):
    """A prompt, and the IR and code generated for it."""

    id: str = Field(default_factory=lambda: str(uuid.uuid4()))
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    prompt: str
    user_id: str
    source: str
    """Origin of the prompt, such as api."""
    provider: str
    model: str
    status: SessionStatus = SessionStatus.DRAFTED
    ir: IR | None = None
    code: str | None = None
    failure: str | None = None

    def fail(self, reason: str) -> None:
        self.status = SessionStatus.FAILED
        self.failure = reason
