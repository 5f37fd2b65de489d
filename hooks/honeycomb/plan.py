"""Plan: the changes that bring Honeycomb in line with the definitions."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from .definitions import Definition, Definitions, InvalidDefinition, by_title
from .diff import Difference, panel_part, panels_like, parts
from .identity import (
    find_existing,
    is_as_applied,
    is_former_column,
    is_unmarked_alert,
    note_on_creation,
)
from .merge import Overwrite, merge
from .queries import columns_in_query
from .record import record_of
from .remote import RemoteObject, RemoteState

Action: TypeAlias = Literal[
    "create", "change", "delete", "unchanged", "kept", "refused", "skipped", "orphaned"
]
# The column that Honeycomb is to show as the status of a request. Its default is the name from before
# the semantic conventions were stable.
STATUS_COLUMN = "http.response.status_code"
_OLD_STATUS_COLUMNS = ("", "http.status_code")
_NO_RECIPIENTS = "it has no recipients, and Honeycomb requires one: use --recipient"


@dataclass(frozen=True, kw_only=True)
class Step:
    """The change of one object, or the reason why there is none."""

    action: Action
    kind: str
    name: str
    differences: tuple[Difference, ...] = ()
    kept: tuple[Difference, ...] = ()
    """Changes made in Honeycomb that stay."""
    conflicts: tuple[Difference, ...] = ()
    """Fields of `kept` that the file changes too."""
    note: str = ""
    """The type of a column that is created; otherwise a remark."""
    wanted: Definition | None = field(default=None, repr=False)
    existing: RemoteObject | None = field(default=None, repr=False)
    kept_parts: frozenset[str] = field(default=frozenset(), repr=False)
    record: str = field(default="", repr=False)
    recipients: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    """Recipients to add to those in Honeycomb."""

    @property
    def needs_decision(self) -> bool:
        return self.action == "refused" or bool(self.conflicts)


@dataclass(frozen=True)
class Plan:
    steps: tuple[Step, ...]
    """In the order in which they have to be carried out."""
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> list[Step]:
        return [step for step in self.steps if step.action in ("create", "change", "delete")]

    @property
    def undecided(self) -> list[Step]:
        """The steps that would replace or delete something that people changed in Honeycomb."""
        return [step for step in self.steps if step.needs_decision]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The choices of the user."""

    prune: bool = False
    """Delete orphaned objects."""
    overwrite: Overwrite = "nothing"
    recipients: tuple[Mapping[str, Any], ...] = ()
    """Recipients of the triggers and burn alerts whose files have none."""


def make_plan(
    definitions: Definitions, remote: RemoteState, service_name: str, options: Options
) -> Plan:
    """Compare the desired with the actual state.

    Raises InvalidDefinition if a definition names a column that is neither declared nor in Honeycomb.
    """
    steps = list(_dataset_and_columns(definitions, remote, service_name, options))
    by_file = [_step(definition, remote, options) for definition in definitions.all]
    made = [step for step in by_file if step.action in ("create", "change")]
    columns = {step.name for step in made if step.kind == "derived column"}
    slos = {step.name for step in made if step.kind == "SLO" and step.action == "create"}
    by_file = [
        _with_outdated_queries(_with_created_slos(step, slos), remote, columns) for step in by_file
    ]
    steps += _without_needs(by_file)
    used = {step.existing.id for step in by_file if step.existing is not None}
    orphaned = list(_orphans(definitions, remote, used, options))
    # A plan of Honeycomb limits the number of triggers. A board is deleted before the SLO it shows.
    first = [step for step in orphaned if step.kind == "trigger"]
    kinds = ("saved query", "board", "burn alert", "SLO")
    last = [step for kind in kinds for step in orphaned if step.kind == kind]
    return Plan((*first, *steps, *last))


def needs_of(step: Step) -> Iterator[tuple[str, str]]:
    """The objects that the one of `step` depends on, by kind and name."""
    if step.wanted is None:
        return
    for column in step.wanted.columns():
        yield "derived column", column
        yield "column", column
    if step.kind == "SLO":
        yield "derived column", step.wanted.body["sli"]["alias"]
    elif step.kind == "burn alert":
        yield "SLO", step.wanted.body["slo"]["name"]
    for panel in step.wanted.body.get("panels", ()):
        if panel["type"] == "slo":
            yield "SLO", panel["slo_panel"]["slo"]["name"]


