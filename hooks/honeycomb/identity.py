"""Recognition of the objects that earlier applies created."""

from typing import Final

from .definitions import TAG, Definition
from .diff import parts, parts_alone
from .merge import was_applied
from .remote import RemoteObject, RemoteState

# Releases up to 0.3.0 did not mark burn alerts and derived columns. Each of their alerts names its
# runbook, and one expression has changed since.
_RUNBOOK: Final = "docs/runbooks.md#"
_FORMER_EXPRESSIONS: Final = {
    "sli.request_was_fast": 'IF($span.kind = "server", $duration_ms <= 10000)',
}


def find_existing(definition: Definition, remote: RemoteState) -> RemoteObject | None:
    """The object of a definition, or None if it does not exist.

    Several carry its tag if one was copied in Honeycomb: the original still has the name, or most
    parts of the last apply.
    """
    if definition.kind == "derived column":
        columns = remote.of("derived column")
        return next((one for one in columns if one.name == definition.name), None)
    found = [one for one in remote.of(definition.kind) if one.tag == definition.tag]
    if not found and definition.kind == "burn alert":
        alerts = remote.of("burn alert")
        found = [one for one in alerts if _is_former_alert(one, definition)]
        found = found or [one for one in alerts if is_unmarked_alert(one, definition)]
    return max(found, key=lambda one: (one.name == definition.name, _applied(one)), default=None)


def is_as_applied(existing: RemoteObject) -> bool:
    """Return True if nobody changed the object since the last apply."""
    return existing.record is not None and _applied(existing) == len(
        parts_alone(existing.kind, existing.body)
    )


def is_unmarked_alert(existing: RemoteObject, definition: Definition) -> bool:
    """Return True for an alert with the SLO and the limits of a file, but without our mark.

    Somebody created it, or replaced the description of ours, which contained the mark.
    """
    if existing.kind != "burn alert" or existing.tag or _is_former_alert(existing, definition):
        return False
    old, new = parts("burn alert", existing.body, definition.body)
    limits = new.keys() - {"description", "recipients"}
    is_same_slo = existing.body["slo"]["name"] == definition.body["slo"]["name"]
    return is_same_slo and all(old[name] == new[name] for name in limits)


def is_former_column(existing: RemoteObject) -> bool:
    """Return True if a derived column has the expression of an earlier release."""
    return str(existing.body["expression"]) == _FORMER_EXPRESSIONS.get(existing.name)


def note_on_creation(definition: Definition, remote: RemoteState) -> str:
    """A remark if there is an object of the same name, of people or of another service."""
    for existing in remote.of(definition.kind):
        if existing.tag is None and existing.name == definition.name:
            tags = {tag["key"]: tag["value"] for tag in existing.body.get("tags") or ()}
            service = str(tags[TAG]).partition("/")[0] if TAG in tags else None
            other = f"that of the service {service}" if service else "a manually created one"
            return f"in addition to {other} of the same name, which is kept"
    return ""


def _applied(existing: RemoteObject) -> int:
    """The number of parts that are as they were applied."""
    record = existing.record
    if record is None:
        return 0
    live = parts_alone(existing.kind, existing.body)
    return sum(1 for name, value in live.items() if was_applied(record, name, value))


def _is_former_alert(existing: RemoteObject, definition: Definition) -> bool:
    body, wanted = existing.body, definition.body
    return (
        existing.tag is None
        and body["slo"]["name"] == wanted["slo"]["name"]
        and body["alert_type"] == wanted["alert_type"]
        and _RUNBOOK in str(body.get("description"))
    )
