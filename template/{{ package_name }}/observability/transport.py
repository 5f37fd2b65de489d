"""OTLP over HTTP and over gRPC, for requests that are bytes already."""

import email.utils
import gzip
import http.client
import os
import socket
import ssl
import time
import urllib.request
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from .sending import Failure, Transport
from .settings import Settings

# Higher levels take several times as long and save a few percent.
_GZIP_LEVEL: Final = 1
_TAKE_LATER: Final = frozenset({408, 429, 500, 502, 503, 504})
_REJECTED: Final = (
    "the API key was rejected ({}). Set HONEYCOMB_API_KEY to an ingest key of this region's team."
)


def connect(settings: Settings) -> Transport:
    """What carries requests to `settings.endpoint`. Connects with the first request. Never raises."""
    if settings.protocol == "grpc":
        return GRPCTransport(settings)
    return HTTPTransport(settings)


class HTTPTransport:
    """One connection that is kept open, through a proxy where the environment names one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._url = urlsplit(settings.endpoint)
        self._headers = {
            "content-type": "application/x-protobuf",
            "user-agent": "OTel-OTLP-Exporter-Python",
            **({"content-encoding": "gzip"} if settings.compressed else {}),
            **settings.headers,
        }
        self._connection: http.client.HTTPConnection | None = None

    def send(self, request: bytes) -> Failure | None:
        body = gzip.compress(request, _GZIP_LEVEL) if self._settings.compressed else request
        deadline = time.monotonic() + self._settings.timeout
        try:
            reused = self._connection is not None
            try:
                status, headers = self._post(body, deadline)
            except (http.client.RemoteDisconnected, ConnectionError):
                if not reused:
                    raise
                # The other side has closed a connection that was kept: that tells nothing.
                status, headers = self._post(body, deadline)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the thread goes on
            self.close()
            if time.monotonic() >= deadline or isinstance(error, TimeoutError):
                reason = f"no answer within {self._settings.timeout:g} s"
            else:
                reason = _without_a_traceback(error)
            return Failure(
                reason=f"{self._where} cannot be reached ({reason}). Check the endpoint and the"
                " network.",
                again=True,
            )
        return self._failure(status, headers)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, body: bytes, deadline: float) -> tuple[int, http.client.HTTPMessage]:
        connection = self._connection or _connection(self._url, deadline - time.monotonic())
        self._connection = connection
        target = self._url.path or "/"
        if self._url.query:
            target += f"?{self._url.query}"
        # The socket's own time limit is for each piece that comes. One byte a second keeps it
        # alive, so that the connection is closed when the time for all of it is over.
        watchdog = Timer(max(0.0, deadline - time.monotonic()), _abort, [connection])
        watchdog.daemon = True
        watchdog.start()
        try:
            connection.request("POST", target, body, self._headers)
            response = connection.getresponse()
            # The status is what counts; the rest is read so that the connection can be used again.
            with suppress(Exception):
                response.read(65_536)
            if not response.isclosed() or response.will_close:
                self.close()
            return response.status, response.headers
        except BaseException:
            self.close()
            raise
        finally:
            watchdog.cancel()

    def _failure(self, status: int, headers: http.client.HTTPMessage) -> Failure | None:
        if 200 <= status < 300:
            return None
        again = status in _TAKE_LATER
        after = _seconds(headers.get("retry-after")) if again else None
        if status in (401, 403):
            reason = _REJECTED.format(status)
        elif 300 <= status < 400:
            reason = (
                f"{self._where} answers with a redirect ({status}): it takes no traces. Check the"
                " endpoint."
            )
        elif status == 404:
            reason = f"{self._where} knows no such path (404). Check the endpoint."
        elif status == 413:
            reason = f"{self._where} takes no request of this size (413)."
        elif status == 429:
            reason = f"{self._where} takes no more for now (429): its rate limit is reached."
        elif again:
            reason = f"{self._where} has a fault of its own ({status})."
        else:
            reason = f"{self._where} refuses the request ({status})."
        return Failure(reason=reason, again=again, after=after, too_large=status == 413)

    @property
    def _where(self) -> str:
        # Without what may be secret in a URL.
        port = f":{self._url.port}" if self._url.port else ""
        return f"{self._url.scheme}://{self._url.hostname}{port}{self._url.path}"


def _connection(url: SplitResult, timeout: float) -> http.client.HTTPConnection:
    host = url.hostname or ""
    proxy = (
        None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(url.scheme)
    )
    if url.scheme == "http" and not proxy:
        return http.client.HTTPConnection(host, url.port, timeout=timeout)
    if url.scheme == "http":
        raise ConnectionError("a proxy is only supported for https endpoints")
    if not proxy:
        return http.client.HTTPSConnection(host, url.port, timeout=timeout, context=_tls())
    by = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    connection = http.client.HTTPSConnection(
        by.hostname or "", by.port, timeout=timeout, context=_tls()
    )
    connection.set_tunnel(host, url.port or 443)
    return connection


def _tls() -> ssl.SSLContext:
    authorities = _variable("CERTIFICATE")
    if authorities is None and not ssl.get_default_verify_paths().cafile and find_spec("certifi"):
        import certifi

        authorities = certifi.where()
    context = ssl.create_default_context(cafile=authorities)
    if certificate := _variable("CLIENT_CERTIFICATE"):
        context.load_cert_chain(certificate, _variable("CLIENT_KEY"))
    return context


def _variable(name: str) -> str | None:
    """A file that OTEL_EXPORTER_OTLP_<name> or the traces' own variable names."""
    return (
        os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}")
        or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}")
        or None
    )


