"""OTLP over HTTP, on one keep-alive connection."""

import base64
import email.utils
import encodings.idna  # noqa: F401 - otherwise the first DNS lookup imports it, perhaps during a fork
import gzip
import http.client
import socket
import ssl
import time
import urllib.request
from contextlib import suppress
from threading import Timer
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from ._export_queue import INVALID_KEY, ExportError, one_line, partial_success
from ._settings import Settings

_RETRYABLE: Final = frozenset({408, 429, 500, 502, 503, 504})
# One span may be the reason why all of a request are rejected.
_SPLITTABLE: Final = frozenset({400, 413, 422})
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
        self._is_sent = False
        self._proxy_headers: dict[str, str] = {}

    def send(self, request: bytes, timeout: float) -> ExportError | None:
        # Higher levels cost several times as much CPU and save a few percent.
        body = gzip.compress(request, 1) if self._settings.compression == "gzip" else request
        deadline = time.monotonic() + timeout
        is_reused = self._connection is not None
        try:
            try:
                return self._error(*self._post(body, deadline))
            except OSError as error:
                expired = time.monotonic() >= deadline or isinstance(error, TimeoutError)
                if expired or not is_reused:
                    raise
                # The server has closed an idle keep-alive connection; retry once on a new one.
                return self._error(*self._post(body, deadline))
        except Exception as error:  # noqa: BLE001 - the worker thread must continue
            timed_out = time.monotonic() >= deadline or isinstance(error, TimeoutError)
            cause = f"no response in {timeout:g} s" if timed_out else one_line(error)
            if timed_out and self._is_sent:
                reason = f"{self._where} is slow ({cause}); spans may be exported twice."
            else:
                reason = f"could not reach {self._where} ({cause}). Check the endpoint and network."
            return ExportError(reason=reason, retryable=True, timed_out=timed_out and self._is_sent)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, body: bytes, deadline: float) -> tuple[int, http.client.HTTPMessage, bytes]:
        self._is_sent = False
        connection = self._connection = self._connection or self._connect()
        remaining = max(0.001, deadline - time.monotonic())
        # A socket's timeout limits each read only; a response may arrive byte by byte.
        connection.timeout = remaining
        timer = Timer(remaining, self._abort, (connection,))
        timer.daemon = True
        answer = b""
        try:
            timer.start()
            connection.request("POST", self._target, body, self._headers | self._proxy_headers)
            self._is_sent = True
            response = connection.getresponse()
            # The body is read so that the connection can be reused; the status is enough.
            with suppress(Exception):
                answer = response.read(65_536)
            # After another status, bytes of a faulty response may precede the next one.
            if response.status != 200 or not response.isclosed() or response.will_close:
                self.close()
            return response.status, response.headers, answer
        except BaseException:
            self.close()
            raise
        finally:
            timer.cancel()

    def _abort(self, connection: http.client.HTTPConnection) -> None:
        with suppress(OSError, TypeError):  # closed, or not connected yet
            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

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
                import certifi  # type: ignore[import-not-found, unused-ignore]

                authorities = certifi.where()
        context = ssl.create_default_context(cafile=authorities)
        if settings.client_certificate:
            context.load_cert_chain(settings.client_certificate, settings.client_key)
        return context

    def _error(
        self, status: int, headers: http.client.HTTPMessage, answer: bytes
    ) -> ExportError | None:
        if 200 <= status < 300:
            return partial_success(answer, self._where)
        cause = _CAUSES.get(status) or _CAUSES.get(status // 100, "the request was rejected.")
        reason = f"{self._where} returned {status}: {cause}"
        return ExportError(
            reason=INVALID_KEY.format(status) if status in (401, 403) else reason,
            retryable=status in _RETRYABLE,
            retry_after=_seconds_until(headers.get("retry-after")),
            splittable=status in _SPLITTABLE,
        )


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
    with suppress(Exception):
        return max(0.0, float(retry_after or ""))
    with suppress(Exception):  # each part of a date may be out of range
        date = email.utils.parsedate_to_datetime(retry_after or "")
        return max(0.0, date.timestamp() - time.time())
    return None
