"""`traced`, around blocks and around functions."""

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from fastapi import HTTPException
from observability import extract, get_tracer, inject, llm_call, span_attributes, traced
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .conftest import FinishedSpans


def test_traced_function_keeps_its_result_its_name_and_its_exceptions(spans: FinishedSpans) -> None:
    @traced("half", {"app.kind": "arithmetic"})
    def half(number: int) -> int:
        """Return half of it."""
        if number % 2:
            raise ValueError("odd")
        return number // 2

    assert half(4) == 2
    assert half.__name__ == "half"
    assert half.__doc__ == "Return half of it."
    with pytest.raises(ValueError, match="odd"):
        half(3)

    even, odd = spans()
    assert dict(even.attributes or {}) == {"app.kind": "arithmetic"}
    assert even.status.status_code is StatusCode.UNSET
    assert odd.status.status_code is StatusCode.ERROR
    assert odd.status.description == "ValueError: odd"


def test_overlapping_calls_of_one_function_have_separate_spans(spans: FinishedSpans) -> None:
    @traced("wait")
    async def wait(depth: int) -> None:
        await asyncio.sleep(0.001)
        if depth:
            await wait(depth - 1)

    async def wait_three_times() -> None:
        await asyncio.gather(*(wait(1) for _ in range(3)))

    asyncio.run(wait_three_times())

    finished = spans()
    assert len(finished) == 6
    assert len({span.context.span_id for span in finished}) == 6
    assert len([span for span in finished if span.parent is None]) == 3


def test_cancelled_task_has_error_status_without_an_event(spans: FinishedSpans) -> None:
    async def work() -> None:
        with traced("work"):
            await asyncio.sleep(60)

    async def cancel() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())

    [span] = spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "CancelledError"
    assert not span.events


def test_generator_cannot_be_decorated() -> None:
    def numbers() -> object:
        yield 1

    with pytest.raises(TypeError, match="traced cannot decorate the generator .*numbers"):
        traced("numbers")(numbers)


def test_attributes_are_on_the_current_span_and_all_below(spans: FinishedSpans) -> None:
    def work() -> None:
        with traced("thread"):
            pass

    async def main() -> None:
        with (
            span_attributes({"app.tenant": "a"}, user_id="u-1", conversation_id="c-1"),
            traced("call", {"gen_ai.conversation.id": "own"}),
        ):
            await asyncio.to_thread(work)
        with traced("after"):
            pass

    with traced("request"):
        asyncio.run(main())

    shared = {"app.tenant": "a", "user.id": "u-1"}
    assert {span.name: dict(span.attributes or {}) for span in spans()} == {
        "request": {**shared, "gen_ai.conversation.id": "c-1"},
        "call": {**shared, "gen_ai.conversation.id": "own"},
        "thread": {**shared, "gen_ai.conversation.id": "c-1"},
        "after": {},
    }


def test_attributes_of_nested_blocks_add_up_and_none_is_left_out(spans: FinishedSpans) -> None:
    with span_attributes(user_id="u-1", tier="free"):
        with span_attributes(user_id=None, tier="paid"), traced("inner"):
            pass
        with traced("outer"):
            pass
    with span_attributes({"user.id": "u-2"}), traced("named"):
        pass

    assert {span.name: dict(span.attributes or {}) for span in spans()} == {
        "inner": {"user.id": "u-1", "tier": "paid"},
        "outer": {"user.id": "u-1", "tier": "free"},
        "named": {"user.id": "u-2"},
    }


def test_attributes_are_not_sent_to_other_services(spans: FinishedSpans) -> None:
    headers: dict[str, str] = {}
    with traced("request"), span_attributes(user_id="u-1", conversation_id="c-1"):
        CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()]).inject(
            headers
        )

    assert headers.keys() == {"traceparent"}


def test_attributes_end_with_a_generator_that_is_closed_in_another_task(
    spans: FinishedSpans, caplog: pytest.LogCaptureFixture
) -> None:
    async def parts() -> AsyncIterator[str]:
        with span_attributes(user_id="u-1"):
            yield "one"

    async def main() -> None:
        reader = parts()
        await anext(reader)
        await asyncio.create_task(reader.aclose())  # type: ignore[attr-defined]

    asyncio.run(main())
    assert not caplog.records


def events(spans: FinishedSpans) -> list[tuple[str, object, object]]:
    """Return the span, type and message of each exception event."""
    return [
        (
            span.name,
            (event.attributes or {})["exception.type"],
            event.attributes["exception.message"],
        )
        for span in spans()
        for event in span.events
    ]


def test_exception_group_has_one_event_for_each_failure(spans: FinishedSpans) -> None:
    async def fail(error: Exception, *, in_span: bool) -> None:
        if not in_span:
            raise error
        with traced("child"):
            raise error

    async def tasks() -> None:
        with traced("outer"), traced("group"):
            async with asyncio.TaskGroup() as group:
                group.create_task(fail(ValueError("a number"), in_span=True))
                group.create_task(fail(LookupError("a name"), in_span=False))

    with pytest.raises(ExceptionGroup):
        asyncio.run(tasks())

    assert events(spans) == [
        ("group", "LookupError", "a name"),
        ("child", "ValueError", "a number"),
    ]
    outer, group, _child = spans()
    description = "ValueError: a number; LookupError: a name"
    assert [span.status.description for span in (outer, group)] == [description, description]
    assert (outer.attributes or {})["error.type"] == "ExceptionGroup"
    [event] = group.events
    assert "in fail" in str((event.attributes or {})["exception.stacktrace"])


