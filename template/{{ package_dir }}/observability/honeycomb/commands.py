"""The commands plan, apply and marker: what they print, and with which code they end."""

import json
from dataclasses import asdict
from itertools import groupby
from typing import Any, Final

from ..resource import make_resource
from ..settings import Settings
from ..terminal import coloured, complain, passing, printable, say, wrapped
from .access import open_api, permissions_for
from .api import APIError, understood
from .apply import Applier
from .compare import Difference, check_fields
from .current import read_current
from .files import FilesError, find_folder, load
from .marker import record_deploy
from .plan import Action, Plan, Step, make_plan

DONE: Final = 0
FAILED: Final = 1
CHANGES_WAIT: Final = 2

_SIGNS: Final[dict[Action, tuple[str, str]]] = {
    "create": ("+", "green"),
    "change": ("~", "yellow"),
    "delete": ("-", "red"),
    "unchanged": ("=", "dim"),
    "left out": (".", "dim"),
    "left over": ("?", "yellow"),
}
_LONGEST: Final = 100
_INDENT: Final = 21


def plan(*, prune: bool, as_json: bool) -> int:
    """Prints what `apply` would do. 0 where that is nothing, 2 where changes wait, 1 on an error."""
    try:
        work = _Work(prune)
    except (APIError, FilesError) as error:
        return _failed(error, as_json)
    if as_json:
        say(json.dumps(work.as_json(), indent=2))
    else:
        work.print_plan()
    return CHANGES_WAIT if work.plan.changes else DONE


def apply(*, prune: bool, as_json: bool) -> int:
    """Makes Honeycomb have what the files say. 0 where it does then, 1 where something failed."""
    try:
        work = _Work(prune)
    except (APIError, FilesError) as error:
        return _failed(error, as_json)
    return work.apply(as_json)


def marker(*, version: str | None, url: str | None, as_json: bool) -> int:
    """Records a deploy of `version`, by default the one that spans carry."""
    settings = Settings.from_environment()
    attributes = make_resource(settings).attributes
    version = version or str(attributes["service.version"])
    service_name = str(attributes["service.name"])
    try:
        api, place = open_api(settings, ("markers",), complain)
        with understood(settings):
            made = record_deploy(api, service_name, version, url)["id"]
    except APIError as error:
        return _failed(error, as_json)
    if as_json:
        say(json.dumps({"error": None, "id": made, "message": version}))
    else:
        say(f"Recorded: deploy of {version} in {service_name}, environment {place.environment}.")
    return DONE


class _Work:
    """The files, what Honeycomb has, and the plan between them."""

    def __init__(self, prune: bool) -> None:
        self._settings = settings = Settings.from_environment()
        self.service_name = str(make_resource(settings).attributes["service.name"])
        definitions = load(find_folder(), self.service_name)
        check_fields(definitions)
        self.api, self.place = open_api(settings, permissions_for(definitions), complain)
        passing("Reading what Honeycomb has ...")
        with understood(settings):
            self.current = read_current(self.api, definitions, self.service_name)
            self.plan = make_plan(definitions, self.current, self.service_name, prune=prune)

    def print_plan(self) -> None:
        self._print_place()
        for kind, steps in groupby(self.plan.steps, key=lambda step: (step.action, step.kind)):
            if kind == ("create", "column"):
                _print_columns(list(steps))
                continue
            for step in steps:
                if step.action != "unchanged":
                    _print_step(step)
        say(f"\n{_summary(self.plan)}")

    def apply(self, as_json: bool) -> int:
        results: list[dict[str, Any]] = []
        columns: list[Step] = []
        changes = self.plan.changes
        count = len(changes)

        def announce() -> None:
            if not as_json and len(results) < count:
                step = changes[len(results)]
                passing(f"{len(results) + 1} of {count}: {step.kind} {step.name} ...")

        def done(step: Step, problem: str, url: str) -> None:
            results.append({**_step_as_json(step), "error": problem or None, "url": url or None})
            if as_json:
                return
            if step.kind == "column" and not problem:
                columns.append(step)
            else:
                print_columns()
                _print_step(step, problem)
            if url:
                say(f"    {url}")
            announce()

        def print_columns() -> None:
            if columns:
                _print_columns(columns)
                columns.clear()

        error: APIError | None = None
        if not as_json:
            self._print_place()
        applier = Applier(self.api, self.current, self.service_name, self.plan)
        announce()
        try:
            with understood(self._settings):
                is_done = applier.run(done)
        except APIError as stopped:
            is_done, error = False, stopped
        failed = sum(1 for result in results if result["error"])
        left = count - len(results)
        if as_json:
            say(
                json.dumps(
                    {
                        **self._place_as_json(),
                        "error": str(error) if error else None,
                        "done": results,
                        "left": left,
                    },
                    indent=2,
                )
            )
            return DONE if is_done else FAILED
        print_columns()
        if is_done:
            say(("\n" if count else "") + _summary(self.plan, is_done=True))
            return DONE
        if error:
            complain(f"\n{error}")
        complain(
            f"{failed} failed, {left} were not tried. What is done stays; run apply again for the"
            " rest."
        )
        return FAILED

    def as_json(self) -> dict[str, Any]:
        return {
            **self._place_as_json(),
            "error": None,
            "changes": len(self.plan.changes),
            "steps": [_step_as_json(step) for step in self.plan.steps],
        }

    def _place_as_json(self) -> dict[str, Any]:
        return {**asdict(self.place), "dataset": self.service_name}

    def _print_place(self) -> None:
        say(
            f"Honeycomb: team {self.place.team}, environment {self.place.environment},"
            f" dataset {self.service_name}\n"
        )


