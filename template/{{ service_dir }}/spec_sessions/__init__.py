"""Sessions: a prompt and the code generated for it, stored in a database."""

from .manager import PromptSessionManager
from .session import PromptSession, SessionStatus
from .store import SessionStore

__all__ = ["PromptSession", "PromptSessionManager", "SessionStatus", "SessionStore"]
