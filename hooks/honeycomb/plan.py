"""Plan: the changes that bring Honeycomb in line with the definitions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from .definitions import TAG, Definition, Definitions, InvalidDefinition, by_title
from .diff import Difference, differences
from .queries import columns_in_query
from .remote import RemoteObject, RemoteState

Action: TypeAlias = Literal["create", "change", "delete", "unchanged", "skipped", "orphaned"]
# The column that Honeycomb is to show as the status of a request. Its default is the name from before
# the semantic conventions were stable.
STATUS_COLUMN = "http.response.status_code"
_OLD_STATUS_COLUMNS = ("", "http.status_code")


@dataclass(frozen=True, kw_only=True)
class Step:
    """The change of one object, or the reason why there is none."""

    action: Action
    kind: str
    name: str
    file: str = ""
    differences: tuple[Difference, ...] = ()
    note: str = ""
    """The type of a column that is created; otherwise a remark."""
    wanted: Definition | None = field(default=None, repr=False)
    existing: RemoteObject | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Plan:
    steps: tuple[Step, ...]
    """In the order in which they have to be carried out."""

    @property
    def changes(self) -> list[Step]:
        return [step for step in self.steps if step.action in ("create", "change", "delete")]


def make_plan(
    definitions: Definitions, remote: RemoteState, service_name: str, *, prune: bool = False
) -> Plan:
    """Compare the desired with the actual state. With `prune`, orphaned objects are deleted.

    Raises InvalidDefinition if a definition names a column that is neither declared nor in Honeycomb.
    """
    steps = list(_dataset_and_columns(definitions, remote, service_name))
    by_file = [_step(definition, remote) for definition in definitions.all]
    changed = {
        step.name for step in by_file if step.kind == "derived column" and step.action == "change"
    }
    steps += [_with_outdated_queries(step, remote, changed) for step in by_file]
    wanted = {definition.tag for definition in definitions.all}
    met: set[str] = set()
    orphaned: list[Step] = []
    for existing in remote.objects:
        if existing.tag is None:
            continue
        if existing.tag in wanted and existing.tag not in met:
            met.add(existing.tag)
            continue
        note = "a duplicate" if existing.tag in met else f"its file was deleted: {existing.tag}"
        orphaned.append(
            Step(
                action="delete" if prune else "orphaned",
                kind=existing.kind,
                name=existing.name,
                note=note,
                existing=existing,
            )
        )
    # A plan of Honeycomb limits the number of triggers. A board is deleted before the SLO it shows.
    first = [step for step in orphaned if step.kind == "trigger"]
    last = [step for kind in ("board", "SLO") for step in orphaned if step.kind == kind]
    return Plan((*first, *steps, *last))


def body_of(definition: Definition) -> dict[str, Any]:
    """The body of a definition, with our tag if its kind has tags."""
    if definition.kind in ("derived column", "burn alert"):
        return dict(definition.body)
    tag = {"key": TAG, "value": definition.tag}
    return {**definition.body, "tags": [*definition.body.get("tags", ()), tag]}


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
    for column in remote.of("derived column"):
        if column.name in named and (
            column.name in changed or created_at < str(column.body.get("updated_at") or "")
        ):
            return column.name
    return None


def _dataset_and_columns(
    definitions: Definitions, remote: RemoteState, service_name: str
) -> Iterator[Step]:
    if remote.dataset is None:
        yield Step(action="create", kind="dataset", name=service_name)
    columns = definitions.required_columns()
    problems: list[str] = []
    for column in sorted({*columns, STATUS_COLUMN} - remote.columns):
        column_type = definitions.columns.type_of(column)
        if column_type is None:
            problems.append(
                f"honeycomb/{columns[column].file} names the column {column!r}, which is neither"
                " declared in honeycomb/telemetry.yaml nor in Honeycomb."
            )
        else:
            yield Step(action="create", kind="column", name=column, note=column_type)
    if problems:
        raise InvalidDefinition(problems)
    if remote.status_column in _OLD_STATUS_COLUMNS:
        change = Difference("status", remote.status_column, STATUS_COLUMN)
        yield Step(action="change", kind="dataset definition", name="status", differences=(change,))


def _step(definition: Definition, remote: RemoteState) -> Step:
    existing = _existing(definition, remote)
    wanted = body_of(definition)

    def step(action: Action, *changes: Difference, note: str = "") -> Step:
        return Step(
            action=action,
            kind=definition.kind,
            name=definition.name,
            file=definition.file,
            differences=changes,
            note=note,
            wanted=definition,
            existing=existing,
        )

    if existing is None and definition.needs_plan:
        return step("skipped", note=f"needs Honeycomb {definition.needs_plan}")
    if definition.kind == "burn alert" and not definition.body.get("recipients"):
        if existing is not None:
            return step("unchanged", note="its file has no recipients")
        return step("skipped", note="its file has no recipients")
    if existing is None:
        return step("create", note=_by_hand(definition, remote))
    changes = differences(definition.kind, existing.body, wanted)
    return step("change" if changes else "unchanged", *changes)


def _existing(definition: Definition, remote: RemoteState) -> RemoteObject | None:
    for existing in remote.of(definition.kind):
        match definition.kind:
            case "derived column":
                found = existing.name == definition.name
            case "burn alert":
                found = (
                    existing.body["slo"]["name"] == definition.body["slo"]["name"]
                    and existing.body["alert_type"] == definition.body["alert_type"]
                )
            case _:
                found = existing.tag == definition.tag
        if found:
            return existing
    return None


def _by_hand(definition: Definition, remote: RemoteState) -> str:
    for existing in remote.of(definition.kind):
        if existing.tag is None and existing.name == definition.name:
            return "in addition to a manually created one of the same name, which is kept"
    return ""


def _with_outdated_queries(step: Step, remote: RemoteState, changed: set[str]) -> Step:
    """`step` as a change if a query of its object uses the former expression of a derived column."""
    if step.existing is None or step.wanted is None:
        return step
    old: list[Difference] = []
    for title, query in step.wanted.queries():
        column = outdated_column(query, _created_at(step.existing, title), remote, changed)
        if column:
            field = f"panel {title!r}.query" if title else "query"
            old.append(Difference(field, f"with the former {column}", f"with the current {column}"))
    if not old:
        return step
    return replace(step, action="change", differences=(*step.differences, *old))


def _created_at(existing: RemoteObject, title: str) -> str:
    """Creation time of a query of `existing`, in Honeycomb's format."""
    if existing.kind == "trigger":
        return str(existing.body.get("updated_at") or "")
    panel = by_title(existing.body.get("panels") or ()).get(title)
    if panel is None or panel["type"] != "query":
        return ""
    return str(panel["query_panel"]["query_annotation"].get("created_at") or "")
