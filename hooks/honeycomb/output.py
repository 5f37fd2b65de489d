"""Output of plan and apply: a line per step, or JSON."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from os.path import commonprefix
from typing import Any, Final

from rich.text import Text

from ..terminal import printable, progress, say, say_wrapped
from .auth import Place
from .diff import Difference
from .plan import Action, Plan, Step

_SIGNS: Final[dict[Action, tuple[str, str]]] = {
    "create": ("+", "green"),
    "change": ("~", "yellow"),
    "delete": ("-", "red"),
    "unchanged": ("=", "dim"),
    "kept": ("=", "yellow"),
    "refused": ("!", "red"),
    "skipped": (".", "dim"),
    "orphaned": ("?", "yellow"),
}
# Action, and the words for it in a summary: before and after.
_COUNTED: Final[tuple[tuple[Action, str, str], ...]] = (
    ("create", "to create", "created"),
    ("change", "to change", "changed"),
    ("delete", "to delete", "deleted"),
    ("unchanged", "unchanged", "unchanged"),
    ("kept", "kept as in Honeycomb", "kept as in Honeycomb"),
    ("refused", "refused", "refused"),
    ("skipped", "skipped", "skipped"),
    ("orphaned", "orphaned", "orphaned"),
)
_MAX_LINE: Final = 100
_MAX_EXCERPT: Final = 200
_CONTEXT: Final = 40
"""Characters before a difference in a long text."""
_INDENT: Final = "   "


class Printer:
    """Prints a plan, or the steps of one while they are carried out."""

    def __init__(self, place: Place, service_name: str, *, silent: bool = False) -> None:
        self._place = place
        self._service_name = service_name
        self._silent = silent
        self._changes: list[Step] = []
        self._columns: list[Step] = []
        self._results: list[dict[str, Any]] = []

    def plan(self, plan: Plan) -> None:
        """Print all steps but the unchanged ones, and a summary."""
        self._print_place()
        for kind, steps in groupby(plan.steps, key=lambda step: (step.action, step.kind)):
            if kind == ("create", "column"):
                _print_columns(list(steps))
                continue
            for step in steps:
                if step.action != "unchanged":
                    _print_step(step)
        say(f"\n{summary(plan)}")
        for note in plan.notes:
            say(note)

    def undecided(self, plan: Plan) -> None:
        """Print the changes that the plan would replace."""
        for step in plan.undecided:
            _print_step(step)

    def left_alone(self, plan: Plan) -> None:
        """Print the objects that differ from the files and that apply does not touch."""
        for step in plan.steps:
            if step.action in ("kept", "refused"):
                _print_step(step)

    def start(self, plan: Plan) -> None:
        """Announce the first step."""
        self._changes = plan.changes
        if not self._silent:
            self._print_place()
        self._announce()

    def done(self, step: Step, problem: str, url: str) -> None:
        """Print a step that was carried out, with its error or the URL of its object."""
        self._results.append({**step_as_json(step), "error": problem or None, "url": url or None})
        if self._silent:
            return
        if step.kind == "column" and not problem:
            self._columns.append(step)
        else:
            self._print_pending_columns()
            _print_step(step, problem)
        if url:
            say(f"    {url}")
        self._announce()

    def finish(self) -> list[dict[str, Any]]:
        """The results of the steps that were carried out."""
        self._print_pending_columns()
        progress("")
        return self._results

    def _announce(self) -> None:
        number = len(self._results)
        if not self._silent and number < len(self._changes):
            step = self._changes[number]
            progress(f"{number + 1} of {len(self._changes)}: {step.kind} {step.name} ...")

    def _print_pending_columns(self) -> None:
        if self._columns:
            _print_columns(self._columns)
            self._columns = []

    def _print_place(self) -> None:
        say(
            f"Honeycomb: team {self._place.team}, environment {self._place.environment},"
            f" dataset {self._service_name}\n"
        )


def summary(plan: Plan, *, is_done: bool = False) -> str:
    """The number of steps by action, in one sentence."""
    counts = [
        (sum(1 for step in plan.steps if step.action == action), after if is_done else before)
        for action, before, after in _COUNTED
    ]
    text = ", ".join(f"{count} {word}" for count, word in counts if count) or "nothing"
    text = f"{text}." if plan.changes or plan.undecided else f"Nothing to do: {text}."
    if plan.undecided:
        text += (
            f" {len(plan.undecided)} would replace changes that people made in Honeycomb:"
            " use `apply --overwrite`."
        )
    if any(step.action == "orphaned" for step in plan.steps):
        text += " `apply --prune` deletes orphaned objects."
    return text


def step_as_json(step: Step) -> dict[str, Any]:
    return {
        "action": step.action,
        "kind": step.kind,
        "name": step.name,
        "file": step.wanted.file if step.wanted else None,
        "key": (step.wanted.key or None) if step.wanted else None,
        "note": step.note or None,
        "differences": [asdict(difference) for difference in step.differences],
        "kept": [asdict(difference) for difference in step.kept],
        "conflicts": [asdict(difference) for difference in step.conflicts],
    }


def _print_step(step: Step, problem: str = "") -> None:
    sign, style = ("x", "red") if problem else _SIGNS[step.action]
    text = Text(step.name)
    if step.wanted:
        # The key of a saved query is its name.
        place = step.wanted.file if step.wanted.key == step.name else step.wanted.place
        text.append(f"  {place}", "dim")
    if step.note:
        text.append(f"  ({step.note})")
    say_wrapped(Text(f"{sign} {step.kind:18}", style), text)
    if problem:
        say_wrapped(_INDENT, Text(problem, "red"))
        return
    if step.action == "change":
        for difference in step.differences:
            _print_difference(difference)
    for difference in step.kept:
        is_conflict = difference in step.conflicts
        label = "changed in Honeycomb and in the file" if is_conflict else "changed in Honeycomb"
        _print_difference(difference, f" ({label}; kept)")


def _print_columns(steps: list[Step]) -> None:
    sign, style = _SIGNS["create"]
    counted = f"{len(steps)} columns" if len(steps) > 1 else "column"
    say_wrapped(Text(f"{sign} {counted:18}", style), ", ".join(step.name for step in steps))


def _print_difference(difference: Difference, remark: str = "") -> None:
    field = difference.field
    old, new = _excerpts(_as_text(difference.old), _as_text(difference.new))
    is_short = len(old) + len(new) < _MAX_LINE
    if is_short and remark:
        say_wrapped(_INDENT, f"{field}: {old}, in the file {new}{remark}")
    elif is_short:
        say_wrapped(_INDENT, f"{field}: {old} -> {new}")
    else:
        say_wrapped(_INDENT, f"{field}{remark}:")
        say_wrapped(f"{_INDENT}   {'in Honeycomb:' if remark else '-'}", old)
        say_wrapped(f"{_INDENT}   {'in the file: ' if remark else '+'}", new)


def _as_text(value: Any) -> str:
    if value is None or value == "":
        return "(none)"
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _excerpts(*texts: str) -> Iterator[str]:
    """Long texts from shortly before the first character that differs."""
    start = max(0, len(commonprefix(texts)) - _CONTEXT)
    if max(map(len, texts)) <= _MAX_EXCERPT:
        start = 0
    for text in texts:
        rest = text[start : start + _MAX_EXCERPT]
        yield f"{'...' if start else ''}{rest}{'...' if start + len(rest) < len(text) else ''}"
