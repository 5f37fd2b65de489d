"""Recipients of notifications, by id, or by type and target."""

from collections.abc import Mapping
from typing import Any, Final

import click
from pydantic import ValidationError

from .client import HoneycombClient, HTTPError
from .schema import Recipient

_DETAILS: Final = {"email": "email_address", "slack": "slack_channel"}
"""The detail that holds the target, of the types that apply can create."""


def parse_recipient(text: str) -> Mapping[str, Any]:
    """A recipient as in a file, from `TYPE:TARGET`, `id:ID` or `pagerduty`."""
    kind, _, target = text.partition(":")
    recipient = {"id": target} if kind == "id" else {"type": kind, "target": target}
    if kind == "pagerduty" and not target:
        del recipient["target"]
    try:
        Recipient.model_validate(recipient)
    except ValidationError:
        raise click.BadParameter(
            f"{text!r} is not a recipient, such as email:on-call@example.com, slack:#alerts,"
            " pagerduty, webhook:NAME or id:ID."
        ) from None
    return recipient


class Recipients:
    """The recipients of the team, read when they are first needed."""

    def __init__(self, client: HoneycombClient) -> None:
        self._client = client
        self._known: list[Mapping[str, Any]] | None = None

    def resolve(self, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        """`wanted` by its id. New email addresses and Slack channels are created."""
        if wanted.get("id"):
            return {name: wanted[name] for name in ("id", "details") if wanted.get(name)}
        kind, target = wanted["type"], wanted.get("target")
        found = self._find(kind, target) or self._create(kind, target)
        details = {"details": wanted["details"]} if wanted.get("details") else {}
        return {"id": found["id"], **details}

    def _find(self, kind: str, target: str | None) -> Mapping[str, Any] | None:
        if self._known is None:
            self._known = list(self._client.get("/1/recipients"))
        for one in self._known:
            if one["type"] == kind and target in (None, *one["details"].values()):
                return one
        return None

    def _find_again(self, kind: str, target: str | None) -> Mapping[str, Any] | None:
        self._known = None
        return self._find(kind, target)

    def _create(self, kind: str, target: str | None) -> Mapping[str, Any]:
        if target is None or kind not in _DETAILS:
            named = f"{kind} {target}" if target else kind
            raise HTTPError(
                0,
                f"Honeycomb does not have a recipient {named}. Create it under Account, Team"
                " Settings, Integrations.",
            )
        body = {"type": kind, "details": {_DETAILS[kind]: target}}
        created: Mapping[str, Any] = self._client.create(
            "/1/recipients", body, lambda: self._find_again(kind, target)
        )
        self._known = None
        return created
