"""Logging: `trace_id` and `span_id` on log records."""

import logging

import pytest
from observability import traced
from opentelemetry.trace import format_span_id, format_trace_id

from .conftest import FinishedSpans


def test_log_record_has_the_ids_of_the_current_span(
    spans: FinishedSpans, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("anything")
    with traced("work") as span:
        logger.warning("inside")
    logger.warning("outside")

    inside, outside = caplog.records
    context = span.get_span_context()
    assert vars(inside)["trace_id"] == format_trace_id(context.trace_id)
    assert vars(inside)["span_id"] == format_span_id(context.span_id)
    assert vars(outside)["trace_id"] == vars(outside)["span_id"] == ""


def test_fields_of_a_log_call_are_kept(
    spans: FinishedSpans, caplog: pytest.LogCaptureFixture
) -> None:
    with traced("work") as span:
        logging.getLogger("anything").warning("inside", extra={"trace_id": "custom"})

    [record] = caplog.records
    assert vars(record)["trace_id"] == "custom"
    assert vars(record)["span_id"] == format_span_id(span.get_span_context().span_id)
