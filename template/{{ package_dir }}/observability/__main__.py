"""`python -m <package>.observability doctor|plan|apply|marker`"""

import argparse
import os
import sys
from typing import NoReturn

_DOCTOR = """Goes through what can keep traces from arriving, in the order in which it goes wrong,
and stops at the cause. Sends one test span. Ends with 0, or with 1 where something is broken."""
_PLAN = """Shows what apply would do. Ends with 0 where that is nothing, with 2 where changes wait,
with 1 on an error."""
_APPLY = """Makes Honeycomb have the boards, triggers and SLOs that the files of honeycomb/ say. What
people made by hand stays as it is. Ends with 0, or with 1 where something failed; run again, it does
the rest."""
_MARKER = """Records a deploy, as a line in every graph of the dataset. Ends with 0, or with 1."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # 2 would say that changes wait.
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def main(arguments: list[str] | None = None) -> int:
    parser = _Parser(prog=f"python -m {__package__}", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    doctor = commands.add_parser(
        "doctor", help="find out why no traces arrive", description=_DOCTOR
    )
    plan = commands.add_parser("plan", help="show what apply would do", description=_PLAN)
    apply = commands.add_parser(
        "apply", help="make boards, triggers and SLOs as the files say", description=_APPLY
    )
    marker = commands.add_parser("marker", help="record a deploy", description=_MARKER)
    for command in (plan, apply):
        command.add_argument(
            "--prune", action="store_true", help="delete what was made from a file that is gone"
        )
    apply.add_argument("--dry-run", action="store_true", help="change nothing, as plan does")
    marker.add_argument("--version", help="what was deployed; by default service.version")
    marker.add_argument("--url", help="where the deploy is described")
    for command in (doctor, plan, apply, marker):
        command.add_argument("--json", action="store_true", help="print JSON, for scripts")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("\nStopped. What is done stays.", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Nobody reads any more, as behind `| head`. Python would try once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(options: argparse.Namespace) -> int:
    # Imported here, as none needs what the others do.
    if options.command == "doctor":
        from .doctor import diagnose

        return diagnose(as_json=options.json)
    from .honeycomb import commands as honeycomb

    if options.command == "marker":
        return honeycomb.marker(version=options.version, url=options.url, as_json=options.json)
    if options.command == "plan" or options.dry_run:
        return honeycomb.plan(prune=options.prune, as_json=options.json)
    return honeycomb.apply(prune=options.prune, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
