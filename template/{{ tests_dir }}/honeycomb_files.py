"""What is wrong with the files in honeycomb/ and with the queries in docs/runbooks.md.

They are held against the columns that the service sends, against each other, and against the rules
of Honeycomb's API: https://api-docs.honeycomb.io.
"""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Final

import yaml

from .honeycomb_queries import (
    CALCULATED,
    Columns,
    Object,
    column_problems,
    expression_problems,
    query_problems,
    trigger_query_problems,
)

# Types as telemetry.yaml names them, and as Honeycomb does.
_TYPES: Final = {"string": "string", "int": "integer", "double": "float", "boolean": "boolean"}
# Declared by OpenTelemetry's own conventions.
_STANDARD: Final = re.compile(
    r"(cloud|db|deployment|error|exception|faas|gen_ai|http|service|telemetry)\.[\w.]+|user\.id"
)
# Made by Honeycomb itself: see honeycomb_events.py.
_MADE_BY_HONEYCOMB: Final = re.compile(
    r"(library|meta|span|trace)\.[\w.]+|duration_ms|error|name|parent_name|status_\w+|type"
)
# The fields of an object: those that it has to have, and those that it may have besides.
_FIELDS: Final = {
    "boards": (
        {"name", "type", "panels"},
        {"description", "layout_generation", "preset_filters", "tags"},
    ),
    "triggers": (
        {"name", "description", "query", "threshold", "frequency", "recipients"},
        {
            "alert_type",
            "baseline_details",
            "disabled",
            "evaluation_schedule",
            "evaluation_schedule_type",
            "tags",
        },
    ),
    "slos": (
        {"name", "sli", "target_per_million", "time_period_days"},
        {"description", "tags"},
    ),
    "burn_alerts": (
        {"slo", "alert_type", "recipients"},
        {
            "budget_rate_decrease_threshold_per_million",
            "budget_rate_window_minutes",
            "description",
            "exhaustion_minutes",
        },
    ),
    "derived_columns": (
        {"alias", "expression"},
        {"description"},
    ),
}
_LONGEST: Final = {
    "boards": {"name": 255, "description": 1024},
    "triggers": {"name": 120, "description": 1023},
    "slos": {"name": 120, "description": 1023},
    "burn_alerts": {"description": 1023},
    "derived_columns": {"alias": 255, "expression": 4095, "description": 255},
}
_TAG: Final = re.compile(r"[a-z]{1,32}:[a-z][a-z0-9/-]{1,127}")
_BOARD_WIDTH: Final = 12
_DAY: Final = 86_400


def problems(project: Path, sent: Columns) -> list[str]:
    """What does not fit, one line each, with the file and the place in it."""
    return [*_registry_problems(project, sent), *_honeycomb_problems(project, sent)]


def declared(project: Path) -> dict[str, Object]:
    """The attributes of honeycomb/telemetry.yaml, by name."""
    registry = yaml.safe_load((project / "honeycomb/telemetry.yaml").read_text())
    return {
        attribute["id"]: attribute
        for group in registry["groups"]
        for attribute in group["attributes"]
    }


def objects(project: Path, kind: str) -> dict[str, Object]:
    """What is in honeycomb/`kind`, by file."""
    return {
        path.relative_to(project).as_posix(): _parsed(path.name, path.read_text())
        for path in sorted((project / "honeycomb" / kind).glob("*.json"))
    }


def runbook_queries(project: Path) -> dict[str, list[Object]]:
    """The queries of docs/runbooks.md, by the anchor of their section."""
    text = (project / "docs/runbooks.md").read_text()
    _, *parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return {
        heading.lower().replace(" ", "-"): [
            _parsed(f"docs/runbooks.md: {heading}", query)
            for query in re.findall(r"```json\n(.+?)```", section, re.DOTALL)
        ]
        for heading, section in zip(parts[::2], parts[1::2], strict=True)
    }


def _parsed(place: str, text: str) -> Object:
    try:
        content: Object = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    return content


def _registry_problems(project: Path, sent: Columns) -> Iterator[str]:
    file = "honeycomb/telemetry.yaml"
    attributes = declared(project)
    for name, attribute in attributes.items():
        if name not in sent:
            yield f"{file}: {name} is declared, and nothing sends it"
        elif sent[name] != _TYPES.get(attribute["type"]):
            yield f"{file}: {name} is declared as {attribute['type']}, and sent as {sent[name]}"
    for name in sent:
        is_known = _STANDARD.fullmatch(name) or _MADE_BY_HONEYCOMB.fullmatch(name)
        if name not in attributes and not is_known:
            yield f"{file}: {name} is sent, and not declared"


