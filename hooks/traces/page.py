"""The page with recent traces, and the data that it requests.

It is served on 127.0.0.1 only. A web page of another site, also one whose name resolves to 127.0.0.1,
cannot read it; and the policy of the page allows no script but its own.
"""

import base64
import hashlib
import json
import re
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

from .as_json import trace_json, trace_summary
from .assembly import Trace, TraceAssembler
from .span_tree import span_nodes

_HOSTS: Final = ("127.0.0.1", "localhost", "::1")
_PING_SECONDS: Final = 15
# Changes within this time are sent together.
_BATCH_SECONDS: Final = 0.2
_TRACE_PATH: Final = re.compile(r"/traces/([0-9a-f]{1,64})")


class Page:
    """Responds to GET requests of a browser."""

    def __init__(self, assembler: TraceAssembler, *, keep: int) -> None:
        self._assembler = assembler
        self._keep = keep
        self._html = files(__package__).joinpath("page.html").read_bytes()
        self._headers = {
            "content-security-policy": _policy(self._html.decode()),
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
            "cache-control": "no-store",
        }

    def respond(self, request: BaseHTTPRequestHandler) -> bool:
        """Respond, unless the request is not a GET."""
        if request.command != "GET":
            return False
        path = urlsplit(request.path).path
        if not _is_own_host(request):
            port = request.server.server_port  # type: ignore[attr-defined]
            reason = f"Open http://127.0.0.1:{port}/ in a browser on this machine.\n"
            self._send(request, HTTPStatus.FORBIDDEN, "text/plain", reason.encode())
        elif path == "/":
            self._send(request, HTTPStatus.OK, "text/html; charset=utf-8", self._html)
        elif request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            self._send(request, HTTPStatus.FORBIDDEN, "text/plain", b"Not for other sites.\n")
        elif path == "/events":
            self._send_events(request)
        elif match := _TRACE_PATH.fullmatch(path):
            self._send_trace(request, self._assembler.get(match[1]))
        else:
            self._send(request, HTTPStatus.NOT_FOUND, "text/plain", b"Not found.\n")
        return True

    def _send_trace(self, request: BaseHTTPRequestHandler, trace: Trace | None) -> None:
        if trace is None:
            self._send(request, HTTPStatus.NOT_FOUND, "text/plain", b"Not kept any longer.\n")
            return
        body = json.dumps(trace_json(trace) | {"rows": _rows(trace)}).encode()
        self._send(request, HTTPStatus.OK, "application/json", body)

    def _send_events(self, request: BaseHTTPRequestHandler) -> None:
        """Send the traces so far, then each change, until the browser closes the connection."""
        request.close_connection = True
        request.send_response(HTTPStatus.OK)
        for name, value in self._headers.items():
            request.send_header(name, value)
        request.send_header("content-type", "text/event-stream")
        request.end_headers()
        version = -1
        with suppress(OSError):
            while True:
                current, changed = self._assembler.recent(version)
                if current != version:
                    content = {"keep": self._keep, "traces": [trace_summary(t) for t in changed]}
                    request.wfile.write(f"data: {json.dumps(content)}\n\n".encode())
                    version = current
                else:
                    request.wfile.write(b": still here\n\n")
                self._assembler.wait_for_change(version, _PING_SECONDS)
                time.sleep(_BATCH_SECONDS)

    def _send(
        self, request: BaseHTTPRequestHandler, status: HTTPStatus, content_type: str, body: bytes
    ) -> None:
        request.send_response(status)
        for name, value in self._headers.items():
            request.send_header(name, value)
        request.send_header("content-type", content_type)
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


def _rows(trace: Trace) -> list[dict[str, Any]]:
    """The rows of the waterfall, each with the position of its span in the tree."""
    nodes = span_nodes([*trace.spans.values()], trace.logs, group=len(trace.spans) + 1)
    return [
        {"span_id": node.span.span_id, "depth": node.depth, "is_orphan": node.is_orphan}
        for node in nodes
    ]


def _is_own_host(request: BaseHTTPRequestHandler) -> bool:
    """Check the name that the browser used, against names of others that resolve to 127.0.0.1."""
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}")
        own: int = request.server.server_port  # type: ignore[attr-defined]
        return host.hostname in _HOSTS and (host.port or 80) == own
    except ValueError:
        return False


def _policy(html: str) -> str:
    """The Content-Security-Policy that allows the page's own script and style only."""

    def source(element: str) -> str:
        [content] = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {source('script')}; style-src {source('style')};"
        " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )
