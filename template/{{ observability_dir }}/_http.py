"""OTLP over HTTP, on one keep-alive connection."""

import base64
import email.utils
import encodings.idna  # noqa: F401 - otherwise the first DNS lookup imports it, perhaps during a fork
import gzip
import http.client
import io
import socket
import ssl
import time
import urllib.request
from contextlib import suppress
from functools import partial
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from ._export_queue import INVALID_KEY, ExportError, one_line
from ._settings import Settings

_RETRYABLE: Final = frozenset({408, 429, 500, 502, 503, 504})
# By status, or by its first digit.
_CAUSES: Final = {
    404: "no such path. Check the endpoint.",
    413: "the request is too large.",
    429: "rate limited.",
    3: "a redirect, which is not followed. Check the endpoint.",
    5: "a server error.",
}


class HTTPTransport:
    """Post requests, through the proxy in the environment if there is one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        url = self._url = urlsplit(settings.endpoint)
        # Logged, so without the query, which may contain a secret.
        self._where = f"{url.scheme}://{url.netloc}{url.path}"
        self._headers = {
            "content-type": "application/x-protobuf",
            "user-agent": "OTel-OTLP-Exporter-Python",
            **({"content-encoding": "gzip"} if settings.compression == "gzip" else {}),
            **settings.headers,
        }
        self._connection: http.client.HTTPConnection | None = None
        self._target = ""
        self._proxy_headers: dict[str, str] = {}

    def send(self, request: bytes) -> ExportError | None:
        # Higher levels cost several times as much CPU and save a few percent.
        body = gzip.compress(request, 1) if self._settings.compression == "gzip" else request
        deadline = time.monotonic() + self._settings.timeout
        try:
            is_reused = self._connection is not None
            try:
                response = self._post(body, deadline)
            except (http.client.RemoteDisconnected, ConnectionError):
                if not is_reused:
                    raise
                # The server closed an idle keep-alive connection; retry once on a new one.
                response = self._post(body, deadline)
        except Exception as error:  # noqa: BLE001 - the worker thread must continue
            self.close()
            timed_out = time.monotonic() >= deadline or isinstance(error, TimeoutError)
            cause = f"no response in {self._settings.timeout:g} s" if timed_out else one_line(error)
            reason = f"could not reach {self._where} ({cause}). Check the endpoint and network."
            return ExportError(reason=reason, retryable=True)
        return self._error(response.status, response.headers)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, body: bytes, deadline: float) -> http.client.HTTPResponse:
        connection = self._connection = self._connection or self._connect()
        remaining = max(0.001, deadline - time.monotonic())
        connection.timeout = remaining
        if connection.sock:
            connection.sock.settimeout(remaining)
        connection.response_class = partial(_Response, deadline=deadline)  # type: ignore[assignment]
        try:
            connection.request("POST", self._target, body, self._headers | self._proxy_headers)
            response = connection.getresponse()
            # Only the status matters; the body is read so that the connection can be reused.
            with suppress(Exception):
                response.read(65_536)
            if not response.isclosed() or response.will_close:
                self.close()
            return response
        except BaseException:
            self.close()
            raise

    def _connect(self) -> http.client.HTTPConnection:
        url = self._url
        self._target = f"{url.path or '/'}{f'?{url.query}' if url.query else ''}"
        proxy = _proxy(url)
        host, port = (proxy or url).hostname or "", (proxy or url).port
        if url.scheme == "http":
            if proxy:
                self._target = f"http://{url.netloc}{self._target}"
                self._proxy_headers = _credentials(proxy)
            return http.client.HTTPConnection(host, port)
        connection = http.client.HTTPSConnection(host, port, context=self._tls_context())
        if proxy:
            connection.set_tunnel(url.hostname or "", url.port or 443, _credentials(proxy))
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        settings, authorities = self._settings, self._settings.certificate
        if not authorities and not ssl.get_default_verify_paths().cafile:
            with suppress(ImportError):
                import certifi

                authorities = certifi.where()
        context = ssl.create_default_context(cafile=authorities)
        if settings.client_certificate:
            context.load_cert_chain(settings.client_certificate, settings.client_key)
        return context

    def _error(self, status: int, headers: http.client.HTTPMessage) -> ExportError | None:
        if 200 <= status < 300:
            return None
        cause = _CAUSES.get(status) or _CAUSES.get(status // 100, "the request was rejected.")
        reason = f"{self._where} returned {status}: {cause}"
        return ExportError(
            reason=INVALID_KEY.format(status) if status in (401, 403) else reason,
            retryable=status in _RETRYABLE,
            retry_after=_seconds_until(headers.get("retry-after")),
            too_large=status == 413,
        )


class _Response(http.client.HTTPResponse):
    """An HTTP response with a total deadline; a socket's timeout limits each read only."""

    def __init__(self, sock: socket.socket, *args: Any, deadline: float, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(sock, deadline))


class _DeadlineReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._socket = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        return self._socket.recv_into(buffer)


def _proxy(url: SplitResult) -> SplitResult | None:
    proxy = urllib.request.getproxies().get(url.scheme)
    if not proxy or urllib.request.proxy_bypass(url.hostname or ""):
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def _credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"proxy-authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


def _seconds_until(retry_after: str | None) -> float | None:
    with suppress(ValueError):
        return max(0.0, float(retry_after or ""))
    with suppress(ValueError, TypeError):
        date = email.utils.parsedate_to_datetime(retry_after or "")
        return max(0.0, date.timestamp() - time.time())
    return None
