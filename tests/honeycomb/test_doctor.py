"""`doctor` on broken configurations: the finding, and that it is the last."""

import json
import os
import re
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from threading import Event, Thread

import grpc
import pytest
import trustme

from hooks.doctor import arrival, packages
from hooks.doctor.configuration import VARIABLES
from hooks.traces.receiver import Receiver

from ..conftest import Render, Workshop
from ..depth import in_depth
from ..fakes.honeycomb import CONFIGURATION_KEY, INGEST_KEY, FakeHoneycomb, Key, Plan
from ..fakes.receiver import Fault, FaultyReceiver
from . import broken_setups
from .broken_setups import OTHER_KEY, SET_UPS, Broken
from .conftest import Commands, Result

LINES_FILE = Path(__file__).with_name("doctor_lines.json")
LINES: dict[str, list[str]] = json.loads(LINES_FILE.read_text())
"""The lines of each broken set-up that are not ok."""
UPDATE = "UPDATE_LINES"
VERSIONS, IMPORT_ERRORS = packages.versions, packages.import_errors


@cache
def _probed(
    probe: Callable[[Path], dict[str, str]], python: Path, path: str | None
) -> dict[str, str]:
    return probe(python)


@pytest.fixture(autouse=True)
def cached_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probe the packages of an environment once: to import them costs more than the doctor."""

    def cached(probe: Callable[[Path], dict[str, str]]) -> Callable[[Path], dict[str, str]]:
        return lambda python: _probed(probe, python, os.environ.get("PYTHONPATH"))

    monkeypatch.setattr(packages, "versions", cached(VERSIONS))
    monkeypatch.setattr(packages, "import_errors", cached(IMPORT_ERRORS))


@pytest.fixture(scope="module")
def commands(render: Render, workshop: Workshop) -> Commands:
    project = render(otlp_protocol="grpc")
    workshop.install(project)
    (project / ".venv").symlink_to(workshop.environment)
    return Commands(project, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf")


@pytest.fixture
def honeycomb() -> Iterator[FakeHoneycomb]:
    with FakeHoneycomb() as honeycomb:
        yield honeycomb


def lines(result: Result, level: str = "") -> list[str]:
    """The printed findings of a level."""
    return [line for line in result.out.splitlines() if line.startswith(f"{level:8} ")]


def normalised(output: str, commands: Commands) -> list[str]:
    """The lines that are not ok, without what differs from run to run."""
    text = output.replace(str(commands.folder), "PROJECT")
    text = text.replace(broken_setups.__file__, "FILE")
    # Texts of Python and of the machine's resolver.
    text = re.sub(r"\((\w*[eE]rror): [^)]*\)", r"(\1)", text)
    text = re.sub(r"(\d )(seconds|minutes)( ago)", r"N \2\3", text)
    text = re.sub(r"(127\.0\.0\.1|\[?::1\]?):\d+", r"\1:PORT", text)
    text = re.sub(r"port (?!4318|4317)\d+", "port PORT", text)
    return [line for line in text.splitlines() if line and not line.startswith("ok ")]


def check_no_key(result: Result) -> None:
    for key in (INGEST_KEY, OTHER_KEY, CONFIGURATION_KEY, INGEST_KEY[:32], INGEST_KEY[-12:]):
        assert key not in result.out + result.err


def test_healthy_configuration_passes_all_checks(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    variables = {"HONEYCOMB_API_KEY": INGEST_KEY, "HONEYCOMB_API_ENDPOINT": honeycomb.url}

    result = commands.run("doctor", **variables)

    assert result.code == 0
    assert not lines(result, "warning") + lines(result, "problem")
    assert result.out.endswith("All checks passed: the test span was accepted.\n")
    assert result.err == ""
    [span] = honeycomb.spans
    assert (span.name, span.kind) == ("self-check", "internal")
    assert span.resource["service.name"] == "order-intake"
    check_no_key(result)
    report = commands.run("doctor", "--json", **variables).json
    assert report["healthy"]
    assert {one["level"] for one in report["findings"]} == {"ok"}


def test_configuration_key_enables_the_check_of_arrived_columns(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    variables = {
        "HONEYCOMB_API_KEY": INGEST_KEY,
        "HONEYCOMB_CONFIG_KEY": CONFIGURATION_KEY,
        "HONEYCOMB_API_ENDPOINT": honeycomb.url,
    }
    [warned] = lines(commands.run("doctor", **variables), "warning")
    assert "no attribute of the service has arrived yet. Send it a request" in warned

    # A column that apply created has not arrived.
    assert commands.run("apply", **variables).code == 0
    [warned] = lines(commands.run("doctor", **variables), "warning")
    assert "no attribute of the service has arrived yet" in warned

    # Off Modal, some attributes never arrive.
    declared = _declared(commands)
    sent = [name for name in declared if not name.startswith("modal.")]
    honeycomb.store.take_span("order-intake", dict.fromkeys(sent, 1))
    result = commands.run("doctor", **variables)
    assert (result.code, lines(result, "warning")) == (0, [])
    assert f"{len(sent)} of {len(declared)} attributes of the service have arrived" in result.out
    assert "not yet: modal.function_call_id" in result.out
    honeycomb.store.take_span("order-intake", {"modal.function_call_id": "fc-1"})
    result = commands.run("doctor", **variables)
    assert f"all {len(declared)} attributes of the service have arrived" in result.out
    assert "the test span has arrived" in result.out
    check_no_key(result)


def _declared(commands: Commands) -> list[str]:
    text = (commands.folder / "honeycomb/telemetry.yaml").read_text()
    return [line.split()[-1] for line in text.splitlines() if line.startswith("      - id: ")]


def test_broken_set_ups_are_many_and_distinct() -> None:
    assert len(SET_UPS) == len({broken.name for broken in SET_UPS}) >= 120


@pytest.mark.parametrize(
    "broken",
    [
        # In depth, since each runs the self-check: 0.6 s of CPU.
        pytest.param(broken, id=broken.name, marks=() if number % 5 == 0 else in_depth)
        for number, broken in enumerate(SET_UPS)
    ],
)
def test_broken_set_up_is_diagnosed(
    broken: Broken, commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    variables = {"HONEYCOMB_API_KEY": INGEST_KEY, "HONEYCOMB_API_ENDPOINT": "{honeycomb}"}
    variables |= broken.variables
    for stands, url in (
        ("{honeycomb}", honeycomb.url),
        ("{grpc}", honeycomb.grpc_url),
        ("{tls}", honeycomb.url.replace("http", "https")),
    ):
        variables = {name: value.replace(stands, url) for name, value in variables.items()}
    broken.prepare(honeycomb)

    result = commands.run("doctor", **variables)

    [first, *_] = [line for line in result.out.splitlines() if not line.startswith("ok ")]
    assert first.startswith(f"{broken.level:8} "), result.out
    assert broken.found in first, result.out
    shown = normalised(result.out, commands)
    if UPDATE in os.environ:
        LINES[broken.name] = shown
        LINES_FILE.write_text(json.dumps(LINES, indent=1, ensure_ascii=False) + "\n")
    assert shown == LINES.get(broken.name), f"{UPDATE}=1 and TEST_IN_DEPTH=1 write {LINES_FILE}"
    assert (result.code, result.err) == (broken.code, "")
    if broken.code == 1:
        # The last finding: those after it would only be consequences.
        assert result.out.splitlines()[-3].startswith("problem "), result.out
        assert len(lines(result, "problem")) == 1
    elif broken.code == 0:
        assert honeycomb.spans
    check_no_key(result)


def test_key_of_the_other_region_is_diagnosed(
    commands: Commands, honeycomb: FakeHoneycomb, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeHoneycomb(keys={OTHER_KEY: Key("ingest")}) as other:
        monkeypatch.setattr(arrival, "REGIONS", [honeycomb.url, other.url])
        result = commands.run(
            "doctor", HONEYCOMB_API_KEY=OTHER_KEY, HONEYCOMB_API_ENDPOINT=honeycomb.url
        )
    assert result.code == 1
    assert (
        f"but {other.url} does: your team is in that region. Set HONEYCOMB_API_ENDPOINT={other.url}"
        in (result.out)
    )
    check_no_key(result)


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("no answer", "does not respond (RemoteProtocolError: Server disconnected"),
        ("one byte every 10 s", "does not respond (no response within 2 s)"),
        ("302", "is not Honeycomb's API: it returns 302"),
        ("garbage", "does not respond (RemoteProtocolError: illegal request line"),
        ("200 for any path", "is not Honeycomb's API: it returns 200"),
    ],
)
def test_another_server_is_diagnosed(
    commands: Commands, fault: Fault, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "no response" in found:
        monkeypatch.setattr(arrival, "RESPONSE_TIMEOUT", 2.0)
    with FaultyReceiver(fault) as receiver:
        result = commands.run(
            "doctor", HONEYCOMB_API_KEY=INGEST_KEY, HONEYCOMB_API_ENDPOINT=receiver.endpoint
        )
    assert result.code == 1
    assert found in lines(result, "problem")[0]


def test_website_that_accepts_spans_is_diagnosed(commands: Commands) -> None:
    with FaultyReceiver("a web page for any path") as receiver:
        result = commands.run("doctor", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)

    assert result.code == 1
    assert (
        f"{receiver.endpoint}/v1/traces accepts spans, but responds with a web page" in result.out
    )


def test_collector_needs_no_key(commands: Commands) -> None:
    with Receiver() as receiver:
        result = commands.run(
            "doctor",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_EXPORTER_OTLP_CERTIFICATE=__file__,  # not used without TLS
        )
        misplaced = commands.run(
            "doctor", HONEYCOMB_API_KEY=INGEST_KEY, HONEYCOMB_API_ENDPOINT=receiver.endpoint
        )
    assert result.code == 0
    assert "none needed: spans are sent to your own endpoint" in result.out
    assert len(receiver.spans) == 2
    assert misplaced.code == 0
    assert "Set a Collector or Refinery in OTEL_EXPORTER_OTLP_ENDPOINT" in misplaced.out


def test_grpc_accepts_the_test_span(commands: Commands, honeycomb: FakeHoneycomb) -> None:
    result = commands.run(
        "doctor",
        HONEYCOMB_API_KEY=INGEST_KEY,
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_EXPORTER_OTLP_ENDPOINT=honeycomb.grpc_url,
    )
    assert result.code == 0
    assert len(honeycomb.spans) == 1


@pytest.mark.parametrize("in_one_file", [False, True])
def test_grpc_uses_the_client_certificate(
    in_one_file: bool, commands: Commands, tmp_path: Path
) -> None:
    authority = trustme.CA()
    server_certificate, ours = authority.issue_cert("127.0.0.1"), authority.issue_cert("shop")
    ca, chain, key = (tmp_path / name for name in ("ca.pem", "chain.pem", "key.pem"))
    authority.cert_pem.write_to_path(str(ca))
    (ours.private_key_and_cert_chain_pem if in_one_file else ours.cert_chain_pems[0]).write_to_path(
        str(chain)
    )
    ours.private_key_pem.write_to_path(str(key))
    accepted: list[bytes] = []

    class Receive(grpc.GenericRpcHandler):
        def service(
            self, details: grpc.HandlerCallDetails
        ) -> "grpc.RpcMethodHandler[bytes, bytes]":
            def accept(request: bytes, context: grpc.ServicerContext) -> bytes:
                accepted.append(request)
                return b""

            return grpc.unary_unary_rpc_method_handler(accept)

    server = grpc.server(ThreadPoolExecutor(1), [Receive()])
    port = server.add_secure_port(
        "127.0.0.1:0",
        grpc.ssl_server_credentials(
            [
                (
                    server_certificate.private_key_pem.bytes(),
                    server_certificate.cert_chain_pems[0].bytes(),
                )
            ],
            authority.cert_pem.bytes(),
            require_client_auth=True,
        ),
    )
    server.start()
    variables = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(ca),
    }
    client = {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(chain)}
    if not in_one_file:
        client["OTEL_EXPORTER_OTLP_CLIENT_KEY"] = str(key)
    try:
        without = commands.run("doctor", **variables)
        assert (without.code, len(accepted)) == (1, 0)
        result = commands.run("doctor", **variables, **client)
    finally:
        server.stop(None)
    assert (result.code, len(accepted)) == (0, 1), result.out


def test_dataset_of_a_key_for_another_environment_is_not_known(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    honeycomb.keys[INGEST_KEY] = Key("ingest", frozenset(), "Test")
    result = commands.run(
        "doctor",
        HONEYCOMB_API_KEY=INGEST_KEY,
        HONEYCOMB_CONFIG_KEY=CONFIGURATION_KEY,
        HONEYCOMB_API_ENDPOINT=honeycomb.url,
    )
    assert result.code == 2
    assert "traces go to the first" in lines(result, "warning")[0]
    assert "HONEYCOMB_API_KEY may not create datasets" in lines(result, "unknown")[0]


@pytest.mark.parametrize("plan", ["pro", "enterprise"])
def test_test_span_is_followed_until_it_arrives(plan: Plan, commands: Commands) -> None:
    with FakeHoneycomb(plan=plan) as honeycomb:
        result = commands.run(
            "doctor",
            HONEYCOMB_API_KEY=INGEST_KEY,
            HONEYCOMB_CONFIG_KEY=CONFIGURATION_KEY,
            HONEYCOMB_API_ENDPOINT=honeycomb.url,
        )

    assert result.code == 0
    assert "the test span has arrived" in result.out
    [created] = [one.status for one in honeycomb.exchanges if "query_results" in one.path][:1]
    assert created == (201 if plan == "enterprise" else 403)


def test_ipv6_endpoint_is_supported(commands: Commands) -> None:
    with FakeHoneycomb(host="::1") as honeycomb:
        result = commands.run(
            "doctor", HONEYCOMB_API_KEY=INGEST_KEY, HONEYCOMB_API_ENDPOINT=honeycomb.url
        )

    assert honeycomb.url.startswith("http://[::1]:")
    assert (result.code, len(honeycomb.spans)) == (0, 1), result.out
    assert f"{honeycomb.url} over http/protobuf" in result.out


def test_check_that_does_not_finish_ends_at_its_deadline(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = Event()
    monkeypatch.setattr("hooks.doctor.CHECK_TIMEOUT", 1.0)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: blocked.wait(60))
    try:
        result = commands.run(
            "doctor", HONEYCOMB_API_KEY=INGEST_KEY, HONEYCOMB_API_ENDPOINT="http://slow.invalid"
        )
    finally:
        blocked.set()

    assert result.code == 1
    assert "network      The check did not finish within 1 s" in lines(result, "problem")[0]


def test_doctor_finds_the_project_from_a_folder_in_it(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    inner = Commands(commands.folder / "order_intake/api", **commands.variables)

    result = inner.run("doctor", HONEYCOMB_API_KEY=INGEST_KEY, HONEYCOMB_API_ENDPOINT=honeycomb.url)

    assert result.code == 0, result.out


def test_package_that_cannot_be_imported_is_named(
    commands: Commands, honeycomb: FakeHoneycomb, tmp_path: Path
) -> None:
    name = "opentelemetry_instrumentation_shop"
    folder = tmp_path / f"{name}-0.48b0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.48b0\n")
    entry = f"[opentelemetry_instrumentor]\nshop = {name}:Instrumentor\n"
    (folder / "entry_points.txt").write_text(entry)
    (tmp_path / f"{name}.py").write_text("import pkg_resources_of_old")

    result = commands.run(
        "doctor",
        HONEYCOMB_API_KEY=INGEST_KEY,
        HONEYCOMB_API_ENDPOINT=honeycomb.url,
        PYTHONPATH=str(tmp_path),
    )

    [line] = lines(result, "warning")
    assert (
        "opentelemetry-instrumentation-shop 0.48b0 cannot be imported (ModuleNotFoundError: No module"
        " named 'pkg_resources_of_old'), so it creates no spans." in line
    )


def test_configuration_key_without_send_permission_is_diagnosed(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    honeycomb.keys[CONFIGURATION_KEY] = Key(access=frozenset({"boards"}))
    result = commands.run(
        "doctor", HONEYCOMB_API_KEY=CONFIGURATION_KEY, HONEYCOMB_API_ENDPOINT=honeycomb.url
    )
    assert "without the permission to send events" in lines(result, "problem")[0]


def test_wrong_clock_is_diagnosed(commands: Commands, honeycomb: FakeHoneycomb) -> None:
    honeycomb.store.ahead = -7200
    result = commands.run(
        "doctor", HONEYCOMB_API_KEY=INGEST_KEY, HONEYCOMB_API_ENDPOINT=honeycomb.url
    )
    [warned] = lines(result, "warning")
    assert "clock is 120 minutes ahead of Honeycomb's" in warned


def test_key_in_an_unread_env_file_is_diagnosed(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    file = commands.folder / ".env"
    file.write_text(f"# keys\nHONEYCOMB_API_KEY={INGEST_KEY}\n")
    try:
        result = commands.run("doctor", HONEYCOMB_API_ENDPOINT=honeycomb.url)
        assert "The file .env contains one, but is not read automatically" in result.out
        check_no_key(result)
        arguments = ("doctor", "--env-file", ".env")
        result = commands.run(*arguments, HONEYCOMB_API_ENDPOINT=honeycomb.url)
    finally:
        file.unlink()
    assert result.code == 0, result.out
    assert len(honeycomb.spans) == 1
    check_no_key(result)


@contextmanager
def over_tls(certificate: trustme.LeafCert) -> Iterator[str]:
    """A server that completes TLS handshakes with `certificate`, and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    context.wrap_socket(connection, server_side=True).close()

        Thread(target=serve, daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def test_invalid_certificate_is_diagnosed(commands: Commands, tmp_path: Path) -> None:
    authority = trustme.CA()
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    yesterday = datetime.now(UTC) - timedelta(days=1)

    def problem_with(certificate: trustme.LeafCert, **variables: str) -> str:
        with over_tls(certificate) as endpoint:
            result = commands.run(
                "doctor", HONEYCOMB_API_KEY=INGEST_KEY, HONEYCOMB_API_ENDPOINT=endpoint, **variables
            )
        assert result.code == 1
        return lines(result, "problem")[0]

    known = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(file)}
    good = authority.issue_cert("127.0.0.1")
    assert "Set OTEL_EXPORTER_OTLP_CERTIFICATE to the file of its authority" in problem_with(good)
    # The certificate is valid, but the server is not Honeycomb.
    assert "does not respond" in problem_with(good, **known)
    expired = authority.issue_cert("127.0.0.1", not_after=yesterday)
    assert "this machine's clock shows" in problem_with(expired, **known)
    other = authority.issue_cert("other.example")
    assert "Check the host in the endpoint" in problem_with(other, **known)


