"""The export queue with the real HTTP transport, and receivers that fail in every way."""

import gzip
import logging
import os
import re
import ssl
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Semaphore
from typing import Any, Self

import pytest

pytest.importorskip("opentelemetry.proto", reason="requires opentelemetry-proto")

import grpc
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from observability import _export_queue, _grpc, _http
from observability._export_queue import ExportQueue
from observability._settings import Settings
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags

from .receivers import Action, GRPCReceiver, Proxy, ScriptedReceiver

# A certificate for 127.0.0.1, and the file of the authority that has issued it.
_authority = trustme.CA()
_folder = tempfile.TemporaryDirectory()
AUTHORITY = Path(_folder.name) / "authority.pem"
_authority.cert_pem.write_to_path(str(AUTHORITY))
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
_authority.issue_cert("127.0.0.1").configure_cert(TLS)

DROPPED = re.compile(r"^Trace export (?:recovered|stopped); (\d+) spans were dropped\.$")
PATIENCE = 120.0
# A receiver that accepts only clients with a certificate of the same authority, over both protocols.
CLIENT = Path(_folder.name) / "client.pem"
_authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(str(CLIENT))
_server = _authority.issue_cert("127.0.0.1")
MUTUAL_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
MUTUAL_TLS.verify_mode = ssl.CERT_REQUIRED
_authority.configure_trust(MUTUAL_TLS)
_server.configure_cert(MUTUAL_TLS)
CREDENTIALS = grpc.ssl_server_credentials(
    [(_server.private_key_pem.bytes(), _server.cert_chain_pems[0].bytes())],
    _authority.cert_pem.bytes(),
    require_client_auth=True,
)
# Spans are sent by a flush only.
WAITING = {"OTEL_BSP_SCHEDULE_DELAY": "60000", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1000000"}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_export_queue, "_MAX_BACKOFF_SECONDS", 0.01)


class Log(logging.Handler):
    """The lines that an export queue logs while the block runs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __enter__(self) -> Self:
        logging.getLogger("observability").addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger("observability").removeHandler(self)

    def dropped(self) -> int:
        matches = filter(None, map(DROPPED.match, self.lines))
        return sum(int(match[1]) for match in matches)


def read_settings(endpoint: str, **options: str) -> Settings:
    """Return the settings of a queue with small batches."""
    defaults = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.3",
        "OTEL_BSP_SCHEDULE_DELAY": "1",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4",
    }
    return Settings(variables=defaults | options)


@contextmanager
def exporting(receiver: ScriptedReceiver, **options: str) -> Iterator[ExportQueue]:
    """An export queue that sends to `receiver`; it is not shut down."""
    if isinstance(receiver, GRPCReceiver):
        options["OTEL_EXPORTER_OTLP_PROTOCOL"] = "grpc"
    to = read_settings(receiver.endpoint, **options)
    transport: Any = _grpc if to.protocol == "grpc" else _http
    yield ExportQueue(lambda: transport.Transport(to), Resource({}), to)


def create(queue: ExportQueue, *names: str, **attributes: Any) -> None:
    context = SpanContext(1, 2, False, TraceFlags(1))
    # Without a resource, the SDK detects one for each span.
    resource = Resource({})
    queue.export([ReadableSpan(name, context, None, resource, attributes) for name in names])


def flush(queue: ExportQueue) -> None:
    """Flush until nothing is left to send, however often a request fails."""
    deadline = time.monotonic() + PATIENCE
    while not queue.force_flush(1_000) or queue._queue:
        assert time.monotonic() < deadline


HEADERS = st.sampled_from(
    [
        (),
        (("retry-after", "0"),),
        (("retry-after", "-1"),),
        (("retry-after", "nan"),),
        (("retry-after", "1e999"),),
        (("retry-after", "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"),),
        (("retry-after", "Wed, 21 Oct 2015 07:28:00 +9999999999"),),
        (("retry-after", "\u00e9\x00"),),
        (("retry-after", "9" * 60_000),),
        (("connection", "close"),),
        (("transfer-encoding", "chunked"),),
        (("content-length", "-1"),),
        (("content-encoding", "gzip"),),
    ]
) | st.tuples(
    st.tuples(st.just("retry-after"), st.text("0123456789 .,:-+ADGMOTWacdelnrtu", max_size=40))
)
STATUSES = st.sampled_from(
    [200, 202, 204, 301, 400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 501, 502, 503, 504, 599]
)
ACTIONS = st.one_of(
    st.builds(Action, STATUSES, HEADERS, st.binary(max_size=20)),
    st.builds(Action, rejected=st.integers(1, 6)),
    st.builds(Action, ending=st.sampled_from(["close", "reset", "HTTP/1.1 20", "\x00\r\n\r\n"])),
    st.builds(Action, ending=st.sampled_from(["close", "reset"]), accepts=st.just(True)),
    st.builds(Action, ending=st.just("idle")),
    st.builds(Action, ending=st.just("silence"), accepts=st.booleans()),
)


GRPC_CODES = st.sampled_from(
    ["ABORTED", "INTERNAL", "INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAVAILABLE", "UNIMPLEMENTED"]
)
GRPC_ACTIONS = st.one_of(
    st.builds(Action, code=GRPC_CODES),
    st.builds(Action, code=st.just("RESOURCE_EXHAUSTED")),
    st.builds(
        Action,
        code=st.sampled_from(["RESOURCE_EXHAUSTED", "UNAVAILABLE"]),
        retry_after=st.sampled_from([0.0, 0.001, 1.0, 1e9]),
    ),
    st.builds(Action, rejected=st.integers(1, 6)),
    # DEADLINE_EXCEEDED.
    st.builds(Action, ending=st.just("silence"), accepts=st.booleans()),
    st.builds(Action, code=st.just("UNAVAILABLE"), accepts=st.just(True)),
)
ENDS = st.tuples(
    st.sampled_from(["close", "reset"]),
    st.sampled_from(["before TLS", "after TLS", "in the request"]),
)


def example_counts(plain: int) -> Any:
    """More examples in depth; some of them wait for several timeouts."""
    most = 4 * plain if "TEST_IN_DEPTH" in os.environ else plain
    return settings(max_examples=most, deadline=None, suppress_health_check=list(HealthCheck))


@example_counts(40)
@given(st.lists(ACTIONS, max_size=12), st.integers(1, 12))
def test_every_span_is_received_or_logged_as_dropped(script: list[Action], count: int) -> None:
    check_that_every_span_is_accounted_for(ScriptedReceiver(deque(script)), count)


@example_counts(15)
@given(st.lists(ACTIONS, max_size=6), st.lists(ENDS, max_size=6), st.integers(1, 12))
def test_every_span_is_received_or_logged_as_dropped_over_tls(
    script: list[Action], connections: list[tuple[str, str]], count: int
) -> None:
    receiver = ScriptedReceiver(deque(script), tls=TLS, connections=deque(connections))
    check_that_every_span_is_accounted_for(
        receiver, count, OTEL_EXPORTER_OTLP_CERTIFICATE=str(AUTHORITY)
    )


@example_counts(15)
@given(st.lists(GRPC_ACTIONS, max_size=12), st.integers(1, 12))
def test_every_span_is_received_or_logged_as_dropped_over_grpc(
    script: list[Action], count: int
) -> None:
    check_that_every_span_is_accounted_for(GRPCReceiver(deque(script)), count)


def check_that_every_span_is_accounted_for(
    receiver: ScriptedReceiver, count: int, **options: str
) -> None:
    faulty = [f"faulty {number}" for number in range(count)]
    healthy = [f"healthy {number}" for number in range(6)]
    with Log() as log, receiver, exporting(receiver, **options) as queue:
        for name in faulty:
            create(queue, name)
        deadline = time.monotonic() + PATIENCE
        while receiver.script or receiver.connections:
            # Another span, in case that all have been accepted or dropped.
            faulty.append(f"faulty {len(faulty)}")
            create(queue, faulty[-1])
            queue.force_flush(1_000)
            if receiver.connections and not receiver.script:
                receiver.script.append(Action(ending="idle"))  # the next one needs a connection
            assert time.monotonic() < deadline
        flush(queue)
        before = Counter(receiver.names)
        create(queue, *healthy)
        flush(queue)
        queue.shutdown()

    assert receiver.names - before == Counter(healthy)
    # Only a request whose response was lost may be repeated.
    repeated = {name for name, times in receiver.names.items() if times > 1}
    assert repeated <= receiver.unacknowledged
    lost = set(faulty) - set(receiver.names)
    unsure = set(faulty) & receiver.unacknowledged
    assert len(lost) <= log.dropped() <= len(lost | unsure)
    assert len(lost) == log.dropped() or unsure


OK = "HTTP/1.1 200 OK\r\n"
CHUNKED = f"{OK}transfer-encoding: chunked\r\n\r\n"
CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n"
ODD_RESPONSES = {
    "three interim responses": Action(
        ending=f"{CONTINUE * 3}{OK}content-length: 0\r\n\r\n", accepts=True
    ),
    "endless interim responses": Action(ending=CONTINUE, repeated=CONTINUE.encode()),
    "endless headers": Action(ending=OK, repeated=b"x-odd: odd\r\n"),
    "endless header": Action(ending=f"{OK}x-odd: ", repeated=b"odd"),
    "endless chunks": Action(ending=CHUNKED, repeated=b"3\r\nodd\r\n", accepts=True),
    "endless slow chunks": Action(
        ending=CHUNKED, repeated=b"3\r\nodd\r\n", pause=0.05, accepts=True
    ),
    "endless chunk": Action(ending=f"{CHUNKED}fffffff\r\n", repeated=b"odd", accepts=True),
    "negative chunk": Action(ending=f"{CHUNKED}-1\r\n", accepts=True),
    "body of 10 GB": Action(
        ending=f"{OK}content-length: 10000000000\r\n\r\n", repeated=b"odd", accepts=True
    ),
    "10 MB in 10 kB of gzip": Action(
        headers=(("content-encoding", "gzip"),), body=gzip.compress(bytes(10_000_000))
    ),
    "two lengths": Action(headers=(("content-length", "7"),)),
    "negative status": Action(ending="HTTP/1.1 -20 OK\r\n\r\n"),
    "other protocol": Action(ending="SSH-2.0-OpenSSH_9.6\r\n"),
    "null bytes": Action(ending=f"{OK}a\0b: \0\r\ncontent-length: 0\r\n\r\n", accepts=True),
    "switching protocols": Action(101, (("upgrade", "h2c"),)),
    "negative number of rejected spans": Action(rejected=-7),
    "more rejected spans than were sent": Action(rejected=2**62),
}


@pytest.mark.parametrize("name", ODD_RESPONSES)
def test_odd_response_neither_ends_the_export_nor_loses_other_spans(name: str) -> None:
    check_that_every_span_is_accounted_for(ScriptedReceiver(deque([ODD_RESPONSES[name]])), 2)


@pytest.mark.parametrize("status", [301, 303, 307, 308])
def test_redirect_is_not_followed_and_its_target_does_not_get_the_key(status: int) -> None:
    with Log() as log, ScriptedReceiver() as other:
        script = deque([Action(status, (("location", f"{other.endpoint}/v1/traces"),))])
        with (
            ScriptedReceiver(script) as receiver,
            exporting(receiver, HONEYCOMB_API_KEY="hcaik_" + "k" * 58) as queue,
        ):
            for name in ("redirected", "next"):
                create(queue, name)
                flush(queue)
            queue.shutdown()

    assert (receiver.names, other.requests) == (Counter(["next"]), 0)
    failing, recovered = log.lines
    assert f"returned {status} " in failing
    assert recovered == "Trace export recovered; 1 spans were dropped."


def wait_for_a_line(log: Log) -> None:
    deadline = time.monotonic() + PATIENCE
    while not log.lines:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_handshake_that_arrives_byte_by_byte_ends_with_the_timeout_of_its_request() -> None:
    # The whole handshake would need a minute.
    with Log() as log, ScriptedReceiver(tls=TLS) as receiver, Proxy(receiver.port, size=1) as proxy:
        options = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": proxy.url.replace("http", "https"),
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(AUTHORITY),
        }
        with exporting(receiver, **options) as queue:
            create(queue, "one")
            wait_for_a_line(log)
            # A shutdown does not wait for the next one either.
            queue._timeout = PATIENCE
            queue.drain(0.5)
            assert receiver.requests == 0
            queue.shutdown()

    failing, stopped = log.lines
    assert "could not reach" in failing
    assert "(no response in 0.3 s)" in failing
    assert stopped == "Trace export stopped; 1 spans were dropped."


def test_response_that_arrives_slowly_after_a_late_handshake_ends_with_the_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # During a handshake, a connection cannot be aborted.
    endless = Action(ending=f"{OK}x-odd: ", repeated=b"x", pause=0.05)
    receiver = ScriptedReceiver(deque([endless]), tls=TLS)
    with Log() as log, receiver, Proxy(receiver.port, delay=0.7) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "")
        options = {
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(AUTHORITY),
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        }
        with exporting(receiver, **options) as queue:
            create(queue, "one")
            wait_for_a_line(log)
            flush(queue)
            queue.shutdown()

    assert receiver.names == Counter(["one"])
    assert "(no response in 1 s)" in log.lines[0]


@pytest.mark.parametrize("status", [400, 413, 500, 503])
def test_span_that_is_always_rejected_blocks_no_other(status: int) -> None:
    def refuse(names: list[str]) -> Action | None:
        return Action(status) if "bad" in names else None

    good = [f"good {number}" for number in range(300)]
    with Log() as log, ScriptedReceiver(refuses=refuse) as receiver, exporting(receiver) as queue:
        create(queue, *good[:100], "bad", *good[100:200])
        queue.force_flush(1_000)
        deadline = time.monotonic() + PATIENCE
        for name in good[200:]:
            create(queue, name)
            queue.force_flush(1_000)
        while not log.lines or not log.lines[-1].endswith("; 1 spans were dropped."):
            good.append(f"good {len(good)}")
            create(queue, good[-1])
            queue.force_flush(1_000)
            assert time.monotonic() < deadline
        flush(queue)
        queue.shutdown()

    assert receiver.names == Counter(good)
    assert log.dropped() == 1


def test_receiver_that_rejects_everything_is_not_sent_each_span() -> None:
    def refuse(names: list[str]) -> Action:
        return Action(400)

    with ScriptedReceiver(refuses=refuse) as receiver, exporting(receiver, **WAITING) as queue:
        for _ in range(5):
            create(queue, *(["bad"] * 1_000))
            queue.force_flush(10_000)
        queue.shutdown()

    assert receiver.requests < 60


def test_rejected_span_costs_no_other_of_a_large_request() -> None:
    def refuse(names: list[str]) -> Action | None:
        return Action(400) if "bad" in names else None

    good = [f"good {number}" for number in range(499)]
    with ScriptedReceiver(refuses=refuse) as receiver, exporting(receiver, **WAITING) as queue:
        create(queue, *good, "bad")
        flush(queue)
        queue.shutdown()

    assert receiver.names == Counter(good)


def test_failed_request_is_not_repeated_before_its_pause_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_export_queue, "_MAX_BACKOFF_SECONDS", 600.0)
    script = deque([Action(503, headers=(("retry-after", "600"),))])
    with ScriptedReceiver(script) as receiver, exporting(receiver) as queue:
        create(queue, "one")
        assert not queue.force_flush(int(PATIENCE * 1_000))
        create(queue, *["more"] * 4)
        time.sleep(0.2)  # on a slow machine, fewer requests arrive in this time, not more
        assert receiver.requests == 1
        flush(queue)
        queue.shutdown()

    assert receiver.names == Counter({"one": 1, "more": 4})


def test_export_recovers_after_a_thousand_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_export_queue, "_MAX_BACKOFF_SECONDS", 0.0)
    failures = iter(range(1_100))

    class Unreachable:
        def send(self, request: bytes, timeout: float) -> None:
            if next(failures, None) is not None:
                raise OSError("no route to host")

    with Log() as log:
        queue = ExportQueue(Unreachable, Resource({}), read_settings("http://127.0.0.1"))
        create(queue, "one")
        flush(queue)
        queue.shutdown()

    assert log.lines[1:] == ["Trace export recovered; 0 spans were dropped."]


def test_full_queue_drops_older_spans_and_logs_their_number() -> None:
    names = [f"span {number}" for number in range(300)]
    with Log() as log, ScriptedReceiver() as receiver, exporting(receiver, **WAITING) as queue:
        create(queue, *names, text="x" * 60_000)
        flush(queue)
        queue.shutdown()

    assert set(names[200:]) <= receiver.names.keys()
    assert log.dropped() == 300 - len(receiver.names) > 0
    assert log.lines[0] == f"Trace export is failing: {_export_queue._FULL}"


def test_span_after_the_shutdown_is_rejected() -> None:
    with ScriptedReceiver() as receiver, exporting(receiver) as queue:
        queue.shutdown()
        create(queue, "late")
        assert queue._bytes == 0

    assert receiver.requests == 0


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_key_is_sent_over_tls_to_a_receiver_that_requires_a_certificate(protocol: str) -> None:
    files = {"CERTIFICATE": str(AUTHORITY), "CLIENT_CERTIFICATE": str(CLIENT)}
    options = {f"OTEL_EXPORTER_OTLP_{name}": file for name, file in files.items()}
    receiver = ScriptedReceiver(tls=MUTUAL_TLS)
    if protocol == "grpc":
        receiver = GRPCReceiver(credentials=CREDENTIALS)
    with receiver, exporting(receiver, HONEYCOMB_API_KEY="k" * 22, **options) as queue:
        create(queue, "one")
        flush(queue)
        queue.shutdown()

    assert receiver.names == Counter(["one"])
    assert receiver.headers["x-honeycomb-team"] == "k" * 22


def test_query_of_the_endpoint_is_sent_and_not_logged() -> None:
    with Log() as log, ScriptedReceiver(deque([Action(404)])) as receiver:
        endpoint = f"{receiver.endpoint}/v1/traces"
        own = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{endpoint}?token=secret"}
        with exporting(receiver, **own) as queue:
            create(queue, "one")
            queue.force_flush(int(PATIENCE * 1_000))
            queue.shutdown()

    assert receiver.headers["path"] == "/v1/traces?token=secret"
    assert log.lines[0].startswith(f"Trace export is failing: {endpoint} returned 404 (Not Found).")


def test_grpc_without_its_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with Log() as log, GRPCReceiver() as receiver, exporting(receiver) as queue:
        monkeypatch.setitem(sys.modules, "grpc", None)
        create(queue, "one")
        assert not queue.force_flush(int(PATIENCE * 1_000))

    [line] = log.lines
    assert line.startswith("Trace export is failing: OTLP over gRPC requires grpcio. Install it")


@pytest.mark.parametrize("protocol", [ScriptedReceiver, GRPCReceiver])
def test_partial_success_is_logged_with_its_reason_and_count(
    protocol: type[ScriptedReceiver],
) -> None:
    receiver = protocol(deque([Action(rejected=2)]))
    with Log() as log, receiver, exporting(receiver, **WAITING) as queue:
        create(queue, "one", "two", "three", "four")
        assert not queue.force_flush(10_000)
        create(queue, "five")
        assert queue.force_flush(10_000)
        queue.shutdown()

    failing, recovered = log.lines
    assert failing.endswith("rejected 2 spans: 'too many\\nattributes'")
    assert recovered == "Trace export recovered; 2 spans were dropped."
    assert receiver.names == Counter(["one", "two", "five"])


def test_logging_filter_that_raises_ends_no_thread() -> None:
    def fail(record: logging.LogRecord) -> bool:
        raise RuntimeError("a broken filter")

    logging.getLogger("observability").addFilter(fail)
    try:
        script = deque([Action(503), Action(400)])
        with ScriptedReceiver(script) as receiver, exporting(receiver) as queue:
            create(queue, "one")
            flush(queue)
            create(queue, "two")
            flush(queue)
            queue.shutdown()
    finally:
        logging.getLogger("observability").removeFilter(fail)
    assert receiver.names["two"] == 1


def test_scopes_of_sent_spans_are_forgotten() -> None:
    # Older SDKs create one with each call of `get_tracer`.
    context, resource = SpanContext(1, 2, False, TraceFlags(1)), Resource({})
    with ScriptedReceiver() as receiver, exporting(receiver) as queue:
        for number in range(1_000):
            scope = InstrumentationScope("app", str(number))
            queue.export([ReadableSpan("a", context, None, resource, instrumentation_scope=scope)])
            if number % 10 == 9:
                flush(queue)
        assert len(queue._scopes) <= 10
        queue.shutdown()
    assert receiver.names["a"] == 1_000


def test_status_that_is_not_a_standard_one_is_logged() -> None:
    with (
        Log() as log,
        ScriptedReceiver(deque([Action(522)])) as receiver,
        exporting(receiver) as queue,
    ):
        create(queue, "one")
        flush(queue)
        queue.shutdown()
    assert log.lines[0].endswith("/v1/traces returned 522 (unknown). Check the endpoint.")


def test_transport_that_raises_ends_no_thread() -> None:
    class Broken:
        calls = 0

        def send(self, request: bytes, timeout: float) -> None:
            self.calls += 1
            if self.calls < 3:
                raise OverflowError("timestamp out of range")

    transport = Broken()
    queue = ExportQueue(lambda: transport, Resource({}), read_settings("http://127.0.0.1"))
    create(queue, "one")
    flush(queue)
    queue.shutdown()
    assert transport.calls == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_thread_that_has_died_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedReceiver() as receiver, exporting(receiver) as queue:
        send = queue._send

        def fail(batch: Any) -> Any:
            monkeypatch.setattr(queue, "_send", send)
            raise SystemExit

        monkeypatch.setattr(queue, "_send", fail)
        create(queue, "one")
        deadline = time.monotonic() + PATIENCE
        while queue._thread is not None:
            assert time.monotonic() < deadline
        create(queue, "two")
        flush(queue)
        queue.shutdown()
    assert receiver.names == Counter(["one", "two"])


def test_shutdown_retries_while_it_has_time() -> None:
    script = deque([Action(503), Action(503)])
    with Log() as log, ScriptedReceiver(script) as receiver, exporting(receiver) as queue:
        create(queue, "one")
        queue.shutdown()

    assert receiver.names == Counter(["one"])
    assert log.dropped() == 0


def test_shutdown_logs_the_number_of_unsent_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_export_queue, "SHUTDOWN_SECONDS", 0.5)

    def refuse(names: list[str]) -> Action:
        return Action(503)

    with Log() as log, ScriptedReceiver(refuses=refuse) as receiver, exporting(receiver) as queue:
        create(queue, "one", "two", "three")
        queue.shutdown()

    assert "503" in log.lines[0]
    assert log.lines[1:] == ["Trace export stopped; 3 spans were dropped."]


@pytest.mark.parametrize("protocol", [ScriptedReceiver, GRPCReceiver])
def test_slow_receiver_is_sent_each_span_about_once(protocol: type[ScriptedReceiver]) -> None:
    # It responds after three times the timeout.
    slow = [Action(ending="silence", accepts=True) for _ in range(2)]
    with Log() as log, protocol(deque(slow)) as receiver, exporting(receiver) as queue:
        create(queue, "one")
        flush(queue)
        assert queue._timeout == pytest.approx(1.2)
        queue.shutdown()

    assert receiver.names["one"] == 3
    assert "is slow" in log.lines[0]


def test_backlog_is_sent_in_large_requests() -> None:
    options = WAITING | {"OTEL_EXPORTER_OTLP_TIMEOUT": "600"}
    with ScriptedReceiver() as receiver, exporting(receiver, **options) as queue:
        for _ in range(200):
            create(queue, *(["span"] * 100), text="x" * 100)
        flush(queue)
        queue.shutdown()

    assert receiver.names == Counter({"span": 20_000})
    assert receiver.requests <= 4


def test_backlog_drains_to_a_receiver_that_responds_slowly() -> None:
    """600 spans a second and 3 s for each response: 1,800 further spans before each response."""
    arrived, answered = Semaphore(0), Semaphore(0)

    def wait(names: list[str]) -> None:
        arrived.release()
        answered.acquire(timeout=PATIENCE)

    options = {"OTEL_EXPORTER_OTLP_TIMEOUT": "600", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "512"}
    receiver = ScriptedReceiver(refuses=wait)
    with Log() as log, receiver, exporting(receiver, **options) as queue:
        create(queue, "span")
        for _ in range(10):
            assert arrived.acquire(timeout=PATIENCE)
            create(queue, *["span"] * 1_800, text="x" * 100)
            answered.release()
        answered.release(10)
        flush(queue)
        queue.shutdown()

    assert receiver.names == Counter({"span": 1 + 10 * 1_800})
    assert receiver.requests < 15
    assert log.lines == []


def test_huge_values_leave_room_for_other_spans() -> None:
    with Log() as log, ScriptedReceiver() as receiver, exporting(receiver, **WAITING) as queue:
        create(queue, "small", text="x")
        create(queue, "huge", text="x" * 17_000_000)
        create(queue, "many", **{f"text{number}": "x" * 60_000 for number in range(100)})
        assert queue._bytes < 200_000
        flush(queue)
        queue.shutdown()

    assert receiver.names == Counter(["small", "huge", "many"])
    assert log.lines == []
