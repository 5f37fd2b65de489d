"""The state of one environment of the fake, and the operations of the API on it."""

import itertools
import re
import time
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from . import rules
from .keys import Plan
from .rules import Invalid

Body = dict[str, Any]

_STATUS_BY_DEFAULT: Final = "http.status_code"


class Refusal(Exception):
    """An error response: status and body."""

    def __init__(self, status: int, error: str, kind: str = "", details: list[Body] | None = None):
        super().__init__(error)
        self.status = status
        self.body: Body = {"status": status, "error": error, "detail": error, "title": error}
        self.body["type"] = f"https://api.honeycomb.io/problems/{kind or 'error'}"
        if details is not None:
            self.body["type_detail"] = details


class Store:
    """Datasets, columns, boards and other objects, with generated IDs."""

    def __init__(self, plan: Plan) -> None:
        self.plan: Plan = plan
        self.ahead = 0.0
        """Seconds that the clock of the fake is ahead."""
        self.datasets: dict[str, Body] = {}
        self.columns: dict[str, dict[str, Body]] = {}
        self.definitions: dict[str, Body] = {}
        self.derived_columns: dict[str, dict[str, Body]] = {}
        self.queries: dict[str, dict[str, Body]] = {}
        self.query_annotations: dict[str, dict[str, Body]] = {}
        self.slos: dict[str, dict[str, Body]] = {}
        self.burn_alerts: dict[str, dict[str, Body]] = {}
        self.triggers: dict[str, dict[str, Body]] = {}
        self.markers: dict[str, dict[str, Body]] = {}
        self.boards: dict[str, Body] = {}
        self.recipients: dict[str, Body] = {}
        self._ids = itertools.count(1)

    # Datasets and columns

    def dataset(self, slug: str) -> Body:
        if slug not in self.datasets:
            raise Refusal(404, "dataset not found", "not-found")
        return self.datasets[slug]

    def make_dataset(self, body: Body) -> tuple[int, Body]:
        rules.only(body, "name description expand_json_depth")
        rules.text(body, "name", 255)
        slug = re.sub(r"[^a-z0-9_]", "-", body["name"].lower())
        if slug in self.datasets:
            return 200, self.datasets[slug]
        self.datasets[slug] = {
            "name": body["name"],
            "slug": slug,
            "description": body.get("description", ""),
            "settings": {"delete_protected": True},
            "expand_json_depth": 0,
            "regular_columns_count": None,
            "last_written_at": None,
            "created_at": self.now(),
        }
        self.definitions[slug] = {"status": {"name": _STATUS_BY_DEFAULT, "column_type": "column"}}
        for kept in (
            self.columns,
            self.derived_columns,
            self.queries,
            self.query_annotations,
            self.slos,
            self.burn_alerts,
            self.triggers,
            self.markers,
        ):
            kept[slug] = {}
        return 201, self.datasets[slug]

    def make_column(self, slug: str, body: Body) -> Body:
        rules.column(body)
        if body["key_name"] in self.names(slug):
            raise Refusal(409, "column already exists", "conflict")
        defaults = {"type": "string", "hidden": False, "description": "", "last_written": None}
        return self._keep(self.columns[slug], {**defaults, **body})

    def change_column(self, slug: str, known: Body, body: Body) -> Body:
        rules.column(body)
        return self._change(known, {**known, **body})

    def change_definitions(self, slug: str, body: Body) -> Body:
        for name, definition in body.items():
            rules.only(definition, "name column_type")
            rules.column_is_known(definition["name"] or None, self.names(slug), f"{name}.name")
            self.definitions[slug][name] = definition
        return self.definitions[slug]

    def names(self, slug: str) -> set[str]:
        """Return the columns and derived columns that a query of the dataset can use."""
        return {one["key_name"] for one in self.columns[slug].values()} | {
            one["alias"] for one in self.derived_columns[slug].values()
        }

    def take_span(self, service_name: str, attributes: Mapping[str, Any]) -> None:
        """Create the dataset and the columns of a span, as ingest does."""
        _, dataset = self.make_dataset({"name": service_name})
        dataset["last_written_at"] = self.now()
        slug = dataset["slug"]
        types = {bool: "boolean", int: "integer", float: "float"}
        for name in attributes.keys() - self.names(slug):
            column = {"key_name": name, "type": types.get(type(attributes[name]), "string")}
            self.make_column(slug, column)
        for column in self.columns[slug].values():
            if column["key_name"] in attributes:
                column["last_written"] = self.now()

    # Derived columns

    def make_derived_column(self, slug: str, body: Body) -> Body:
        rules.derived_column(body, self.names(slug))
        if body["alias"] in self.names(slug):
            raise Refusal(409, "a column of that name already exists", "conflict")
        return self._keep(self.derived_columns[slug], {"description": "", **body})

    def change_derived_column(self, slug: str, known: Body, body: Body) -> Body:
        rules.derived_column(body, self.names(slug))
        return self._change(known, {"description": "", **body})

    def delete_derived_column(self, slug: str, known: Body) -> None:
        if any(slo["sli"]["alias"] == known["alias"] for slo in self.slos[slug].values()):
            raise Refusal(409, "the calculated field is in use", "conflict")
        del self.derived_columns[slug][known["id"]]

    # Queries and query annotations

    def make_query(self, slug: str, body: Body) -> Body:
        rules.query(body, self.names(slug))
        made_with = {one["alias"]: one["expression"] for one in self.derived_columns[slug].values()}
        identifier = self._id()
        self.queries[slug][identifier] = {
            "time_range": 7200,
            "filter_combination": "AND",
            "orders": [],
            "havings": [],
            "granularity": None,
            "limit": 1000,
            **body,
            "id": identifier,
            "_made_with": made_with,
        }
        return self.queries[slug][identifier]

    def make_annotation(self, slug: str, body: Body) -> Body:
        rules.annotation(body)
        if body["query_id"] not in self.queries[slug]:
            raise Invalid("query_id", "no such query")
        return self._keep(self.query_annotations[slug], {"source": "board", **body})

    def change_annotation(self, slug: str, known: Body, body: Body) -> Body:
        rules.annotation(body)
        rules.check(body["query_id"] == known["query_id"], "query_id", "cannot be changed")
        return self._change(known, body)

    # SLOs and burn alerts

    def make_slo(self, slug: str, body: Body) -> Body:
        rules.slo(body, {one["alias"] for one in self.derived_columns[slug].values()})
        defaults = {"description": "", "tags": [], "dataset_slugs": [slug], "reset_at": None}
        return self._keep(self.slos[slug], {**defaults, **body})

    def change_slo(self, slug: str, known: Body, body: Body) -> Body:
        rules.slo(body, {one["alias"] for one in self.derived_columns[slug].values()})
        return self._change(known, {"description": "", "tags": [], **body})

    def delete_slo(self, slug: str, known: Body) -> None:
        del self.slos[slug][known["id"]]
        for alert in list(self.burn_alerts[slug].values()):
            if alert["slo"]["id"] == known["id"]:
                del self.burn_alerts[slug][alert["id"]]

    def make_burn_alert(self, slug: str, body: Body) -> Body:
        rules.burn_alert(body, is_new=True)
        if body["slo"]["id"] not in self.slos[slug]:
            raise Invalid("slo.id", "no such SLO")
        recipients = self._recipients(body)
        defaults = {"description": "", "triggered": False}
        return self._keep(self.burn_alerts[slug], {**defaults, **body, "recipients": recipients})

    def change_burn_alert(self, slug: str, known: Body, body: Body) -> Body:
        rules.burn_alert(body, is_new=False)
        return self._change(known, {**body, "recipients": self._recipients(body)})

    # Triggers

    def make_trigger(self, slug: str, body: Body) -> Body:
        rules.trigger(body, self.names(slug))
        most = rules.TRIGGERS_OF_PLAN[self.plan]
        if sum(len(triggers) for triggers in self.triggers.values()) >= most:
            raise Refusal(403, f"your plan has {most} triggers", "forbidden")
        return self._keep(self.triggers[slug], self._trigger(slug, body, is_disabled=False))

    def change_trigger(self, slug: str, known: Body, body: Body) -> Body:
        rules.trigger(body, self.names(slug))
        return self._change(known, self._trigger(slug, body, is_disabled=known["disabled"]))

    def _trigger(self, slug: str, body: Body, *, is_disabled: bool) -> Body:
        query = self.make_query(slug, body["query"])
        return {
            "description": "",
            "tags": [],
            "frequency": 900,
            "alert_type": "on_change",
            "disabled": is_disabled,
            "triggered": False,
            "evaluation_schedule_type": "frequency",
            "baseline_details": {},
            "dataset_slug": slug,
            **body,
            "threshold": {"exceeded_limit": 1, **body["threshold"]},
            "recipients": self._recipients(body),
            "query_id": query["id"],
            "query": {
                name: value
                for name, value in query.items()
                if name not in ("id", "limit", "granularity", "orders")
            },
        }

    # Boards

    def make_board(self, body: Body) -> Body:
        made = self._keep(self.boards, self._board(body))
        made["links"] = {"board_url": f"https://ui.honeycomb.io/acme/board/{made['id']}"}
        return made

    def change_board(self, known: Body, body: Body) -> Body:
        return self._change(known, self._board(body, known))

    def _board(self, body: Body, known: Body | None = None) -> Body:
        rules.board(body, set().union(*map(self.names, self.datasets)))
        board = {"layout_generation": "manual", **deepcopy(body)}
        board.setdefault("description", "")
        board.setdefault("tags", [])
        board.setdefault("preset_filters", (known or {}).get("preset_filters", []))
        for number, panel in enumerate(board.setdefault("panels", [])):
            panel["position"] = {
                "x_coordinate": 0,
                "y_coordinate": 4 * number,
                "width": 6,
                "height": 4,
                **(panel.get("position") or {}),
            }
            if panel["type"] == "slo":
                if not any(panel["slo_panel"]["slo_id"] in kept for kept in self.slos.values()):
                    raise Invalid("panels.slo_panel.slo_id", "no such SLO")
            elif panel["type"] == "query":
                self._query_panel(panel["query_panel"])
        return board

    def _query_panel(self, panel: Body) -> None:
        for slug, queries in self.queries.items():
            annotation = self.query_annotations[slug].get(panel["query_annotation_id"])
            if panel["query_id"] in queries:
                if annotation is None or annotation["query_id"] != panel["query_id"]:
                    raise Invalid("panels.query_panel.query_annotation_id", "not of this query")
                panel["dataset"] = self.datasets[slug]["name"]
                panel.setdefault("query_style", "graph")
                settings = panel.setdefault("visualization_settings", {})
                for name in ("utc_xaxis", "hide_markers", "hide_hovers", "overlaid_charts"):
                    settings.setdefault(name, False)
                for chart in settings.setdefault("charts", []):
                    chart.setdefault("log_scale", False)
                    chart.setdefault("omit_missing_values", False)
                return
        raise Invalid("panels.query_panel.query_id", "no such query")

    # Recipients and markers

    def make_recipient(self, body: Body) -> Body:
        rules.recipient(body)
        if any(
            one["type"] == body["type"] and one["details"] == body["details"]
            for one in self.recipients.values()
        ):
            raise Refusal(409, "the recipient already exists", "conflict")
        return self._keep(self.recipients, dict(body))

    def make_marker(self, slug: str, body: Body) -> Body:
        rules.marker(body)
        return self._keep(self.markers[slug], {"start_time": int(time.time()), **body})

    def _recipients(self, body: Body) -> list[Body]:
        found = []
        for one in body.get("recipients") or []:
            rules.only(one, "id details")
            if one.get("id") not in self.recipients:
                raise Invalid("recipients.id", "no such recipient")
            known = self.recipients[one["id"]]
            target = next(iter(known["details"].values()))
            found.append({**one, "type": known["type"], "target": target})
        return found

    # All objects

    def now(self) -> str:
        seconds = time.time() + self.ahead
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))

    def _id(self) -> str:
        return f"id{next(self._ids):05}"

    def _keep(self, among: dict[str, Body], body: Body) -> Body:
        identifier = self._id()
        now = self.now()
        among[identifier] = {**body, "id": identifier, "created_at": now, "updated_at": now}
        return among[identifier]

    def _change(self, known: Body, body: Body) -> Body:
        fixed = ("id", "created_at", "links", "slo")
        kept: Body = {name: known[name] for name in fixed if name in known}
        known.clear()
        known.update({**body, **kept, "updated_at": self.now()})
        return known
