"""Whether the endpoint can be reached, step by step, and takes a span."""

import socket
import ssl
import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import SplitResult

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Status

from .. import encoding
from ..http_transport import HTTPTransport, proxy_of, tls_context
from ..sending import Transport, in_one_line
from .findings import Case, Finding, ok, problem, warning

_SECONDS: Final = 5.0


def check_network(case: Case) -> Iterator[Finding]:
    """Name, port and certificate of the endpoint, or of the proxy before it."""
    about, url = "network", case.url
    # gRPC looks for proxies by itself.
    proxy = None if case.settings.protocol == "grpc" else proxy_of(url)
    first = proxy or url
    what = f"The proxy {_place(first)}, which the environment names," if proxy else _place(first)
    try:
        port = first.port or (443 if first.scheme == "https" else 80)
        host = first.hostname or ""
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = in_one_line(error)
        yield problem(
            about,
            f"{what} has no address: the name {host} is mistyped, or this machine has no DNS"
            f" ({reason}).",
        )
        return
    try:
        connection = socket.create_connection((host, port), timeout=_SECONDS)
    except OSError as error:
        address = addresses[0][4][0]
        yield problem(about, f"{what} {_unreachable(error)} ({address}, port {port}).")
        return
    with connection:
        if proxy:
            yield warning(
                about, f"spans go through the proxy {_place(proxy)}, as the environment says"
            )
        elif url.scheme == "https":
            yield from _check_certificate(case, connection)
        else:
            yield ok(about, f"{_place(url)} answers")


def _check_certificate(case: Case, connection: socket.socket) -> Iterator[Finding]:
    about, url = "network", case.url
    try:
        with tls_context(case.settings).wrap_socket(
            connection, server_hostname=url.hostname
        ) as tls:
            yield ok(
                about, f"{_place(url)} answers, with a certificate that holds ({tls.version()})"
            )
    except ssl.SSLCertVerificationError as error:
        yield problem(about, _bad_certificate(case, error))
    except ssl.SSLError as error:
        yield problem(
            about,
            f"{_place(url)} speaks no TLS that is understood ({error.reason}). If it speaks plain"
            " HTTP, its endpoint begins with http://",
        )
    except (OSError, ValueError) as error:
        yield problem(about, f"{_place(url)} breaks off before TLS begins ({in_one_line(error)}).")


def _bad_certificate(case: Case, error: ssl.SSLCertVerificationError) -> str:
    place, reason = _place(case.url), error.verify_message
    if "self-signed" in reason or "unable to get" in reason:
        return (
            f"The certificate of {place} is signed by nobody whom this machine knows ({reason}). Set"
            " OTEL_EXPORTER_OTLP_CERTIFICATE to the file of its authority; a company's proxy has"
            " one."
        )
    if "expired" in reason or "not yet valid" in reason:
        now = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
        return (
            f"The certificate of {place} does not hold at this time ({reason}): this machine's clock"
            f" says {now} UTC. If that is right, the certificate has to be renewed."
        )
    return f"The certificate of {place} does not hold: {reason}. Check the host in the endpoint."


def _unreachable(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"does not answer within {_SECONDS:g} s: a firewall, or the wrong host"
    if isinstance(error, ConnectionRefusedError):
        return "refuses the connection: nothing listens there"
    return f"cannot be reached: {in_one_line(error)}"


def check_test_span(case: Case) -> Iterator[Finding]:
    """One span, sent as the service sends its own."""
    about = "test span"
    transport = _transport(case)
    try:
        failure = transport.send(_request(case))
    finally:
        transport.close()
    if failure is None:
        yield ok(
            about,
            "sent and taken. If a running service cannot send, it logs one line that begins with"
            ' "Traces are not sent"',
        )
        return
    if "(429)" in failure.reason:
        yield warning(about, f"{failure.reason} The service tries again by itself.")
        return
    hint = ""
    if "rejected" in failure.reason and not case.is_honeycomb:
        hint = " If it wants another key, that goes into OTEL_EXPORTER_OTLP_HEADERS."
    elif case.settings.protocol == "grpc":
        hint = " The endpoint may speak HTTP: try OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf."
    elif "BadStatusLine" in failure.reason or "RemoteDisconnected" in failure.reason:
        hint = " It may speak gRPC: try OTEL_EXPORTER_OTLP_PROTOCOL=grpc, or its port for HTTP."
    yield problem(about, failure.reason + hint)


def _transport(case: Case) -> Transport:
    if case.settings.protocol == "grpc":
        from ..grpc_transport import GRPCTransport

        return GRPCTransport(case.settings)
    return HTTPTransport(case.settings)


def _request(case: Case) -> bytes:
    # Kept in any case, whatever OTEL_TRACES_SAMPLER says.
    provider = TracerProvider(sampler=ALWAYS_ON, resource=case.resource, shutdown_on_exit=False)
    span = provider.get_tracer(__name__).start_span("doctor")
    span.end()
    assert isinstance(span, ReadableSpan)
    encoded = encoding.encode_span(span, {}, (), Status())
    scope = encoding.encode_scope(span.instrumentation_scope)
    return encoding.encode_request(encoding.encode_resource(case.resource), {scope: [encoded]})


def _place(url: SplitResult) -> str:
    """A URL without what may be secret in it."""
    return f"{url.hostname}:{url.port}" if url.port else str(url.hostname)