def _print_step(step: Step, problem: str = "") -> None:
    sign, colour = ("x", "red") if problem else _SIGNS[step.action]
    file = f"  {coloured(step.file, 'dim')}" if step.file else ""
    note = f"  ({step.note})" if step.note else ""
    say(f"{coloured(f'{sign} {step.kind:18}', colour)} {step.name}{file}{note}")
    if problem:
        say(f"    {coloured(problem, 'red')}")
    elif step.action == "change":
        for difference in step.differences:
            _print_difference(difference)


def _print_columns(steps: list[Step]) -> None:
    sign, colour = _SIGNS["create"]
    counted = f"{len(steps)} columns" if len(steps) > 1 else "column"
    names = wrapped(", ".join(step.name for step in steps), indent=_INDENT)
    say(f"{coloured(f'{sign} {counted:18}', colour)} {names}")


def _print_difference(difference: Difference) -> None:
    old, new = _short(difference.old), _short(difference.new)
    if len(old) + len(new) < _LONGEST:
        say(f"    {difference.field}: {old} -> {new}")
    else:
        say(f"    {difference.field}:\n      - {old}\n      + {new}")


def _short(value: Any) -> str:
    if value is None or value == "":
        return "(none)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = printable(text)
    return text if len(text) <= 2 * _LONGEST else f"{text[: 2 * _LONGEST]}..."


def _summary(plan: Plan, *, is_done: bool = False) -> str:
    counts = {
        action: sum(1 for step in plan.steps if step.action == action)
        for action in ("create", "change", "delete", "unchanged", "left out", "left over")
    }
    if is_done:
        words = ("created", "changed", "deleted", "unchanged", "left out", "left over")
    else:
        words = ("to create", "to change", "to delete", "unchanged", "left out", "left over")
    parts = [f"{count} {word}" for count, word in zip(counts.values(), words, strict=True) if count]
    text = f"{', '.join(parts) or 'nothing'}."
    if counts["left over"]:
        text += " What is left over is deleted by apply --prune."
    if not plan.changes:
        text = f"Nothing to do: {text}"
    return text


def _step_as_json(step: Step) -> dict[str, Any]:
    return {
        "action": step.action,
        "kind": step.kind,
        "name": step.name,
        "file": step.file or None,
        "note": step.note or None,
        "differences": [asdict(difference) for difference in step.differences],
    }


def _failed(error: APIError | FilesError, as_json: bool) -> int:
    if as_json:
        say(json.dumps({"error": str(error)}))
    else:
        complain(str(error))
    return FAILED
