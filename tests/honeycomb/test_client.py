"""The client of the management API: proxies, deadlines, retries and redaction."""

import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Thread

import pytest

from hooks.honeycomb.client import APIError, HoneycombClient, HTTPError, NoResponse, retry_after

from ..fakes.honeycomb import CONFIGURATION_KEY, FakeHoneycomb, Fault
from ..fakes.receiver import FaultyReceiver


@pytest.fixture
def refusing_proxy() -> Iterator[tuple[int, list[str]]]:
    """A proxy that rejects all credentials: its port, and the requests to it."""
    requests: list[str] = []
    response = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        requests.append(connection.recv(65_536).decode("latin-1").lower())
                        connection.sendall(response)

        Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1], requests
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_receives_its_credentials_and_the_error_does_not(
    scheme: str, refusing_proxy: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, requests = refusing_proxy
    monkeypatch.setenv(f"{scheme}_proxy", f"http://na%40me:c4n4ry@127.0.0.1:{port}")
    monkeypatch.setenv("no_proxy", "")
    error = ""
    with HoneycombClient(f"{scheme}://api.example", "a-key", print) as client:
        try:
            error = str(client.request("GET", "/1/auth").status_code)
        except NoResponse as no_response:
            error = str(no_response)

    credentials = b64encode(b"na@me:c4n4ry").decode().lower()
    [request] = requests
    assert f"proxy-authorization: basic {credentials}\r\n" in request
    assert "407" in error
    assert "c4n4ry" not in error


def test_slow_response_ends_at_the_total_deadline() -> None:
    # Each byte comes before a timeout of the socket would expire.
    with (
        FaultyReceiver("one byte every 10 s") as receiver,
        HoneycombClient(receiver.endpoint, "a-key", print, timeout=0.5) as client,
        pytest.raises(NoResponse, match=r"does not respond \(no response within 0.5 s\)"),
    ):
        client.request("GET", "/1/auth")


def test_pauses_grow_and_a_retry_after_header_overrides_them(
    honeycomb: FakeHoneycomb, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("hooks.honeycomb.client.FIRST_PAUSE", 1.0)
    monkeypatch.setattr("hooks.honeycomb.client.time.sleep", pauses.append)
    messages: list[str] = []
    with HoneycombClient(honeycomb.url, CONFIGURATION_KEY, messages.append) as client:
        honeycomb.plant(Fault(1, 3, status=503))
        assert client.get("/1/boards") == []
        honeycomb.plant(Fault(1, 1, status=429, headers={"retry-after": "7"}))
        assert client.get("/1/boards") == []
        honeycomb.plant(Fault(1, 1, status=503))
        assert client.create("/1/markers/orders", {}, lambda: "found") == "found"
        honeycomb.plant(Fault(1, 100, status=503))
        with pytest.raises(NoResponse):
            client.get("/1/boards")

    assert pauses == [1, 2, 4, 7, 1, 1, 2, 4, 8]
    assert messages[0] == (
        "Honeycomb returned a server error (503 to GET /1/boards). Retrying in 1 s."
    )
    assert messages[3] == "Honeycomb's rate limit is reached. Retrying in 7 s."


def test_wait_that_is_too_long_is_reported(honeycomb: FakeHoneycomb) -> None:
    honeycomb.plant(Fault(1, 9, status=429, headers={"retry-after": "3600"}))
    with (
        HoneycombClient(honeycomb.url, CONFIGURATION_KEY, lambda _: None) as client,
        pytest.raises(HTTPError) as raised,
    ):
        client.get("/1/boards")

    assert str(raised.value) == (
        "Honeycomb's rate limit is reached. Honeycomb asks to wait 3600 s."
    )
    assert honeycomb.requests == 1


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after("3.5") == 3.5
    assert retry_after("-1") == 0
    assert retry_after(None) is retry_after("soon") is None
    later = datetime.now(UTC) + timedelta(hours=1)
    seconds = retry_after(format_datetime(later, usegmt=True))
    assert seconds is not None
    assert 3_000 < seconds <= 3_600


def test_key_is_redacted_in_the_reason_of_an_error(honeycomb: FakeHoneycomb) -> None:
    with HoneycombClient(honeycomb.url, CONFIGURATION_KEY, print) as client:
        with pytest.raises(APIError) as raised:
            client.overwrite("PUT", f"/1/boards/{CONFIGURATION_KEY}", {})
        reason = client._reason({"detail": f"unknown key {CONFIGURATION_KEY}\x1b[2J"})

    assert str(raised.value).startswith("Honeycomb rejected the request (404 to PUT /1/boards/")
    assert reason == "unknown key (the key)[2J"


@pytest.mark.parametrize(
    ("detail", "reason"),
    [
        ([{"field": "name", "description": "is too long"}, {"field": "tags"}], "name: is too long; tags"),
        ([{"description": "is too long"}, "another"], "is too long"),
        (["text"], "invalid"),
        ({"field": "name"}, "invalid"),
        (None, "invalid"),
    ],
)  # fmt: skip
def test_reason_of_an_error_lists_the_fields_that_it_names(detail: object, reason: str) -> None:
    with HoneycombClient("https://api.example", "a-key", print) as client:
        assert client._reason({"type_detail": detail, "error": "invalid"}) == reason


def test_ipv6_endpoint_is_a_valid_origin() -> None:
    with HoneycombClient("http://[::1]:9", "a-key", print) as client:
        assert client.origin == "http://[::1]:9"
        with pytest.raises(NoResponse, match=r"^http://\[::1\]:9 does not respond"):
            client.request("GET", "/1/auth")


def test_requests_identify_the_tool(honeycomb: FakeHoneycomb) -> None:
    with HoneycombClient(honeycomb.url, CONFIGURATION_KEY, print) as client:
        request = client.request("GET", "/1/boards").request

    assert request.headers["user-agent"].startswith("copier-honeycomb/")
