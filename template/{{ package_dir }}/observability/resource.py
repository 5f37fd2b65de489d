"""Who sends: the attributes that every span of this process shares."""

import os
import uuid
from collections.abc import Mapping

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.version import __version__ as sdk_version

from .modal_container import container_attributes
from .settings import Settings


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
        **container_attributes(environment),
    }
    return Resource(attributes).merge(OTELResourceDetector().detect())


def add_to(theirs: Resource, ours: Resource) -> Resource:
    """The resource of a provider that is there already, with what it does not say itself."""
    known = dict(theirs.attributes)
    if str(known.get("service.name", "")).startswith("unknown_service"):
        del known["service.name"]
    return Resource({**ours.attributes, **known})