def outdated_column(
    query: Mapping[str, Any],
    created_at: str,
    remote: RemoteState,
    changed: set[str],
) -> str | None:
    """A derived column that the query names, and that changed after the query was created.

    A query keeps the expression that a derived column had when the query was created.
    """
    named = columns_in_query(query)
    outdated = {
        column.name
        for column in remote.of("derived column")
        if created_at < str(column.body.get("updated_at") or "")
    }
    return next(iter(sorted(named & (changed | outdated))), None)


def _dataset_and_columns(
    definitions: Definitions, remote: RemoteState, service_name: str, options: Options
) -> Iterator[Step]:
    if remote.dataset is None:
        yield Step(action="create", kind="dataset", name=service_name)
    columns = definitions.required_columns()
    problems: list[str] = []
    derived = {one.name for one in remote.of("derived column")}
    for column in sorted({*columns, STATUS_COLUMN} - derived):
        wanted = definitions.columns.type_of(column)
        if column in remote.columns:
            actual = str(remote.columns[column].get("type"))
            if wanted and "string" in (wanted, actual) and wanted != actual:
                yield _mistyped(column, actual, wanted, options)
        elif wanted is None:
            problems.append(
                f"honeycomb/{columns[column].place} names the column {column!r}, which is neither"
                " declared in honeycomb/telemetry.yaml nor in Honeycomb."
            )
        else:
            yield Step(action="create", kind="column", name=column, note=wanted)
    if problems:
        raise InvalidDefinition(problems)
    if remote.status_column in _OLD_STATUS_COLUMNS:
        change = Difference("status", remote.status_column, STATUS_COLUMN)
        yield Step(action="change", kind="dataset definition", name="status", differences=(change,))


def _mistyped(column: str, actual: str, wanted: str, options: Options) -> Step:
    """A column with another type than the service sends, as earlier releases created some."""
    if options.overwrite == "everything":
        change = Difference("type", actual, wanted)
        return Step(action="change", kind="column", name=column, differences=(change,), note=wanted)
    note = f"its type is {actual}, but the service sends {wanted}; --overwrite changes it"
    return Step(action="kept", kind="column", name=column, note=note)


def _step(definition: Definition, remote: RemoteState, options: Options) -> Step:
    existing = find_existing(definition, remote)
    step = Step(
        action="unchanged",
        kind=definition.kind,
        name=definition.name,
        wanted=definition,
        existing=existing,
    )
    if existing is None and definition.needs_plan:
        return replace(step, action="skipped", note=f"needs Honeycomb {definition.needs_plan}")
    if definition.kind in ("trigger", "burn alert"):
        step = replace(step, recipients=_missing_recipients(definition, existing, options))
    if existing is None:
        has_recipients = definition.body.get("recipients") or step.recipients
        if definition.kind == "burn alert" and not has_recipients:
            return replace(step, action="skipped", note=_NO_RECIPIENTS)
        record = record_of(parts(definition.kind, definition.body, definition.body)[1])
        note = note_on_creation(definition, remote)
        return replace(step, action="create", note=note, record=record)
    last = existing.record
    if definition.kind == "derived column" and last is None:
        return _unrecorded_column(step, existing, options)
    if is_unmarked_alert(existing, definition) and options.overwrite != "everything":
        note = "its description is not that of apply; --overwrite replaces it"
        return replace(step, action="kept", note=note, recipients=())
    merged = merge(definition.kind, last, existing.body, definition.body, options.overwrite)
    changes = [*merged.changes]
    if last is None:
        changes.append(Difference("record of the last apply", None, "added"))
    if step.recipients:
        named = ", ".join(f"{one.get('type')} {one.get('target', '')}" for one in step.recipients)
        changes.append(Difference("recipients", None, named.strip()))
    step = replace(
        step,
        differences=tuple(changes),
        kept=merged.kept,
        conflicts=merged.conflicts,
        kept_parts=merged.kept_parts,
        record=merged.record,
    )
    if changes:
        return replace(step, action="change")
    if merged.conflicts:
        return replace(step, action="refused")
    if merged.kept:
        return replace(step, action="kept")
    if existing.body.get("disabled") and not definition.body.get("disabled"):
        return replace(step, action="kept", note="muted in Honeycomb")
    return step


def _unrecorded_column(step: Step, existing: RemoteObject, options: Options) -> Step:
    """A derived column that somebody else created, or an earlier release.

    If it has the expression of the file, it is used as it is. Otherwise queries and alerts of other
    people may depend on it.
    """
    assert step.wanted is not None
    actual, expected = existing.body["expression"], step.wanted.body["expression"]
    if actual == expected:
        return step
    change = Difference("expression", actual, expected)
    if options.overwrite == "everything" or is_former_column(existing):
        record = record_of(parts(existing.kind, step.wanted.body, step.wanted.body)[1])
        return replace(step, action="change", differences=(change,), record=record)
    note = (
        "created in Honeycomb, with another expression: rename it there, or rename ours in"
        " honeycomb/, or replace it with --overwrite"
    )
    return replace(step, action="refused", kept=(change,), conflicts=(change,), note=note)


