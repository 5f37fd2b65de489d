"""Sessions: a prompt, what was made of it, and where that is kept."""

from .manager import PromptSessionManager
from .session import PromptSession, SessionStatus
from .store import SessionStore

__all__ = ["PromptSession", "PromptSessionManager", "SessionStatus", "SessionStore"]
