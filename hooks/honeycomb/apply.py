"""Execution of a plan, so that an interrupted one is completed by the next.

Each object is created with the tag by which the next plan recognises it. Queries and annotations are
created before the board that shows them; if the board fails, the next plan finds and uses them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from .client import APIError, HoneycombClient, HTTPError
from .definitions import FOLDERS, TAG, Definition
from .diff import same_query
from .plan import STATUS_COLUMN, Plan, Step, body_of, outdated_column
from .remote import RemoteState, dataset_of

Done = Callable[[Step, str, str], None]

_RECIPIENT_DETAILS: Final = {"email": "email_address", "slack": "slack_channel"}


class Applier:
    """Carries out the steps of one plan."""

    def __init__(
        self, client: HoneycombClient, remote: RemoteState, service_name: str, plan: Plan
    ) -> None:
        self._client = client
        self._remote = remote
        self._service_name = service_name
        self._plan = plan
        self._slug = remote.slug
        self._slos = {
            step.name: step.existing.id
            for step in plan.steps
            if step.kind == "SLO" and step.existing is not None
        }
        self._changed: set[str] = set()
        self._recipients: list[Mapping[str, Any]] | None = None
        self._used = {
            panel["query_panel"].get("query_annotation_id")
            for board in remote.of("board")
            for panel in board.body.get("panels") or ()
            if panel["type"] == "query"
        }

    def run(self, done: Done) -> bool:
        """Carry out each step and report it to `done`: the step, an error, and the URL of a board.

        If Honeycomb rejects an object, those that do not depend on it are still created. Returns
        True if there was no error. Raises APIError if Honeycomb stops responding.
        """
        failed: set[tuple[str, str]] = set()
        for step in self._plan.changes:
            lacking = [name for kind, name in _needs(step) if (kind, name) in failed]
            try:
                if lacking:
                    raise HTTPError(0, f"It needs {lacking[0]!r}, which could not be created.")
                result = self._carry_out(step)
            except HTTPError as rejected:
                failed.add((step.kind, step.name))
                done(step, str(rejected), "")
                if step.kind == "dataset" or rejected.status in (401, 429):
                    raise APIError("The remaining changes were not tried.") from rejected
            else:
                done(step, "", str((result.get("links") or {}).get("board_url") or ""))
        return not failed

    def _carry_out(self, step: Step) -> Mapping[str, Any]:
        """Carry out one step, and return the object, if it is one with a URL."""
        if step.action == "delete":
            self._delete(step)
        elif step.kind == "dataset":
            self._create_dataset()
        elif step.kind == "column":
            self._create_column(step)
        elif step.kind == "dataset definition":
            body = {"status": {"name": STATUS_COLUMN, "column_type": "column"}}
            self._client.overwrite("PATCH", f"/1/dataset_definitions/{self._slug}", body)
        else:
            assert step.wanted is not None
            return self._write(step, step.wanted)
        return {}

    def _delete(self, step: Step) -> None:
        assert step.existing is not None
        folder = FOLDERS[step.existing.kind]
        place = folder if step.existing.kind == "board" else f"{folder}/{self._slug}"
        self._client.delete(f"/1/{place}/{step.existing.id}")

    def _create_dataset(self) -> None:
        made = self._client.create(
            "/1/datasets",
            {"name": self._service_name},
            lambda: dataset_of(self._client, self._service_name),
        )
        self._slug = made["slug"]

    def _create_column(self, step: Step) -> None:
        path = f"/1/columns/{self._slug}"
        body = {"key_name": step.name, "type": step.note}

        def find() -> Any | None:
            return _first(self._client.get(path), key_name=step.name)

        try:
            self._client.create(path, body, find)
        except HTTPError:
            # A span may have brought it in the meantime.
            if find() is None:
                raise

    def _write(self, step: Step, wanted: Definition) -> Mapping[str, Any]:
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
                del body["slo"]  # it cannot be changed
            changed: Mapping[str, Any] = self._client.overwrite(
                "PUT", f"{path}/{step.existing.id}", body
            )
            return changed
        created: Mapping[str, Any] = self._client.create(
            path, body, lambda: self._find(wanted, path, body)
        )
        if wanted.kind == "SLO":
            self._slos[wanted.name] = created["id"]
        return created

    def _find(self, wanted: Definition, path: str, body: Mapping[str, Any]) -> Any | None:
        """The object that was created for `wanted` by a request whose response was lost."""
        if wanted.kind == "derived column":
            return _first(self._client.get(path), alias=wanted.name)
        if wanted.kind == "burn alert":
            listed = self._client.get(f"{path}?slo_id={body['slo']['id']}")
            return _first(listed, alert_type=body["alert_type"])
        ours = {"key": TAG, "value": wanted.tag}
        return next(
            (one for one in self._client.get(path) if ours in (one.get("tags") or ())), None
        )

    def _with_recipients(self, body: dict[str, Any], step: Step) -> dict[str, Any]:
        recipients = body.get("recipients")
        if recipients:
            return {**body, "recipients": [self._recipient(one) for one in recipients]}
        if step.kind == "trigger" and step.existing is not None:
            # Keep the recipients that were added in Honeycomb.
            kept = step.existing.body.get("recipients") or ()
            return {
                **body,
                "recipients": [
                    {name: one[name] for name in ("id", "details") if one.get(name)} for one in kept
                ],
            }
        return body

    def _recipient(self, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        """`wanted` by its id. New email addresses and Slack channels are created."""
        if wanted.get("id"):
            return {name: wanted[name] for name in ("id", "details") if wanted.get(name)}
        kind, target = wanted["type"], wanted.get("target")
        if self._recipients is None:
            self._recipients = list(self._client.get("/1/recipients"))

        def find() -> Mapping[str, Any] | None:
            for one in self._recipients or ():
                if one["type"] == kind and target in (None, *one["details"].values()):
                    return one
            return None

        def find_again() -> Mapping[str, Any] | None:
            self._recipients = list(self._client.get("/1/recipients"))
            return find()

        found = find()
        if found is None:
            if target is None or kind not in _RECIPIENT_DETAILS:
                named = f"{kind} {target}" if target else kind
                raise HTTPError(
                    0,
                    f"Honeycomb does not have a recipient {named}. Create it under Account, Team"
                    " Settings, Integrations.",
                )
            body = {"type": kind, "details": {_RECIPIENT_DETAILS[kind]: target}}
            found = self._client.create("/1/recipients", body, find_again)
            self._recipients.append(found)
        details = {"details": wanted["details"]} if wanted.get("details") else {}
        return {"id": found["id"], **details}

    def _panels(self, step: Step, wanted: Definition) -> list[dict[str, Any]]:
        """The panels of a board, with ids in place of the queries and names in the file."""
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
        return rest | (self._unused(query, name) or self._new_query(query, name))

    def _is_query(self, panel: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
        """Return True if a panel shows `query`, with the current derived columns."""
        created_at = str(panel["query_annotation"].get("created_at") or "")
        return (
            "id" in panel["query_annotation"]
            and same_query(panel["query"], query)
            and not outdated_column(query, created_at, self._remote, self._changed)
        )

    def _renamed(self, panel: Mapping[str, Any], name: Mapping[str, str]) -> dict[str, Any]:
        annotation = panel["query_annotation"]
        if any((annotation.get(field) or "") != text for field, text in name.items()):
            self._client.overwrite(
                "PUT",
                f"/1/query_annotations/{self._slug}/{annotation['id']}",
                {**name, "query_id": panel["query_id"]},
            )
        return {"query_id": panel["query_id"], "query_annotation_id": annotation["id"]}

    def _unused(self, query: Mapping[str, Any], name: Mapping[str, str]) -> dict[str, Any] | None:
        """A query with this annotation that no board shows: the board could not be created."""
        for annotation in self._remote.annotations.values():
            if annotation["id"] in self._used or any(
                (annotation.get(field) or "") != text for field, text in name.items()
            ):
                continue
            found = self._client.find(f"/1/queries/{self._slug}/{annotation['query_id']}")
            if found and self._is_query({"query": found, "query_annotation": annotation}, query):
                return self._use(annotation)
        return None

    def _new_query(self, query: Mapping[str, Any], name: Mapping[str, str]) -> dict[str, Any]:
        # A second copy of a query is harmless: nothing refers to it.
        made = self._client.create(f"/1/queries/{self._slug}", query, lambda: None)
        path = f"/1/query_annotations/{self._slug}"
        annotation = self._client.create(
            path,
            {**name, "query_id": made["id"]},
            lambda: _first(
                self._client.get(f"{path}?include_board_annotations=true"),
                query_id=made["id"],
                **name,
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
    """The objects that the one of `step` depends on, by kind and name."""
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
