"""What becomes of a finished span: one event a thing, nothing private, and only what is kept."""

import logging
import os
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, Protocol

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanKind, Status
from opentelemetry.util.types import AttributeValue

from . import pricing
from .errors import status_without_values, without_values
from .llm import open_calls
from .llm_sdks import SDKCalls
from .sampling import weight_of
from .traces import KeepRules, TracesUnderWay

logger = logging.getLogger(__name__)

# What FastAPI and its older instrumentation say of a request beside route, method and status:
# paths, query strings, hosts and addresses, which identify people and are billed as columns.
_NOT_SENT: Final = frozenset(
    {
        # Names of before the conventions were stable.
        "http.client_ip",
        "http.flavor",
        "http.host",
        "http.scheme",
        "http.server_name",
        "http.target",
        "http.url",
        "http.user_agent",
        "net.host.ip",
        "net.host.name",
        "net.host.port",
        "net.peer.ip",
        "net.peer.name",
        "net.peer.port",
        # Those of today.
        "client.address",
        "client.port",
        "network.local.address",
        "network.local.port",
        "network.peer.address",
        "network.peer.port",
        "network.protocol.name",
        "network.protocol.version",
        "server.address",
        "server.port",
        "url.full",
        "url.path",
        "url.query",
        "url.scheme",
        "user_agent.original",
    }
)


class Sink(Protocol):
    """Where spans go."""

    def take(
        self,
        span: ReadableSpan,
        attributes: Mapping[str, AttributeValue],
        events: list[Event],
        status: Status,
    ) -> None:
        """Takes one span, with these in the place of its own. Returns at once."""

    def flush(self, timeout: float) -> bool:
        """Whether all that was taken is sent, after at most `timeout` seconds."""

    def shutdown(self) -> None:
        """Sends what it has, in a few seconds at most, and takes nothing more."""


class Pipeline(SpanProcessor):
    """Hands finished spans to `sink` as the telemetry contract wants them."""

    def __init__(self, sink: Sink, keep: KeepRules | None = None) -> None:
        """`keep` is for a process that samples; without it every sampled span is sent at once."""
        self.sink = sink
        self._raised = _RaisedBelow()
        self._sdk_calls = SDKCalls()
        self._has_lost_one = False
        self._traces = TracesUnderWay(keep, self._send) if keep else None
        if self._traces and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._traces.forget)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if self._traces:
            self._traces.started(span)

    def on_end(self, span: ReadableSpan) -> None:
        attributes = span.attributes or {}
        if "asgi.event.type" in attributes:
            # A message between server and application, of which older instrumentations make three
            # or four a request.
            self._finished(span, is_sent=False)
        elif "gen_ai.operation.name" not in attributes or "llm.provider" in attributes:
            self._finished(span)
        elif span.parent is not None and span.parent.span_id in open_calls:
            # An SDK or an instrumentation tells of a call that `llm_call` tells of.
            self._finished(span, is_sent=False)
        else:
            self._sdk_calls.complete(span, self._finished)

    def _finished(self, span: ReadableSpan, *, is_sent: bool = True) -> None:
        if self._traces:
            self._traces.ended(span, is_sent=is_sent)
        elif is_sent and span.context.trace_flags.sampled:
            self._send(span, weight_of(span.context.trace_state))

    def shutdown(self) -> None:
        """Decides what is under way as it is, and sends what is kept: the process ends."""
        self.decide_all()
        self.sink.shutdown()

    def decide_all(self) -> None:
        """Decides what is under way as it is, once calls that have ended have their price."""
        pricing.wait_until_loaded(2.0)
        if self._traces:
            self._traces.decide_all()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        deadline = time.monotonic() + timeout_millis / 1000
        pricing.wait_until_loaded(timeout_millis / 1000)
        return self.sink.flush(max(0.0, deadline - time.monotonic()))

    def _send(self, span: ReadableSpan, weight: int) -> None:
        try:
            self._pass_on(span, weight)
        except Exception as error:  # noqa: BLE001 - a span ends in the middle of a request
            if not self._has_lost_one:
                self._has_lost_one = True
                logger.warning("A span like %r cannot be sent: %s", span.name, error)

    def _pass_on(self, span: ReadableSpan, weight: int) -> None:
        attributes = _attributes(span)
        if span.kind is SpanKind.SERVER:
            attributes = {
                name: value for name, value in attributes.items() if name not in _NOT_SENT
            }
        if weight > 1:
            # Honeycomb weighs each event by it; without, counts and costs are too low.
            attributes["SampleRate"] = weight
        status = span.status
        if status.description:
            status = Status(status.status_code, status_without_values(status.description))
        events = [_without_values(event) for event in self._raised.events_of(span)]
        self.sink.take(span, attributes, events, status)


class _RaisedBelow:
    """Exceptions by the span that they are on their way to, so that each is told once.

    Every span that an exception leaves may record it: one event each, and each event is billed.
    Children end before their parents, so the innermost span tells and the others stay silent.
    """

    # Spans that outlive their parent leave an entry that nobody takes.
    _LIMIT = 1000

    def __init__(self) -> None:
        self._told: OrderedDict[int, set[tuple[object, object]]] = OrderedDict()

    def events_of(self, span: ReadableSpan) -> list[Event]:
        below = self._told.pop(span.context.span_id, set()) if self._told else set()
        if not below and not span.events:
            return []
        events: list[Event] = []
        for event in span.events:
            if event.name == "exception":
                attributes = event.attributes or {}
                exception = (
                    attributes.get("exception.type"),
                    attributes.get("exception.message"),
                )
                if exception in below:
                    continue
                below.add(exception)
            events.append(event)
        if below and span.parent is not None and not span.parent.is_remote:
            self._told.setdefault(span.parent.span_id, set()).update(below)
            while len(self._told) > self._LIMIT:
                self._told.popitem(last=False)
        return events


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    # The mapping that a span has is read item by item, in Python; a copy of it is a dict at once.
    attributes: Any = span.attributes
    return attributes.copy() if attributes else {}


def _without_values(event: Event) -> Event:
    """`event` as record_error makes it, where OpenTelemetry's own code has recorded it."""
    attributes = event.attributes
    if event.name != "exception" or not attributes:
        return event
    message = str(attributes.get("exception.message", ""))
    shorter = without_values(str(attributes.get("exception.type", "")), message)
    if shorter == message:
        return event
    stack_trace = str(attributes.get("exception.stacktrace", ""))
    changed: dict[str, Any] = {
        **attributes,
        "exception.message": shorter,
        # The text of the exception ends it, and others may be quoted above.
        "exception.stacktrace": stack_trace.replace(message, shorter),
    }
    return Event(event.name, changed, event.timestamp)
