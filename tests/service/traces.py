"""The trace of one request to the rendered service, and checks of received spans against it."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any, Final, Protocol
from urllib.error import URLError

from hooks.traces.otlp import Span

PROMPT: Final = {"prompt": "Write a hello world function in Python"}
TREE: Final = """\
POST /api/sessions
  session.create
    ir.generate
      llm.call
      ir.validate
    INSERT
  code.generate
    llm.call
    code.validate
  UPDATE
"""
NAMES: Final = sorted(line.strip() for line in TREE.splitlines())
SPANS: Final = len(NAMES)
CLIENTS: Final = 4


def tree(spans: Sequence[Span], parent: str | None = None, indent: str = "") -> str:
    """Return the names of `spans`, each below its parent, in order of their start."""
    return "".join(
        f"{indent}{span.name}\n{tree(spans, span.span_id, indent + '  ')}"
        for span in sorted(spans, key=lambda span: span.start)
        if span.parent_id == parent
    )


def check_trace(spans: Sequence[Span]) -> None:
    """Assert that `spans` are the trace of one request, without errors or events."""
    assert tree(spans) == TREE
    assert len({span.trace_id for span in spans}) == 1
    [server] = [span for span in spans if span.kind == "server"]
    [session] = {span.attributes.get("session.id") for span in spans} - {None}
    shared = {"user.id": "anonymous", "gen_ai.conversation.id": session}
    assert server.attributes == {
        "http.request.method": "POST",
        "http.route": "/api/sessions",
        "http.response.status_code": 201,
        **shared,
    }
    assert all(shared.items() <= span.attributes.items() for span in spans)
    assert {span.status for span in spans} == {"unset"}
    assert not any(span.events for span in spans)


def check_that_nothing_is_lost(sessions: list[str], received: list[Span]) -> None:
    """Assert that the trace of each session was received, with each span exactly once."""
    traces = defaultdict(list)
    for span in received:
        traces[span.trace_id].append(span)
    by_session = {
        span.attributes["session.id"]: sorted(each.name for each in trace)
        for trace in traces.values()
        for span in trace
        if span.name == "session.create"
    }
    arrived = {session: by_session.get(session, []) for session in sessions}
    assert sessions
    assert arrived == dict.fromkeys(sessions, NAMES)
    assert len({span.span_id for span in received}) == len(received)


class Client(Protocol):
    """A service, in a process or in a container."""

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]: ...


@contextmanager
def load(service: Client) -> Iterator[list[str]]:
    """Send requests from several threads while the block runs. Yield the ids of created sessions."""
    sessions: list[str] = []
    is_over = threading.Event()

    def send() -> None:
        while not is_over.is_set():
            try:
                status, session = service.post("/api/sessions", PROMPT)
            except (URLError, HTTPException, OSError):
                # The service has stopped, or is about to.
                time.sleep(0.01)
            else:
                assert status == 201, session
                sessions.append(session["id"])

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(send) for _ in range(CLIENTS)]
        try:
            yield sessions
        finally:
            is_over.set()
            for client in clients:
                # A response that is not expected is the reason why the block waits in vain.
                client.result()
