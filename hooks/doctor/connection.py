"""Connection to the endpoint, step by step, and the test span."""

import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from typing import Final
from urllib.parse import SplitResult, urlsplit

from ..honeycomb.client import APIError, one_line, tls_context
from .findings import Case, Finding, ok, otlp_file, problem, warning

_SECONDS: Final = 5.0


def check_network(case: Case) -> Iterator[Finding]:
    """Check name, port and certificate of the endpoint, or of the proxy in front of it."""
    about, url = "network", case.url
    # gRPC selects a proxy itself.
    proxy = None if case.self_check.protocol == "grpc" else _proxy_of(url)
    first = proxy or url
    name = f"The proxy {_place(first)} from the environment" if proxy else _place(first)
    try:
        port = first.port or (443 if first.scheme == "https" else 80)
        host = first.hostname or ""
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = one_line(error)
        yield problem(
            about,
            f"{name} cannot be resolved: the name {host} is mistyped, or DNS does not work on this"
            f" machine ({reason}).",
        )
        return
    try:
        connection = socket.create_connection((host, port), timeout=_SECONDS)
    except OSError as error:
        address = addresses[0][4][0]
        yield problem(about, f"{name} {_unreachable(error)} ({address}, port {port}).")
        return
    with connection:
        if proxy:
            yield warning(
                about, f"spans are sent through the proxy {_place(proxy)} from the environment"
            )
        elif url.scheme == "https":
            yield from _check_certificate(case, connection)
        else:
            yield ok(about, f"{_place(url)} accepts connections")


def _check_certificate(case: Case, connection: socket.socket) -> Iterator[Finding]:
    about, url = "network", case.url
    try:
        context = tls_context(otlp_file("CERTIFICATE"))
        if chain := otlp_file("CLIENT_CERTIFICATE"):
            context.load_cert_chain(chain, otlp_file("CLIENT_KEY"))
    except APIError as error:
        yield problem(about, str(error))
        return
    except OSError as error:
        yield problem(
            about,
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY do not name a"
            f" certificate and its key in PEM ({one_line(error)}). Correct them.",
        )
        return
    try:
        with context.wrap_socket(connection, server_hostname=url.hostname) as tls:
            yield ok(about, f"{_place(url)} has a valid certificate ({tls.version()})")
    except ssl.SSLCertVerificationError as error:
        yield problem(about, _bad_certificate(case, error))
    except ssl.SSLError as error:
        yield problem(
            about,
            f"{_place(url)} does not support TLS ({error.reason}). If it accepts plain HTTP, begin the"
            " endpoint with http://",
        )
    except (OSError, ValueError) as error:
        yield problem(
            about, f"{_place(url)} closes the connection before TLS begins ({one_line(error)})."
        )


def _bad_certificate(case: Case, error: ssl.SSLCertVerificationError) -> str:
    place, reason = _place(case.url), error.verify_message
    if "self-signed" in reason or "unable to get" in reason:
        return (
            f"The certificate of {place} is signed by an authority that this machine does not trust"
            f" ({reason}). Set OTEL_EXPORTER_OTLP_CERTIFICATE to the file of its authority; a company's"
            " proxy has one."
        )
    if "expired" in reason or "not yet valid" in reason:
        now = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
        return (
            f"The certificate of {place} is not valid now ({reason}): this machine's clock shows {now}"
            " UTC. If that is right, renew the certificate."
        )
    return f"The certificate of {place} is not valid: {reason}. Check the host in the endpoint."


def _unreachable(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"does not respond within {_SECONDS:g} s: a firewall, or the wrong host"
    if isinstance(error, ConnectionRefusedError):
        return "refuses the connection: nothing listens on that port"
    return f"cannot be reached: {one_line(error)}"


def check_test_span(case: Case) -> Iterator[Finding]:
    """Check if the span of the self-check was accepted."""
    about, reason = "test span", case.self_check.reason
    if case.self_check.accepted and not case.self_check.trace_id.strip("0"):
        yield problem(about, "The self-check did not record a span. See the log of the service.")
        return
    if case.self_check.accepted:
        yield ok(
            about,
            "accepted. If a running service cannot export, it logs one line that begins with"
            ' "Trace export is failing"',
        )
        return
    if " 429 " in reason:
        yield problem(
            about,
            f"{reason} The service retries, and drops spans if that continues: check the"
            " team's usage in Honeycomb.",
        )
        return
    hint = ""
    if "rejected" in reason and not case.is_honeycomb:
        hint = " If the receiver needs another key, set it in OTEL_EXPORTER_OTLP_HEADERS."
    elif case.self_check.protocol == "grpc":
        hint = " If the endpoint is for HTTP, set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf."
    elif "BadStatusLine" in reason or "RemoteDisconnected" in reason:
        command = case.project.update_command("-r", ":current:", "--data", "otlp_protocol=grpc")
        hint = (
            f" If the endpoint is for gRPC, use its port for HTTP, or add gRPC with `{command}` and"
            " set OTEL_EXPORTER_OTLP_PROTOCOL=grpc."
        )
    yield problem(about, reason + hint)


def _proxy_of(url: SplitResult) -> SplitResult | None:
    """The proxy that the environment names for `url`."""
    proxy = urllib.request.getproxies().get(url.scheme)
    if not proxy or urllib.request.proxy_bypass(url.hostname or ""):
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def _place(url: SplitResult) -> str:
    """Host and port of a URL."""
    return f"{url.hostname}:{url.port}" if url.port else str(url.hostname)
