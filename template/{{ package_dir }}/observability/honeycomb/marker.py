"""A marker: a line in every graph of the dataset that says when a version was deployed."""

import time
from typing import Any

from .api import APIError, HoneycombAPI, Refused
from .current import slug_of


def record_deploy(
    api: HoneycombAPI, service_name: str, version: str, url: str | None
) -> dict[str, Any]:
    """Records that `version` was deployed now. Raises `APIError`."""
    path = f"/1/markers/{slug_of(service_name)}"
    marker: dict[str, Any] = {"type": "deploy", "message": version, "start_time": int(time.time())}
    if url:
        marker["url"] = url

    def look() -> dict[str, Any] | None:
        listed: list[dict[str, Any]] = api.get(path)
        for known in listed:
            if all(known.get(name) == value for name, value in marker.items()):
                return known
        return None

    try:
        made: dict[str, Any] = api.create(path, marker, look)
    except Refused as refusal:
        if refusal.status != 404:
            raise
        raise APIError(
            f"Honeycomb has no dataset {service_name!r} yet: send a trace first, or run apply."
        ) from None
    return made
