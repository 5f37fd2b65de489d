"""The commands of a rendered project, run again and again in one process of its environment."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .conftest import Workshop

# Pauses are short here, and the regions of Honeycomb are where a test says.
_DRIVER = """
import contextlib, io, json, os, sys, traceback
from importlib import import_module

package = sys.argv[1]
main = import_module(f"{package}.observability.__main__")
api = import_module(f"{package}.observability.honeycomb.api")
arrival = import_module(f"{package}.observability.doctor.arrival")
api.FIRST_PAUSE = 0.001
arrival._ARRIVAL_SECONDS = 0.1
arrival._ANSWER_SECONDS = 1.0
clean = dict(os.environ)
for line in sys.stdin:
    asked = json.loads(line)
    os.environ.clear()
    os.environ.update(clean | asked["variables"])
    os.chdir(asked["folder"])
    arrival.REGIONS[:] = asked["regions"] or arrival.REGIONS
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main.main(asked["arguments"])
        except SystemExit as stopped:
            code = stopped.code
        except BaseException:
            code = -1
            traceback.print_exc()
    answer = {"code": code, "out": out.getvalue(), "err": err.getvalue()}
    print(json.dumps(answer), flush=True)
"""


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Commands:
    """Runs `python -m <package>.observability` with other variables each time."""

    def __init__(
        self, workshop: Workshop, project: Path, *packages: Path, **variables: str
    ) -> None:
        """`packages` are folders with packages that stand before those that are installed."""
        [server] = project.glob("*/api/server.py")
        self._command = [
            str(workshop.environment / "bin/python"),
            "-c",
            _DRIVER,
            server.parents[1].name,
        ]
        self.project = project
        path = os.pathsep.join(map(str, (*packages, project)))
        self._environment = workshop.variables | {"PYTHONPATH": path}
        self.variables = variables
        self.regions: list[str] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            cwd=self.project,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)

    def run(self, *arguments: str, **variables: str) -> Result:
        """Runs one command in the project; a traceback fails the test."""
        return self.run_in(self.project, *arguments, **variables)

    def run_in(self, folder: Path, *arguments: str, **variables: str) -> Result:
        """Runs one command in `folder`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = {
            "arguments": arguments,
            "folder": str(folder),
            "variables": self.variables | variables,
            "regions": self.regions,
        }
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        result = Result(**json.loads(self._process.stdout.readline()))
        assert result.code != -1, result.err
        return result
