"""OTLP over HTTP. Each request has its own connection: receivers close idle ones."""

import encodings.idna  # noqa: F401 - otherwise the first DNS lookup imports it, perhaps during a fork
import gzip
import http.client
import socket
import ssl
import time
from contextlib import suppress
from importlib import import_module
from threading import Timer
from typing import Final
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, getproxies

from ._export_queue import INVALID_KEY, ExportError, partial_success
from ._settings import Settings

_RETRYABLE: Final = frozenset({408, 429, 500, 502, 503, 504})
_SPLITTABLE: Final = frozenset({400, 413, 422})  # one span may be the reason


class Transport:
    """Post requests, through the proxy in the environment if there is one."""

    def __init__(self, settings: Settings) -> None:
        self._is_compressed = settings.compression == "gzip"
        url, request = urlsplit(settings.endpoint), Request(settings.endpoint)
        self._where = f"{url.scheme}://{url.netloc}{url.path}"  # logged: a query may be secret
        self._headers = {"user-agent": "OTel-OTLP-Exporter-Python", **settings.headers}
        self._headers["content-type"] = "application/x-protobuf"
        self._headers |= {"content-encoding": "gzip"} if self._is_compressed else {}
        if proxy := getproxies().get(url.scheme):
            # Without effect if no_proxy contains the host. The connection to a proxy has no TLS.
            ProxyHandler({}).proxy_open(request, f"http://{proxy.rpartition('://')[2]}", url.scheme)
        if url.scheme == "http":
            self._connection = http.client.HTTPConnection(request.host)
            self._headers |= request.headers
        else:
            authorities = settings.certificate
            if not authorities and not ssl.get_default_verify_paths().cafile:
                with suppress(ImportError):
                    authorities = import_module("certifi").where()
            context = ssl.create_default_context(cafile=authorities)
            if settings.client_certificate:
                context.load_cert_chain(settings.client_certificate, settings.client_key)
            self._connection = http.client.HTTPSConnection(request.host, context=context)
            if request.host != url.netloc:
                self._connection.set_tunnel(url.netloc, headers=request.headers)
        self._target = request.selector or "/"

    def send(self, request: bytes, timeout: float) -> ExportError | None:
        body = gzip.compress(request, 1) if self._is_compressed else request  # higher saves little
        connection, is_sent = self._connection, False
        connection.timeout, deadline = timeout, time.monotonic() + timeout
        timer = Timer(timeout, _abort, (connection,))  # a response may arrive byte by byte
        timer.daemon = True
        timer.start()
        try:
            connection.request("POST", self._target, body, self._headers)
            is_sent = True
            if time.monotonic() >= deadline:  # the timer cannot abort a TLS handshake
                raise TimeoutError
            response = connection.getresponse()
            status, answer = response.status, b""
            with suppress(Exception):  # the status is enough
                answer = response.read(65_536)
        except Exception as error:  # noqa: BLE001 - the worker thread must continue
            timed_out = isinstance(error, TimeoutError) or time.monotonic() >= deadline
            cause = f"no response in {timeout:g} s" if timed_out else repr(error)[:100]
            reason = f"could not reach {self._where} ({cause}). Check the endpoint and network."
            if is_slow := timed_out and is_sent:
                reason = f"{self._where} is slow ({cause}); spans may be exported twice."
            return ExportError(reason=reason, retryable=True, timed_out=is_slow)
        finally:
            timer.cancel()
            connection.close()  # the next request opens it again
        if 200 <= status < 300:
            return partial_success(answer, self._where)
        hint = "" if status in _RETRYABLE | _SPLITTABLE else " Check the endpoint."
        name = http.client.responses.get(status, "unknown")
        reason = f"{self._where} returned {status} ({name}).{hint}"
        delay = response.headers.get("retry-after", "")  # in seconds; a date has no effect
        return ExportError(
            reason=INVALID_KEY.format(status) if status in (401, 403) else reason,
            retryable=status in _RETRYABLE,
            retry_after=float(delay) if delay.isdecimal() else None,
            splittable=status in _SPLITTABLE,
        )


def _abort(connection: http.client.HTTPConnection) -> None:
    with suppress(OSError, TypeError):  # closed, or not connected yet
        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
