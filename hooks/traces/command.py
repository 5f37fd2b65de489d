"""Run the command that starts a service, exporting to this machine."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import click

# So that a trace appears soon after its request.
_SCHEDULE_DELAY_MS: Final = "300"
# Longer than the six seconds in which the service flushes.
_STOP_SECONDS: Final = 10


@contextmanager
def started(
    command: Sequence[str], endpoint: str, stdout: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` while the block runs, exporting to `endpoint` and printing to `stdout`."""
    variables = {
        "OTEL_BSP_SCHEDULE_DELAY": _SCHEDULE_DELAY_MS,
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
    }
    # It would override the endpoint.
    variables.pop("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", None)
    if variables.get("VIRTUAL_ENV") == sys.prefix:
        # The environment of this command, not of the service.
        del variables["VIRTUAL_ENV"]
    # A proxy cannot reach 127.0.0.1.
    for name in ("NO_PROXY", "no_proxy"):
        variables[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1")))
    try:
        process = subprocess.Popen(
            command,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            # Ctrl+C must not reach the command twice, because a second one skips the flush.
            process_group=0 if os.name == "posix" else None,
        )
    except OSError as error:
        raise click.ClickException(f"Cannot run {command[0]}: {error.strerror}.") from None
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt the command as Ctrl+C does, with its children, and wait until it has ended."""
    if process.poll() is not None:
        return
    _signal_group(process, signal.SIGINT)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _signal_group(process, signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if os.name == "posix":
        os.killpg(process.pid, number)
    elif number is not signal.SIGINT:
        # Ctrl+C has reached the command too.
        process.kill()
