"""The doctor of a rendered project before broken set-ups: what it finds, and that it stops there."""

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

from hooks.demo.receiver import Receiver

from .commands import Commands, Result
from .conftest import Render, Workshop
from .fake_honeycomb import CONFIGURATION_KEY, INGEST_KEY, FakeHoneycomb, Key
from .fakes.receiver import FaultyReceiver
from .service.process import free_port

OTHER_KEY: Final = INGEST_KEY[:-1] + "z"
FREE: Final = f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def commands(render: Render, workshop: Workshop) -> Iterator[Commands]:
    project = render()
    workshop.install(project, "grpcio")
    with Commands(workshop, project) as commands:
        yield commands


@pytest.fixture
def honeycomb() -> Iterator[FakeHoneycomb]:
    with FakeHoneycomb() as honeycomb:
        yield honeycomb


def lines(result: Result, level: str = "") -> list[str]:
    """The findings of a level, as they are printed."""
    return [line for line in result.out.splitlines() if line.startswith(f"{level:8} ")]


def check_no_key(result: Result) -> None:
    for key in (INGEST_KEY, OTHER_KEY, CONFIGURATION_KEY, INGEST_KEY[:32], INGEST_KEY[-12:]):
        assert key not in result.out + result.err


def test_all_is_well_where_all_is_well(commands: Commands, honeycomb: FakeHoneycomb) -> None:
    variables = {"HONEYCOMB_API_KEY": INGEST_KEY, "HONEYCOMB_API_ENDPOINT": honeycomb.url}

    result = commands.run("doctor", **variables)

    assert result.code == 0
    assert not lines(result, "warning") + lines(result, "problem")
    assert result.out.endswith("All is well: spans are sent, and taken.\n")
    assert result.err == ""
    [span] = honeycomb.spans
    assert (span.name, span.kind) == ("doctor", "internal")
    assert span.resource["service.name"] == "order-intake"
    check_no_key(result)
    report = commands.run("doctor", "--json", **variables).json
    assert report["healthy"]
    assert {one["level"] for one in report["findings"]} == {"ok"}


