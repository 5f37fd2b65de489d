"""Modal: the resource of a container, SIGTERM, and the IDs of each request."""

import os
import signal
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from observability import instrument_app
from observability._settings import Settings
from observability._setup import create_resource
from observability.integrations.modal import enter_container, traced_call
from opentelemetry import trace

from .conftest import FinishedSpans


class Function:
    """A function served at `url`, or one that Modal does not know."""

    def __init__(self, url: str | None) -> None:
        self._url = url

    def get_web_url(self) -> str | None:
        if self._url is None:
            raise RuntimeError("The function is not known.")
        return self._url


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in ("ENVIRONMENT", "OTEL_RESOURCE_ATTRIBUTES"):
        # Set first, so that monkeypatch also restores variables that a test sets.
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # SIGINT is ignored in a process that a shell starts in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def enter(url: str | None) -> None:
    enter_container("shop.serve", Function(url))


def test_resource_describes_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    variables = {
        "MODAL_IS_REMOTE": "1",
        "MODAL_CLOUD_PROVIDER": "CLOUD_PROVIDER_OCI",
        "MODAL_REGION": "eu-frankfurt-1",
        "MODAL_TASK_ID": "ta-01",
        "MODAL_IMAGE_ID": "im-01",
        "MODAL_ENVIRONMENT": "main",
        "MODAL_IDENTITY_TOKEN": "a-secret",
    }

    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    attributes = create_resource(Settings()).attributes

    assert attributes["cloud.platform"] == "modal"
    assert attributes["cloud.provider"] == "oracle_cloud"
    assert attributes["cloud.region"] == "eu-frankfurt-1"
    assert attributes["faas.instance"] == attributes["service.instance.id"] == "ta-01"
    assert attributes["service.version"] == "im-01"
    assert attributes["deployment.environment.name"] == "main"
    assert "a-secret" not in str(attributes)


def test_resource_combines_the_function_name_with_attributes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=checkout")

    enter("https://acme--shop-serve.modal.run")

    attributes = create_resource(Settings()).attributes
    assert (attributes["faas.name"], attributes["team"]) == ("shop.serve", "checkout")


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        ("https://acme--shop-serve.modal.run", None),
        ("https://acme-staging--shop-serve.modal.run", None),
        ("https://shop-serve-api.acme.dev", None),
        ("https://acme--shop-serve-dev.modal.run", "development"),
        ("https://acme-staging--shop-serve-ada.modal.run", "development"),
    ],
)
def test_modal_serve_sets_the_environment_to_development(url: str, environment: str | None) -> None:
    enter(url)

    assert os.environ.get("ENVIRONMENT") == environment


def test_unknown_function_logs_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    enter(None)

    [record] = caplog.records
    assert "The function is not known." in record.getMessage()


def test_sigterm_shuts_the_container_down_like_sigint() -> None:
    enter("https://acme--shop-serve.modal.run")

    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_call_outside_a_container_leaves_the_process_as_it_is(spans: FinishedSpans) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with traced_call("shop.summarise"):
        pass

    assert signal.getsignal(signal.SIGTERM) is handler
    assert "OTEL_RESOURCE_ATTRIBUTES" not in os.environ


def test_server_spans_have_modal_ids_and_the_first_is_a_cold_start(
    spans: FinishedSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    modal = pytest.importorskip("modal", reason="requires modal")
    monkeypatch.setattr(modal, "current_input_id", lambda: "in-1")
    monkeypatch.setattr(modal, "current_function_call_id", lambda: "fc-1")
    monkeypatch.setenv("MODAL_IS_REMOTE", "1")
    app = FastAPI()
    instrument_app(app)

    @app.get("/")
    def index() -> None:
        with traced_call("app.local"):
            pass

    client = TestClient(app)
    with traced_call("app.first", trigger="timer"):
        pass
    for _ in range(2):
        client.get("/")

    ids = {"faas.invocation_id": "in-1", "modal.function_call_id": "fc-1"}
    found = [
        {
            name: value
            for name, value in (span.attributes or {}).items()
            if not name.startswith("http")
        }
        for span in spans()
    ]
    assert found == [
        {"faas.trigger": "timer", **ids, "faas.coldstart": True},
        *[{"faas.trigger": "http", **ids}, {}] * 2,
    ]