@pytest.mark.parametrize(
    ("package", "level", "found"),
    [
        ("opentelemetry-sdk==1.43.0", "problem", "do not match"),
        ("fastapi==0.141.0", "problem", "FastAPI 0.141.0 does not create spans"),
        ("opentelemetry-instrumentation-fastapi==0.66b2", "warning", "Remove the call"),
        ("opentelemetry-instrumentation-sqlalchemy==0.66b1", "warning", "does nothing on"),
        ("opentelemetry-instrumentation-anthropic==0.62.4", "warning", "exports prompts"),
        (
            "opentelemetry-instrumentation-genai-anthropic==1.3b0",
            "warning",
            "each call has a second span",
        ),
        ("litellm==1.110.2", "warning", "Add opentelemetry-instrumentation-litellm."),
        ("mistralai==2.0", "warning", "mistralai 2.0 is not traced. Wrap its calls in llm_call."),
        ("openai-agents==0.24.0", "warning", "openai-agents uploads its own traces"),
        ("opentelemetry-instrumentation-httpx==0.66b2", "warning", "uses httpx2"),
        ("opentelemetry-distro==0.66b2", "warning", "configures a tracer provider"),
        ("httpx==1.0.dev6", "warning", "is a pre-release"),
    ],
)
def test_conflicting_package_is_diagnosed(
    package: str,
    level: str,
    found: str,
    commands: Commands,
    honeycomb: FakeHoneycomb,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The metadata of a package; nothing of it is imported.
    monkeypatch.setattr(
        packages, "import_errors", lambda python: _probed(IMPORT_ERRORS, python, None)
    )
    name, version = package.split("==")
    folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    result = commands.run(
        "doctor",
        HONEYCOMB_API_KEY=INGEST_KEY,
        HONEYCOMB_API_ENDPOINT=honeycomb.url,
        PYTHONPATH=str(tmp_path),
    )

    assert any(found in line for line in lines(result, level))
    assert result.code == (1 if level == "problem" else 0)


def test_grpc_without_grpcio_is_diagnosed(render: Render, workshop: Workshop) -> None:
    project = render(otlp_protocol="grpc")
    # The packages of a service that does not use gRPC.
    workshop.install(render())
    (project / ".venv").symlink_to(workshop.environment)
    result = Commands(project).run("doctor")
    assert "gRPC needs grpcio" in lines(result, "problem")[0]


def test_missing_environment_is_diagnosed(render: Render) -> None:
    result = Commands(render()).run("doctor")

    assert result.code == 1
    assert "does not have an environment (.venv)" in lines(result, "problem")[0]


def test_broken_installation_is_diagnosed(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "genai_prices.py").write_text("")
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('No module named pkg_resources')")

    result = commands.run("doctor", PYTHONPATH=str(tmp_path))

    assert result.code == 1
    [line] = lines(result, "problem")
    assert "ImportError: No module named pkg_resources. Install the project's packages" in line


@pytest.fixture
def copied(commands: Commands, tmp_path: Path) -> Commands:
    """Commands in a copy of the project, which a test may change."""
    project = tmp_path / "order-intake"
    shutil.copytree(commands.folder, project, symlinks=True)
    return Commands(project, **commands.variables, HONEYCOMB_API_KEY=INGEST_KEY)


MODULE = "order_intake/observability"


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        (
            f"{MODULE}/_settings.py",
            "x = 1\n<<<<<<< before updating\n",
            f"SyntaxError: invalid syntax ({MODULE}/_settings.py, line 2). Install",
        ),
        (
            "order_intake/__init__.py",
            "raise RuntimeError('no database')\n",
            "RuntimeError: no database (order_intake/__init__.py, line 1). Install",
        ),
        (f"{MODULE}/__main__.py", None, f"{MODULE}/__main__.py does not exist. Restore it from"),
        (MODULE, None, f"{MODULE} does not exist. Restore it from git, or correct package_dir"),
    ],
)
def test_edited_module_is_diagnosed_with_the_place(
    file: str, text: str | None, found: str, copied: Commands
) -> None:
    path = copied.folder / file
    if text is not None:
        path.write_text(text)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()

    result = copied.run("doctor")

    assert result.code == 1
    assert found in lines(result, "problem")[0]


