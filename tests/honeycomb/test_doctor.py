"""`doctor` on broken configurations: the finding, and that it is the last."""

import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Final

import grpc
import pytest
import trustme

from hooks.demo.process import free_port
from hooks.doctor import arrival
from hooks.traces.receiver import Receiver

from ..conftest import Render, Workshop
from ..fakes.honeycomb import CONFIGURATION_KEY, INGEST_KEY, FakeHoneycomb, Key
from ..fakes.receiver import Fault, FaultyReceiver
from .conftest import Commands, Result

OTHER_KEY: Final = INGEST_KEY[:-1] + "z"
FREE: Final = f"http://127.0.0.1:{free_port()}"


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
    declared = _declared(commands)
    count = len(declared)
    [warned] = lines(commands.run("doctor", **variables), "warning")
    assert f"{count} of {count} attributes of the service have never arrived: " in warned
    assert min(declared) in warned

    # A column that apply created has not arrived.
    assert commands.run("apply", **variables).code == 0
    [warned] = lines(commands.run("doctor", **variables), "warning")
    assert f"{count} of {count} attributes" in warned

    honeycomb.store.take_span("order-intake", dict.fromkeys(declared, 1))
    result = commands.run("doctor", **variables)
    assert result.code == 0
    assert not lines(result, "warning")
    assert f"all {count} attributes of the service have arrived" in result.out
    check_no_key(result)


def _declared(commands: Commands) -> list[str]:
    text = (commands.folder / "honeycomb/telemetry.yaml").read_text()
    return [line.split()[-1] for line in text.splitlines() if line.startswith("      - id: ")]


@dataclass(frozen=True)
class Broken:
    """A configuration and its finding. {honeycomb}, {grpc} and {tls} are replaced by URLs of the fake."""

    name: str
    found: str
    variables: dict[str, str] = field(default_factory=dict)
    level: str = "problem"

    def __str__(self) -> str:
        return self.name


SET_UPS: Final = (
    Broken("switched off", "HONEYCOMB_ENABLED disables", {"HONEYCOMB_ENABLED": "false"}),
    Broken("SDK disabled", "OTEL_SDK_DISABLED disables", {"OTEL_SDK_DISABLED": "true"}),
    Broken("sampler off", "OTEL_TRACES_SAMPLER=always_off", {"OTEL_TRACES_SAMPLER": "always_off"}),
    Broken("exporter none", "OTEL_TRACES_EXPORTER=none", {"OTEL_TRACES_EXPORTER": "none"}),
    Broken("exporter console", "are printed, not exported", {"OTEL_TRACES_EXPORTER": "console"}),
    Broken("no key", "HONEYCOMB_API_KEY is not set", {"HONEYCOMB_API_KEY": ""}),
    Broken("key in quotes", "contains a quote", {"HONEYCOMB_API_KEY": f'"{INGEST_KEY}"'}),
    Broken("key in two lines", "a line break", {"HONEYCOMB_API_KEY": f"{INGEST_KEY}\nx"}),
    Broken("key with a space", "a space", {"HONEYCOMB_API_KEY": f"{INGEST_KEY} x"}),
    Broken("key with a dash", "invalid in a key", {"HONEYCOMB_API_KEY": f"{INGEST_KEY}–"}),
    Broken("placeholder", "a placeholder", {"HONEYCOMB_API_KEY": "<paste-your-api-key-here>"}),
    Broken("plain placeholder", "a placeholder", {"HONEYCOMB_API_KEY": "your-api-key"}),
    Broken("id of a key", "without its secret", {"HONEYCOMB_API_KEY": INGEST_KEY[:32]}),
    Broken("management key", "management key", {"HONEYCOMB_API_KEY": "hcamk_" + "a" * 26}),
    Broken("unknown key", "does not know the key (401)", {"HONEYCOMB_API_KEY": OTHER_KEY}),
    Broken(
        "key in the headers alone",
        "used only if OTEL_EXPORTER_OTLP_ENDPOINT is set",
        {
            "HONEYCOMB_API_KEY": "",
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-honeycomb-team={INGEST_KEY}",
        },
    ),
    Broken(
        "another key in the headers",
        "another key in x-honeycomb-team",
        {
            "HONEYCOMB_API_KEY": OTHER_KEY,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-honeycomb-team={INGEST_KEY}",
        },
        "warning",
    ),
    Broken(
        "configuration key",
        "an ingest key, which can do nothing else, is safer",
        {"HONEYCOMB_API_KEY": CONFIGURATION_KEY},
        "warning",
    ),
    Broken("no scheme", "URL", {"HONEYCOMB_API_ENDPOINT": "api.honeycomb.io"}),
    Broken("path twice", "Remove it", {"HONEYCOMB_API_ENDPOINT": "{honeycomb}/v1/traces"}),
    Broken(
        "path for gRPC",
        "not used with gRPC",
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "HONEYCOMB_API_ENDPOINT": "{grpc}/v1/traces"},
    ),
    Broken(
        "no path",
        "append /v1/traces",
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "{honeycomb}"},
    ),
    Broken("page", "Honeycomb's web page", {"HONEYCOMB_API_ENDPOINT": "https://ui.honeycomb.io"}),
    Broken(
        "plain HTTP",
        "requires https://",
        {"HONEYCOMB_API_ENDPOINT": "http://api.honeycomb.io"},
    ),
    Broken(
        "port of a Collector",
        "does not listen on port 4318",
        {"HONEYCOMB_API_ENDPOINT": "https://api.honeycomb.io:4318"},
    ),
    Broken("no such name", "cannot be resolved", {"HONEYCOMB_API_ENDPOINT": "https://hc.invalid"}),
    Broken("closed port", "nothing listens on that port", {"HONEYCOMB_API_ENDPOINT": FREE}),
    Broken("TLS to plain HTTP", "does not support TLS", {"HONEYCOMB_API_ENDPOINT": "{tls}"}),
    Broken("dead proxy", "The proxy 127.0.0.1", {"http_proxy": FREE, "no_proxy": ""}),
    Broken(
        "missing certificate",
        "names a file that does not exist",
        {"OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/such/file.pem"},
    ),
    Broken(
        "gRPC to a port for HTTP",
        "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "{honeycomb}"},
    ),
    Broken(
        "HTTP to a port for gRPC",
        "set OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "{grpc}"},
    ),
    Broken(
        "unknown key over gRPC",
        "API key rejected (UNAUTHENTICATED)",
        {
            "HONEYCOMB_API_KEY": OTHER_KEY,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "{grpc}",
        },
    ),
    Broken(
        "another name",
        "OTEL_SERVICE_NAME sets it to 'other'",
        {"OTEL_SERVICE_NAME": "other"},
        "warning",
    ),
    Broken(
        "another name by the resource",
        "OTEL_RESOURCE_ATTRIBUTES sets it to 'other'",
        {"OTEL_RESOURCE_ATTRIBUTES": "service.name=other"},
        "warning",
    ),
    Broken(
        "a weight on everything",
        "Honeycomb multiplies every",
        {"OTEL_RESOURCE_ATTRIBUTES": "SampleRate=10"},
        "warning",
    ),
    Broken("rate 0", "must be a whole number above 0", {"HONEYCOMB_SAMPLE_RATE": "0"}, "warning"),
    Broken(
        "odd ratio",
        "is not 1 in N; using 1 in 3",
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.3"},
        "warning",
    ),
    Broken(
        "two samplers",
        "OTEL_TRACES_SAMPLER takes precedence",
        {"OTEL_TRACES_SAMPLER": "always_on", "HONEYCOMB_SAMPLE_RATE": "10"},
        "warning",
    ),
    Broken(
        "wrong configuration key",
        "is an ingest key",
        {"HONEYCOMB_CONFIG_KEY": INGEST_KEY},
        "warning",
    ),
)


