"""Who sends: the attributes that every span of this process shares."""

import os
import uuid
from collections.abc import Mapping

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.version import __version__ as sdk_version

from .settings import Settings

# OpenTelemetry names the clouds its own way.
_CLOUD_PROVIDERS = {"oci": "oracle_cloud"}


def make_resource(settings: Settings, environment: Mapping[str, str] = os.environ) -> Resource:
    """The resource of this process; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.

    `service.instance.id` is made here, at run time: made at import it would be the same in every
    container that is restored from a memory snapshot.
    """
    attributes = {
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": sdk_version,
        "service.name": settings.service_name,
        "service.instance.id": environment.get("MODAL_TASK_ID") or str(uuid.uuid4()),
        "service.version": settings.service_version,
        "deployment.environment.name": settings.environment,
    }
    attributes |= _modal(environment)
    return Resource(attributes).merge(OTELResourceDetector().detect())


def add_to(theirs: Resource, ours: Resource) -> Resource:
    """The resource of a provider that is there already, with what it does not say itself."""
    known = dict(theirs.attributes)
    if str(known.get("service.name", "")).startswith("unknown_service"):
        del known["service.name"]
    return Resource({**ours.attributes, **known})


def _modal(environment: Mapping[str, str]) -> dict[str, str]:
    """What Modal's own variables say about the container; nothing elsewhere."""
    if environment.get("MODAL_IS_REMOTE") != "1":
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
