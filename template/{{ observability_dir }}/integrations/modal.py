"""Modal: resource attributes of the container, its shutdown, and IDs of each request."""

import logging
import os
import re
import signal
import sys
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.trace import SpanKind

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
        # First, because the last of two attributes with the same name wins.
        attributes = [f"faas.name={name}", os.environ.get("OTEL_RESOURCE_ATTRIBUTES")]
        os.environ["OTEL_RESOURCE_ATTRIBUTES"] = ",".join(filter(None, attributes))
        # `modal serve` appends -dev, or MODAL_DEV_SUFFIX, to the function's name in the URL.
        served = "--" + re.escape(name.replace(".", "-")) + r"-[A-Za-z0-9]{1,8}\.modal\.run"
        if re.search(served, function.get_web_url() or ""):
            os.environ.setdefault("ENVIRONMENT", "development")
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    except Exception as error:  # noqa: BLE001 - telemetry never raises
        logger.warning("Could not prepare the Modal container: %s", error)


class InvocationProcessor(SpanProcessor):
    """Set Modal's IDs of a request on its SERVER span; Modal's logs contain the same IDs."""

    def __init__(self) -> None:
        self._modal: Any = sys.modules["modal"]  # loaded by Modal's runtime
        self._has_served = False

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.kind is not SpanKind.SERVER:
            return
        attributes: dict[str, Any] = {
            "faas.trigger": "http",
            "faas.invocation_id": self._modal.current_input_id(),
            "modal.function_call_id": self._modal.current_function_call_id(),
        }
        if not self._has_served:
            self._has_served = attributes["faas.coldstart"] = True
        span.set_attributes({name: value for name, value in attributes.items() if value})
