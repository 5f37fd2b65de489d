"""Refinery 3.2.2 as `doctor` sees it: the responses that the real one has given."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen


class FakeRefinery:
    """Listens at `url` while the block runs, and passes unknown requests on to `honeycomb`."""

    url: str

    def __init__(self, honeycomb: str) -> None:
        self.honeycomb = honeycomb

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"honeycomb": self.honeycomb})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    honeycomb: ClassVar[str]

    def do_GET(self) -> None:
        match self.path:
            case "/version":
                self._respond(200, {"source": "refinery", "version": "3.2.2"})
            case "/ready":
                self._respond(200, {"source": "refinery", "ready": "yes"})
            case _:
                self._pass_on()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._respond(200, {})

    def _pass_on(self) -> None:
        headers = {"x-honeycomb-team": self.headers["x-honeycomb-team"]}
        try:
            with urlopen(Request(self.honeycomb + self.path, headers=headers)) as response:
                self._respond(response.status, json.load(response))
        except HTTPError as error:
            self._respond(error.code, json.load(error))
        except OSError as error:
            content = {"source": "refinery", "error": f"upstream target unavailable: {error}"}
            self._respond(503, content)

    def _respond(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
