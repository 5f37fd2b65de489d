"""The command `traces`: receive OTLP, and show each trace as it completes."""

import signal
from contextlib import ExitStack, suppress
from typing import Final

import click

from .assembly import TraceAssembler
from .collector import Collector
from .command import started, stop
from .filters import Duration, Filter, completed
from .output import JSONOutput, TreeOutput
from .page import Page

HTTP_PORT: Final = 4318
GRPC_PORT: Final = 4317
_STDERR: Final = 2


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Port of 127.0.0.1, for HTTP and gRPC.  [default: {HTTP_PORT}, and {GRPC_PORT} if free]",
)
@click.option("--web", is_flag=True, help="Also show the traces on a page, at the same address.")
@click.option("--errors", is_flag=True, help="Show only traces with an error.")
@click.option(
    "--slow",
    type=Duration(),
    metavar="TIME",
    help="Show only traces of at least this duration, such as 2s or 500ms.",
)
@click.option("--name", metavar="TEXT", help="Show only traces with a span named like TEXT.")
@click.option(
    "-a",
    "--attributes",
    metavar="GLOB",
    multiple=True,
    help="Show attributes below each span: '*', 'llm.*', user.id.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per trace.")
@click.option(
    "--last",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="Keep the last N traces.",
)
@click.option(
    "--wait",
    type=Duration(),
    default="6s",
    show_default=True,
    metavar="TIME",
    help="Wait this long for missing spans of a trace; services export every 5s.",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="Exit after N traces.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def traces(
    port: int | None,
    web: bool,
    errors: bool,
    slow: float | None,
    name: str | None,
    attributes: tuple[str, ...],
    as_json: bool,
    last: int,
    wait: float,
    count: int | None,
    command: tuple[str, ...],
) -> int:
    """Show the traces of a service on this machine, without an account.

    Receives OTLP over HTTP and gRPC on 127.0.0.1, and draws each trace as it completes: durations,
    tokens, cost, errors and log records. With COMMAND, such as `traces -- uv run fastapi dev`, starts
    the service with OTEL_EXPORTER_OTLP_ENDPOINT set; without it, set the variable yourself.
    """
    assembler = TraceAssembler(keep=last, wait=wait)
    wanted = Filter(errors, slow, name)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        page = Page(assembler, keep=last) if web else None
        endpoint = _listen(stack, assembler, port, page)
        output = (
            JSONOutput()
            if as_json
            else TreeOutput(attributes=attributes, has_live_line=not command)
        )
        stack.callback(output.close)
        output.print(f"Waiting for traces at {endpoint}, OTLP over HTTP or gRPC.")
        if web:
            output.print(f"Open {endpoint}/ in a browser to see them there too.")
        # Only traces are printed to stdout as JSON.
        stdout = _STDERR if as_json else None
        process = stack.enter_context(started(command, endpoint, stdout)) if command else None
        try:
            shown: set[str] = set()
            for trace in completed(assembler, wanted, process):
                output.show(trace)
                shown.add(trace.trace_id)
                if len(shown) == count:
                    return 0
        except KeyboardInterrupt:
            # `timeout` and some shells send a second one.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if process is not None:
                stop(process)
        for trace in filter(wanted.matches, assembler.remaining()):
            output.show(trace)
        if assembler.skipped:
            output.print(f"{assembler.skipped:,} traces arrived too fast to be shown.")
        if process is not None and process.returncode > 0:
            output.print(f"{command[0]} exited with status {process.returncode}.")
            return process.returncode
    return 0


def _listen(
    stack: ExitStack, assembler: TraceAssembler, port: int | None, page: Page | None
) -> str:
    """Listen until `stack` is closed, and return the endpoint."""
    first = HTTP_PORT if port is None else port
    try:
        endpoint = stack.enter_context(Collector(assembler, first, page)).endpoint
    except OSError as error:
        raise click.ClickException(
            f"Cannot listen on port {first} of 127.0.0.1 ({error.strerror}). Stop the other OTLP"
            f" receiver, or choose another port: --port {HTTP_PORT + 1}"
        ) from None
    if port is None:
        with suppress(OSError):
            stack.enter_context(Collector(assembler, GRPC_PORT))
    return endpoint
