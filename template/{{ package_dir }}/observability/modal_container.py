"""What Modal says of the container that this process runs in, and of each request that it serves."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.trace import SpanKind

if TYPE_CHECKING:
    from opentelemetry.context import Context

logger = logging.getLogger(__name__)

# OpenTelemetry names the clouds its own way.
_CLOUD_PROVIDERS: Final = {"oci": "oracle_cloud"}


def is_container(environment: Mapping[str, str] = os.environ) -> bool:
    return environment.get("MODAL_IS_REMOTE") == "1"


def container_attributes(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Resource attributes from Modal's own variables; none elsewhere."""
    if not is_container(environment):
        return {}
    provider = environment.get("MODAL_CLOUD_PROVIDER", "")
    provider = provider.removeprefix("CLOUD_PROVIDER_").lower()
    attributes = {
        "cloud.platform": "modal",
        "cloud.provider": _CLOUD_PROVIDERS.get(provider, provider),
        "cloud.region": environment.get("MODAL_REGION", ""),
        "faas.instance": environment.get("MODAL_TASK_ID", ""),
        "faas.version": environment.get("MODAL_IMAGE_ID", ""),
    }
    return {name: value for name, value in attributes.items() if value}


class WebFunction(Protocol):
    """A modal.Function that is served over HTTP."""

    @property
    def get_web_url(self) -> Callable[[], str | None]: ...


def enter_container(name: str, function: WebFunction) -> None:
    """Begins a container of `function`. Call it in there, before telemetry is set up. Never raises.

    `name` is that of the app and the function, such as shop.serve: Modal has no variable for it,
    and it becomes `faas.name`. What `modal serve` runs is taken for development where ENVIRONMENT
    says nothing else. A SIGTERM ends the container as Modal's own SIGINT does, with all spans sent.
    """
    try:
        # In front, as of two with the same name the last one counts.
        attributes = [f"faas.name={name}", os.environ.get("OTEL_RESOURCE_ATTRIBUTES")]
        os.environ["OTEL_RESOURCE_ATTRIBUTES"] = ",".join(filter(None, attributes))
        # `modal serve` adds -dev, or MODAL_DEV_SUFFIX, to what the URL calls the function.
        served = "--" + re.escape(name.replace(".", "-")) + r"-[A-Za-z0-9]{1,8}\.modal\.run"
        if re.search(served, function.get_web_url() or ""):
            os.environ.setdefault("ENVIRONMENT", "development")
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    except Exception as error:  # noqa: BLE001 - telemetry never raises
        logger.warning("What Modal says of this container is not known: %s", error)


class InvocationProcessor(SpanProcessor):
    """Puts Modal's ids of a request on its SERVER span: those in Modal's own logs."""

    def __init__(self) -> None:
        """Raises KeyError in a process that Modal's runtime does not serve."""
        runtime: Any = sys.modules["modal"]
        self._input_id = runtime.current_input_id
        self._function_call_id = runtime.current_function_call_id
        self._has_served = False

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.kind is not SpanKind.SERVER:
            return
        attributes: dict[str, Any] = {
            "faas.trigger": "http",
            "faas.invocation_id": self._input_id(),
            "modal.function_call_id": self._function_call_id(),
        }
        if not self._has_served:
            self._has_served = attributes["faas.coldstart"] = True
        span.set_attributes({name: value for name, value in attributes.items() if value})
