"""Differences between a definition and the object in Honeycomb.

Honeycomb's responses contain more than was sent (ids, times), and omit or fill in default values.
Both sides are brought into a normal form first, which excludes such differences.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .definitions import by_title
from .schema import DEFAULT_TIME_RANGE, Kind

# Limits that Honeycomb may fill in if a query does not have one.
_DEFAULT_LIMITS: Final = (100, 1000)


@dataclass(frozen=True)
class Difference:
    """One field: its actual and its desired value."""

    field: str
    old: Any
    new: Any


def differences(kind: Kind, live: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Difference]:
    """The fields in which the actual state `live` differs from the desired state `wanted`.

    Both are in the form of the files: a query is included, other objects are named.
    """
    form = _FORMS[kind]
    return list(_compare("", form(live, wanted), form(wanted, wanted)))


def same_query(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return True if a query in Honeycomb is equivalent to `wanted`."""
    return _query(live, wanted) == _query(wanted, wanted)


def _query(query: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    limit = query.get("limit")
    if wanted.get("limit") is None and limit in _DEFAULT_LIMITS:
        limit = None
    filters = [_filter(entry) for entry in query.get("filters") or ()]
    return {
        "breakdowns": list(query.get("breakdowns") or ()),
        "calculations": [
            _filled({**entry, "filters": [_filter(one) for one in entry.get("filters", ())]})
            for entry in query.get("calculations") or [{"op": "COUNT"}]
        ],
        "calculated_fields": [_filled(entry) for entry in query.get("calculated_fields") or ()],
        "formulas": [_filled(entry) for entry in query.get("formulas") or ()],
        # A single filter is not combined with others.
        "filter_combination": (query.get("filter_combination") or "AND")
        if len(filters) > 1
        else "AND",
        "filters": sorted(filters, key=_as_text),
        "havings": sorted((_filled(entry) for entry in query.get("havings") or ()), key=_as_text),
        "orders": [
            _filled({"order": "ascending", **_filled(entry)}) for entry in query.get("orders") or ()
        ],
        "limit": limit,
        "granularity": query.get("granularity") or None,
        "time_range": query.get("time_range") or DEFAULT_TIME_RANGE,
        "start_time": query.get("start_time") or None,
        "end_time": query.get("end_time") or None,
        "compare_time_offset_seconds": query.get("compare_time_offset_seconds") or None,
    }


def _filter(entry: Mapping[str, Any]) -> dict[str, Any]:
    # False is a value here, not a default.
    return {**_filled(entry), **({"value": False} if entry.get("value") is False else {})}


def _derived_column(body: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "alias": body["alias"],
        "expression": body["expression"],
        "description": body.get("description") or "",
    }


def _slo(body: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": body["name"],
        "description": body.get("description") or "",
        "sli": {"alias": body["sli"]["alias"]},
        "time_period_days": body["time_period_days"],
        "target_per_million": body["target_per_million"],
        "tags": _tags(body),
    }


def _burn_alert(body: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    numbers = (
        "exhaustion_minutes",
        "budget_rate_window_minutes",
        "budget_rate_decrease_threshold_per_million",
    )
    return {
        "alert_type": body["alert_type"],
        "description": body.get("description") or "",
        **{name: body.get(name) for name in numbers},
        "recipients": _recipients(body, wanted),
    }


def _trigger(body: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    threshold = body["threshold"]
    form: dict[str, Any] = {
        "name": body["name"],
        "description": body.get("description") or "",
        "query": _query(body["query"], wanted["query"]),
        "threshold": {
            "op": threshold["op"],
            "value": threshold["value"],
            "exceeded_limit": threshold.get("exceeded_limit") or 1,
        },
        "frequency": body.get("frequency") or 900,
        "alert_type": body.get("alert_type") or "on_change",
        "evaluation_schedule_type": body.get("evaluation_schedule_type") or "frequency",
        "evaluation_schedule": body.get("evaluation_schedule") or None,
        "baseline_details": body.get("baseline_details") or None,
        "tags": _tags(body),
    }
    # Fields that the file omits are managed in Honeycomb.
    if "disabled" in wanted:
        form["disabled"] = bool(body.get("disabled"))
    if wanted.get("recipients"):
        form["recipients"] = _recipients(body, wanted)
    return form


def _board(body: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    panels = by_title(body.get("panels") or ())
    like = by_title(wanted.get("panels") or ())
    return {
        "name": body["name"],
        "description": body.get("description") or "",
        "preset_filters": [
            f"{preset['column']} as {preset['alias']}"
            for preset in body.get("preset_filters") or ()
        ],
        "panels": {title: _panel(panel, like.get(title, {})) for title, panel in panels.items()},
        "order of panels": list(panels),
        "tags": _tags(body),
    }


def _panel(panel: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    form: dict[str, Any] = {"type": panel["type"]}
    # Honeycomb chooses a position or a size that the file omits.
    place = wanted.get("position") or {}
    form["position"] = {name: (panel.get("position") or {}).get(name) or 0 for name in place}
    if panel["type"] == "text":
        form["text_panel"] = {"content": panel["text_panel"]["content"]}
    elif panel["type"] == "slo":
        form["slo_panel"] = {"slo": {"name": panel["slo_panel"]["slo"]["name"]}}
    else:
        query_panel = panel["query_panel"]
        annotation = query_panel.get("query_annotation") or {}
        settings = _filled(query_panel.get("visualization_settings") or {})
        charts = [_chart(chart) for chart in settings.pop("charts", ())]
        form["query_panel"] = {
            "query": _query(query_panel["query"], wanted.get("query_panel", {}).get("query") or {}),
            "query_annotation": {
                "name": annotation.get("name"),
                "description": annotation.get("description") or "",
            },
            "query_style": query_panel.get("query_style") or "graph",
            "visualization_settings": settings,
            "charts": sorted(filter(None, charts), key=_as_text),
        }
    return form


def _chart(chart: Mapping[str, Any]) -> dict[str, Any]:
    form = {name: value for name, value in _filled(chart).items() if value != "default"}
    return {} if form.keys() <= {"chart_index"} else {"chart_index": 0, **form}


def _tags(body: Mapping[str, Any]) -> list[str]:
    return sorted(f"{tag['key']}:{tag['value']}" for tag in body.get("tags") or ())


def _recipients(body: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    by_id = any("id" in recipient for recipient in wanted["recipients"])
    by_type = {one.get("type") for one in wanted["recipients"] if not one.get("target")}
    listed = []
    for recipient in body.get("recipients") or ():
        kind, target = recipient.get("type"), recipient.get("target")
        if by_id:
            listed.append(str(recipient.get("id")))
        else:
            listed.append(str(kind) if kind in by_type else f"{kind} {target}")
    return sorted(listed)


def _filled(entry: Mapping[str, Any]) -> dict[str, Any]:
    """`entry` without empty values, which Honeycomb omits or adds."""
    return {
        name: value
        for name, value in entry.items()
        if value is not None and value is not False and value not in ("", [], {})
    }


def _as_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _compare(field: str, old: Any, new: Any) -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in (*new, *(name for name in old if name not in new)):
            yield from _compare(_within(field, name), old.get(name), new.get(name))
    elif old != new:
        yield Difference(field, old, new)


def _within(field: str, name: str) -> str:
    if field == "panels":
        return f"panel {name!r}"
    return f"{field}.{name}" if field else name


_Form = Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
_FORMS: Final[Mapping[Kind, _Form]] = {
    "derived column": _derived_column,
    "SLO": _slo,
    "burn alert": _burn_alert,
    "trigger": _trigger,
    "board": _board,
}
