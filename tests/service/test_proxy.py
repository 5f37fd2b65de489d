"""Exports through a proxy."""

import socket
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest

from ..conftest import Workshop
from .messages import export_lines, lost_spans


@pytest.fixture
def refusing_proxy() -> Iterator[tuple[int, list[str]]]:
    """A proxy that wants other credentials: its port, and the requests to it."""
    requests: list[str] = []

    def refuse() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                requests.append(connection.recv(65_536).decode("latin-1").lower())
                connection.sendall(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
                )

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=refuse, daemon=True).start()
        yield listener.getsockname()[1], requests
        listener.shutdown(socket.SHUT_RDWR)


ONE_SPAN: Final = """
from order_intake.observability import flush, setup_observability, traced

setup_observability()
with traced("work"):
    pass
flush(100)
"""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_receives_its_credentials_and_the_log_does_not(
    scheme: str, project: Path, workshop: Workshop, refusing_proxy: tuple[int, list[str]]
) -> None:
    port, requests = refusing_proxy
    variables: dict[str, Any] = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{scheme}://collector.example",
        f"{scheme}_proxy": f"http://na%40me:c4n4ry@127.0.0.1:{port}",
        "no_proxy": "",
        "NO_PROXY": "",
    }
    log = workshop.python(project, ONE_SPAN, **variables)

    credentials = b64encode(b"na@me:c4n4ry").decode().lower()
    assert all(f"proxy-authorization: basic {credentials}\r\n" in each for each in requests)
    assert requests
    failing, stopped = export_lines(log)
    assert "407" in failing
    assert lost_spans(stopped) == 1
    assert "c4n4ry" not in log
