"""The resource: attributes of this process, sent with every span."""

import os
import uuid
from collections.abc import Mapping

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.version import __version__ as sdk_version

from ._settings import Settings
from .integrations.modal import container_attributes


def create_resource(settings: Settings, environment: Mapping[str, str] = os.environ) -> Resource:
    """Describe this process. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override the rest."""
    attributes = {
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": sdk_version,
        "service.name": settings.service_name,
        # Not generated at import, which containers restored from one memory snapshot share.
        "service.instance.id": environment.get("MODAL_TASK_ID") or str(uuid.uuid4()),
        "service.version": settings.service_version,
        "deployment.environment.name": settings.environment,
        **container_attributes(environment),
    }
    return Resource(attributes).merge(OTELResourceDetector().detect())


def merge_resource(existing: Resource, ours: Resource) -> Resource:
    """Add the attributes that the resource of an existing tracer provider lacks."""
    attributes = dict(existing.attributes)
    if str(attributes.get("service.name", "")).startswith("unknown_service"):
        del attributes["service.name"]
    return Resource({**ours.attributes, **attributes})
