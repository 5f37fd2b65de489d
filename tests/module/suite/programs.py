"""Programs, run in a separate process, because telemetry is set up once per process."""

import os
import subprocess
import sys
from collections.abc import Mapping


def run(program: str, variables: Mapping[str, str] | None = None) -> tuple[str, list[str]]:
    """Return the output of `program` and the lines it logs; fail if its exit status is not 0."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, **(variables or {})},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip().splitlines()
