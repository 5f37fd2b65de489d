"""The `copier-honeycomb` command. Each subcommand imports its own package, and only when it runs."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NamedTuple

import click


class _Entry(NamedTuple):
    target: str
    """`module:name` of a click command, or of a function that accepts a list of arguments (none if
    `has_arguments` is false) and returns the exit status."""
    summary: str
    has_arguments: bool = True


_COMMANDS: Final = {
    "doctor": _Entry("hooks.doctor:doctor", "Diagnose why traces do not reach Honeycomb."),
    "plan": _Entry("hooks.honeycomb.cli:plan", "Show the changes that apply would make."),
    "apply": _Entry("hooks.honeycomb.cli:apply", "Create and update boards, triggers and SLOs."),
    "marker": _Entry("hooks.honeycomb.cli:marker", "Record a deploy in Honeycomb."),
    "check": _Entry("hooks.honeycomb.cli:check", "Validate honeycomb/ without Honeycomb."),
    "fire": _Entry("hooks.honeycomb.cli:fire", "Make a trigger fire on purpose."),
    "terraform": _Entry("hooks.honeycomb.cli:terraform", "Print honeycomb/ for Terraform."),
    "adopt": _Entry("hooks.adopt.cli:adopt", "Add observability to an existing repository."),
    "wire": _Entry("hooks.wire.cli:main", "Trace an existing service: edit its files."),
    "traces": _Entry("hooks.traces.cli:traces", "Show the traces of a service on this machine."),
    "update": _Entry("hooks.update.cli:update", "Update a project without losing an edit."),
    "scale": _Entry("hooks.scale:scale", "Configure a Collector or Refinery for several services."),
    "demo": _Entry(
        "hooks.demo.show:main", "Render a service, send a prompt, show the trace.", False
    ),
    "release": _Entry("hooks.release:main", "Cut a release of the template (maintainers)."),
}


class _LazyGroup(click.Group):
    """A group that lists its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        return _load(cmd_name, _COMMANDS[cmd_name])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in _COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="copier-honeycomb")
def cli() -> None:
    """Tools for a service that was rendered from the copier-honeycomb template."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status. Errors are one sentence on stderr, status 1."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that is not UTF-8 shows "?" for a character it lacks.
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="replace")
    try:
        status = cli.main(arguments, prog_name="copier-honeycomb", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        # Status 1 instead of click's 2: `plan` exits with 2 if changes are pending.
        error.show()
        status = 1
    except (KeyboardInterrupt, click.Abort):
        click.echo("Stopped. Completed changes were kept.", err=True)
        status = 130
    except BrokenPipeError:
        # The reader is gone, as after `| head`. Python would try to flush once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status or 0)


def _load(name: str, entry: _Entry) -> click.Command:
    module, _, attribute = entry.target.partition(":")
    target = getattr(import_module(module), attribute)
    if isinstance(target, click.Command):
        return target
    if not entry.has_arguments:
        return click.Command(name, callback=target, help=entry.summary)

    @click.command(
        name,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def run(arguments: tuple[str, ...]) -> int:
        status: int = target(list(arguments))
        return status

    return run