def test_with_a_configuration_key_it_looks_whether_spans_arrive(
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

    # Columns that apply has made have not arrived.
    assert commands.run("apply", **variables).code == 0
    [warned] = lines(commands.run("doctor", **variables), "warning")
    assert f"{count} of {count} attributes" in warned

    honeycomb.store.take_span("order-intake", dict.fromkeys(declared, 1))
    result = commands.run("doctor", **variables)
    assert result.code == 0
    assert not lines(result, "warning")
    assert f"all {count} attributes of the service are there" in result.out
    check_no_key(result)


def _declared(commands: Commands) -> list[str]:
    text = (commands.project / "honeycomb/telemetry.yaml").read_text()
    return [line.split()[-1] for line in text.splitlines() if line.startswith("      - id: ")]


@dataclass(frozen=True)
class Broken:
    """A set-up, and what is found in it. {honeycomb}, {grpc} and {tls} stand for the fake's URL."""

    name: str
    found: str
    variables: dict[str, str] = field(default_factory=dict)
    level: str = "problem"

    def __str__(self) -> str:
        return self.name


SET_UPS: Final = (
    Broken("switched off", "HONEYCOMB_ENABLED switches", {"HONEYCOMB_ENABLED": "false"}),
    Broken("SDK disabled", "OTEL_SDK_DISABLED switches", {"OTEL_SDK_DISABLED": "true"}),
    Broken("sampler off", "OTEL_TRACES_SAMPLER=always_off", {"OTEL_TRACES_SAMPLER": "always_off"}),
    Broken("exporter none", "OTEL_TRACES_EXPORTER=none", {"OTEL_TRACES_EXPORTER": "none"}),
    Broken("exporter console", "are printed and not", {"OTEL_TRACES_EXPORTER": "console"}),
    Broken("no key", "HONEYCOMB_API_KEY is not set", {"HONEYCOMB_API_KEY": ""}),
    Broken("key in quotes", "holds a quote", {"HONEYCOMB_API_KEY": f'"{INGEST_KEY}"'}),
    Broken("key in two lines", "a line break", {"HONEYCOMB_API_KEY": f"{INGEST_KEY}\nx"}),
    Broken("key with a space", "a space", {"HONEYCOMB_API_KEY": f"{INGEST_KEY} x"}),
    Broken("key with a dash", "no key has", {"HONEYCOMB_API_KEY": f"{INGEST_KEY}–"}),
    Broken("placeholder", "a placeholder", {"HONEYCOMB_API_KEY": "<paste-your-api-key-here>"}),
    Broken("plain placeholder", "a placeholder", {"HONEYCOMB_API_KEY": "your-api-key"}),
    Broken("id of a key", "without its secret", {"HONEYCOMB_API_KEY": INGEST_KEY[:32]}),
    Broken("management key", "management key", {"HONEYCOMB_API_KEY": "hcamk_" + "a" * 26}),
    Broken("unknown key", "does not know the key (401)", {"HONEYCOMB_API_KEY": OTHER_KEY}),
    Broken(
        "key in the headers alone",
        "counts only where OTEL_EXPORTER_OTLP_ENDPOINT is set",
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
        "an ingest key, which may do nothing else, is safer",
        {"HONEYCOMB_API_KEY": CONFIGURATION_KEY},
        "warning",
    ),
    Broken("no scheme", "is no URL", {"HONEYCOMB_API_ENDPOINT": "api.honeycomb.io"}),
    Broken("path twice", "take it away", {"HONEYCOMB_API_ENDPOINT": "{honeycomb}/v1/traces"}),
    Broken(
        "path for gRPC",
        "not for gRPC",
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "HONEYCOMB_API_ENDPOINT": "{grpc}/v1/traces"},
    ),
    Broken(
        "no path",
        "add /v1/traces",
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "{honeycomb}"},
    ),
    Broken("page", "the page for people", {"HONEYCOMB_API_ENDPOINT": "https://ui.honeycomb.io"}),
    Broken(
        "plain HTTP",
        "takes https:// only",
        {"HONEYCOMB_API_ENDPOINT": "http://api.honeycomb.io"},
    ),
    Broken(
        "port of a Collector",
        "has no port 4318",
        {"HONEYCOMB_API_ENDPOINT": "https://api.honeycomb.io:4318"},
    ),
    Broken("no such name", "has no address", {"HONEYCOMB_API_ENDPOINT": "https://hc.invalid"}),
    Broken("nobody listens", "nothing listens there", {"HONEYCOMB_API_ENDPOINT": FREE}),
    Broken("TLS to plain HTTP", "speaks no TLS", {"HONEYCOMB_API_ENDPOINT": "{tls}"}),
    Broken("dead proxy", "The proxy 127.0.0.1", {"http_proxy": FREE, "no_proxy": ""}),
    Broken(
        "missing certificate",
        "names a file that is not there",
        {"OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/such/file.pem"},
    ),
    Broken(
        "gRPC to a port for HTTP",
        "try OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "{honeycomb}"},
    ),
    Broken(
        "HTTP to a port for gRPC",
        "try OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "{grpc}"},
    ),
    Broken(
        "unknown key over gRPC",
        "the API key was rejected (UNAUTHENTICATED)",
        {
            "HONEYCOMB_API_KEY": OTHER_KEY,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "{grpc}",
        },
    ),
    Broken(
        "another name",
        "OTEL_SERVICE_NAME makes it 'other'",
        {"OTEL_SERVICE_NAME": "other"},
        "warning",
    ),
    Broken(
        "another name by the resource",
        "OTEL_RESOURCE_ATTRIBUTES makes it 'other'",
        {"OTEL_RESOURCE_ATTRIBUTES": "service.name=other"},
        "warning",
    ),
    Broken(
        "a weight on everything",
        "multiplies each span",
        {"OTEL_RESOURCE_ATTRIBUTES": "SampleRate=10"},
        "warning",
    ),
    Broken("rate 0", "is not a number above 0", {"HONEYCOMB_SAMPLE_RATE": "0"}, "warning"),
    Broken(
        "odd ratio",
        "is no 1 in N: it counts as 1 in 3",
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.3"},
        "warning",
    ),
    Broken(
        "two samplers",
        "OTEL_TRACES_SAMPLER wins",
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
def test_a_broken_set_up_is_told(
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
        # The last line, as everything after it would only follow from it.
        assert result.out.splitlines()[-3] == found[-1]
        assert len(found) == 1
        assert not honeycomb.spans
    else:
        assert result.code == 0
        assert len(found) == 1, result.out
        assert honeycomb.spans
    assert result.err == ""
    check_no_key(result)


def test_a_key_of_the_other_region_is_told(commands: Commands, honeycomb: FakeHoneycomb) -> None:
    with FakeHoneycomb(keys={OTHER_KEY: Key("ingest")}) as other:
        commands.regions = [honeycomb.url, other.url]
        result = commands.run(
            "doctor", HONEYCOMB_API_KEY=OTHER_KEY, HONEYCOMB_API_ENDPOINT=honeycomb.url
        )
    assert result.code == 1
    assert f"and {other.url} does: your team is there. Set HONEYCOMB_API_ENDPOINT={other.url}" in (
        result.out
    )
    check_no_key(result)


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("no answer", "does not answer (RemoteDisconnected"),
        ("black hole", "does not answer (TimeoutError"),
        ("302", "is not Honeycomb's API: it answers 302"),
        ("garbage", "does not answer (BadStatusLine"),
        ("200 for any path", "is not Honeycomb's API: it answers 200"),
    ],
)
def test_what_is_not_honeycomb_is_told(commands: Commands, fault: str, found: str) -> None:
    with FaultyReceiver(fault) as receiver:  # type: ignore[arg-type]
        result = commands.run(
            "doctor", HONEYCOMB_API_KEY=INGEST_KEY, HONEYCOMB_API_ENDPOINT=receiver.endpoint
        )
    assert result.code == 1
    assert found in lines(result, "problem")[0]


