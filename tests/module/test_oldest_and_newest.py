"""The module in an existing repository, with the oldest and the newest supported packages."""

from pathlib import Path

import pytest

from hooks.traces.receiver import Receiver

from ..environments import Environment
from ..fakes.llm import LLMAPIs
from ..template.copying import SERVER, add_observability
from ..template.projects import write


@pytest.fixture(params=["oldest", "newest"])
def python(request: pytest.FixtureRequest) -> Environment:
    """An environment with the oldest, then with the newest supported packages."""
    environment: Environment = request.getfixturevalue(request.param)
    return environment


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An existing repository with the module in its package `acme`."""
    write(tmp_path, {"pyproject.toml": "", "acme/__init__.py": "", "acme/main.py": SERVER})
    add_observability(tmp_path)
    return tmp_path


@pytest.mark.parametrize("package_dir", ["src/acme", "."])
def test_rendered_tests_pass_with_oldest_and_newest_packages(
    python: Environment, package_dir: str, tmp_path: Path
) -> None:
    folder = "" if package_dir == "." else f"{package_dir}/"
    write(tmp_path, {"pyproject.toml": "", f"{folder}main.py": SERVER})
    if folder:
        write(tmp_path, {f"{folder}__init__.py": ""})
    assert add_observability(tmp_path)["package_dir"] == package_dir

    done = python.run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")

    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


WITHOUT_SQLALCHEMY = """
import sys
import pytest
sys.modules["sqlalchemy"] = None
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/observability/test_trace.py"]))
"""


def test_rendered_tests_of_sqlalchemy_are_skipped_if_it_is_not_installed(
    newest: Environment, repository: Path
) -> None:
    done = newest.run(repository, "-c", WITHOUT_SQLALCHEMY)

    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].startswith("10 passed, 2 skipped")


USED = """
from contextlib import suppress
from sqlalchemy import create_engine, text
engine = create_engine("sqlite://")
with engine.connect() as connection:
    connection.execute(text("SELECT 1"))

from fastapi import FastAPI
app = FastAPI()
from acme.observability import instrument_app
instrument_app(app)

@app.get("/hello/{name}")
def hello(name: str) -> str:
    with engine.connect() as connection:
        connection.execute(text("SELECT 2"))
    return name

from fastapi.testclient import TestClient
with TestClient(app) as client:
    client.get("/hello/you")
"""


@pytest.mark.parametrize("python", ["oldest", "older", "newest"], indirect=True)
def test_instrument_app_traces_an_app_and_an_engine_created_before(
    python: Environment, repository: Path
) -> None:
    with Receiver() as receiver:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        done = python.run(repository, "-c", USED, variables=variables)
        assert done.returncode == 0, done.stdout
        query, server = sorted(receiver.wait_for(2), key=lambda span: span.kind)

    assert (server.name, server.kind, server.parent_id) == ("GET /hello/{name}", "server", None)
    assert server.attributes == {
        "http.request.method": "GET",
        "http.route": "/hello/{name}",
        "http.response.status_code": 200,
    }
    assert (query.name, query.parent_id) == ("SELECT", server.span_id)
    assert query.attributes["db.query.text"] == "SELECT ?"


BARE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("anthropic", "sqlalchemy", "httpx", "httpx2", "modal", "openai", "genai_prices"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from acme.observability import flush, instrument_app, llm_call, traced, TokenUsage
from fastapi import FastAPI
app = FastAPI()
instrument_app(app)
with traced("work"), llm_call("openai", "gpt-4o") as call:
    call.record_usage(TokenUsage(input_tokens=1, output_tokens=1))
flush()
"""


def test_optional_dependencies_are_imported_only_if_installed(
    python: Environment, repository: Path
) -> None:
    with Receiver() as receiver:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        done = python.run(repository, "-W", "ignore", "-c", BARE, variables=variables)
        assert done.returncode == 0, done.stdout
        assert {span.name for span in receiver.wait_for(2)} == {"work", "llm.call"}

    # One line says that costs are missing.
    assert len(done.stdout.splitlines()) == 1, done.stdout
    assert "Could not load LLM prices" in done.stdout


