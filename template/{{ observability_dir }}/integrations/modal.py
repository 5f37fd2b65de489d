"""Modal: functions in the trace of their caller, and the name, shutdown and IDs of a container."""

import inspect
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.trace import SpanKind

from ..spans import extract, traced

_F = TypeVar("_F", bound=Callable[..., Any])
logger = logging.getLogger(__name__)


def is_container(environment: Mapping[str, str] = os.environ) -> bool:
    return environment.get("MODAL_IS_REMOTE") == "1"


def container_attributes(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return resource attributes from Modal's environment variables, or none outside Modal."""
    if not is_container(environment):
        return {}
    provider = environment.get("MODAL_CLOUD_PROVIDER", "").removeprefix("CLOUD_PROVIDER_").lower()
    attributes = {
        "cloud.platform": "modal",
        "cloud.provider": "oracle_cloud" if provider == "oci" else provider,
        "cloud.region": environment.get("MODAL_REGION", ""),
        "faas.instance": environment.get("MODAL_TASK_ID", ""),
        "faas.version": environment.get("MODAL_IMAGE_ID", ""),
    }
    return {name: value for name, value in attributes.items() if value}


def enter_container(name: str, function: Any) -> None:
    """Prepare a container of a `modal.Function` that serves HTTP. Never raises.

    Call it in the container before `setup_observability`.

    `name` is that of the app and the function, such as shop.serve; it becomes `faas.name`, for which
    Modal has no variable. Under `modal serve`, ENVIRONMENT defaults to development. SIGTERM shuts
    the container down like Modal's own SIGINT, which flushes all spans.
    """
    try:
        _set_name(name)
        # `modal serve` appends -dev, or MODAL_DEV_SUFFIX, to the function's name in the URL.
        served = "--" + re.escape(name.replace(".", "-")) + r"-[A-Za-z0-9]{1,8}\.modal\.run"
        if re.search(served, function.get_web_url() or ""):
            os.environ.setdefault("ENVIRONMENT", "development")
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    except Exception as error:  # noqa: BLE001 - telemetry never raises
        logger.warning("Could not prepare the Modal container: %s", error)


def _set_name(name: str) -> None:
    # First, because the last of two attributes with the same name wins.
    attributes = [f"faas.name={name}", os.environ.get("OTEL_RESOURCE_ATTRIBUTES")]
    os.environ["OTEL_RESOURCE_ATTRIBUTES"] = ",".join(filter(None, attributes))


def traced_function(name: str, *, trigger: str = "other") -> Callable[[_F], _F]:
    """Trace each call of a Modal function, in the trace of its caller if that passes the context.

        @app.function(image=image, secrets=[honeycomb])
        @traced_function("shop.summarise")
        def summarise(text: str) -> str: ...

        summarise.remote(text, trace_context=inject())
        summarise.map(texts, kwargs={"trace_context": inject()})

    `name` is that of the app and the function. `trigger` is OpenTelemetry's `faas.trigger`: timer for
    a schedule. The function may be a coroutine, a generator or a method; it does not receive
    `trace_context`. The first call sets telemetry up, after a memory snapshot is restored.
    """

    @contextmanager
    def call(kwargs: dict[str, Any]) -> Iterator[None]:
        from .._setup import setup_observability

        if is_container() and "faas.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
            _set_name(name)
        setup_observability()
        carrier = kwargs.pop("trace_context", None)
        # Called with `.local()`, it is a step of its caller.
        is_local = carrier is None and trace.get_current_span().get_span_context().is_valid
        kind = SpanKind.INTERNAL if is_local else SpanKind.SERVER
        with extract(carrier), traced(name, {"faas.trigger": trigger}, kind=kind):
            yield

    def decorate(function: _F) -> _F:
        if is_container():
            signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        wrapped: Any = function

        def of_function(*args: Any, **kwargs: Any) -> Any:
            with call(kwargs):
                return wrapped(*args, **kwargs)

        async def of_coroutine(*args: Any, **kwargs: Any) -> Any:
            with call(kwargs):
                return await wrapped(*args, **kwargs)

        def of_generator(*args: Any, **kwargs: Any) -> Any:
            with call(kwargs):
                yield from wrapped(*args, **kwargs)

        async def of_async_generator(*args: Any, **kwargs: Any) -> Any:
            with call(kwargs):
                async for item in wrapped(*args, **kwargs):
                    yield item

        # Modal looks at the kind of a function.
        wrapper: Any = of_function
        if inspect.isasyncgenfunction(wrapped):
            wrapper = of_async_generator
        elif inspect.isgeneratorfunction(wrapped):
            wrapper = of_generator
        elif inspect.iscoroutinefunction(wrapped):
            wrapper = of_coroutine
        return cast(_F, wraps(wrapped)(wrapper))

    return decorate


class InvocationProcessor(SpanProcessor):
    """Set Modal's IDs of a request or call on its SERVER span; Modal's logs contain the same IDs."""

    def __init__(self) -> None:
        self._modal: Any = sys.modules["modal"]  # loaded by Modal's runtime
        self._has_served = False

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.kind is not SpanKind.SERVER:
            return
        attributes: dict[str, Any] = {
            "faas.trigger": (span.attributes or {}).get("faas.trigger", "http"),
            "faas.invocation_id": self._modal.current_input_id(),
            "modal.function_call_id": self._modal.current_function_call_id(),
        }
        if not self._has_served:
            self._has_served = attributes["faas.coldstart"] = True
        span.set_attributes({name: value for name, value in attributes.items() if value})
