"""Validation rules of Honeycomb's API, from its documentation and its Terraform provider."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from .keys import Plan

_OPS: Final = (
    "COUNT CONCURRENCY SUM AVG COUNT_DISTINCT HEATMAP MAX MIN P001 P01 P05 P10 P20 P25 P50 P75 P80 P90"
    " P95 P99 P999 RATE_AVG RATE_SUM RATE_MAX"
)
_FILTER_OPS: Final = (
    "= != > >= < <= starts-with does-not-start-with ends-with does-not-end-with exists does-not-exist"
    " contains does-not-contain in not-in"
)
_QUERY_FIELDS: Final = (
    "breakdowns calculations calculated_fields formulas filters filter_combination granularity orders"
    " limit start_time end_time time_range havings compare_time_offset_seconds"
)
TRIGGERS_OF_PLAN: Final[Mapping[Plan, int]] = {"free": 2, "pro": 100, "enterprise": 300}


class Invalid(Exception):
    """A request that violates a rule: the field and the reason."""

    def __init__(self, field: str, description: str, code: str = "invalid") -> None:
        super().__init__(f"{field}: {description}")
        self.detail = {"field": field, "code": code, "description": description}


def check(holds: bool, field: str, description: str) -> None:
    if not holds:
        raise Invalid(field, description)


def text(body: Mapping[str, Any], field: str, longest: int, *, needed: bool = True) -> None:
    value = body.get(field)
    if value is None and not needed:
        return
    if value is None:
        raise Invalid(field, "is required", "missing")
    if not isinstance(value, str):
        raise Invalid(field, "must be a string", "incorrect_type")
    check(len(value) <= longest, field, f"must be at most {longest} characters")
    check(bool(value) or not needed, field, "must not be empty")


def only(body: Mapping[str, Any], fields: str) -> None:
    """Check that `body` has no fields other than `fields`, which are separated by spaces."""
    if not isinstance(body, dict):
        raise Invalid("", "must be an object", "incorrect_type")
    for field in body:
        check(field in fields.split(), field, "unknown field")


def tags(body: Mapping[str, Any]) -> None:
    listed = body.get("tags") or []
    check(len(listed) <= 10, "tags", "at most 10 tags")
    for tag in listed:
        only(tag, "key value")
        check(bool(re.fullmatch("[a-z]{1,32}", tag["key"])), "tags.key", "lowercase letters only")
        check(
            bool(re.fullmatch("[a-z][a-z0-9/-]{1,128}", tag["value"])),
            "tags.value",
            "must begin with a lowercase letter and contain only letters, digits, / and -",
        )


def query(spec: Mapping[str, Any], columns: Iterable[str]) -> None:
    """Check a query specification against the columns and derived columns of its dataset."""
    only(spec, _QUERY_FIELDS)
    calculations = spec.get("calculations") or []
    fields = {field["name"] for field in spec.get("calculated_fields") or []}
    known = set(columns) | fields
    check(len(calculations) <= 100, "calculations", "at most 100")
    for calculation in calculations:
        only(calculation, "op column name filters filter_combination")
        op, column = calculation.get("op"), calculation.get("column")
        check(op in _OPS.split(), "calculations.op", f"unknown op {op}")
        if op == "CONCURRENCY":
            check(column is None, "calculations.column", "CONCURRENCY does not accept a column")
        elif op != "COUNT":
            check(bool(column), "calculations.column", f"{op} requires a column")
        column_is_known(column, known, "calculations.column")
        filters(calculation, known, "calculations.filters")
    for field in spec.get("calculated_fields") or []:
        only(field, "name expression")
        expression(field["expression"], columns)
    names = [one.get("name") for one in calculations if one.get("name")]
    check(len(names) == len(set(names)), "calculations.name", "names must be unique")
    for formula in spec.get("formulas") or []:
        only(formula, "name expression")
        for name in re.findall(r"\$(\w+)", formula["expression"]):
            check(name in names, "formulas.expression", f"unknown calculation {name}")
    filters(spec, known, "filters")
    for column in spec.get("breakdowns") or []:
        column_is_known(column, known, "breakdowns")
    asked = {(one["op"], one.get("column")) for one in calculations} or {("COUNT", None)}
    for order in spec.get("orders") or []:
        only(order, "op column order")
        check(order.get("order") in (None, "ascending", "descending"), "orders.order", "invalid")
        check(
            (order.get("op"), order.get("column")) in asked
            or order.get("column") in (spec.get("breakdowns") or []),
            "orders",
            "must be a calculation or a breakdown",
        )
    for having in spec.get("havings") or []:
        only(having, "calculate_op column op value")
        check(
            (having.get("calculate_op"), having.get("column")) in asked,
            "havings",
            "must be one of the calculations",
        )
        check(having.get("op") in ("=", "!=", ">", ">=", "<", "<="), "havings.op", "invalid")
        check(isinstance(having.get("value"), int | float), "havings.value", "must be a number")
    limit = spec.get("limit")
    check(limit is None or 1 <= limit <= 1000, "limit", "must be between 1 and 1000")
    seconds = spec.get("time_range", 7200)
    check(isinstance(seconds, int) and seconds >= 1, "time_range", "must be a positive integer")
    granularity = spec.get("granularity") or 0
    check(
        granularity == 0 or seconds / 1000 <= granularity <= seconds,
        "granularity",
        "must be between a thousandth of the time range and the time range",
    )
    offset = spec.get("compare_time_offset_seconds")
    check(
        offset is None
        or offset in (1800, 3600, 7200, 28800, 86400, 604800, 2419200, 15724800, seconds),
        "compare_time_offset_seconds",
        "is not one of the allowed values",
    )


def filters(spec: Mapping[str, Any], known: set[str], field: str) -> None:
    check(spec.get("filter_combination") in (None, "AND", "OR"), "filter_combination", "AND or OR")
    for one in spec.get("filters") or []:
        only(one, "column op value")
        op = one.get("op")
        check(op in _FILTER_OPS.split(), f"{field}.op", f"unknown op {op}")
        column_is_known(one.get("column"), known, f"{field}.column")
        if op in ("exists", "does-not-exist"):
            check(one.get("value") is None, f"{field}.value", f"{op} does not accept a value")
        elif op in ("in", "not-in"):
            check(isinstance(one.get("value"), list), f"{field}.value", f"{op} requires a list")
        else:
            check(one.get("value") is not None, f"{field}.value", f"{op} requires a value")


def column_is_known(column: str | None, known: Iterable[str], field: str) -> None:
    # Columns of other spans in the trace have a prefix.
    own = re.sub(r"^(root|parent|child|any[23]?|none)\.", "", column or "")
    check(column is None or own in known, field, f"unknown column {column}")


def expression(source: str, columns: Iterable[str]) -> None:
    check(1 <= len(source) <= 4095, "expression", "must be 1 to 4095 characters")
    without_texts = re.sub(r'(?<!\$)"(?:[^"\\]|\\.)*"', "", source)
    check(without_texts.count("(") == without_texts.count(")"), "expression", "unbalanced brackets")
    for quoted, plain in re.findall(r'\$"([^"]+)"|\$([A-Za-z_][\w.]*)', without_texts):
        column_is_known(quoted or plain, columns, "expression")


def trigger(body: Mapping[str, Any], columns: Iterable[str]) -> None:
    only(
        body,
        "name description query query_id threshold frequency alert_type disabled recipients evaluation_schedule_type evaluation_schedule baseline_details tags",
    )
    text(body, "name", 120)
    text(body, "description", 1023, needed=False)
    tags(body)
    check(("query" in body) != ("query_id" in body), "query", "either query or query_id")
    threshold = body.get("threshold")
    if threshold is None:
        raise Invalid("threshold", "is required", "missing")
    only(threshold, "op value exceeded_limit")
    check(threshold.get("op") in (">", ">=", "<", "<="), "threshold.op", "invalid")
    check(isinstance(threshold.get("value"), int | float), "threshold.value", "must be a number")
    check(1 <= threshold.get("exceeded_limit", 1) <= 5, "threshold.exceeded_limit", "1 to 5")
    frequency = body.get("frequency", 900)
    check(
        60 <= frequency <= 86400 and frequency % 60 == 0,
        "frequency",
        "60 to 86400, a multiple of 60",
    )
    check(body.get("alert_type", "on_change") in ("on_change", "on_true"), "alert_type", "invalid")
    if "query" in body:
        trigger_query(body["query"], frequency, columns)


def trigger_query(spec: Mapping[str, Any], frequency: int, columns: Iterable[str]) -> None:
    query(spec, columns)
    for field in ("orders", "limit", "start_time", "end_time"):
        check(not spec.get(field), f"query.{field}", "is not allowed in a trigger")
    seconds = spec.get("time_range", 7200)
    check(
        frequency <= seconds <= 4 * frequency,
        "query.time_range",
        "must be between the frequency and four times the frequency",
    )
    check(seconds <= 86400, "query.time_range", "at most a day")
    calculations = spec.get("calculations") or [{"op": "COUNT"}]
    havings = spec.get("havings") or []
    formulas = spec.get("formulas") or []
    check(len(havings) <= 1, "query.havings", "at most one")
    for calculation in calculations:
        check(
            calculation["op"] not in ("HEATMAP", "CONCURRENCY"), "query.calculations", "not allowed"
        )
    if formulas:
        check(len(formulas) == 1, "query.formulas", "exactly one")
        check(
            not spec.get("filters") or not any("filters" in one for one in calculations),
            "query.filters",
            "filters of the query and of calculations are mutually exclusive",
        )
        return
    of_havings = {(having["calculate_op"], having.get("column")) for having in havings}
    others = [one for one in calculations if (one["op"], one.get("column")) not in of_havings]
    check(
        len(others or calculations) == 1,
        "query.calculations",
        "exactly one, not counting that of a having",
    )
    check(
        not any("name" in one or "filters" in one for one in calculations),
        "query.calculations",
        "named or filtered calculations require a formula",
    )


def board(body: Mapping[str, Any], columns: Iterable[str]) -> None:
    only(body, "name description type layout_generation tags preset_filters panels")
    text(body, "name", 255)
    text(body, "description", 1024, needed=False)
    tags(body)
    check(body.get("type") == "flexible", "type", "must be flexible")
    check(body.get("layout_generation", "manual") in ("auto", "manual"), "layout_generation", "")
    presets = body.get("preset_filters") or []
    check(len(presets) <= 5, "preset_filters", "at most 5")
    for preset in presets:
        only(preset, "column alias")
        text(preset, "alias", 50)
        column_is_known(preset["column"], columns, "preset_filters.column")
    queries: list[str] = []
    for panel in body.get("panels") or []:
        kind = panel.get("type")
        check(kind in ("query", "slo", "text"), "panels.type", "must be query, slo or text")
        only(panel, f"type position {kind}_panel")
        check(f"{kind}_panel" in panel, f"panels.{kind}_panel", "is required")
        position = panel.get("position") or {}
        only(position, "x_coordinate y_coordinate width height")
        check(all(value >= 0 for value in position.values()), "panels.position", "not negative")
        check(
            position.get("x_coordinate", 0) + position.get("width", 0) <= 12,
            "panels.position",
            "the grid is 12 wide",
        )
        if kind == "text":
            text(panel["text_panel"], "content", 10000)
        elif kind == "slo":
            only(panel["slo_panel"], "slo_id")
            text(panel["slo_panel"], "slo_id", 50)
        else:
            query_panel(panel["query_panel"])
            queries.append(panel["query_panel"]["query_id"])
    check(len(queries) == len(set(queries)), "panels", "two panels have the same query")


def query_panel(panel: Mapping[str, Any]) -> None:
    only(panel, "query_id query_annotation_id query_style visualization_settings dataset")
    text(panel, "query_id", 50)
    text(panel, "query_annotation_id", 50)
    check(
        panel.get("query_style", "graph") in ("graph", "table", "combo"),
        "panels.query_panel.query_style",
        "must be graph, table or combo",
    )
    settings = panel.get("visualization_settings") or {}
    only(settings, "utc_xaxis hide_markers hide_hovers hide_compare overlaid_charts charts")
    for chart in settings.get("charts") or []:
        only(chart, "chart_index chart_type log_scale omit_missing_values")
        check(
            chart.get("chart_type", "default")
            in ("default", "line", "stacked", "stat", "tsbar", "cbar", "cpie"),
            "panels.query_panel.visualization_settings.charts.chart_type",
            "unknown chart type",
        )


def slo(body: Mapping[str, Any], derived: Iterable[str]) -> None:
    only(body, "name description sli time_period_days target_per_million tags")
    text(body, "name", 120)
    text(body, "description", 1023, needed=False)
    tags(body)
    only(body.get("sli") or {}, "alias")
    column_is_known((body.get("sli") or {}).get("alias", ""), derived, "sli.alias")
    days, target = body.get("time_period_days"), body.get("target_per_million")
    check(isinstance(days, int) and days >= 1, "time_period_days", "must be at least 1")
    check(isinstance(target, int) and 0 <= target <= 999999, "target_per_million", "0 to 999999")


def burn_alert(body: Mapping[str, Any], *, is_new: bool) -> None:
    fields = {
        "exhaustion_time": ("exhaustion_minutes",),
        "budget_rate": (
            "budget_rate_window_minutes",
            "budget_rate_decrease_threshold_per_million",
        ),
    }
    kind = body.get("alert_type")
    if kind not in fields:
        raise Invalid("alert_type", "must be exhaustion_time or budget_rate")
    also = ("slo",) if is_new else ()
    only(body, " ".join(("alert_type description recipients", *fields[kind], *also)))
    text(body, "description", 1023, needed=False)
    for field in fields[kind]:
        check(isinstance(body.get(field), int), field, "is required")
    if kind == "budget_rate":
        check(body["budget_rate_window_minutes"] >= 60, "budget_rate_window_minutes", "at least 60")
    check(bool(body.get("recipients")), "recipients", "at least one")
    if is_new:
        check(bool((body.get("slo") or {}).get("id")), "slo.id", "is required")


def recipient(body: Mapping[str, Any]) -> None:
    only(body, "type details")
    needed = {"email": ("email_address",), "slack": ("slack_channel",)}.get(str(body.get("type")))
    if needed is None:
        raise Invalid("type", "the fake supports email and slack only")
    only(body.get("details") or {}, " ".join(needed))
    text(body["details"], needed[0], 255)


def marker(body: Mapping[str, Any]) -> None:
    only(body, "message type url start_time end_time")
    for field in ("message", "type", "url"):
        text(body, field, 1000, needed=False)
    for field in ("start_time", "end_time"):
        check(isinstance(body.get(field, 0), int), field, "must be Unix time")


def column(body: Mapping[str, Any]) -> None:
    only(body, "key_name type description hidden")
    text(body, "key_name", 255)
    check(
        body.get("type", "string") in ("string", "float", "integer", "boolean"),
        "type",
        "unknown type",
    )


def derived_column(body: Mapping[str, Any], columns: Iterable[str]) -> None:
    only(body, "alias expression description")
    text(body, "alias", 255)
    text(body, "description", 255, needed=False)
    text(body, "expression", 4095)
    expression(body["expression"], columns)


def annotation(body: Mapping[str, Any]) -> None:
    only(body, "name description query_id")
    text(body, "name", 320)
    text(body, "description", 1023, needed=False)
    text(body, "query_id", 50)
