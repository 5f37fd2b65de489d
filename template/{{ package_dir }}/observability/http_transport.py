"""OTLP over HTTP, for requests that are bytes already."""

import base64
import email.utils
import encodings.idna  # noqa: F401 - else the first look-up of a name imports it, perhaps amid a fork
import gzip
import http.client
import io
import socket
import ssl
import time
import urllib.request
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from .sending import REJECTED, Failure, in_one_line
from .settings import Settings

# Higher levels take several times as long and save a few percent.
_GZIP_LEVEL: Final = 1
_TAKE_LATER: Final = frozenset({408, 429, 500, 502, 503, 504})


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
        self._target = ""
        self._for_proxy: dict[str, str] = {}

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
                reason = in_one_line(error)
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
        if self._connection is None:
            self._connection, prefix, self._for_proxy = connection_to(self._url, self._settings)
            query = f"?{self._url.query}" if self._url.query else ""
            self._target = f"{prefix}{self._url.path or '/'}{query}"
        connection = self._connection
        remaining = max(0.001, deadline - time.monotonic())
        connection.timeout = remaining
        if connection.sock:
            connection.sock.settimeout(remaining)
        connection.response_class = partial(_Response, deadline=deadline)  # type: ignore[assignment]
        try:
            connection.request("POST", self._target, body, self._headers | self._for_proxy)
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

    def _failure(self, status: int, headers: http.client.HTTPMessage) -> Failure | None:
        if 200 <= status < 300:
            return None
        again = status in _TAKE_LATER
        after = seconds_of(headers.get("retry-after")) if again else None
        if status in (401, 403):
            reason = REJECTED.format(status)
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


class _Response(http.client.HTTPResponse):
    """A response that is there by a deadline, or not at all."""

    def __init__(self, sock: socket.socket, *args: Any, deadline: float, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_UntilDeadline(sock, deadline))


class _UntilDeadline(io.RawIOBase):
    """Reads a socket until a deadline. Its own time limit is for each piece that comes: one byte a
    second keeps it alive."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._socket = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        return self._socket.recv_into(buffer)


def connection_to(
    url: SplitResult, settings: Settings
) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
    """A connection to the host of `url`, through the environment's proxy where there is one, what
    precedes the path of whatever is asked for on it, and the headers that are for the proxy."""
    host = url.hostname or ""
    proxy = proxy_of(url)
    if proxy:
        if url.scheme == "http":
            by_proxy = http.client.HTTPConnection(proxy.hostname or "", proxy.port)
            return by_proxy, f"http://{url.netloc}", _credentials(proxy)
        tunnel = http.client.HTTPSConnection(
            proxy.hostname or "", proxy.port, context=tls_context(settings)
        )
        tunnel.set_tunnel(host, url.port or 443, _credentials(proxy))
        return tunnel, "", {}
    if url.scheme == "http":
        return http.client.HTTPConnection(host, url.port), "", {}
    return http.client.HTTPSConnection(host, url.port, context=tls_context(settings)), "", {}


def _credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"proxy-authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


def proxy_of(url: SplitResult) -> SplitResult | None:
    """The proxy that the environment names for `url`."""
    proxy = urllib.request.getproxies().get(url.scheme)
    if not proxy or urllib.request.proxy_bypass(url.hostname or ""):
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Certificates are held against the machine's authorities, or those of a file."""
    authorities = settings.certificate
    if authorities is None and not ssl.get_default_verify_paths().cafile and find_spec("certifi"):
        import certifi

        authorities = certifi.where()
    context = ssl.create_default_context(cafile=authorities)
    if settings.client_certificate:
        context.load_cert_chain(settings.client_certificate, settings.client_key)
    return context


def seconds_of(retry_after: str | None) -> float | None:
    """What a Retry-After header asks for, a number of seconds or a date."""
    if not retry_after:
        return None
    with suppress(ValueError):
        return max(0.0, float(retry_after))
    with suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    return None