def _abort(connection: http.client.HTTPConnection) -> None:
    with suppress(Exception):
        connection.sock.shutdown(socket.SHUT_RDWR)


def _seconds(retry_after: str | None) -> float | None:
    """What a Retry-After header asks for, a number of seconds or a date."""
    if not retry_after:
        return None
    with suppress(ValueError):
        return max(0.0, float(retry_after))
    with suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    return None


def _without_a_traceback(error: Exception) -> str:
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


class GRPCTransport:
    """A channel of grpcio, which connects and reconnects by itself."""

    _METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._call: Any = None
        self._channel: Any = None
        # gRPC refuses header names with upper case.
        self._metadata = [(name.lower(), value) for name, value in settings.headers.items()]

    def send(self, request: bytes) -> Failure | None:
        try:
            import grpc
        except ImportError:
            return Failure(
                reason="OTLP over gRPC needs grpcio. Install it, or set"
                " OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf.",
                again=False,
            )
        try:
            if self._call is None:
                self._connect()
            self._call(request, timeout=self._settings.timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            return self._failure(grpc.StatusCode, error)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the thread goes on
            reason = f"{self._settings.endpoint} cannot be used ({_without_a_traceback(error)})."
            return Failure(reason=reason, again=False)
        return None

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def _connect(self) -> None:
        import grpc

        url = urlsplit(self._settings.endpoint)
        compression = (
            grpc.Compression.Gzip if self._settings.compressed else grpc.Compression.NoCompression
        )
        if url.scheme == "http":
            self._channel = grpc.insecure_channel(url.netloc, compression=compression)
        else:
            authorities = _variable("CERTIFICATE")
            credentials = grpc.ssl_channel_credentials(
                Path(authorities).read_bytes() if authorities else None
            )
            target = url.netloc if url.port else f"{url.netloc}:443"
            self._channel = grpc.secure_channel(target, credentials, compression=compression)
        self._call = self._channel.unary_unary(
            self._METHOD, request_serializer=None, response_deserializer=None
        )

    def _failure(self, codes: Any, error: Any) -> Failure:
        code = error.code()
        where = self._settings.endpoint
        if code in (codes.UNAUTHENTICATED, codes.PERMISSION_DENIED):
            return Failure(reason=_REJECTED.format(code.name), again=False)
        if code in (codes.UNAVAILABLE, codes.DEADLINE_EXCEEDED):
            reason = f"{where} cannot be reached ({code.name}). Check the endpoint and the network."
            return Failure(reason=reason, again=True)
        if code in (codes.RESOURCE_EXHAUSTED, codes.ABORTED, codes.CANCELLED, codes.INTERNAL):
            return Failure(reason=f"{where} has a fault of its own ({code.name}).", again=True)
        return Failure(reason=f"{where} refuses the request ({code.name}).", again=False)