@pytest.mark.parametrize("broken", SET_UPS, ids=str)
def test_broken_configuration_is_diagnosed(
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

    result = commands.run("doctor", **variables)

    found = lines(result, broken.level)
    assert any(broken.found in line for line in found), result.out
    if broken.level == "problem":
        assert result.code == 1
        # The last line: findings after it would only be consequences.
        assert result.out.splitlines()[-3] == found[-1]
        assert len(found) == 1
    else:
        assert result.code == 0
        assert len(found) == 1, result.out
        assert honeycomb.spans
    assert result.err == ""
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


def test_collector_needs_no_key(commands: Commands) -> None:
    with Receiver() as receiver:
        result = commands.run("doctor", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
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


@pytest.mark.parametrize(
    ("status", "level", "found"),
    [
        (429, "warning", "The service retries."),
        (500, "problem", "returned 500: a server error."),
        (413, "problem", "returned 413: the request is too large."),
    ],
)
def test_rejected_span_is_diagnosed(
    status: int, level: str, found: str, commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    honeycomb.ingest_status = status
    result = commands.run(
        "doctor", HONEYCOMB_API_KEY=INGEST_KEY, HONEYCOMB_API_ENDPOINT=honeycomb.url
    )
    assert found in lines(result, level)[0]


def test_keys_of_two_environments_are_diagnosed(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    honeycomb.keys[INGEST_KEY] = Key("ingest", frozenset(), "Test")
    result = commands.run(
        "doctor",
        HONEYCOMB_API_KEY=INGEST_KEY,
        HONEYCOMB_CONFIG_KEY=CONFIGURATION_KEY,
        HONEYCOMB_API_ENDPOINT=honeycomb.url,
    )
    warned = "\n".join(lines(result, "warning"))
    assert "it lacks the permission to create datasets" in warned
    assert (
        "HONEYCOMB_API_KEY belongs to Acme, Test and HONEYCOMB_CONFIG_KEY to Acme, Production"
        in warned
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
        assert "The file .env contains one, but is not read by itself" in result.out
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
        ("google-genai==3.6.1", "warning", "Add opentelemetry-instrumentation-google-genai."),
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
) -> None:
    # The metadata of a package; nothing of it is imported.
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
    assert "The project was made by 0.3.0; doctor needs 0.4.0 or later. Run `copier update`" in line
    assert ("`python -m shop.observability doctor`" in line) is has_commands
