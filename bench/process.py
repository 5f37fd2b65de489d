"""A Python process that answers each line on its stdin with a line of JSON."""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.environments import ROOT, clean_environment


class Process:
    """Runs `python -m MODULE ARGUMENTS` in the repository's root while the block runs."""

    started: dict[str, Any]
    """The first line that the process prints."""

    def __init__(
        self,
        python: str | Path,
        module: str,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._command = [str(python), "-m", module, *arguments]
        self._variables = variables or {}

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile("w+")
        self._popen = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env={**clean_environment(), **self._variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.started = self._read()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._popen.terminate()
        try:
            self._popen.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.communicate()
        self._errors.close()

    def ask(self, line: str) -> dict[str, float]:
        """Send `line` and return the answer. Raises SystemExit if the process has ended."""
        assert self._popen.stdin is not None
        print(line, file=self._popen.stdin, flush=True)
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise SystemExit(f"{' '.join(self._command)} failed:\n{self._errors.read()}")
        answer: dict[str, Any] = json.loads(line)
        return answer
