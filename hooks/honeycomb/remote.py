"""Actual state: the objects in Honeycomb, in the form of the files."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..terminal import printable
from .client import HoneycombClient, HTTPError
from .definitions import TAG, Definitions, tag_of
from .record import Record, marked_file, recorded
from .schema import Kind


@dataclass(frozen=True)
class RemoteObject:
    """An object in Honeycomb."""

    kind: Kind
    id: str
    body: Mapping[str, Any]
    """The API's object, with queries in place of their ids, and names in place of ids of SLOs."""
    tag: str | None
    """Value of our tag; None for an object that was created by hand, and for a derived column."""

    @property
    def record(self) -> Record | None:
        return recorded(self.kind, self.body)

    @property
    def name(self) -> str:
        body = self.body
        return printable(body.get("alias") or body.get("name") or body.get("alert_type"))


@dataclass(frozen=True)
class RemoteState:
    """The dataset of the service, and the objects in its environment."""

    dataset: Mapping[str, Any] | None
    """None if it does not exist yet."""
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By name."""
    status_column: str = ""
    """The column that Honeycomb shows as the status of a request."""
    objects: tuple[RemoteObject, ...] = ()
    annotations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Annotations of queries, which hold their names, by id."""
    has_slos: bool = True
    """False if the team's plan does not include SLOs."""

    @property
    def slug(self) -> str:
        return str(self.dataset["slug"]) if self.dataset else ""

    def of(self, kind: Kind) -> list[RemoteObject]:
        return [existing for existing in self.objects if existing.kind == kind]


def read_remote(
    client: HoneycombClient, definitions: Definitions, service_name: str
) -> RemoteState:
    """Read all objects that the definitions may change. Raises APIError."""
    dataset = dataset_of(client, service_name)
    slug = str(dataset["slug"]) if dataset else ""
    queries = _Queries(client, slug)
    objects: list[RemoteObject] = []
    slos: list[Mapping[str, Any]] = []
    names: dict[str, str] = {}
    in_files = {definition.tag: definition.name for definition in definitions.of("SLO")}
    columns: dict[str, Mapping[str, Any]] = {}
    status_column = ""
    has_slos = True
    if not any(definition.needs_plan for definition in definitions.of("SLO")):
        try:
            slos = client.find(f"/1/slos/{slug or '__all__'}") or []
        except HTTPError as rejected:
            # Plans without SLOs reject the request.
            if rejected.status != 403:
                raise
            has_slos = False
    if dataset:
        columns = {column["key_name"]: column for column in client.get(f"/1/columns/{slug}")}
        status_column = (
            (client.find(f"/1/dataset_definitions/{slug}") or {}).get("status") or {}
        ).get("name") or ""
        derived = client.get(f"/1/derived_columns/{slug}")
        objects += [RemoteObject("derived column", one["id"], one, None) for one in derived]
        for slo in slos:
            tag = _tag(slo, service_name)
            objects.append(RemoteObject("SLO", slo["id"], slo, tag))
            # Its name in the files, which may have changed.
            names[slo["id"]] = in_files.get(tag or "", slo["name"])
            if tag:
                objects += _burn_alerts(client, slug, slo["id"], names[slo["id"]])
        for trigger in client.get(f"/1/triggers/{slug}"):
            tag = _tag(trigger, service_name)
            if tag and not trigger.get("query"):
                trigger = {**trigger, "query": queries.specification(trigger["query_id"])}
            objects.append(RemoteObject("trigger", trigger["id"], trigger, tag))
        if definitions.of("saved query"):
            objects += _saved_queries(queries, service_name)
    for board in client.get("/1/boards"):
        tag = _tag(board, service_name)
        panels = board.get("panels") or ()
        if tag:
            panels = [_panel(panel, queries, names) for panel in panels]
        objects.append(RemoteObject("board", board["id"], {**board, "panels": panels}, tag))
    return RemoteState(
        dataset, columns, status_column, tuple(objects), queries.annotations, has_slos
    )


def dataset_of(client: HoneycombClient, service_name: str) -> Mapping[str, Any] | None:
    """The dataset of the service's spans, or None if it does not exist yet."""
    datasets: Iterable[Mapping[str, Any]] = client.get("/1/datasets")
    for dataset in datasets:
        # Names of datasets are not case-sensitive.
        if str(dataset["name"]).casefold() == service_name.casefold():
            return dataset
    return None


def slug_of(service_name: str) -> str:
    """The name of the dataset of `service_name` in paths, if the dataset itself was not read."""
    return re.sub(r"[^a-z0-9_]", "-", service_name.lower())


class _Queries:
    """Queries and their annotations, each read once."""

    def __init__(self, client: HoneycombClient, slug: str) -> None:
        self._client = client
        self._slug = slug
        self._specifications: dict[str, Mapping[str, Any]] = {}
        self._annotations: dict[str, Mapping[str, Any]] | None = None

    @property
    def annotations(self) -> dict[str, Mapping[str, Any]]:
        if self._annotations is None:
            path = f"/1/query_annotations/{self._slug}?include_board_annotations=true"
            listed = self._client.get(path) if self._slug else ()
            self._annotations = {annotation["id"]: annotation for annotation in listed}
        return self._annotations

    def specification(self, query_id: str) -> Mapping[str, Any]:
        if query_id not in self._specifications:
            found = self._slug and self._client.find(f"/1/queries/{self._slug}/{query_id}")
            self._specifications[query_id] = found or {"breakdowns": ["(not of this dataset)"]}
        return self._specifications[query_id]


def _burn_alerts(
    client: HoneycombClient, slug: str, slo_id: str, slo_name: str
) -> Iterable[RemoteObject]:
    for listed in client.get(f"/1/burn_alerts/{slug}?slo_id={slo_id}"):
        # The list omits recipients.
        alert = client.get(f"/1/burn_alerts/{slug}/{listed['id']}")
        body = {**alert, "slo": {"id": slo_id, "name": slo_name}}
        yield RemoteObject("burn alert", listed["id"], body, marked_file(alert))


def _saved_queries(queries: "_Queries", service_name: str) -> Iterable[RemoteObject]:
    for annotation in queries.annotations.values():
        tag = marked_file(annotation)
        if tag and tag.startswith(_prefix(service_name)):
            query = queries.specification(annotation["query_id"])
            body = {**annotation, "query": query}
            yield RemoteObject("saved query", annotation["id"], body, tag)


def _panel(
    panel: Mapping[str, Any], queries: _Queries, slos: Mapping[str, str]
) -> Mapping[str, Any]:
    if panel["type"] == "slo":
        slo_id = panel["slo_panel"].get("slo_id")
        name = slos.get(slo_id, f"(id {slo_id})")
        return {**panel, "slo_panel": {"slo_id": slo_id, "slo": {"name": name}}}
    if panel["type"] != "query":
        return panel
    query_panel = panel["query_panel"]
    annotation = queries.annotations.get(query_panel.get("query_annotation_id") or "", {})
    return {
        **panel,
        "query_panel": {
            **query_panel,
            "query": queries.specification(query_panel["query_id"]),
            "query_annotation": annotation,
        },
    }


def _tag(body: Mapping[str, Any], service_name: str) -> str | None:
    """The value of our tag on an object of this service."""
    for tag in body.get("tags") or ():
        if tag["key"] == TAG and tag["value"].startswith(_prefix(service_name)):
            return str(tag["value"])
    return None


def _prefix(service_name: str) -> str:
    return tag_of(service_name, "x").removesuffix("x")
