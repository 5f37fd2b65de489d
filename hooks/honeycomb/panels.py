"""Panels and saved queries: queries with their annotations, created before the object that shows them."""

from collections.abc import Iterable, Mapping
from typing import Any

from .client import HoneycombClient
from .definitions import by_title
from .diff import panel_part, panels_like, same_query
from .plan import Step, outdated_column
from .remote import RemoteState
from .schema import Position

_Panel = Mapping[str, Any]


class Panels:
    """Creates the queries of one apply, unless Honeycomb already has them."""

    def __init__(self, client: HoneycombClient, remote: RemoteState) -> None:
        self._client = client
        self._remote = remote
        self._created: list[str] = []
        self._used = {
            panel["query_panel"].get("query_annotation_id")
            for board in remote.of("board")
            for panel in board.body.get("panels") or ()
            if panel["type"] == "query"
        } | {saved.id for saved in remote.of("saved query")}

    def of(
        self, step: Step, slug: str, slos: Mapping[str, str], changed: set[str]
    ) -> list[dict[str, Any]]:
        """The panels of a board, with ids in place of the queries and names in the file.

        Panels that people changed in Honeycomb are as they are there. `slos` are ids by name,
        `changed` the derived columns that this apply changed.
        """
        assert step.wanted is not None
        self._created = []
        live = panels_like(step.existing.body, step.wanted.body) if step.existing else {}
        # A panel that people added may be a copy of ours: two cannot show the same query.
        ours_before = {
            title: panel
            for title, panel in live.items()
            if panel_part(title) not in step.kept_parts
        }
        panels: list[dict[str, Any]] = []
        for title, panel in by_title(step.wanted.body.get("panels", ())).items():
            if panel_part(title) in step.kept_parts:
                if title in live:
                    panels.append(_as_sent(live[title]))
            elif panel["type"] == "slo":
                name = panel["slo_panel"]["slo"]["name"]
                panels.append({**panel, "slo_panel": {"slo_id": slos[name]}})
            elif panel["type"] == "query":
                before = [ours_before[title]] if title in ours_before else []
                before += ours_before.values()
                content = self._query_panel(panel["query_panel"], before, slug, changed)
                panels.append({**panel, "query_panel": content})
            else:
                panels.append(dict(panel))
        ours = by_title(step.wanted.body.get("panels", ()))
        panels += [
            _as_sent(panel)
            for title, panel in live.items()
            if title not in ours and panel_part(title) in step.kept_parts
        ]
        return _apart(panels)

    def annotate(self, query: Mapping[str, Any], slug: str, name: Mapping[str, str]) -> _Panel:
        """A new annotation of a new query."""
        # A second copy of a query is harmless: nothing refers to it.
        made = self._client.create(f"/1/queries/{slug}", query, lambda: None)
        path = f"/1/query_annotations/{slug}"

        def find() -> _Panel | None:
            for one in self._client.get(f"{path}?include_board_annotations=true"):
                if one["query_id"] == made["id"] and _is_named(one, name):
                    return dict(one)
            return None

        annotation: _Panel = self._client.create(path, {**name, "query_id": made["id"]}, find)
        self._created.append(annotation["id"])
        return annotation

    def discard(self, slug: str, kept: Mapping[str, Any]) -> None:
        """Delete the annotations that were created for the last board, unless `kept` shows them."""
        shown = {
            panel["query_panel"].get("query_annotation_id")
            for panel in kept.get("panels") or ()
            if panel["type"] == "query"
        }
        for annotation in set(self._created) - shown:
            self._client.delete(f"/1/query_annotations/{slug}/{annotation}")

    def _query_panel(
        self, wanted: _Panel, before: Iterable[_Panel], slug: str, changed: set[str]
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
            if panel["type"] == "query" and self._is_query(panel["query_panel"], query, changed):
                return rest | self._renamed(panel["query_panel"], name, slug)
        annotation = self._unused(query, name, slug, changed) or self.annotate(query, slug, name)
        self._used.add(annotation["id"])
        ids = {"query_id": annotation["query_id"], "query_annotation_id": annotation["id"]}
        return rest | ids

    def _is_query(self, panel: _Panel, query: Mapping[str, Any], changed: set[str]) -> bool:
        """Return True if a panel shows `query`, with the current derived columns."""
        created_at = str(panel["query_annotation"].get("created_at") or "")
        return (
            "id" in panel["query_annotation"]
            and same_query(panel["query"], query)
            and not outdated_column(query, created_at, self._remote, changed)
        )

    def _renamed(self, panel: _Panel, name: Mapping[str, str], slug: str) -> dict[str, Any]:
        annotation = panel["query_annotation"]
        if not _is_named(annotation, name):
            self._client.overwrite(
                "PUT",
                f"/1/query_annotations/{slug}/{annotation['id']}",
                {**name, "query_id": panel["query_id"]},
            )
        return {"query_id": panel["query_id"], "query_annotation_id": annotation["id"]}

    def _unused(
        self, query: Mapping[str, Any], name: Mapping[str, str], slug: str, changed: set[str]
    ) -> _Panel | None:
        """A query with this annotation that no board shows: the board could not be created."""
        for annotation in self._remote.annotations.values():
            if annotation["id"] in self._used or not _is_named(annotation, name):
                continue
            found = self._client.find(f"/1/queries/{slug}/{annotation['query_id']}")
            content = {"query": found, "query_annotation": annotation}
            if found and self._is_query(content, query, changed):
                return annotation
        return None


def _is_named(annotation: _Panel, name: Mapping[str, str]) -> bool:
    return all((annotation.get(field) or "") == text for field, text in name.items())


def _as_sent(panel: _Panel) -> dict[str, Any]:
    """A panel in Honeycomb, in the form that the API accepts."""
    sent = {name: value for name, value in panel.items() if value is not None}
    if panel["type"] == "query":
        read_only = ("query", "query_annotation", "dataset")
        content = panel["query_panel"].items()
        sent["query_panel"] = {name: value for name, value in content if name not in read_only}
    elif panel["type"] == "slo":
        sent["slo_panel"] = {"slo_id": panel["slo_panel"]["slo_id"]}
    return sent


def _apart(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The panels, those that would overlap an earlier one moved to the end of the board."""
    placed: list[Position] = []
    for panel in panels:
        if not panel.get("position"):
            continue
        position = Position.model_validate(panel["position"])
        if any(position.overlaps(other) for other in placed):
            bottom = max(other.y_coordinate + other.height for other in placed)
            position = position.model_copy(update={"x_coordinate": 0, "y_coordinate": bottom})
            panel["position"] = position.model_dump()
        placed.append(position)
    return panels
