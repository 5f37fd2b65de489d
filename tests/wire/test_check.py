"""`wire --check`: a request to a wired application creates a SERVER span."""

import tomllib
import venv
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import copier
import pytest

from hooks.traces.receiver import Receiver
from hooks.wire import probe
from hooks.wire.app_calls import AppCall
from hooks.wire.check import probe_arguments, probe_environment
from hooks.wire.layout import laid_out
from hooks.wire.llm_calls import sdk_states
from hooks.wire.modal_functions import served_apps
from hooks.wire.project import Project
from hooks.wire.routes.find import find_routes
from hooks.wire.served_app import find_app

from ..conftest import TEMPLATE
from ..depth import in_depth
from ..environments import Environment
from .conftest import Make, app_option, wire, write
from .repositories import DEPENDENCIES, LAYOUTS, MODAL, PLAIN, ROUTES, SERVERS, Repository, server

# Python 3.11 does not parse it; a package is not installed; the module is left to the user.
NOT_RUNNABLE = ("newer syntax", "module with the name of a package", "ignored by Docker")
RUNNABLE = [
    each
    for each in [*SERVERS, *LAYOUTS, *DEPENDENCIES[-1:], *MODAL[:1], *ROUTES]
    if each.served and each.name not in NOT_RUNNABLE
]
# A factory, an application that is created while the module is imported, a relative import, and a
# folder that is not the root.
CHECKED = ("factory", "application in the package itself", "nested relative", "flat backend")

# Runs the probe for each application in a fork of one process, which has imported the packages.
# LLM SDKs would be imported in every fork; other tests run with them.
FORKING = """
import os, sys
sys.modules.update(dict.fromkeys(["anthropic", "openai"]))
import fastapi, opentelemetry.sdk.trace.export, sqlalchemy
probe = compile(open(sys.argv[1]).read(), "probe", "exec")
for line in sys.argv[2:]:
    name, folder, *arguments = line.split("\\n")
    if os.fork() == 0:
        os.environ["OTEL_SERVICE_NAME"] = name
        os.chdir(folder)
        sys.argv[1:] = arguments
        exec(probe, {"__name__": "__main__"})
        os._exit(0)
    os.wait()
"""


def find(folder: Path, repository: Repository) -> tuple[Project, AppCall]:
    project = Project(folder)
    return project, find_app(project, repository.app, served_apps(project))


def test_request_to_every_wired_application_creates_one_server_span(
    make: Make, newest: Environment
) -> None:
    with ExitStack() as running:
        lines = []
        for repository in RUNNABLE:
            folder = make(repository)
            assert wire(folder, "--yes", *app_option(repository)) == 0
            project, app = find(folder, repository)
            [route, *_] = [*(each for each in find_routes(project)[0] if each.app == app), None]
            layout = running.enter_context(laid_out(project, app, route))
            arguments = probe_arguments(layout, app)
            lines.append("\n".join([repository.name, str(layout.folder), *arguments]))
        receiver = running.enter_context(Receiver())

        output = newest.run(
            Path.cwd(),
            *("-c", FORKING, probe.__file__, *lines),
            variables=probe_environment(receiver.endpoint),
        ).stdout

    spans = {str(span.resource["service.name"]): span for span in receiver.spans}
    assert len(receiver.spans) == len(spans)
    attributes = {
        "http.request.method": "GET",
        "http.route": "/openapi.json",
        "http.response.status_code": 200,
    }
    found = {name: (span.name, span.kind, span.attributes) for name, span in spans.items()}
    expected = ("GET /openapi.json", "server", attributes)
    assert found == {each.name: expected for each in RUNNABLE}, output


