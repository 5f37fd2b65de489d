"""Markers: a line in every graph of the dataset for each deploy."""

import time
from typing import Any

from .client import APIError, HoneycombClient, HTTPError
from .remote import slug_of


def record_deploy(
    client: HoneycombClient, service_name: str, version: str, url: str | None
) -> dict[str, Any]:
    """Record that `version` was deployed now. Raises APIError."""
    path = f"/1/markers/{slug_of(service_name)}"
    marker: dict[str, Any] = {"type": "deploy", "message": version, "start_time": int(time.time())}
    if url:
        marker["url"] = url

    def find() -> dict[str, Any] | None:
        listed: list[dict[str, Any]] = client.get(path)
        for known in listed:
            if all(known.get(name) == value for name, value in marker.items()):
                return known
        return None

    try:
        created: dict[str, Any] = client.create(path, marker, find)
    except HTTPError as rejected:
        if rejected.status != 404:
            raise
        raise APIError(
            f"Honeycomb does not have a dataset {service_name!r} yet. Send a trace or run apply first."
        ) from None
    return created
