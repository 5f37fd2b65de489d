"""Create sessions: generate an IR and then code for a prompt, and store each step."""

import asyncio
from typing import Any

from ..generation import CodeRejected, IRRejected, generate_code, generate_ir
from ..observability import span_attributes, traced
from ..providers import Provider, ProviderError
from .session import PromptSession, SessionStatus
from .store import SessionStore


class PromptSessionManager:
    """Creates sessions with a provider and stores them."""

    def __init__(self, provider: Provider, store: SessionStore) -> None:
        self._provider = provider
        self._store = store
        self._requests: set[asyncio.Task[Any]] = set()

    async def create_from_prompt(
        self, prompt: str, *, user_id: str, source: str = "api"
    ) -> PromptSession:
        """Create a session: `validated`, or `failed` if the model's responses do not validate.

        Raises ProviderError if the provider fails. The session is then stored as `failed`.
        """
        if task := asyncio.current_task():
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)
        session = PromptSession(
            prompt=prompt,
            user_id=user_id,
            source=source,
            provider=self._provider.name,
            model=self._provider.model,
        )
        with span_attributes(user_id=user_id, conversation_id=session.id):
            await self._draft(session)
            if session.status is SessionStatus.DRAFTED:
                await self._write_code(session)
        return session

    async def get(self, session_id: str) -> PromptSession | None:
        return await self._store.get(session_id)

    async def finish(self, timeout: float = 5.0) -> None:
        """Wait until the requests that the server cancelled have stored their sessions."""
        if others := self._requests - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=timeout)

    async def _draft(self, session: PromptSession) -> None:
        with traced(
            "session.create",
            {
                "session.id": session.id,
                "session.source": session.source,
                "session.prompt_length": len(session.prompt),
            },
        ) as span:
            failure: ProviderError | None = None
            try:
                session.ir = await generate_ir(session.prompt, self._provider)
            except IRRejected as error:
                session.fail(error.detail)
            except ProviderError as error:
                session.fail(str(error))
                failure = error
            span.set_attribute("session.holes_count", len(session.ir.holes) if session.ir else 0)
            span.set_attribute("session.status", session.status.value)
            await self._store.add(session)
            if failure is not None:
                failure.session_id = session.id
                raise failure

    async def _write_code(self, session: PromptSession) -> None:
        assert session.ir is not None
        try:
            session.code = await generate_code(session.ir, self._provider)
            session.status = SessionStatus.VALIDATED
        except CodeRejected as error:
            session.fail(error.detail)
        except ProviderError as error:
            session.fail(str(error))
            error.session_id = session.id
            raise
        finally:
            if session.status is SessionStatus.DRAFTED:  # cancelled, or an unexpected exception
                session.fail("Code generation was interrupted.")
            # A second cancellation does not stop it.
            await asyncio.shield(self._store.save(session))
