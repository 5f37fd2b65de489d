"""Validation of definitions without Honeycomb: against telemetry.yaml, the documents, and API rules."""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from .columns import Attribute, Columns
from .definitions import Definition, Definitions
from .parse import InvalidForm, parse_query
from .queries import (
    column_problems,
    expression_problems,
    query_problems,
    trigger_query_problems,
)
from .runbooks import RUNBOOKS
from .schema import (
    SLO,
    Board,
    BudgetRateAlert,
    DerivedColumn,
    Position,
    Query,
    QueryPanel,
    Trigger,
)

_BOARD_WIDTH: Final = 12
_DAY: Final = 86_400
# The first one that exists; releases up to 0.3.0 have no reference.
_REFERENCES: Final = ("docs/observability-reference.md", "docs/observability.md")
_QUERIES_OF_RUNBOOK: Final = 3


def problems(definitions: Definitions, project: Path) -> list[str]:
    """A sentence for each problem, with its file and place. The files themselves are valid."""
    found = [f"honeycomb/{problem}" for problem in _problems(definitions, project)]
    found += _runbook_problems(definitions, project)
    found += _reference_problems(definitions.attributes, project)
    return [f"{problem}." for problem in found]


def _problems(definitions: Definitions, project: Path) -> Iterator[str]:
    for attribute in definitions.attributes.values():
        for problem in attribute.problems():
            yield f"telemetry.yaml: {problem}"
    sent = definitions.columns
    columns = _with_derived(definitions)
    periods = {
        each.name: each.typed.time_period_days
        for each in definitions.all
        if isinstance(each.typed, SLO)
    }
    for definition in definitions.all:
        for problem in _object_problems(definition, sent, columns, periods):
            yield f"{definition.place}: {problem}"


def _with_derived(definitions: Definitions) -> Columns:
    return definitions.columns.with_calculated(
        definition.name for definition in definitions.of("derived column")
    )


def _object_problems(
    definition: Definition, sent: Columns, columns: Columns, periods: dict[str, int]
) -> Iterator[str]:
    match definition.typed:
        case DerivedColumn() as column:
            yield from expression_problems(column.expression, sent)
            if sent.type_of(column.alias) is not None:
                yield f"the service sends a column {column.alias} already"
        case Board() as board:
            yield from _board_problems(board, columns)
        case Trigger() as trigger:
            yield from _trigger_problems(trigger, columns)
        case BudgetRateAlert() as alert:
            minutes = periods[alert.slo.name] * 24 * 60
            if alert.budget_rate_window_minutes > minutes:
                yield f"budget_rate_window_minutes is at most {minutes}, the period of the SLO"


def _board_problems(board: Board, columns: Columns) -> Iterator[str]:
    for preset in board.preset_filters:
        for problem in column_problems(preset.column, columns):
            yield f"preset filter: {problem}"
    positions: dict[str, Position] = {}
    queries: dict[str, dict[str, Any]] = {}
    for number, panel in enumerate(board.panels, start=1):
        place = f"panel {number}"
        if isinstance(panel, QueryPanel):
            place += f", {panel.query_panel.query_annotation.name}"
            query = panel.query_panel.query
            for problem in query_problems(query, columns):
                yield f"{place}: {problem}"
            for chart in panel.query_panel.visualization_settings.charts:
                if chart.chart_index >= len(query.calculations):
                    yield f"{place}: chart {chart.chart_index} does not have a calculation"
            # Honeycomb does not distinguish queries by these.
            queries[place] = query.model_dump(exclude={"orders", "limit"})
        if panel.position is not None:
            positions[place] = panel.position
            if panel.position.x_coordinate + panel.position.width > _BOARD_WIDTH:
                yield f"{place}: it extends beyond the {_BOARD_WIDTH} columns of a board"
    for (place, position), (other, its_position) in combinations(positions.items(), 2):
        if position.overlaps(its_position):
            yield f"{other}: it overlaps {place}"
    for (place, content), (other, its_content) in combinations(queries.items(), 2):
        if content == its_content:
            yield f"{other}: Honeycomb does not distinguish its query from that of {place}"


def _trigger_problems(trigger: Trigger, columns: Columns) -> Iterator[str]:
    for name in ("description", "frequency", "recipients"):
        if name not in trigger.model_fields_set:
            yield f"{name} is missing"
    yield from query_problems(trigger.query, columns)
    yield from trigger_query_problems(trigger.query)
    longest = min(4 * trigger.frequency, _DAY)
    if not trigger.frequency <= trigger.query.time_range <= longest:
        yield (
            f"with a frequency of {trigger.frequency} seconds, time_range is from"
            f" {trigger.frequency} to {longest}"
        )


def _runbook_problems(definitions: Definitions, project: Path) -> Iterator[str]:
    path = project / RUNBOOKS
    if not path.is_file():
        return
    sections = _runbooks(path)
    for definition in definitions.of("trigger"):
        place = f"honeycomb/{definition.place}"
        link = re.search(rf"{re.escape(RUNBOOKS)}#([\w-]+)", definition.body.get("description", ""))
        if link is None:
            yield f"{place}: its description does not link to a section of {RUNBOOKS}"
        elif len(sections.get(link[1], ())) < _QUERIES_OF_RUNBOOK:
            yield (
                f"{place}: {RUNBOOKS} does not have a section {link[1]} with"
                f" {_QUERIES_OF_RUNBOOK} queries"
            )
    columns = _with_derived(definitions)
    for section, queries in sections.items():
        for number, text in enumerate(queries, start=1):
            for problem in _text_problems(text, columns):
                yield f"{RUNBOOKS}: {section}: query {number}: {problem}"


def _runbooks(path: Path) -> dict[str, list[str]]:
    """The queries of each section, by its anchor."""
    text = path.read_text(encoding="utf-8")
    _, *parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return {
        heading.lower().replace(" ", "-"): re.findall(r"```json\n(.+?)```", section, re.DOTALL)
        for heading, section in zip(parts[::2], parts[1::2], strict=True)
    }


def _text_problems(text: str, columns: Columns) -> Iterator[str]:
    try:
        query: Query = parse_query(json.loads(text))
    except ValueError as error:
        yield f"it is not valid JSON: {error}"
    except InvalidForm as error:
        yield from error.problems
    else:
        yield from query_problems(query, columns)


def _reference_problems(attributes: Mapping[str, Attribute], project: Path) -> Iterator[str]:
    """Compare the table of attributes in the documentation with the declared ones."""
    found = [name for name in _REFERENCES if (project / name).is_file()]
    if not found:
        return
    reference, path = found[0], project / found[0]
    rows = re.findall(
        r"^\| `([\w.]+)` \| (\w+) \| (.+) \|$", path.read_text(encoding="utf-8"), re.MULTILINE
    )
    documented = {name: (type_, brief) for name, type_, brief in rows}
    declared = {name: (each.type, each.brief) for name, each in attributes.items()}
    for name in declared.keys() - documented.keys():
        yield f"{reference}: {name} is declared in honeycomb/telemetry.yaml, but has no row"
    for name in documented.keys() - declared.keys():
        yield f"{reference}: {name} has a row, but honeycomb/telemetry.yaml does not declare it"
    for name in sorted(declared.keys() & documented.keys()):
        if declared[name] != documented[name]:
            yield f"{reference}: the type or the text of {name} differs from honeycomb/telemetry.yaml"
