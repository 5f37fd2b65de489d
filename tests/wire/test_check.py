"""`wire --check`: a request to a wired application creates a SERVER span."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import copier
import pytest

from hooks.wire import probe
from hooks.wire.app_calls import AppCall
from hooks.wire.check import REQUIRED_RELEASE, probe_arguments
from hooks.wire.modal_functions import served_apps
from hooks.wire.probe import MARK
from hooks.wire.project import Project
from hooks.wire.served_app import find_app

from ..conftest import TEMPLATE
from ..environments import Environment
from .conftest import Make, app_option, wire, write
from .repositories import DEPENDENCIES, LAYOUTS, MODAL, PLAIN, SERVERS, Repository, server

NEWER_SYNTAX = "newer syntax"
# Python 3.11 does not parse the first exception, and the package of the second is not installed.
RUNNABLE = [
    each
    for each in [*SERVERS, *LAYOUTS, *DEPENDENCIES[-1:], *MODAL[:1]]
    if each.served and each.name not in (NEWER_SYNTAX, "module with the name of a package")
]
# A factory, a relative import, and a folder that is not the root.
CHECKED = ("factory", "nested relative", "flat backend")

# Runs the probe for each application in a fork of one process, which has imported the packages.
# LLM SDKs would be imported in every fork; other tests run with them.
FORKING = """
import os, sys
sys.modules.update(dict.fromkeys(["anthropic", "openai"]))
import fastapi, opentelemetry.sdk.trace.export, sqlalchemy
probe = compile(open(sys.argv[1]).read(), "probe", "exec")
for line in sys.argv[2:]:
    folder, *arguments = line.split("\\n")
    print(f"folder {folder}", flush=True)
    if os.fork() == 0:
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
    names, lines = {}, []
    for repository in RUNNABLE:
        folder = make(repository)
        assert wire(folder, "--yes", *app_option(repository)) == 0
        names[str(folder)] = repository.name
        lines.append("\n".join([str(folder), *probe_arguments(*find(folder, repository))]))

    variables = {"OTEL_TRACES_EXPORTER": "none"}
    output = newest.run(
        Path.cwd(), "-c", FORKING, probe.__file__, *lines, variables=variables
    ).stdout

    results = {}
    for line in output.splitlines():
        if line.startswith("folder "):
            name = names[line.removeprefix("folder ")]
        elif line.startswith(MARK):
            results[name] = json.loads(line.removeprefix(MARK))
    attributes = {
        "http.request.method": "GET",
        "http.route": "/openapi.json",
        "http.response.status_code": "200",
    }
    assert results == {
        name: {"span": "GET /openapi.json", "attributes": attributes} for name in names.values()
    }, output


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
    assert "Checked: one request created the span GET /openapi.json\n" in output
    assert "    http.response.status_code = 200\n" in output

    (folder / ".venv").unlink()
    (folder / ".venv").symlink_to(oldest.folder)
    assert wire(folder, "--check", *app_option(repository)) == 0, capsys.readouterr().out


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


def test_check_exports_nothing_and_keeps_every_trace_even_if_the_application_loads_settings(
    make: Make, newest: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (
        "import os\n\nos.environ.setdefault('HONEYCOMB_SAMPLE_RATE', '1000')\n"
        "os.environ.setdefault('OTEL_TRACES_EXPORTER', 'console')\n"
        "os.environ['HONEYCOMB_ENABLED'] = 'false'\n"
    )
    folder = make(Repository("settings", server(settings + PLAIN)))
    (folder / ".venv").symlink_to(newest.folder)

    assert wire(folder, "--yes") == 0
    assert "created the span GET /openapi.json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("release", "layout"), [("0.1.0", "new"), ("0.2.0", "existing"), ("0.3.0", "existing")]
)
def test_check_of_an_older_module_names_the_required_release(
    release: str,
    layout: str,
    tmp_path: Path,
    newest: Environment,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "shop"
    write(SERVERS[0] if layout == "existing" else Repository("new", {}), folder)
    commits = tomllib.loads((TEMPLATE / "releases.toml").read_text())
    copier.run_copy(
        str(TEMPLATE),
        folder,
        data={"layout": layout, "project_name": "acme", "package_name": "acme"},
        defaults=True,
        quiet=True,
        vcs_ref=commits[release],
    )
    (folder / ".venv").symlink_to(newest.folder)

    assert wire(folder, "--check") == 1
    assert capsys.readouterr().out == (
        f"Check failed: {'acme.main' if layout == 'existing' else 'acme.api.server'}:app: --check"
        f" requires acme.observability.testing, which release {REQUIRED_RELEASE} of the template"
        " added; run `copier update` first.\n"
    )


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