def test_a_collector_needs_no_key_of_honeycomb(commands: Commands) -> None:
    with Receiver() as receiver:
        result = commands.run("doctor", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
        misplaced = commands.run(
            "doctor", HONEYCOMB_API_KEY=INGEST_KEY, HONEYCOMB_API_ENDPOINT=receiver.endpoint
        )
    assert result.code == 0
    assert "none is needed: spans go to your own endpoint" in result.out
    assert len(receiver.spans) == 2
    assert misplaced.code == 0
    assert "A Collector or a Refinery belongs into OTEL_EXPORTER_OTLP_ENDPOINT" in misplaced.out


def test_over_grpc_a_span_is_sent_too(commands: Commands, honeycomb: FakeHoneycomb) -> None:
    result = commands.run(
        "doctor",
        HONEYCOMB_API_KEY=INGEST_KEY,
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_EXPORTER_OTLP_ENDPOINT=honeycomb.grpc_url,
    )
    assert result.code == 0
    assert len(honeycomb.spans) == 1


@pytest.mark.parametrize("in_one_file", [False, True])
def test_over_grpc_a_client_certificate_is_shown(
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
    taken: list[bytes] = []

    class Receive(grpc.GenericRpcHandler):
        def service(
            self, details: grpc.HandlerCallDetails
        ) -> "grpc.RpcMethodHandler[bytes, bytes]":
            def take(request: bytes, context: grpc.ServicerContext) -> bytes:
                taken.append(request)
                return b""

            return grpc.unary_unary_rpc_method_handler(take)

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
        assert (without.code, len(taken)) == (1, 0)
        result = commands.run("doctor", **variables, **client)
    finally:
        server.stop(None)
    assert (result.code, len(taken)) == (0, 1), result.out


@pytest.mark.parametrize(
    ("status", "level", "found"),
    [
        (429, "warning", "its rate limit is reached. The service tries again by itself."),
        (500, "problem", "has a fault of its own (500)"),
        (413, "problem", "takes no request of this size"),
    ],
)
def test_a_span_that_is_not_taken_is_told(
    status: int, level: str, found: str, commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    honeycomb.ingest_status = status
    result = commands.run(
        "doctor", HONEYCOMB_API_KEY=INGEST_KEY, HONEYCOMB_API_ENDPOINT=honeycomb.url
    )
    assert found in lines(result, level)[0]


def test_keys_of_two_environments_are_told(commands: Commands, honeycomb: FakeHoneycomb) -> None:
    honeycomb.keys[INGEST_KEY] = Key("ingest", frozenset(), "Test")
    result = commands.run(
        "doctor",
        HONEYCOMB_API_KEY=INGEST_KEY,
        HONEYCOMB_CONFIG_KEY=CONFIGURATION_KEY,
        HONEYCOMB_API_ENDPOINT=honeycomb.url,
    )
    warned = "\n".join(lines(result, "warning"))
    assert "it may not create datasets" in warned
    assert (
        "HONEYCOMB_API_KEY is of Acme, Test and HONEYCOMB_CONFIG_KEY of Acme, Production" in warned
    )


def test_a_configuration_key_that_may_not_send_is_told(
    commands: Commands, honeycomb: FakeHoneycomb
) -> None:
    honeycomb.keys[CONFIGURATION_KEY] = Key(access=frozenset({"boards"}))
    result = commands.run(
        "doctor", HONEYCOMB_API_KEY=CONFIGURATION_KEY, HONEYCOMB_API_ENDPOINT=honeycomb.url
    )
    assert "may not send events" in lines(result, "problem")[0]


def test_a_clock_that_is_wrong_is_told(commands: Commands, honeycomb: FakeHoneycomb) -> None:
    honeycomb.store.ahead = -7200
    result = commands.run(
        "doctor", HONEYCOMB_API_KEY=INGEST_KEY, HONEYCOMB_API_ENDPOINT=honeycomb.url
    )
    [warned] = lines(result, "warning")
    assert "clock is 120 minutes ahead of Honeycomb's" in warned


def test_a_key_in_a_file_that_nobody_reads_is_told(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"# keys\nHONEYCOMB_API_KEY={INGEST_KEY}\n")
    result = commands.run_in(tmp_path, "doctor")
    assert "The file .env has one, which is not read by itself" in result.out
    check_no_key(result)


@contextmanager
def over_tls(certificate: trustme.LeafCert) -> Iterator[str]:
    """A receiver that speaks TLS with `certificate`, and only takes connections."""
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


def test_a_certificate_that_does_not_hold_is_told(commands: Commands, tmp_path: Path) -> None:
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
    # It holds; only what comes after TLS is no Honeycomb.
    assert "does not answer" in problem_with(good, **known)
    expired = authority.issue_cert("127.0.0.1", not_after=yesterday)
    assert "this machine's clock says" in problem_with(expired, **known)
    other = authority.issue_cert("other.example")
    assert "Check the host in the endpoint" in problem_with(other, **known)


@pytest.mark.parametrize(
    ("package", "level", "found"),
    [
        ("opentelemetry-sdk==1.43.0", "problem", "do not fit"),
        ("fastapi==0.141.0", "problem", "FastAPI 0.141.0 does not trace itself"),
        ("opentelemetry-instrumentation-fastapi==0.66b2", "warning", "Take the call out"),
        ("opentelemetry-instrumentation-sqlalchemy==0.66b1", "warning", "does nothing on"),
        ("opentelemetry-instrumentation-anthropic==0.62.4", "warning", "sends prompts"),
        ("opentelemetry-instrumentation-genai-anthropic==1.3b0", "warning", "is two spans"),
        ("opentelemetry-instrumentation-httpx==0.66b2", "warning", "talks over httpx2"),
        ("opentelemetry-distro==0.66b2", "warning", "a tracer provider of its own"),
        ("httpx==1.0.dev6", "warning", "is a pre-release"),
    ],
)
def test_a_package_that_disturbs_is_told(
    package: str,
    level: str,
    found: str,
    commands: Commands,
    workshop: Workshop,
    honeycomb: FakeHoneycomb,
    tmp_path: Path,
) -> None:
    # What the doctor reads of a package; nothing of it is imported.
    name, version = package.split("==")
    folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    with Commands(workshop, commands.project, tmp_path) as with_package:
        result = with_package.run(
            "doctor", HONEYCOMB_API_KEY=INGEST_KEY, HONEYCOMB_API_ENDPOINT=honeycomb.url
        )

    [told] = lines(result, level)
    assert found in told
    assert result.code == (1 if level == "problem" else 0)


def test_grpc_without_grpcio_is_told(render: Render, workshop: Workshop) -> None:
    project = render()
    workshop.install(project)
    with Commands(workshop, project) as commands:
        result = commands.run("doctor", OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert "gRPC needs grpcio" in lines(result, "problem")[0]
