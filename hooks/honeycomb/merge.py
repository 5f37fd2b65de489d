"""Three-way merge of one object: as applied last, as it is in Honeycomb, and as it is in the file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any, Final, Literal, TypeAlias

from .diff import ORDER, Difference, differences_of, parts
from .record import Record, record_of
from .schema import Kind

Overwrite: TypeAlias = Literal["nothing", "conflicts", "everything"]
"""The changes made in Honeycomb that are replaced by the content of the file."""
_ABSENT: Final = object()


@dataclass(frozen=True)
class Merge:
    """The parts of an object that differ from its file, by the side that changed them."""

    changes: tuple[Difference, ...]
    """Only the file changed: written to Honeycomb."""
    kept: tuple[Difference, ...]
    """Only Honeycomb changed, or both and the file must not win: left alone."""
    conflicts: tuple[Difference, ...]
    """The part of `kept` that both changed."""
    kept_parts: frozenset[str]
    record: str
    """The record of the merged object."""


def merge(
    kind: Kind,
    record: Record | None,
    live: Mapping[str, Any],
    wanted: Mapping[str, Any],
    overwrite: Overwrite,
) -> Merge:
    """Merge `wanted`, the body of a file, into `live`, that of its object.

    Without a record, which part of the object people changed is not known: each part that differs
    is a conflict, and a panel that the file does not have is theirs.
    """
    old, new = parts(kind, live, wanted)
    changes: list[Difference] = []
    kept: list[Difference] = []
    conflicts: list[Difference] = []
    kept_parts: set[str] = set()
    for name, side in _sides(record, old, new):
        found = list(differences_of(name, old.get(name), new.get(name)))
        if (
            side == "file"
            or overwrite == "everything"
            or (side, overwrite) == ("both", "conflicts")
        ):
            changes += found
            continue
        kept += found
        kept_parts.add(name)
        if side == "both":
            conflicts += found
    unresolved = [name for name, side in _sides(record, old, new) if side == "both"]
    return Merge(
        tuple(changes),
        tuple(kept),
        tuple(conflicts),
        frozenset(kept_parts),
        record_of(new, without=kept_parts.intersection(unresolved)),
    )


def was_applied(record: Record, name: str, value: Any) -> bool:
    """Return True if a part in Honeycomb is as it was applied."""
    if record.holds(name, value):
        return True
    if not isinstance(value, dict) or "position" not in value:
        return False
    # Honeycomb chose the coordinates that the file omitted.
    place = value["position"].items()
    places = chain.from_iterable(combinations(place, number) for number in range(len(place)))
    return any(record.holds(name, value | {"position": dict(each)}) for each in places)


def _sides(
    record: Record | None, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[tuple[str, Literal["file", "Honeycomb", "both"]]]:
    """Each part that differs, and the side that changed it since the last apply."""
    for name in (*new, *(name for name in old if name not in new)):
        before, after = old.get(name, _ABSENT), new.get(name, _ABSENT)
        if before == after:
            continue
        if name == ORDER:
            # Positions are parts of the panels, and the order of the rest is of little value.
            yield name, "file"
        elif after is _ABSENT:
            is_ours = record is not None and was_applied(record, name, before)
            yield name, "file" if is_ours else "Honeycomb"
        elif before is _ABSENT:
            is_deleted = record is not None and record.holds(name, after)
            yield name, "Honeycomb" if is_deleted else "file"
        elif name == "disabled":
            # The file mutes a trigger, unless somebody has enabled it again.
            yield name, "Honeycomb" if record is not None and record.holds(name, after) else "file"
        elif record is None:
            yield name, "both"
        elif was_applied(record, name, before):
            yield name, "file"
        else:
            yield name, "Honeycomb" if record.holds(name, after) else "both"
