"""`traced`, around blocks and around functions."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from observability import span_attributes, traced
from opentelemetry import trace
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


def test_traced_is_an_async_context_manager(spans: FinishedSpans) -> None:
    async def block() -> None:
        async with traced("block") as span:
            assert trace.get_current_span() is span

    asyncio.run(block())

    assert [span.name for span in spans()] == ["block"]
    assert not trace.get_current_span().is_recording()


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
    assert span.status.description == "cancelled"
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

    assert {span.name: dict(span.attributes or {}) for span in spans()} == {
        "inner": {"user.id": "u-1", "tier": "paid"},
        "outer": {"user.id": "u-1", "tier": "free"},
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
