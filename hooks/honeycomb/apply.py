"""Execution of a plan, so that an interrupted one is completed by the next.

Each object is created with the tag by which the next plan recognises it. Queries and annotations are
created before the board that shows them; if the board fails, the next plan finds and uses them.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from .client import APIError, HoneycombClient, HTTPError
from .definitions import FOLDERS, TAG, Definition
from .panels import Panels
from .plan import STATUS_COLUMN, Plan, Step, needs_of
from .recipients import Recipients
from .record import marked_file, user_tags, with_record, without_mark
from .remote import RemoteState, dataset_of
from .schema import Kind

Done = Callable[[Step, str, str], None]

CONCURRENT_SECONDS: Final = 2.0
"""Time in which a concurrent apply withdraws an object that it created too."""
_PATHS: Final[Mapping[Kind, str]] = {**FOLDERS, "saved query": "query_annotations"}


class Applier:
    """Carries out the steps of one plan."""

    def __init__(
        self, client: HoneycombClient, remote: RemoteState, service_name: str, plan: Plan
    ) -> None:
        self._client = client
        self._service_name = service_name
        self._plan = plan
        self._remote = remote
        self._slug = remote.slug
        self._slos = {
            step.name: step.existing.id
            for step in plan.steps
            if step.kind == "SLO" and step.existing is not None
        }
        self._changed: set[str] = set()
        self._recipients = Recipients(client)
        self._panels = Panels(client, remote)

    def run(self, done: Done) -> bool:
        """Carry out each step and report it to `done`: the step, an error, and the URL of a board.

        If Honeycomb rejects an object, those that do not depend on it are still created. Returns
        True if there was no error. Raises APIError if Honeycomb stops responding.
        """
        failed: set[tuple[str, str]] = set()
        for step in self._plan.changes:
            lacking = [name for kind, name in needs_of(step) if (kind, name) in failed]
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
            self._write_column(step)
        elif step.kind == "dataset definition":
            body = {"status": {"name": STATUS_COLUMN, "column_type": "column"}}
            self._client.overwrite("PATCH", f"/1/dataset_definitions/{self._slug}", body)
        else:
            assert step.wanted is not None
            return self._write(step, step.wanted)
        return {}

    def _delete(self, step: Step) -> None:
        assert step.existing is not None
        self._client.delete(f"{self._path(step.existing.kind)}/{step.existing.id}")

    def _path(self, kind: Kind) -> str:
        return f"/1/{_PATHS[kind]}" if kind == "board" else f"/1/{_PATHS[kind]}/{self._slug}"

    def _create_dataset(self) -> None:
        made = self._client.create(
            "/1/datasets",
            {"name": self._service_name},
            lambda: dataset_of(self._client, self._service_name),
        )
        self._slug = made["slug"]

    def _write_column(self, step: Step) -> None:
        path = f"/1/columns/{self._slug}"
        body = {"key_name": step.name, "type": step.note}
        if step.action == "change":
            column = self._remote.columns[step.name]["id"]
            self._client.overwrite("PUT", f"{path}/{column}", body)
            return

        def find() -> Any | None:
            return _first(self._client.get(path), key_name=step.name)

        # A span may have brought it in the meantime.
        self._client.create(path, body, find)

    def _write(self, step: Step, wanted: Definition) -> Mapping[str, Any]:
        path, body = self._path(wanted.kind), self._body(step, wanted)
        if wanted.kind == "saved query":
            return self._save_query(step, wanted, body)
        if wanted.kind == "derived column":
            self._changed.add(wanted.name)
        elif wanted.kind == "burn alert":
            body["slo"] = {"id": self._slos[body["slo"]["name"]]}
        elif wanted.kind == "board":
            body["panels"] = self._panels.of(step, self._slug, self._slos, self._changed)
        if wanted.kind in ("trigger", "burn alert"):
            body["recipients"] = self._resolved_recipients(wanted, step)
        if step.existing is not None:
            if wanted.kind == "burn alert":
                del body["slo"]  # it cannot be changed
            changed: Mapping[str, Any] = self._client.overwrite(
                "PUT", f"{path}/{step.existing.id}", body
            )
            return changed
        created: Mapping[str, Any] = self._client.create(
            path, body, lambda: next(iter(self._all(wanted, body)), None)
        )
        if wanted.kind != "derived column":
            created = self._only_one(wanted, body, created)
        if wanted.kind == "SLO":
            self._slos[wanted.name] = created["id"]
        return created

    def _body(self, step: Step, wanted: Definition) -> dict[str, Any]:
        """The content of the file, with the parts that people changed in Honeycomb, and our tags."""
        body = dict(wanted.body)
        if step.existing is not None:
            live = step.existing.body
            for part in step.kept_parts:
                if part == "tags":
                    body["tags"] = user_tags(live)
                elif part == "description":
                    body["description"] = without_mark(live.get("description"))
                elif part in live:
                    body[part] = live[part]
            if wanted.kind == "trigger" and live.get("disabled"):
                body["disabled"] = True
        return with_record(wanted.kind, body, wanted.tag, step.record)

    def _save_query(
        self, step: Step, wanted: Definition, body: dict[str, Any]
    ) -> Mapping[str, Any]:
        name = {"name": body["name"], "description": body["description"]}
        if step.existing is None:
            created = self._panels.annotate(body["query"], self._slug, name)
            return self._only_one(wanted, body, created)
        path = f"{self._path(wanted.kind)}/{step.existing.id}"
        if any(change.field.startswith("query") for change in step.differences):
            # The query of an annotation cannot be changed.
            self._client.delete(path)
            return self._panels.annotate(body["query"], self._slug, name)
        query = step.existing.body["query_id"]
        changed: Mapping[str, Any] = self._client.overwrite(
            "PUT", path, {**name, "query_id": query}
        )
        return changed

    def _only_one(
        self, wanted: Definition, body: Mapping[str, Any], created: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """`created`, or that of a concurrent apply, after which `created` is deleted.

        Of two that see each other, the one with the greater id withdraws at once; the other one if
        the first is still there after a while, as it was created before.
        """
        for seconds in (0.0, CONCURRENT_SECONDS):
            others = [one for one in self._all(wanted, body) if one["id"] != created["id"]]
            if not others:
                return created
            kept = min(others, key=lambda one: str(one["id"]))
            if kept["id"] < created["id"] or seconds:
                self._client.delete(f"{self._path(wanted.kind)}/{created['id']}")
                if wanted.kind == "board":
                    self._panels.discard(self._slug, kept)
                return kept
            time.sleep(CONCURRENT_SECONDS)
        raise AssertionError("unreachable")

    def _all(self, wanted: Definition, body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The objects in Honeycomb with the tag of `wanted`."""
        path = self._path(wanted.kind)
        if wanted.kind == "burn alert":
            path += f"?slo_id={body['slo']['id']}"
        elif wanted.kind == "saved query":
            path += "?include_board_annotations=true"
        listed = self._client.get(path)
        if wanted.kind == "derived column":
            fields = ("alias", "expression")
            return [one for one in listed if all(one[name] == body[name] for name in fields)]
        if wanted.kind in ("burn alert", "saved query"):
            return [one for one in listed if marked_file(one) == wanted.tag]
        ours = {"key": TAG, "value": wanted.tag}
        return [one for one in listed if ours in (one.get("tags") or ())]

    def _resolved_recipients(self, wanted: Definition, step: Step) -> list[Mapping[str, Any]]:
        """The recipients of the file, or else those in Honeycomb and the ones to add."""
        if wanted.body.get("recipients"):
            return [self._recipients.resolve(one) for one in wanted.body["recipients"]]
        present = step.existing.body.get("recipients") or () if step.existing else ()
        kept = [{name: one[name] for name in ("id", "details") if one.get(name)} for one in present]
        return [*kept, *map(self._recipients.resolve, step.recipients)]


def _first(listed: Iterable[Mapping[str, Any]], **fields: str) -> Mapping[str, Any] | None:
    for one in listed:
        if all((one.get(name) or "") == value for name, value in fields.items()):
            return one
    return None
