"""What Honeycomb has now, in the form of the files."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..terminal import printable
from .api import HoneycombAPI
from .files import TAG, Definitions, Kind, tag_of


@dataclass(frozen=True)
class Existing:
    """An object of Honeycomb."""

    kind: Kind
    id: str
    body: Mapping[str, Any]
    """As the API answers it, with queries in the place of their ids, and SLOs by their names."""
    tag: str | None
    """Value of our tag; None for what people made by hand."""

    @property
    def name(self) -> str:
        body = self.body
        return printable(body.get("alias") or body.get("name") or body.get("alert_type"))


@dataclass(frozen=True)
class Current:
    """The dataset of the service, and what is around it."""

    dataset: Mapping[str, Any] | None
    """None where nothing was sent yet and nobody made it."""
    columns: frozenset[str] = frozenset()
    status_column: str = ""
    """The column that Honeycomb takes for the status of a request."""
    objects: tuple[Existing, ...] = ()
    annotations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Names of queries, by their id."""

    @property
    def slug(self) -> str:
        return str(self.dataset["slug"]) if self.dataset else ""

    def of(self, kind: Kind) -> list[Existing]:
        return [existing for existing in self.objects if existing.kind == kind]


def read_current(api: HoneycombAPI, definitions: Definitions, service_name: str) -> Current:
    """Reads all that the files may change. Raises `APIError`."""
    dataset = dataset_of(api, service_name)
    slug = str(dataset["slug"]) if dataset else ""
    queries = _Queries(api, slug)
    objects: list[Existing] = []
    slos: list[Mapping[str, Any]] = []
    names: dict[str, str] = {}
    in_files = {definition.tag: definition.name for definition in definitions.of("SLO")}
    columns: frozenset[str] = frozenset()
    status_column = ""
    if dataset:
        columns = frozenset(column["key_name"] for column in api.get(f"/1/columns/{slug}"))
        status_column = (
            (api.find(f"/1/dataset_definitions/{slug}") or {}).get("status") or {}
        ).get("name") or ""
        derived = api.get(f"/1/derived_columns/{slug}")
        objects += [Existing("derived column", one["id"], one, None) for one in derived]
        # Asked for only where there are some: other plans have none, and refuse.
        if any(definition.kind == "SLO" for definition in definitions.active()):
            slos = api.get(f"/1/slos/{slug}")
        for slo in slos:
            tag = _tag(slo, service_name)
            objects.append(Existing("SLO", slo["id"], slo, tag))
            # Its name in the files, where that is another by now.
            names[slo["id"]] = in_files.get(tag or "", slo["name"])
            if tag:
                objects += _burn_alerts(api, slug, slo["id"], names[slo["id"]])
        for trigger in api.get(f"/1/triggers/{slug}"):
            tag = _tag(trigger, service_name)
            if tag and not trigger.get("query"):
                trigger = {**trigger, "query": queries.specification(trigger["query_id"])}
            objects.append(Existing("trigger", trigger["id"], trigger, tag))
    for board in api.get("/1/boards"):
        tag = _tag(board, service_name)
        panels = board.get("panels") or ()
        if tag:
            panels = [_panel(panel, queries, names) for panel in panels]
        objects.append(Existing("board", board["id"], {**board, "panels": panels}, tag))
    return Current(dataset, columns, status_column, tuple(objects), queries.annotations)


def dataset_of(api: HoneycombAPI, service_name: str) -> Mapping[str, Any] | None:
    """The dataset that spans of the service go into, or None where there is none yet."""
    datasets: Iterable[Mapping[str, Any]] = api.get("/1/datasets")
    for dataset in datasets:
        # Names of datasets know no difference between small letters and others.
        if str(dataset["name"]).casefold() == service_name.casefold():
            return dataset
    return None


def slug_of(service_name: str) -> str:
    """What the dataset of `service_name` is called in paths, where its own answer is not at hand."""
    return re.sub(r"[^a-z0-9_]", "-", service_name.lower())


class _Queries:
    """Queries and their names, each asked for once."""

    def __init__(self, api: HoneycombAPI, slug: str) -> None:
        self._api = api
        self._slug = slug
        self._specifications: dict[str, Mapping[str, Any]] = {}
        self._annotations: dict[str, Mapping[str, Any]] | None = None

    @property
    def annotations(self) -> dict[str, Mapping[str, Any]]:
        if self._annotations is None:
            path = f"/1/query_annotations/{self._slug}?include_board_annotations=true"
            listed = self._api.get(path) if self._slug else ()
            self._annotations = {annotation["id"]: annotation for annotation in listed}
        return self._annotations

    def specification(self, query_id: str) -> Mapping[str, Any]:
        if query_id not in self._specifications:
            found = self._slug and self._api.find(f"/1/queries/{self._slug}/{query_id}")
            self._specifications[query_id] = found or {"breakdowns": ["(not of this dataset)"]}
        return self._specifications[query_id]


def _burn_alerts(api: HoneycombAPI, slug: str, slo_id: str, slo_name: str) -> Iterable[Existing]:
    for listed in api.get(f"/1/burn_alerts/{slug}?slo_id={slo_id}"):
        # The list leaves the recipients out.
        alert = api.get(f"/1/burn_alerts/{slug}/{listed['id']}")
        body = {**alert, "slo": {"id": slo_id, "name": slo_name}}
        yield Existing("burn alert", listed["id"], body, None)


def _panel(
    panel: Mapping[str, Any], queries: _Queries, slos: Mapping[str, str]
) -> Mapping[str, Any]:
    if panel["type"] == "slo":
        slo_id = panel["slo_panel"].get("slo_id")
        return {**panel, "slo_panel": {"slo": {"name": slos.get(slo_id, f"(id {slo_id})")}}}
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
    ours = tag_of(service_name, "x").removesuffix("x")
    for tag in body.get("tags") or ():
        if tag["key"] == TAG and tag["value"].startswith(ours):
            return str(tag["value"])
    return None
