"""An application of several Modal functions, each in a container, and the spans that they export."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hooks.traces.otlp import Span
from hooks.traces.receiver import Receiver

from ...fakes.modal import Calls, Container, ControlPlane, Deployment
from .conftest import SECRETS


@dataclass
class App:
    """A deployed application, with one running container for each of its functions."""

    containers: dict[str, Container]
    functions: dict[str, str]
    calls: Calls
    receiver: Receiver
    _stack: ExitStack

    def get(self, path: str) -> tuple[int, object]:
        return self.containers["serve"].get(path)

    def stop(self, **how: Any) -> list[Span]:
        """Stop some containers, scale the others down, and return the spans that they exported."""
        for function, signal in how.items():
            self.containers[function].stop(signal)
        self._stack.close()
        return self.receiver.spans


def deploy(source: str, project: Path, python: Path, folder: Path) -> list[Deployment]:
    """Deploy `source` as a module beside the application of `project`."""
    copy = folder / "project"
    shutil.copytree(project, copy)
    (copy / "order_intake/jobs.py").write_text(source)
    with ControlPlane(SECRETS) as plane:
        done = plane.modal(python, copy, "deploy", "-m", "order_intake.jobs")
    assert done.returncode == 0, done.stdout
    return plane.deployments


@contextmanager
def running(functions: list[Deployment], image: Path, receiver: Receiver) -> Iterator[App]:
    """Run a container of each function. Only its end exports spans."""
    with receiver, ExitStack() as stack:
        calls = Calls()
        containers = {
            each.function.function_name: stack.enter_context(
                Container(
                    each,
                    image,
                    functions,
                    calls,
                    task_id=f"ta-{each.function.function_name}",
                    OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
                    OTEL_BSP_SCHEDULE_DELAY="600000",
                    MODAL_HEARTBEAT_INTERVAL="1",
                )
            )
            for each in functions
        }
        ids = {each.function.function_name: each.function_id for each in functions}
        yield App(containers, ids, calls, receiver, stack)


def lineage(span: Span, spans: list[Span]) -> str:
    """Return the names of the ancestors of a span and its own, from the root."""
    parents = {each.span_id: each for each in spans}
    names = [span.name]
    while span.parent_id is not None:
        span = parents[span.parent_id]
        names.append(span.name)
    return " > ".join(reversed(names))