def _honeycomb_problems(project: Path, sent: Columns) -> Iterator[str]:
    everything = {kind: objects(project, kind) for kind in _FIELDS}
    misshapen = [
        problem
        for kind, of_kind in everything.items()
        for file, content in of_kind.items()
        for problem in _field_problems(file, kind, content)
    ]
    if misshapen:
        yield from misshapen
        return
    for of_kind in everything.values():
        for (one, content), (other, its_content) in combinations(of_kind.items(), 2):
            for field in {"name", "alias"} & set(content):
                if content[field] == its_content.get(field):
                    yield f"{other}: its {field} is that of {one}"

    slos = {slo["name"]: slo for slo in everything["slos"].values()}
    aliases = [column["alias"] for column in everything["derived_columns"].values()]
    columns = {**sent, **dict.fromkeys(aliases, CALCULATED)}
    runbooks = runbook_queries(project)
    for file, column in everything["derived_columns"].items():
        yield from expression_problems(file, column["expression"], sent)
        if column["alias"] in sent:
            yield f"{file}: {column['alias']} is sent already"
    for file, board in everything["boards"].items():
        yield from _whole(file, _board_problems(file, board, columns, slos))
    for file, trigger in everything["triggers"].items():
        yield from _whole(file, _trigger_problems(file, trigger, columns))
        yield from _runbook_problems(file, trigger, runbooks)
    for file, slo in everything["slos"].items():
        yield from _whole(file, _slo_problems(file, slo, aliases))
    for file, alert in everything["burn_alerts"].items():
        yield from _whole(file, _burn_alert_problems(file, alert, slos))
    for section, queries in runbooks.items():
        for number, query in enumerate(queries, start=1):
            place = f"docs/runbooks.md: {section}: query {number}"
            yield from _whole(place, query_problems(place, query, columns))


def _whole(place: str, problems: Iterator[str]) -> Iterator[str]:
    """`problems`, and in their place a field that is looked for in vain."""
    try:
        yield from problems
    except KeyError as missing:
        yield f"{place}: {missing.args[0]} is missing"


def _field_problems(file: str, kind: str, content: Object) -> Iterator[str]:
    required, optional = _FIELDS[kind]
    for name in sorted(required - set(content)):
        yield f"{file}: {name} is missing"
    for name in sorted(set(content) - required - optional):
        yield f"{file}: {name} is no field of it"
    for name, longest in _LONGEST[kind].items():
        if not content.get(name, "-"):
            yield f"{file}: {name} is empty"
        if len(content.get(name, "")) > longest:
            yield f"{file}: {name} has more than {longest} characters"
    for tag in content.get("tags", []):
        if not _TAG.fullmatch(f"{tag.get('key')}:{tag.get('value')}"):
            yield f"{file}: {tag} is no tag: small letters, and / or - in the value"


def _board_problems(
    file: str, board: Object, columns: Columns, slos: dict[str, Object]
) -> Iterator[str]:
    presets = board.get("preset_filters", [])
    if len(presets) > 5:
        yield f"{file}: a board has five preset filters at most"
    for preset in presets:
        yield from column_problems(f"{file}: preset filter", preset["column"], columns)
        if not 1 <= len(preset["alias"]) <= 50:
            yield f"{file}: preset filter {preset['column']}: an alias has 1 to 50 characters"

    places: dict[str, Object] = {}
    queries: dict[str, Object] = {}
    for number, panel in enumerate(board["panels"], start=1):
        place = f"{file}: panel {number}"
        if panel["type"] == "slo":
            if panel["slo_panel"]["slo"]["name"] not in slos:
                yield f"{place}: there is no SLO {panel['slo_panel']['slo']['name']}"
        elif panel["type"] == "query":
            annotation = panel["query_panel"]["query_annotation"]
            place = f"{place}, {annotation['name']}"
            queries[place] = panel["query_panel"]["query"]
            yield from _query_panel_problems(place, panel["query_panel"], columns)
        elif panel["type"] != "text":
            yield f"{place}: a panel is of the type query, slo or text"
        elif len(panel["text_panel"]["content"]) > 10_000:
            yield f"{place}: a text has 10000 characters at most"
        if "position" in panel:
            places[place] = panel["position"]

    for place, position in places.items():
        if position["x_coordinate"] + position["width"] > _BOARD_WIDTH:
            yield f"{place}: it goes beyond the {_BOARD_WIDTH} columns of a board"
    for (place, position), (other, its_position) in combinations(places.items(), 2):
        if _overlap(position, its_position):
            yield f"{other}: it lies over {place.removeprefix(f'{file}: ')}"
    for (place, query), (other, its_query) in combinations(queries.items(), 2):
        if _identity(query) == _identity(its_query):
            yield f"{other}: Honeycomb takes its query for that of {place.removeprefix(f'{file}: ')}"


def _query_panel_problems(place: str, panel: Object, columns: Columns) -> Iterator[str]:
    annotation = panel["query_annotation"]
    if not 1 <= len(annotation["name"]) <= 320 or len(annotation.get("description", "")) > 1023:
        yield f"{place}: a name has 1 to 320 characters, and a description 1023 at most"
    if panel.get("query_style", "graph") not in ("graph", "table", "combo"):
        yield f"{place}: a query_style is graph, table or combo"
    for chart in panel.get("visualization_settings", {}).get("charts", []):
        if chart["chart_index"] >= len(panel["query"].get("calculations", [{}])):
            yield f"{place}: chart {chart['chart_index']} is that of no calculation"
        types = ("default", "line", "stacked", "stat", "tsbar", "cbar", "cpie")
        if chart.get("chart_type", "default") not in types:
            yield f"{place}: a chart_type is {', '.join(types)}"
    yield from query_problems(place, panel["query"], columns)


def _overlap(one: Object, other: Object) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x_coordinate", "width"), ("y_coordinate", "height"))
    )


def _identity(query: Object) -> Object:
    """What makes Honeycomb tell one query of a board from another."""
    return {name: value for name, value in query.items() if name not in ("orders", "limit")}


def _trigger_problems(file: str, trigger: Object, columns: Columns) -> Iterator[str]:
    query = trigger["query"]
    yield from query_problems(file, query, columns)
    yield from trigger_query_problems(file, query)
    frequency, time_range = trigger["frequency"], query.get("time_range", 7200)
    if frequency % 60 or not 60 <= frequency <= _DAY:
        yield f"{file}: a frequency is whole minutes, from 60 to {_DAY} seconds"
    if not frequency <= time_range <= min(4 * frequency, _DAY):
        yield (
            f"{file}: every {frequency} seconds, time_range is from {frequency}"
            f" to {min(4 * frequency, _DAY)}"
        )
    threshold = trigger["threshold"]
    if threshold["op"] not in (">", ">=", "<", "<="):
        yield f"{file}: a threshold is >, >=, < or <= a value"
    if not 1 <= threshold.get("exceeded_limit", 1) <= 5:
        yield f"{file}: an exceeded_limit is from 1 to 5"
    if trigger.get("alert_type", "on_change") not in ("on_change", "on_true"):
        yield f"{file}: an alert_type is on_change or on_true"
    yield from _recipient_problems(file, trigger)


def _recipient_problems(file: str, content: Object) -> Iterator[str]:
    for recipient in content["recipients"]:
        named_by = set(recipient) - {"details"}
        if named_by != {"id"} and not {"type"} <= named_by <= {"type", "target"}:
            yield f"{file}: a recipient has an id, or a type and a target"


def _runbook_problems(
    file: str, trigger: Object, runbooks: dict[str, list[Object]]
) -> Iterator[str]:
    link = re.search(r"docs/runbooks\.md#([\w-]+)", trigger["description"])
    if link is None:
        yield f"{file}: its description names no section of docs/runbooks.md"
    elif len(runbooks.get(link[1], [])) < 3:
        yield f"{file}: docs/runbooks.md has no section {link[1]} with three queries"


def _slo_problems(file: str, slo: Object, aliases: list[str]) -> Iterator[str]:
    if slo["sli"]["alias"] not in aliases:
        yield f"{file}: there is no derived column {slo['sli']['alias']}"
    if not 0 <= slo["target_per_million"] < 1_000_000 or slo["time_period_days"] < 1:
        yield f"{file}: a target is below 1000000, and a time period 1 day or more"


def _burn_alert_problems(file: str, alert: Object, slos: dict[str, Object]) -> Iterator[str]:
    slo = slos.get(alert["slo"]["name"])
    if slo is None:
        yield f"{file}: there is no SLO {alert['slo']['name']}"
        return
    yield from _recipient_problems(file, alert)
    if alert["alert_type"] == "exhaustion_time":
        if alert.get("exhaustion_minutes", -1) < 0:
            yield f"{file}: exhaustion_minutes are missing"
    elif alert["alert_type"] == "budget_rate":
        minutes = slo["time_period_days"] * 24 * 60
        if not 60 <= alert.get("budget_rate_window_minutes", 0) <= minutes:
            yield f"{file}: budget_rate_window_minutes are from 60 to {minutes}"
        if not 1 <= alert.get("budget_rate_decrease_threshold_per_million", 0) <= 1_000_000:
            yield f"{file}: budget_rate_decrease_threshold_per_million is from 1 to 1000000"
    else:
        yield f"{file}: an alert_type is exhaustion_time or budget_rate"
