"""What has to be done so that Honeycomb has what the files say."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from .compare import Difference, differences
from .current import Current, Existing
from .files import TAG, Definition, Definitions, FilesError, by_title, columns_of

Action: TypeAlias = Literal["create", "change", "delete", "unchanged", "left out", "left over"]
# Which column Honeycomb shows as the status of a request. It assumes the name of before the
# conventions were stable.
STATUS_COLUMN = "http.response.status_code"
_OLD_STATUS_COLUMNS = ("", "http.status_code")


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is done, or not, about one object."""

    action: Action
    kind: str
    name: str
    file: str = ""
    differences: tuple[Difference, ...] = ()
    note: str = ""
    """Of a new column, its type."""
    wanted: Definition | None = field(default=None, repr=False)
    existing: Existing | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Plan:
    steps: tuple[Step, ...]
    """In the order in which they have to be taken."""

    @property
    def changes(self) -> list[Step]:
        return [step for step in self.steps if step.action in ("create", "change", "delete")]


def make_plan(
    definitions: Definitions, current: Current, service_name: str, *, prune: bool = False
) -> Plan:
    """Compares the files with Honeycomb. With `prune`, what is left over from a file is deleted.

    Raises FilesError where a file names a column that neither anything declares nor Honeycomb has.
    """
    steps = list(_dataset_and_columns(definitions, current, service_name))
    by_file = [_step(definition, current) for definition in definitions.all]
    changed = {
        step.name for step in by_file if step.kind == "derived column" and step.action == "change"
    }
    steps += [_with_old_fields(step, current, changed) for step in by_file]
    wanted = {definition.tag for definition in definitions.all}
    met: set[str] = set()
    left_over: list[Step] = []
    for existing in current.objects:
        if existing.tag is None:
            continue
        if existing.tag in wanted and existing.tag not in met:
            met.add(existing.tag)
            continue
        note = "made twice" if existing.tag in met else f"its file is gone ({existing.tag})"
        left_over.append(
            Step(
                action="delete" if prune else "left over",
                kind=existing.kind,
                name=existing.name,
                note=note,
                existing=existing,
            )
        )
    # Of triggers a plan has so many: what goes makes room. A board goes before the SLO that it shows.
    first = [step for step in left_over if step.kind == "trigger"]
    last = [step for kind in ("board", "SLO") for step in left_over if step.kind == kind]
    return Plan((*first, *steps, *last))


def body_of(definition: Definition) -> dict[str, Any]:
    """The body of a definition, with our tag where its kind has tags."""
    if definition.kind in ("derived column", "burn alert"):
        return definition.body
    tag = {"key": TAG, "value": definition.tag}
    return {**definition.body, "tags": [*definition.body.get("tags", ()), tag]}


def made_before(
    query: Mapping[str, Any],
    made_at: str,
    current: Current,
    changed: set[str],
) -> str | None:
    """The derived column that a query names and that has changed since the query was made.

    A query keeps the expression that a derived column had when it was made.
    """
    named = columns_of(query)
    for column in current.of("derived column"):
        if column.name in named and (
            column.name in changed or made_at < str(column.body.get("updated_at") or "")
        ):
            return column.name
    return None


def _dataset_and_columns(
    definitions: Definitions, current: Current, service_name: str
) -> Iterator[Step]:
    if current.dataset is None:
        yield Step(action="create", kind="dataset", name=service_name)
    columns = definitions.columns()
    problems: list[str] = []
    for column in sorted({*columns, STATUS_COLUMN} - current.columns):
        column_type = definitions.type_of(column)
        if column_type is None:
            problems.append(
                f"honeycomb/{columns[column].file} names the column {column!r}, which neither"
                " honeycomb/telemetry.yaml nor OpenTelemetry knows and Honeycomb does not have."
            )
        else:
            yield Step(action="create", kind="column", name=column, note=column_type)
    if problems:
        raise FilesError(problems)
    if current.status_column in _OLD_STATUS_COLUMNS:
        change = Difference("status", current.status_column, STATUS_COLUMN)
        yield Step(action="change", kind="dataset definition", name="status", differences=(change,))


def _step(definition: Definition, current: Current) -> Step:
    existing = _existing(definition, current)
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
        return step("left out", note=f"needs Honeycomb {definition.needs_plan}")
    if definition.kind == "burn alert" and not definition.body.get("recipients"):
        if existing is not None:
            return step("unchanged", note="its file names no recipients")
        return step("left out", note="needs a recipient in its file")
    if existing is None:
        return step("create", note=_by_hand(definition, current))
    changes = differences(definition.kind, existing.body, wanted)
    return step("change" if changes else "unchanged", *changes)


def _existing(definition: Definition, current: Current) -> Existing | None:
    for existing in current.of(definition.kind):
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


def _by_hand(definition: Definition, current: Current) -> str:
    for existing in current.of(definition.kind):
        if existing.tag is None and existing.name == definition.name:
            return "beside one of this name that was made by hand, which stays as it is"
    return ""


def _with_old_fields(step: Step, current: Current, changed: set[str]) -> Step:
    """`step` as a change, where a query of its object has the old form of a derived column."""
    if step.existing is None or step.wanted is None:
        return step
    old: list[Difference] = []
    for title, query in step.wanted.queries():
        column = made_before(query, _made_at(step.existing, title), current, changed)
        if column:
            field = f"panel {title!r}.query" if title else "query"
            old.append(Difference(field, f"with {column} as it was", f"with {column} as it is"))
    if not old:
        return step
    return replace(step, action="change", differences=(*step.differences, *old))


def _made_at(existing: Existing, title: str) -> str:
    """When a query of `existing` was made, as Honeycomb writes times."""
    if existing.kind == "trigger":
        return str(existing.body.get("updated_at") or "")
    panel = by_title(existing.body.get("panels") or ()).get(title)
    if panel is None or panel["type"] != "query":
        return ""
    return str(panel["query_panel"]["query_annotation"].get("created_at") or "")