@pytest.mark.parametrize(
    "repository",
    [each for each in RUNNABLE if each.name in CHECKED],
    ids=lambda each: each.name,
)
def test_check_prints_the_server_span_with_the_oldest_and_newest_packages(
    repository: Repository,
    make: Make,
    oldest: Environment,
    newest: Environment,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = make(repository)
    (folder / ".venv").symlink_to(newest.folder)

    assert wire(folder, "--yes", *app_option(repository)) == 0
    output = capsys.readouterr().out
    assert "Checked: one request sent the span GET /openapi.json\n" in output
    assert "    http.response.status_code = 200\n" in output

    (folder / ".venv").unlink()
    (folder / ".venv").symlink_to(oldest.folder)
    assert wire(folder, "--check", *app_option(repository)) == 0, capsys.readouterr().out


def test_check_before_the_packages_are_installed_is_no_failure_yet(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(SERVERS[0])
    venv.create(folder / ".venv")

    assert wire(folder, "--yes") == 0
    assert (
        "Not checked: acme.main:app: OpenTelemetry is not installed (No module named 'opentelemetry')."
        " Install the packages, then run `copier-honeycomb wire --check`.\n"
    ) in capsys.readouterr().out


def test_check_prints_the_reason_if_there_is_no_span(
    make: Make, newest: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(SERVERS[0])

    assert wire(folder, "--check") == 1
    assert (
        capsys.readouterr().out
        == "Check failed: acme.main:app: the project has no virtual environment (.venv).\n"
    )

    (folder / ".venv").symlink_to(newest.folder)
    assert wire(folder, "--check") == 1
    assert "instrument_app was not called on this application" in capsys.readouterr().out

    (folder / "acme/main.py").write_text("import missing_package\n" + PLAIN)
    assert wire(folder, "--check") == 1
    assert "No module named 'missing_package'" in capsys.readouterr().out


def test_check_keeps_every_trace_and_sends_it_nowhere_else_whatever_the_application_loads(
    make: Make, newest: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (
        "import os\n\nos.environ.setdefault('HONEYCOMB_SAMPLE_RATE', '1000')\n"
        "os.environ.setdefault('OTEL_TRACES_EXPORTER', 'console')\n"
        "os.environ.setdefault('HONEYCOMB_ENABLED', 'false')\n"
    )
    folder = make(Repository("settings", server(settings + PLAIN)))
    (folder / ".venv").symlink_to(newest.folder)

    assert wire(folder, "--yes") == 0
    assert "sent the span GET /openapi.json" in capsys.readouterr().out


def test_check_runs_the_settings_of_the_service(
    make: Make, newest: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = "import os\n\nos.environ['HONEYCOMB_ENABLED'] = 'false'\n"
    folder = make(Repository("settings", server(settings + PLAIN)))
    (folder / ".venv").symlink_to(newest.folder)

    wire(folder, "--yes")
    assert "no SERVER span arrived for the request to /openapi.json" in capsys.readouterr().out


def test_check_names_the_variables_that_the_settings_lack(
    make: Make, newest: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (
        "from pydantic import BaseModel\n\n\nclass Settings(BaseModel):\n    database_url: str\n"
        "    secret: str\n    port: int\n\n\nSettings.model_validate({'port': 'x'})\n\n"
    )
    folder = make(Repository("settings", server(settings + PLAIN)))
    (folder / ".venv").symlink_to(newest.folder)

    wire(folder, "--yes")
    assert (
        "Check failed: acme.main:app: acme.main cannot be imported (ValidationError: set database_url,"
        " secret; port: Input should be a valid integer, unable to parse string as an integer, in .env or"
        " the environment).\n"
    ) in capsys.readouterr().out


def test_application_that_requires_arguments_is_not_checked(
    make: Make, newest: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    factory = "from fastapi import FastAPI\n\n\ndef create_app(model, *, debug=False):\n    app = FastAPI()\n    return app\n"
    folder = make(Repository("factory", server(factory)))
    (folder / ".venv").symlink_to(newest.folder)

    assert wire(folder, "--yes") == 0
    assert (
        "Not checked: acme.main:app: acme.main.create_app requires arguments (model) that only the service"
        " has. Send a request to the running service instead.\n"
    ) in capsys.readouterr().out


@in_depth
def test_check_prints_if_the_calls_of_each_llm_sdk_are_traced(
    make: Make, newest: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import anthropic\nimport openai\n" + PLAIN
    folder = make(Repository("llm", server(code, {"acme/later.py": "import google.genai\n"})))
    (folder / ".venv").symlink_to(newest.folder)
    instrumentation = "opentelemetry-instrumentation-genai-openai"

    assert wire(folder, "--yes") == 0
    lines = capsys.readouterr().out.splitlines()

    assert [line for line in lines if line.startswith("LLM calls: ")] == [
        "LLM calls: anthropic traces itself.",
        f"LLM calls: openai is traced by {instrumentation}.",
    ]


def test_state_of_an_llm_sdk_depends_on_the_packages_that_are_installed_and_enabled() -> None:
    instrumentation = "opentelemetry-instrumentation-genai-anthropic"
    versions = {"anthropic": "1.2", "cohere": "5.0", "openai": "2.0"}
    used = frozenset({"anthropic", "cohere", "groq"})

    assert list(sdk_states(used, versions, [])) == [
        f"anthropic is not traced. Install {instrumentation}.",
        "cohere is not traced. Wrap its calls in llm_call.",
    ]
    assert next(sdk_states(used, versions | {instrumentation: "1"}, [])) == (
        f"anthropic was not imported; if it is, {instrumentation} traces it."
    )


def test_check_with_the_files_of_the_image_finds_a_file_that_is_missing(
    make: Make, newest: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    dockerfile = (
        "FROM python:3.12\nWORKDIR /app\nCOPY acme/main.py acme/\nCMD uvicorn acme.main:app\n"
    )
    files = server("from acme.prices import RATE\n" + PLAIN, {"acme/prices.py": "RATE = 1\n"})
    folder = make(Repository("image", {**files, "Dockerfile": dockerfile}))
    (folder / ".venv").symlink_to(newest.folder)

    wire(folder, "--yes")
    assert (
        "Check failed: acme.main:app with the files of Dockerfile:5 and the packages of .venv: acme.main cannot be imported"
        " (ModuleNotFoundError: No module named 'acme.prices')"
    ) in capsys.readouterr().out


def test_check_with_the_files_of_the_image_finds_the_settings_that_git_ignores(
    make: Make, newest: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "from pathlib import Path\n\nPath(__file__).parents[2].joinpath('.env').read_text()\n"
        + PLAIN
    )
    files = {"src/acme/__init__.py": "", "src/acme/main.py": code, "requirements.txt": "fastapi\n",
             "Dockerfile": "FROM python:3.12\nCOPY src /app/src\nWORKDIR /app/src\nCMD uvicorn acme.main:app\n"}  # fmt: skip
    folder = make(Repository("image", {**files}, package_dir="src/acme"))
    (folder / ".venv").symlink_to(newest.folder)

    wire(folder, "--yes")
    output = capsys.readouterr().out
    assert "(FileNotFoundError: [Errno 2] No such file or directory: '/app/.env')" in output

    (folder / "src/.env").write_text("")
    code = code.replace("parents[2]", "parents[1]")
    (folder / "src/acme/main.py").write_text(code)
    assert wire(folder, "--yes", "--allow-dirty") == 0
    assert "sent the span GET /openapi.json" in capsys.readouterr().out


@pytest.mark.parametrize("release", ["0.2.0", "0.3.0"])
def test_check_supports_the_module_of_every_release(
    release: str, tmp_path: Path, newest: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "shop"
    write(SERVERS[0], folder)
    commits = tomllib.loads((TEMPLATE / "releases.toml").read_text())
    copier.run_copy(
        str(TEMPLATE),
        folder,
        data={"layout": "existing", "project_name": "acme", "package_dir": "acme"},
        defaults=True,
        quiet=True,
        vcs_ref=commits[release],
    )
    (folder / ".venv").symlink_to(newest.folder)

    assert wire(folder, "--yes") == 0
    assert "sent the span GET /openapi.json" in capsys.readouterr().out


TESTS = """\
from {module} import {name} as app


def test_the_route_is_there() -> None:
    assert "/hello/{{name}}" in str([getattr(route, "path", "") for route in app.routes])
"""


@pytest.mark.parametrize("repository", LAYOUTS[:5], ids=lambda each: each.name)
def test_tests_of_the_repository_pass_after_it_is_wired(
    repository: Repository, make: Make, newest: Environment
) -> None:
    module, _, name = repository.served.partition(":")
    tests = f"{repository.root}/tests/test_app.py".removeprefix("./")
    files = {**repository.files, tests: TESTS.format(module=module, name=name)}
    folder = make(replace(repository, files=files))

    assert wire(folder, "--yes") == 0
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_app.py"]
    done = newest.run(folder / repository.root, *command, variables={"PYTHONPATH": "."})

    assert "1 passed" in done.stdout, done.stdout