CALLS = """
import sys
from acme.observability import flush, setup_observability, traced
setup_observability()
import anthropic, openai
hello = [{"role": "user", "content": "Hello"}]
with traced("work"):
    anthropic.Anthropic(api_key="k", base_url=sys.argv[1]).messages.create(
        model="claude-sonnet-4-6", max_tokens=9, messages=hello)
    openai.OpenAI(api_key="k", base_url=sys.argv[1] + "/v1").chat.completions.create(
        model="gpt-4o-mini", messages=hello)
flush()
"""


def test_sdk_spans_carry_their_cost_without_an_edit(newest: Environment, repository: Path) -> None:
    with LLMAPIs() as apis, Receiver() as receiver:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        done = newest.run(repository, "-c", CALLS, apis.url, variables=variables)
        assert done.returncode == 0, done.stdout
        receiver.wait_for(3)

    # The HTTP requests of the SDKs have no spans.
    spans = [span for span in receiver.spans if span.name != "work"]
    assert len(spans) == 2
    costs = {
        str(span.attributes["llm.provider"]): (
            span.attributes["llm.model"],
            span.attributes["llm.input_tokens"],
            span.attributes["llm.output_tokens"],
            round(float(str(span.attributes["llm.cost_usd"])), 7),
        )
        for span in spans
    }
    assert costs == {
        # 100 in at 3 dollars a million, 1,000 read at 0.30, 60 written at 3.75 and 40 at 6, 300 out
        # at 15.
        "anthropic": ("claude-sonnet-4-6", 1200, 300, 0.005565),
        # 200 in at 0.15, 1,000 read at 0.075, 300 out at 0.60.
        "openai": ("gpt-4o-mini", 1200, 300, 0.000285),
    }


def test_disabled_instrumentations_create_no_spans(newest: Environment, tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": "", "acme/__init__.py": "", "acme/main.py": SERVER})
    add_observability(tmp_path)

    with LLMAPIs() as apis, Receiver() as receiver:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "openai, anthropic",
        }
        done = newest.run(tmp_path, "-c", CALLS, apis.url, variables=variables)
        assert done.returncode == 0, done.stdout
        assert len(apis.requests) == 2
        spans = receiver.wait_for(3)

    # The requests of the SDKs are spans of the HTTP client instead.
    assert sorted(span.name for span in spans) == ["POST", "POST", "work"]
    assert not [span for span in spans if "gen_ai.operation.name" in span.attributes]


QUEUE = """
import re, sys
from pathlib import Path
from celery.contrib.testing.worker import start_worker
from acme.observability import traced
from acme.observability.testing import capture_spans

documented = Path("docs/observability.md").read_text()
[example] = [each for each in re.findall("```python\\n(.*?)```", documented, re.S) if "Celery" in each]
define, call = re.split("\\n(?=summarise)", example)
exec(define)
with capture_spans() as spans, start_worker(celery, perform_ping_check=False):
    with traced("request"):
        result = eval(call)
    assert result.get(timeout=60) == "a long text"
job, request = sorted(spans, key=lambda span: span.name, reverse=True)
assert (job.name, request.name) == ("summarise", "request")
assert job.parent.span_id == request.context.span_id
assert job.context.trace_id == request.context.trace_id
"""


def test_documented_example_of_a_queue_continues_the_trace(
    newest: Environment, repository: Path
) -> None:
    variables = {"CELERY_BROKER_URL": "memory://", "CELERY_RESULT_BACKEND": "cache+memory://"}
    done = newest.run(repository, "-W", "ignore", "-c", QUEUE, variables=variables)

    assert done.returncode == 0, done.stdout
