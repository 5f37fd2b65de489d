"""Modal: functions in the trace of their caller, and the name, shutdown and IDs of a container."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

from opentelemetry import context, propagate, trace

from ..spans import REQUEST, extract, traced
from . import never_raises

_invocations = count()  # of this container


def container_attributes() -> dict[str, str]:
    """Return resource attributes from Modal's environment variables, or none outside Modal."""
    provider = os.environ.get("MODAL_CLOUD_PROVIDER", "").removeprefix("CLOUD_PROVIDER_").lower()
    attributes = {
        "cloud.platform": "modal" if "MODAL_IS_REMOTE" in os.environ else None,
        "cloud.provider": "oracle_cloud" if provider == "oci" else provider,
        "cloud.region": os.environ.get("MODAL_REGION"),
        "faas.instance": os.environ.get("MODAL_TASK_ID"),
        "faas.version": os.environ.get("MODAL_IMAGE_ID"),
    }
    return {name: value for name, value in attributes.items() if value}


@never_raises("Could not prepare the Modal container")
def enter_container(name: str, function: Any) -> None:
    """Prepare a container of a `modal.Function` that serves HTTP. Never raises.

    Call it before `setup_observability`. `name` is that of the app and the function, such as
    shop.serve; it becomes `faas.name`, for which Modal has no variable. Under `modal serve`,
    ENVIRONMENT defaults to development. SIGTERM shuts the container down like Modal's own SIGINT.
    """
    _prepare(name)
    # `modal serve` appends -dev, or MODAL_DEV_SUFFIX, to the function's name in the URL.
    served = "--" + re.escape(name.replace(".", "-")) + r"-[A-Za-z0-9]{1,8}\.modal\.run"
    if re.search(served, function.get_web_url() or ""):
        os.environ.setdefault("ENVIRONMENT", "development")


def _prepare(name: str) -> None:
    attributes = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if "faas.name=" not in attributes:
        os.environ["OTEL_RESOURCE_ATTRIBUTES"] = f"faas.name={name},{attributes}".strip(",")
    with suppress(ValueError):  # on a thread, signals cannot be handled
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


@contextmanager
def traced_call(name: str, trace_context: Any = None, *, trigger: str = "other") -> Iterator[None]:
    """Trace one call of a Modal function, in the trace of its caller if that passes the context.

        @app.function(image=image, secrets=[honeycomb])
        def summarise(text: str, trace_context: dict[str, str] | None = None) -> str:
            with traced_call("shop.summarise", trace_context): ...

        summarise.remote(text, inject())
        summarise.map(texts, kwargs={"trace_context": inject()})

    `name` is that of the app and the function. `trigger` is OpenTelemetry's `faas.trigger`: timer for
    a schedule. With `@modal.batched`, a list of contexts starts a trace with links to its callers. A
    cancelled input is not an error. The first call after a restored snapshot sets telemetry up.
    """
    from .._setup import setup_observability

    if "MODAL_IS_REMOTE" in os.environ:
        _prepare(name)
    setup_observability()
    call = traced(name)
    # Called with `.local()`, it is a step of its caller.
    if trace_context is not None or not trace.get_current_span().get_span_context().is_valid:
        call = traced(name, invocation_attributes(trigger), kind=trace.SpanKind.SERVER)
    callers = trace_context if isinstance(trace_context, list) else []
    with extract(None if isinstance(trace_context, list) else trace_context):
        context.attach(context.set_value(REQUEST, True))  # until `extract` restores the context
        with call as span:
            for each in {str(each): each for each in callers if each}.values():
                caller = trace.get_current_span(propagate.extract(each, context.Context()))
                span.add_link(caller.get_span_context())
            yield


def invocation_attributes(trigger: str) -> dict[str, Any]:
    """Return the attributes of a SERVER span in a container. Modal's logs contain the same IDs."""
    modal: Any = sys.modules.get("modal")  # loaded by Modal's runtime
    if modal is None or not modal.current_input_id():
        return {}
    attributes = {
        "faas.trigger": trigger,
        "faas.invocation_id": modal.current_input_id(),
        "modal.function_call_id": modal.current_function_call_id(),
        "faas.coldstart": next(_invocations) == 0,
    }
    return {name: value for name, value in attributes.items() if value}