def test_output_of_the_project_is_no_problem(copied: Commands, honeycomb: FakeHoneycomb) -> None:
    code = 'import atexit\nprint("{}")\natexit.register(print, "bye")\n'
    (copied.folder / "order_intake/__init__.py").write_text(code)

    result = copied.run("doctor", HONEYCOMB_API_ENDPOINT=honeycomb.url)

    assert result.code == 0, result.out


def test_application_that_is_not_instrumented_is_diagnosed(
    copied: Commands, honeycomb: FakeHoneycomb
) -> None:
    path = copied.folder / "order_intake/api/server.py"
    path.write_text(path.read_text().replace("instrument_app(app)", ""))

    result = copied.run("doctor", HONEYCOMB_API_ENDPOINT=honeycomb.url)

    [warned] = lines(result, "warning")
    assert "no Python file of the project calls instrument_app, so its requests are not" in warned
    assert result.code == 0


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_env_file_in_another_encoding_is_reported(encoding: str, copied: Commands) -> None:
    (copied.folder / ".env").write_bytes(
        f"# Schlüssel\nHONEYCOMB_API_KEY={INGEST_KEY}\n".encode(encoding)
    )

    result = copied.run("doctor", "--env-file", ".env")

    assert (result.code, result.err) == (
        1,
        "Error: .env is not valid UTF-8. Save it in that encoding.\n",
    )