def test_group_with_a_response_and_a_failure_is_an_error(spans: FinishedSpans) -> None:
    with pytest.raises(ExceptionGroup), traced("group"):
        raise ExceptionGroup("both", [HTTPException(404), LookupError("a name")])

    [span] = spans()
    assert span.status.status_code is StatusCode.ERROR


def test_exception_that_has_no_message_propagates_unchanged(spans: FinishedSpans) -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise LookupError("no text")

    with pytest.raises(BrokenError), traced("work"):
        raise BrokenError

    [span] = spans()
    assert (span.attributes or {})["error.type"].endswith("BrokenError")
    assert [event.name for event in span.events] == ["exception"]


def test_extracted_context_ends_with_its_block(spans: FinishedSpans) -> None:
    with traced("caller"):
        carrier = inject()
    with extract(carrier), traced("job"):
        pass
    with traced("other"):
        pass

    caller, job, other = spans()
    assert job.parent is not None
    assert job.parent.span_id == caller.context.span_id
    assert other.parent is None


def test_group_that_opentelemetry_records_too_has_no_second_event(spans: FinishedSpans) -> None:
    own = get_tracer("own").start_as_current_span("own")
    with pytest.raises(ExceptionGroup), own, traced("group"):
        raise ExceptionGroup("both", [ValueError("a number"), LookupError("a name")])

    assert [name for name, _, _ in events(spans)] == ["group", "group"]


def test_exception_that_is_raised_in_two_traces_has_an_event_in_each(spans: FinishedSpans) -> None:
    error = RuntimeError("shared")
    for name in ("first", "second"):
        with pytest.raises(RuntimeError), traced(name):
            raise error

    assert [name for name, _, _ in events(spans)] == ["first", "second"]


def test_exception_stays_recorded_when_it_is_pickled(spans: FinishedSpans) -> None:
    with traced("caller"):
        with pytest.raises(ValueError, match="remote") as raised, traced("worker"):
            raise ValueError("remote")
        with suppress(ValueError), traced("result"):
            raise pickle.loads(pickle.dumps(raised.value))

    assert [name for name, _, _ in events(spans)] == ["worker"]
    assert [span.status.status_code for span in spans()] == [
        StatusCode.UNSET,
        StatusCode.ERROR,
        StatusCode.ERROR,
    ]


class NoText(Exception):
    """Its text cannot be created."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoAttributes(Exception):
    """Its attributes cannot be read."""

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError("no attributes")


def circular() -> Exception:
    error, cause = ValueError("odd"), ValueError("cause")
    error.__cause__, cause.__cause__ = cause, error
    return error


def deep_group() -> Exception:
    error: Exception = ValueError("odd")
    for _ in range(2_000):
        error = ExceptionGroup("group", [error])
    return error


def odd_syntax(*fields: Any) -> Exception:
    return SyntaxError("odd", fields)


def with_notes_that_are_no_list() -> Exception:
    error = ValueError("odd")
    error.__notes__ = 5  # type: ignore[assignment]
    return error


# Each with the message of its event, or None if there is only a warning.
ODD_EXCEPTIONS: dict[str, tuple[Callable[[], Exception], str | None]] = {
    "text that raises": (NoText, ""),
    "huge text": (lambda: ValueError("x" * 20_000_000), "x" * 4_096),
    "source that is not a text": (lambda: odd_syntax("shop.py", 7, 1, 5), "odd (shop.py, "),
    "file that is not a text": (lambda: odd_syntax(5, "a", "b", "c"), "odd"),
    "circular causes": (circular, "odd"),
    "odd notes": (with_notes_that_are_no_list, "odd"),
    "surrogates": (lambda: ValueError("\ud800"), "\ud800"),
    "deep group": (deep_group, None),
    "no attributes": (NoAttributes, None),
}


@pytest.mark.parametrize("start", [lambda: traced("work"), lambda: llm_call("openai", "gpt-5")])
@pytest.mark.parametrize("name", ODD_EXCEPTIONS)
def test_exception_that_cannot_be_described_propagates_unchanged(
    name: str,
    start: Callable[[], Any],
    spans: FinishedSpans,
    caplog: pytest.LogCaptureFixture,
) -> None:
    create, message = ODD_EXCEPTIONS[name]
    error = create()
    try:
        with start():
            raise error
    except Exception as raised:  # noqa: BLE001 - pytest.raises reads its attributes
        assert raised is error

    [span] = spans()
    if message is None:
        [record] = caplog.records
        assert record.getMessage().startswith("Could not record an exception: ")
        return
    assert span.status.status_code is StatusCode.ERROR
    [event] = span.events
    assert str((event.attributes or {})["exception.message"]).startswith(message)
    assert sum(len(str(value)) for value in (event.attributes or {}).values()) < 30_000
