"""Carrying a plan out, so that what was begun can be finished by carrying it out again.

Each object is made with the tag by which the next plan knows it. Queries and their names come before
the board that shows them: those of a board that could not be made are found again and used.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from .api import APIError, HoneycombAPI, Refused
from .compare import same_query
from .current import Current, dataset_of
from .files import FOLDERS, TAG, Definition
from .plan import STATUS_COLUMN, Plan, Step, body_of, made_before

Done = Callable[[Step, str, str], None]

_RECIPIENT_DETAILS: Final = {"email": "email_address", "slack": "slack_channel"}


class Applier:
    """Takes the steps of one plan."""

    def __init__(self, api: HoneycombAPI, current: Current, service_name: str, plan: Plan) -> None:
        self._api = api
        self._current = current
        self._service_name = service_name
        self._plan = plan
        self._slug = current.slug
        self._slos = {
            step.name: step.existing.id
            for step in plan.steps
            if step.kind == "SLO" and step.existing is not None
        }
        self._changed: set[str] = set()
        self._recipients: list[Mapping[str, Any]] | None = None
        self._used = {
            panel["query_panel"].get("query_annotation_id")
            for board in current.of("board")
            for panel in board.body.get("panels") or ()
            if panel["type"] == "query"
        }

    def run(self, done: Done) -> bool:
        """Takes each step and tells `done` of it: the step, what went wrong, and the URL of a board.

        Where Honeycomb refuses one object, those that do not depend on it are made all the same.
        Returns whether all went well. Raises `APIError` where Honeycomb does not answer any more.
        """
        failed: set[tuple[str, str]] = set()
        for step in self._plan.changes:
            lacking = [name for kind, name in _needs(step) if (kind, name) in failed]
            try:
                if lacking:
                    raise Refused(0, f"It needs {lacking[0]!r}, which could not be made.")
                made = self._take(step)
            except Refused as refusal:
                failed.add((step.kind, step.name))
                done(step, str(refusal), "")
                if step.kind == "dataset" or refusal.status in (401, 429):
                    raise APIError("Nothing else was tried.") from refusal
            else:
                done(step, "", str((made.get("links") or {}).get("board_url") or ""))
        return not failed

    def _take(self, step: Step) -> Mapping[str, Any]:
        """Takes one step; what Honeycomb has of its object then."""
        if step.action == "delete":
            self._delete(step)
        elif step.kind == "dataset":
            self._make_dataset()
        elif step.kind == "column":
            self._make_column(step)
        elif step.kind == "dataset definition":
            body = {"status": {"name": STATUS_COLUMN, "column_type": "column"}}
            self._api.overwrite("PATCH", f"/1/dataset_definitions/{self._slug}", body)
        else:
            assert step.wanted is not None
            return self._make(step, step.wanted)
        return {}

    def _delete(self, step: Step) -> None:
        assert step.existing is not None
        folder = FOLDERS[step.existing.kind]
        place = folder if step.existing.kind == "board" else f"{folder}/{self._slug}"
        self._api.delete(f"/1/{place}/{step.existing.id}")

    def _make_dataset(self) -> None:
        made = self._api.create(
            "/1/datasets",
            {"name": self._service_name},
            lambda: dataset_of(self._api, self._service_name),
        )
        self._slug = made["slug"]

    def _make_column(self, step: Step) -> None:
        path = f"/1/columns/{self._slug}"
        body = {"key_name": step.name, "type": step.note}

        def look() -> Any | None:
            return _first(self._api.get(path), key_name=step.name)

        try:
            self._api.create(path, body, look)
        except Refused:
            # A span with it may have come meanwhile.
            if look() is None:
                raise

    def _make(self, step: Step, wanted: Definition) -> Mapping[str, Any]:
        body = body_of(wanted)
        folder = FOLDERS[wanted.kind]
        path = f"/1/{folder}" if wanted.kind == "board" else f"/1/{folder}/{self._slug}"
        if wanted.kind == "derived column":
            self._changed.add(wanted.name)
        elif wanted.kind == "burn alert":
            body = {**body, "slo": {"id": self._slos[body["slo"]["name"]]}}
        elif wanted.kind == "board":
            body = {**body, "panels": self._panels(step, wanted)}
        body = self._with_recipients(body, step)
        if step.existing is not None:
            if wanted.kind == "burn alert":
                del body["slo"]  # it cannot move to another
            changed: Mapping[str, Any] = self._api.overwrite(
                "PUT", f"{path}/{step.existing.id}", body
            )
            return changed
        made: Mapping[str, Any] = self._api.create(
            path, body, lambda: self._look(wanted, path, body)
        )
        if wanted.kind == "SLO":
            self._slos[wanted.name] = made["id"]
        return made

    def _look(self, wanted: Definition, path: str, body: Mapping[str, Any]) -> Any | None:
        """What was made of `wanted` by a request whose answer was lost."""
        if wanted.kind == "derived column":
            return _first(self._api.get(path), alias=wanted.name)
        if wanted.kind == "burn alert":
            listed = self._api.get(f"{path}?slo_id={body['slo']['id']}")
            return _first(listed, alert_type=body["alert_type"])
        ours = {"key": TAG, "value": wanted.tag}
        return next((one for one in self._api.get(path) if ours in (one.get("tags") or ())), None)

    def _with_recipients(self, body: dict[str, Any], step: Step) -> dict[str, Any]:
        recipients = body.get("recipients")
        if recipients:
            return {**body, "recipients": [self._recipient(one) for one in recipients]}
        if step.kind == "trigger" and step.existing is not None:
            # Those whom people have added in Honeycomb stay.
            kept = step.existing.body.get("recipients") or ()
            return {
                **body,
                "recipients": [
                    {name: one[name] for name in ("id", "details") if one.get(name)} for one in kept
                ],
            }
        return body

    def _recipient(self, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        """`wanted` by its id. Email addresses and Slack channels are made where they are new."""
        if wanted.get("id"):
            return {name: wanted[name] for name in ("id", "details") if wanted.get(name)}
        kind, target = wanted["type"], wanted.get("target")
        if self._recipients is None:
            self._recipients = list(self._api.get("/1/recipients"))

        def look() -> Mapping[str, Any] | None:
            for one in self._recipients or ():
                if one["type"] == kind and target in (None, *one["details"].values()):
                    return one
            return None

        def look_again() -> Mapping[str, Any] | None:
            self._recipients = list(self._api.get("/1/recipients"))
            return look()

        found = look()
        if found is None:
            if target is None or kind not in _RECIPIENT_DETAILS:
                named = f"{kind} {target}" if target else kind
                raise Refused(
                    0,
                    f"Honeycomb has no recipient {named}: make it there, under Account, Team"
                    " Settings, Integrations.",
                )
            body = {"type": kind, "details": {_RECIPIENT_DETAILS[kind]: target}}
            found = self._api.create("/1/recipients", body, look_again)
            self._recipients.append(found)
        details = {"details": wanted["details"]} if wanted.get("details") else {}
        return {"id": found["id"], **details}

    def _panels(self, step: Step, wanted: Definition) -> list[dict[str, Any]]:
        """The panels of a board with ids where the file has queries and names."""
        existing = step.existing.body.get("panels", ()) if step.existing else ()
        panels: list[dict[str, Any]] = []
        for panel in wanted.body.get("panels", ()):
            if panel["type"] == "slo":
                name = panel["slo_panel"]["slo"]["name"]
                panel = {**panel, "slo_panel": {"slo_id": self._slos[name]}}
            elif panel["type"] == "query":
                panel = {
                    **panel,
                    "query_panel": self._query_panel(panel["query_panel"], existing),
                }
            panels.append(panel)
        return panels

    def _query_panel(
        self, wanted: Mapping[str, Any], before: Iterable[Mapping[str, Any]]
    ) -> dict[str, Any]:
        query = wanted["query"]
        name = {
            "name": wanted["query_annotation"]["name"],
            "description": wanted["query_annotation"].get("description") or "",
        }
        rest = {
            field: value
            for field, value in wanted.items()
            if field not in ("query", "query_annotation")
        }
        for panel in before:
            if panel["type"] == "query" and self._is_query(panel["query_panel"], query):
                return rest | self._renamed(panel["query_panel"], name)
        return rest | (self._unused(query, name) or self._made(query, name))

    def _is_query(self, panel: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
        """Whether what a panel shows is `query`, with derived columns as they are now."""
        made_at = str(panel["query_annotation"].get("created_at") or "")
        return (
            "id" in panel["query_annotation"]
            and same_query(panel["query"], query)
            and not made_before(query, made_at, self._current, self._changed)
        )

    def _renamed(self, panel: Mapping[str, Any], name: Mapping[str, str]) -> dict[str, Any]:
        annotation = panel["query_annotation"]
        if any((annotation.get(field) or "") != text for field, text in name.items()):
            self._api.overwrite(
                "PUT",
                f"/1/query_annotations/{self._slug}/{annotation['id']}",
                {**name, "query_id": panel["query_id"]},
            )
        return {"query_id": panel["query_id"], "query_annotation_id": annotation["id"]}

    def _unused(self, query: Mapping[str, Any], name: Mapping[str, str]) -> dict[str, Any] | None:
        """A query of this name that no board shows: it was made for one that could not be."""
        for annotation in self._current.annotations.values():
            if annotation["id"] in self._used or any(
                (annotation.get(field) or "") != text for field, text in name.items()
            ):
                continue
            found = self._api.find(f"/1/queries/{self._slug}/{annotation['query_id']}")
            if found and self._is_query({"query": found, "query_annotation": annotation}, query):
                return self._use(annotation)
        return None

    def _made(self, query: Mapping[str, Any], name: Mapping[str, str]) -> dict[str, Any]:
        # The same query made twice is one that nothing names, and harmless.
        made = self._api.create(f"/1/queries/{self._slug}", query, lambda: None)
        path = f"/1/query_annotations/{self._slug}"
        annotation = self._api.create(
            path,
            {**name, "query_id": made["id"]},
            lambda: _first(
                self._api.get(f"{path}?include_board_annotations=true"), query_id=made["id"], **name
            ),
        )
        return self._use(annotation)

    def _use(self, annotation: Mapping[str, Any]) -> dict[str, Any]:
        self._used.add(annotation["id"])
        return {
            "query_id": annotation["query_id"],
            "query_annotation_id": annotation["id"],
        }


def _needs(step: Step) -> Iterable[tuple[str, str]]:
    """The objects without which that of `step` cannot be made, by kind and name."""
    if step.wanted is None:
        return
    for column in step.wanted.columns():
        yield "derived column", column
        yield "column", column
    if step.kind == "SLO":
        yield "derived column", step.wanted.body["sli"]["alias"]
    elif step.kind == "burn alert":
        yield "SLO", step.wanted.body["slo"]["name"]
    for panel in step.wanted.body.get("panels", ()):
        if panel["type"] == "slo":
            yield "SLO", panel["slo_panel"]["slo"]["name"]


def _first(listed: Iterable[Mapping[str, Any]], **fields: str) -> Mapping[str, Any] | None:
    for one in listed:
        if all((one.get(name) or "") == value for name, value in fields.items()):
            return one
    return None
