"""The demo, as somebody runs it who has only the address of the repository."""

import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path

from ..conftest import TEMPLATE, UV
from ..depth import in_depth
from .exports import send

LONGEST = 300
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A terminal of 80 columns in which `command` runs."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"COLUMNS": "80", "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._text = ""

    def wait_for(self, pattern: str) -> str:
        """Return the text up to the first match, and continue after it."""
        deadline = time.monotonic() + LONGEST
        while (match := re.search(pattern, self._text)) is None:
            assert time.monotonic() < deadline, self._text
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:
                raise AssertionError(f"{pattern} is not in {self._text}") from None
            # A part of an escape sequence at the end is completed by the next read.
            self._text = ESCAPES.sub("", self._text + data.decode(errors="replace"))
        before, self._text = self._text[: match.end()], self._text[match.end() :]
        return before


# Installs the command, a service and its packages, which costs about 15 seconds of CPU.
@in_depth
def test_demo_needs_no_clone_and_ends_with_the_service_running(tmp_path: Path) -> None:
    source = f"git+file://{TEMPLATE}/.git"
    command = [UV, "tool", "run", "--from", source, "copier-honeycomb", "demo"]
    terminal = Terminal(command, tmp_path)
    try:
        first = terminal.wait_for(r"10 spans .*")
        assert "claude-sonnet-4-6" in first
        assert "$0.02052" in first
        url = re.search(
            r"http://\S+/api/sessions", terminal.wait_for(r"Its trace appears here and at \S+")
        )
        assert url is not None

        body = b'{"prompt": "Write a hello world function"}'
        status, _ = send(url[0], body, {"content-type": "application/json"})

        assert status == 201
        terminal.wait_for(r"trace [0-9a-f]{32}  hello-service")
        terminal.wait_for(r"10 spans ")
        os.killpg(terminal.process.pid, signal.SIGINT)
        terminal.wait_for(r"1 request, p50 ")
        terminal.wait_for(r"✓ Stop everything")
        assert terminal.process.wait(LONGEST) == 0
    finally:
        if terminal.process.poll() is None:
            os.killpg(terminal.process.pid, signal.SIGKILL)