@pytest.mark.parametrize("has_commands", [True, False])
def test_project_of_an_earlier_release_is_reported(
    has_commands: bool, commands: Commands, tmp_path: Path
) -> None:
    # 0.1.0 did not have commands. Those of 0.2.0 and 0.3.0 required a subcommand.
    (tmp_path / ".copier-answers.yml").write_text(
        "_commit: 0.3.0\nproject_name: shop\npackage_name: shop\nhoneycomb_region: us\n"
    )
    module = tmp_path / "shop/observability"
    module.mkdir(parents=True)
    if has_commands:
        parser = "import argparse\nargparse.ArgumentParser().add_subparsers(required=True)"
        (module / "__main__.py").write_text(parser)
    (tmp_path / ".venv").symlink_to(commands.folder / ".venv")

    result = Commands(tmp_path).run("doctor")

    [line] = lines(result, "problem")
    assert "The project was made by 0.3.0; doctor needs 0.4.0 or later. Run `uvx copier" in line
    assert ("`python -m shop.observability doctor`" in line) is has_commands


def test_variables_whose_names_are_checked_are_those_that_are_read(copied: Commands) -> None:
    settings = (copied.folder / "order_intake/observability/_settings.py").read_text()

    assert {*re.findall(r'"(HONEYCOMB_\w+)"', settings), "HONEYCOMB_CONFIG_KEY"} == VARIABLES
