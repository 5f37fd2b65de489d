"""Print plans and checks in the terminal."""

import textwrap
from typing import Final

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from .check import Check
from .plan import Plan, Step

_PAST: Final = {"add": "added", "remove": "removed"}


def new_console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def print_diff(console: Console, plan: Plan) -> None:
    console.print(Syntax(plan.diff().rstrip("\n"), "diff", background_color="default"))
    console.print()


def print_plan(console: Console, plan: Plan, *, is_dry_run: bool) -> None:
    """Print the edits, one per line, and the steps left to the user."""
    for path, verb, objects in plan.edits:
        if is_dry_run:
            print_line(console, "Would change", f"{path}: {verb} {objects}")
        else:
            print_line(console, "Changed", f"{path}: {_PAST[verb]} {objects}")
    if is_dry_run and plan.edits:
        console.print("With these edits:")
    for each in plan.done:
        print_line(console, "Already done", each)
    for each in plan.notes:
        print_line(console, "Note", each)
    for step in plan.todo:
        print_step(console, "To do", step)
    if plan.sdks:
        print_line(console, "SDKs", plan.sdks)
    for text in plan.routes:
        print_line(console, "Route", text)
    for step in plan.examples:
        print_step(console, "LLM call", step)
    if not plan.edits:
        console.print("No file would be changed." if is_dry_run else "No file was changed.")


def print_check(console: Console, check: Check) -> None:
    used = f" {check.used}" if check.used else ""
    if check.span:
        print_line(console, "Checked", f"one request{used} sent the span {check.span}")
        for name, value in check.attributes.items():
            console.print(Text(f"    {name} = {value}"))
    else:
        label = "Not checked" if check.is_inconclusive else "Check failed"
        print_line(console, label, f"{check.app}{used}: {check.failure}.")
    if check.packages:
        print_line(console, "Packages", f"{check.packages}.")
    if check.note:
        print_line(console, "Note", f"{check.note}.")
    for text in check.llm_calls:
        print_line(console, "LLM calls", text)


def print_line(console: Console, label: str, text: str) -> None:
    console.print(Text.assemble((f"{label}: ", "bold"), text))


def print_step(console: Console, label: str, step: Step) -> None:
    print_line(console, label, step.text)
    if step.snippet:
        console.print(Text(textwrap.indent(step.snippet.rstrip(), "    "), "dim"))
