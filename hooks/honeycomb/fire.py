"""Spans that make a trigger fire on purpose, in a test environment."""

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..project import Project, ProjectError, variable
from ..terminal import complain
from .auth import Place, place_of
from .client import HoneycombClient
from .definitions import Definition, Definitions

MARK: Final = "app.fired_by"
"""Attribute of each span; its value is the trigger."""
_PRODUCTION: Final = re.compile(r"(?i)\bprod(uction)?\b|^live$")
_KINDS: Final = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_EXCEPTION: Final = "sqlalchemy.exc.OperationalError"
_ERROR: Final = 2


class CannotFire(Exception):
    """No span makes the trigger fire. The text is for the user."""


@dataclass
class _Sample:
    """The fields of each span."""

    attributes: dict[str, Any] = field(default_factory=dict)
    kind: str = "internal"
    name: str = "fire"
    milliseconds: float = 1.0
    is_error: bool = False
    has_exception: bool = False

    def set(self, column: str, value: Any) -> None:
        match column:
            case "span.kind":
                self.kind = str(value)
            case "name":
                self.name = str(value)
            case "duration_ms":
                self.milliseconds = float(value)
            case "error" | "error_percent":
                self.is_error = True
            case "is_database_failure":
                self.has_exception = True
            case _:
                self.attributes[column] = value


def find_trigger(definitions: Definitions, name: str) -> Definition:
    """The trigger with the key `name`, or in a file of that name. Raises ProjectError."""
    triggers = {
        definition.key or Path(definition.file).stem: definition
        for definition in definitions.of("trigger")
    }
    if name not in triggers:
        raise ProjectError(
            f"There is no trigger {name!r}. The triggers are: {', '.join(triggers)}."
        )
    return triggers[name]


def spans_for(
    trigger: Definition, definitions: Definitions, resource: Mapping[str, Any], now: float
) -> dict[str, Any]:
    """A request of OTLP, in JSON, with spans that exceed the threshold. Raises CannotFire."""
    query, threshold = trigger.body["query"], trigger.body["threshold"]
    if threshold["op"].startswith("<"):
        minutes = query.get("time_range", 7200) // 60
        raise CannotFire(
            f"{trigger.name!r} fires if too few spans arrive, so no span makes it fire: stop all requests"
            f" to the service in the test environment for {minutes} minutes."
        )
    sample = _Sample()
    calculated = {each["name"] for each in query.get("calculated_fields", ())}
    calculated |= {each.name for each in definitions.of("derived column")}
    for filter_ in query.get("filters", ()):
        _satisfy(sample, filter_, definitions)
    beyond = threshold["value"] * 1.1 + 1
    count = 1
    conditions = [
        (having["calculate_op"], having.get("column")) for having in query.get("havings", ())
    ]
    for calculation in query.get("calculations") or [{"op": "COUNT"}]:
        operation, column = calculation["op"], calculation.get("column")
        if (operation, column) in conditions:
            continue
        if operation == "COUNT":
            count = int(threshold["value"]) + 1
        else:
            sample.set(column, beyond)
    for having in query.get("havings", ()):
        if having["calculate_op"] == "COUNT":
            count = max(count, int(having["value"]) + 1)
    if unknown := calculated & sample.attributes.keys():
        raise CannotFire(
            f"{trigger.name!r} depends on {min(unknown)}, a calculated column: send requests that fail in"
            " the way that it detects."
        )
    sample.attributes[MARK] = trigger.tag.rpartition("/")[2]
    spans = [_span(sample, now) for _ in range(count)]
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [{"scope": {"name": "copier-honeycomb fire"}, "spans": spans}],
            }
        ]
    }


def send(project: Project, request: dict[str, Any], environment: str) -> Place:
    """Send spans with HONEYCOMB_API_KEY, if it belongs to `environment`. Raises APIError, ProjectError."""
    key = variable("HONEYCOMB_API_KEY")
    if key is None:
        raise ProjectError(
            "HONEYCOMB_API_KEY is not set. Set it to an ingest key of a test environment."
        )
    with HoneycombClient(project.honeycomb_endpoint, key, complain) as client:
        with client.validated_responses():
            place = place_of(client.get("/1/auth"))
        if place.environment != environment:
            raise ProjectError(
                f"HONEYCOMB_API_KEY belongs to the environment {place.environment!r}, not to"
                f" {environment!r}. Use a key of the test environment."
            )
        if _PRODUCTION.search(environment):
            raise ProjectError(
                f"{environment!r} is not a test environment: the spans would count as failures of the"
                " service. Use a key of another environment."
            )
        response = client.request("POST", "/v1/traces", request)
    if not response.is_success:
        raise ProjectError(f"Honeycomb rejected the spans ({response.status_code}).")
    return place


def _satisfy(sample: _Sample, filter_: Mapping[str, Any], definitions: Definitions) -> None:
    column, value = filter_["column"], filter_.get("value")
    match filter_["op"]:
        case "exists":
            examples = {"boolean": True, "integer": 1, "float": 1.0}
            sample.set(column, examples.get(definitions.columns.type_of(column) or "", "fire"))
        case "=" | ">=" | "<=" | "contains" | "starts-with" | "ends-with":
            sample.set(column, value)
        case "in":
            sample.set(column, value[0] if isinstance(value, list) else value)
        case ">":
            sample.set(column, value + 1 if value is not None else 1)
        case "<":
            sample.set(column, value - 1 if value is not None else 0)
        case _:
            pass  # an attribute that the span does not have


def _span(sample: _Sample, now: float) -> dict[str, Any]:
    end = int(now * 1e9)
    span: dict[str, Any] = {
        "traceId": secrets.token_hex(16),
        "spanId": secrets.token_hex(8),
        "name": sample.name,
        "kind": _KINDS.get(sample.kind, 1),
        "startTimeUnixNano": str(end - int(sample.milliseconds * 1e6)),
        "endTimeUnixNano": str(end),
        "attributes": _attributes(sample.attributes),
    }
    if sample.is_error or sample.has_exception:
        span["status"] = {"code": _ERROR, "message": "sent by copier-honeycomb fire"}
    if sample.has_exception:
        exception = {
            "exception.type": _EXCEPTION,
            "exception.message": "sent by copier-honeycomb fire",
        }
        event = {
            "name": "exception",
            "timeUnixNano": str(end),
            "attributes": _attributes(exception),
        }
        span["events"] = [event]
    return span


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _any_value(value)} for name, value in values.items()]


def _any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": str(value)}


def resource_of(project: Project, environment: str) -> dict[str, Any]:
    return {
        "service.name": project.service_name,
        "service.version": "fire",
        "deployment.environment.name": environment,
    }


def fire_trigger(project: Project, definitions: Definitions, name: str, environment: str) -> str:
    """Make a trigger fire, and return a sentence. Raises APIError, CannotFire, ProjectError."""
    trigger = find_trigger(definitions, name)
    request = spans_for(trigger, definitions, resource_of(project, environment), time.time())
    place = send(project, request, environment)
    count = len(request["resourceSpans"][0]["scopeSpans"][0]["spans"])
    minutes = max(1, trigger.body.get("frequency", 900) // 60)
    return (
        f"Sent {count} {'span' if count == 1 else 'spans'} with {MARK}={name} to {place.team},"
        f" {place.environment}. {trigger.name!r} fires there within about {minutes} minutes, if apply has"
        " created it in that environment."
    )
