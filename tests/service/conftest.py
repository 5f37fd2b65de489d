"""The service that these tests run, in one environment."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from hooks.traces.receiver import Receiver

from ..conftest import Render, Workshop
from ..fakes.modal import MODAL
from .process import Service

Serve = Callable[..., AbstractContextManager[tuple[Receiver, Service]]]


@pytest.fixture(scope="module")
def project(render: Render, workshop: Workshop) -> Path:
    """A rendering with the default answers, and an environment with every server."""
    project = render()
    workshop.install(project, "gunicorn", "uvicorn-worker", MODAL)
    return project


@pytest.fixture
def serve(project: Path, workshop: Workshop) -> Serve:
    """Start an OTLP receiver, then a service that exports to it."""

    @contextmanager
    def served(*command: str, **variables: str) -> Iterator[tuple[Receiver, Service]]:
        with Receiver() as receiver:
            variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.endpoint
            with Service(workshop, project, *command, **variables) as service:
                yield receiver, service

    return served