def _missing_recipients(
    definition: Definition, existing: RemoteObject | None, options: Options
) -> tuple[Mapping[str, Any], ...]:
    if definition.body.get("recipients"):
        return ()
    present = existing.body.get("recipients") or () if existing else ()
    return tuple(
        wanted
        for wanted in options.recipients
        if not any(wanted.items() <= dict(one).items() for one in present)
    )


def _without_needs(steps: Iterable[Step]) -> Iterator[Step]:
    """The steps, refused if they depend on an object that is refused."""
    refused: set[tuple[str, str]] = set()
    for step in steps:
        lacking = [name for kind, name in needs_of(step) if (kind, name) in refused]
        if lacking and step.action in ("create", "change"):
            step = replace(step, action="refused", note=f"it needs {lacking[0]}")
        if step.action == "refused":
            refused.add((step.kind, step.name))
        yield step


def _orphans(
    definitions: Definitions, remote: RemoteState, used: set[str], options: Options
) -> Iterator[Step]:
    """Objects with our tag that no file defines, and copies of those that one does."""
    wanted = {definition.tag for definition in definitions.all}
    tags = [existing.tag for existing in remote.objects]
    for existing in remote.objects:
        if existing.tag is None or existing.id in used:
            continue
        step = Step(action="orphaned", kind=existing.kind, name=existing.name, existing=existing)
        if existing.tag in wanted or tags.count(existing.tag) > 1:
            note = f"a copy, with the tag {existing.tag}; never changed or deleted"
            yield replace(step, action="kept", note=note)
            continue
        step = replace(step, note=f"its definition was deleted: {existing.tag}")
        if options.prune and options.overwrite != "everything" and not is_as_applied(existing):
            note = f"{step.note}; it may have been changed in Honeycomb: --overwrite deletes it"
            yield replace(step, action="refused", note=note)
        else:
            yield replace(step, action="delete" if options.prune else "orphaned")


def _with_created_slos(step: Step, created: set[str]) -> Step:
    """`step` as a change if its board shows an SLO that was deleted in Honeycomb.

    Honeycomb rejects a board with such a panel.
    """
    if step.kind != "board" or step.existing is None or step.wanted is None:
        return step
    live = panels_like(step.existing.body, step.wanted.body)
    for title, panel in by_title(step.wanted.body.get("panels") or ()).items():
        deleted = [
            other
            for other, shown in live.items()
            if shown["type"] == panel["type"] == "slo"
            and title in created
            and shown.get("position") == panel.get("position")
        ]
        replaced = {panel_part(name) for name in (title, *deleted)}
        if deleted and replaced <= step.kept_parts:
            change = Difference(panel_part(title), "of the deleted SLO", "of the new SLO")
            step = replace(
                step,
                action="change",
                differences=(*step.differences, change),
                kept=tuple(each for each in step.kept if each.field not in replaced),
                kept_parts=step.kept_parts - replaced,
            )
    return step


def _with_outdated_queries(step: Step, remote: RemoteState, changed: set[str]) -> Step:
    """`step` as a change if a query of its object uses the former expression of a derived column."""
    if step.existing is None or step.wanted is None or step.action == "refused":
        return step
    old: list[Difference] = []
    live = panels_like(step.existing.body, step.wanted.body)
    for title, query in step.wanted.queries():
        created_at = _created_at(step.existing, live.get(title))
        column = outdated_column(query, created_at, remote, changed)
        if column and (panel_part(title) if title else "query") not in step.kept_parts:
            field = f"{panel_part(title)}.query" if title else "query"
            old.append(Difference(field, f"with the former {column}", f"with the current {column}"))
    if not old:
        return step
    return replace(step, action="change", differences=(*step.differences, *old))


def _created_at(existing: RemoteObject, panel: Mapping[str, Any] | None) -> str:
    """Creation time of the query of `existing`, or of its `panel`, in Honeycomb's format."""
    if existing.kind == "trigger":
        return str(existing.body.get("updated_at") or "")
    if existing.kind == "saved query":
        return str(existing.body.get("created_at") or "")
    if panel is None or panel["type"] != "query":
        return ""
    return str(panel["query_panel"]["query_annotation"].get("created_at") or "")
