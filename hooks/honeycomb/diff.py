"""Differences between a definition and the object in Honeycomb.

Honeycomb's responses contain more than was sent (ids, times), and omit or fill in default values.
Both sides are brought into a normal form first, which excludes such differences.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .definitions import by_title, title_of, unused_title
from .record import user_tags, without_mark
from .schema import DEFAULT_TIME_RANGE, Kind

# Limits that Honeycomb may fill in if a query does not have one.
_DEFAULT_LIMITS: Final = (100, 1000)
ORDER: Final = "order of panels"
_PANEL: Final = "panel "
_PLACE: Final = ("x_coordinate", "y_coordinate", "width", "height")


@dataclass(frozen=True)
class Difference:
    """One field: its actual and its desired value."""

    field: str
    old: Any
    new: Any


def parts(
    kind: Kind, live: Mapping[str, Any], wanted: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parts of an object, by name, in the actual state and in the desired one.

    A part is a field, or a panel of a board. Both states are in the form of the files: a query is
    included, other objects are named.
    """
    old, new = _FORMS[kind](live, wanted), _FORMS[kind](wanted, wanted)
    if kind == "board":
        theirs, ours = panels_like(live, wanted), by_title(wanted.get("panels") or ())
        order = [title for title in theirs if title in ours]
        same_order = order == [title for title in ours if title in theirs]
        new[ORDER] = list(ours)
        old[ORDER] = list(ours) if same_order else order
        old |= {
            panel_part(title): _panel(panel, ours.get(title, {})) for title, panel in theirs.items()
        }
        new |= {panel_part(title): _panel(panel, panel) for title, panel in ours.items()}
    return old, new


def parts_alone(kind: Kind, live: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of an object that no file defines."""
    found = _FORMS[kind](live, {"query": {}})
    panels = by_title(live.get("panels") or ())
    return found | {panel_part(title): _panel(panel, {}) for title, panel in panels.items()}


def panels_like(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The panels of a board, each with the title of the same panel in the file, if there is one."""
    theirs, missing = list(live.get("panels") or ()), by_title(wanted.get("panels") or ())
    used, titles = set(missing), dict[int, str]()
    for is_same in (_is_unchanged, _is_in_place, _has_title, _is_renamed):
        for index, panel in enumerate(theirs):
            if index in titles:
                continue
            for title, one in missing.items():
                if panel["type"] == one["type"] and is_same(panel, one):
                    titles[index] = title
                    del missing[title]
                    break
    for index, panel in enumerate(theirs):
        used.add(titles.setdefault(index, unused_title(title_of(panel), used)))
    return {titles[index]: panel for index, panel in enumerate(theirs)}


def _has_title(panel: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return title_of(panel) == title_of(wanted)


def _is_unchanged(panel: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Several panels of a title, such as texts, differ in their content."""
    if panel["type"] == "text":
        return bool(panel["text_panel"]["content"] == wanted["text_panel"]["content"])
    return _has_title(panel, wanted) and (panel["type"] == "slo" or _is_renamed(panel, wanted))


def _is_in_place(panel: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    place = (wanted.get("position") or {}).items()
    return (
        bool(place) and _has_title(panel, wanted) and place <= (panel.get("position") or {}).items()
    )


def _is_renamed(panel: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Honeycomb rejects two panels with the same query, so it identifies one."""
    return panel["type"] == "query" and same_query(
        panel["query_panel"]["query"], wanted["query_panel"]["query"]
    )


def differences_of(part: str, old: Any, new: Any) -> Iterator[Difference]:
    """The fields of a part that differ."""
    if part.startswith(_PANEL) and (old is None or new is None):
        yield Difference(part, _panel_in_short(old), _panel_in_short(new))
    else:
        yield from _compare(part, old, new)


def _panel_in_short(form: Mapping[str, Any] | None) -> str | None:
    """The text of a panel that has no other title. A whole query would be too long to print."""
    if form is None:
        return None
    return str(form["text_panel"]["content"]) if form["type"] == "text" else "a panel"


def panel_part(title: str) -> str:
    """The name of the part of a board that is the panel `title`."""
    return f"{_PANEL}{title!r}"


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
        "description": without_mark(body.get("description")),
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
        "description": without_mark(body.get("description")),
        **{name: body.get(name) for name in numbers},
        **_recipients(body, wanted),
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
    # A file can mute a trigger. It cannot unmute one: somebody muted it in Honeycomb.
    if wanted.get("disabled"):
        form["disabled"] = bool(body.get("disabled"))
    return form | _recipients(body, wanted)


def _saved_query(body: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": body["name"],
        "description": without_mark(body.get("description")),
        "query": _query(body["query"], wanted["query"]),
    }


def _board(body: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": body["name"],
        "description": body.get("description") or "",
        "preset_filters": [
            f"{preset['column']} as {preset['alias']}"
            for preset in body.get("preset_filters") or ()
        ],
        "tags": _tags(body),
    }


def _panel(panel: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    form: dict[str, Any] = {"type": panel["type"]}
    # Honeycomb chooses a position or a size that the file omits.
    place = (wanted.get("position") or {}) if wanted else _PLACE
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
    return sorted(f"{tag['key']}:{tag['value']}" for tag in user_tags(body))


def _recipients(body: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, list[str]]:
    """The recipients, if the file has any: otherwise they are managed in Honeycomb."""
    if not wanted.get("recipients"):
        return {}
    by_id = any("id" in recipient for recipient in wanted["recipients"])
    by_type = {one.get("type") for one in wanted["recipients"] if not one.get("target")}
    listed = []
    for recipient in body.get("recipients") or ():
        kind, target = recipient.get("type"), recipient.get("target")
        if by_id:
            listed.append(str(recipient.get("id")))
        else:
            listed.append(str(kind) if kind in by_type else f"{kind} {target}")
    return {"recipients": sorted(listed)}


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
    return f"{field}.{name}" if field else name


_Form = Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
_FORMS: Final[Mapping[Kind, _Form]] = {
    "derived column": _derived_column,
    "SLO": _slo,
    "burn alert": _burn_alert,
    "trigger": _trigger,
    "board": _board,
    "saved query": _saved_query,
}
