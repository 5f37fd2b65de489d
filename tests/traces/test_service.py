"""The first minute of a user: the commands of the rendered README, and the trace."""

import json
import re
import shlex
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path
from threading import Timer
from typing import Any

from hooks.demo.process import free_port

from ..conftest import TEMPLATE, UV, Render, Workshop
from ..service.traces import NAMES, SPANS

LONGEST = 120


def test_commands_of_the_readme_show_the_trace_of_the_first_request(
    render: Render, workshop: Workshop
) -> None:
    project = render()
    workshop.install(project)
    readme = (project / "README.md").read_text().replace("\\\n", "")
    start, request = re.findall(r"```sh\n(.+?)```", readme, re.DOTALL)[:2]
    installed, _, arguments = start.strip().partition(" copier-honeycomb ")
    assert installed == f"uvx --from {TEMPLATE}"
    port = str(free_port())

    # The command as it is installed here; and ports that are free.
    options = ["--port", "0", "--json"]
    name, separator, *service = shlex.split(arguments)
    assert service == ["uv", "run", "fastapi", "dev"]
    program = "from hooks.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, name, *options, separator]
        + [UV, "run", "--no-sync", *service[2:], "--port", port],
        cwd=project,
        env=workshop.variables | {"PYTHONPATH": str(TEMPLATE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as tool:
        try:
            url = shlex.split(request)[3]
            curl = request.replace(url, url.replace("8000", port))
            answer = _run(curl, project)
            trace = _first_trace(tool)
        finally:
            # It then stops the service, which is in another process group.
            tool.terminate()

    assert answer.endswith(str(HTTPStatus.CREATED.value))
    assert trace["name"] == "POST /api/sessions"
    assert sorted(span["name"] for span in trace["spans"]) == NAMES


def _first_trace(tool: subprocess.Popen[str]) -> Any:
    """The printed trace. Without its LLM calls, which wait for prices, it is printed again later."""
    assert tool.stdout is not None
    patience = Timer(LONGEST, tool.terminate)
    patience.start()
    try:
        traces = map(json.loads, tool.stdout)
        return next(trace for trace in traces if len(trace["spans"]) >= SPANS)
    finally:
        patience.cancel()


def _run(curl: str, folder: Path) -> str:
    """Run the command as soon as the service listens."""
    words = shlex.split(curl)
    retry = ["--retry", str(LONGEST), "--retry-delay", "1", "--retry-connrefused"]
    words += ["--silent", "--noproxy", "*", *retry, "--write-out", "%{http_code}"]
    done = subprocess.run(words, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout
