"""`setup_observability`, in a separate process each time, because it runs once per process."""

import pytest

from .programs import run

REPORT = """
from opentelemetry import trace
provider = trace.get_tracer_provider()
processors = getattr(getattr(provider, "_active_span_processor", None), "_span_processors", ())
print(type(provider).__name__, [type(processor).__name__ for processor in processors])
"""
SET_UP = """
from observability import setup_observability
setup_observability()
"""
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


def test_without_a_key_one_warning_is_logged_and_no_provider_is_set() -> None:
    output, log = run(SET_UP + SET_UP + REPORT)

    assert output == "ProxyTracerProvider []"
    [line] = log
    assert line.startswith("HONEYCOMB_API_KEY is not set; no traces are exported.")


def test_second_call_has_no_effect() -> None:
    assert run(SET_UP + SET_UP + REPORT, ENDPOINT)[0] == "TracerProvider ['TelemetryProcessor']"


EXISTING = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
class Existing(TracerProvider): pass
trace.set_tracer_provider(Existing())
"""


def test_existing_provider_is_kept_and_receives_the_span_processor() -> None:
    assert run(EXISTING + SET_UP + REPORT, ENDPOINT) == ("Existing ['TelemetryProcessor']", [])


def test_sample_rate_with_an_existing_provider_logs_one_warning() -> None:
    output, [line] = run(EXISTING + SET_UP + REPORT, ENDPOINT | {"HONEYCOMB_SAMPLE_RATE": "10"})

    assert output == "Existing ['TelemetryProcessor']"
    assert line == "HONEYCOMB_SAMPLE_RATE is ignored; set your tracer provider's sampler."


@pytest.mark.parametrize(
    "environment",
    [
        {"HONEYCOMB_ENABLED": "false"},
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_disabled_telemetry_sets_no_provider_and_logs_nothing(environment: dict[str, str]) -> None:
    assert run(SET_UP + REPORT, ENDPOINT | environment) == ("ProxyTracerProvider []", [])


def test_log_format_with_a_trace_id_works_if_telemetry_is_disabled() -> None:
    program = (
        SET_UP
        + """
import logging
logging.basicConfig(format="[%(trace_id)s] %(message)s")
logging.getLogger("anything").warning("message")
"""
    )
    assert run(program, {"HONEYCOMB_ENABLED": "false"}) == ("", ["[] message"])


def test_failed_setup_logs_one_warning_and_the_service_starts() -> None:
    broken = """
from opentelemetry.sdk.resources import OTELResourceDetector
def fail(*_): raise RuntimeError("no resource")
OTELResourceDetector.detect = fail
"""
    output, log = run(broken + SET_UP + REPORT, ENDPOINT)

    assert output == "ProxyTracerProvider []"
    assert log == ["Could not set up telemetry; the service runs without it: no resource"]


UNSUPPORTED = """
from opentelemetry import trace
trace.set_tracer_provider(trace.NoOpTracerProvider())
"""


def test_invalid_value_that_several_parts_read_logs_one_warning() -> None:
    program = """
from fastapi import FastAPI
from observability import instrument_app
instrument_app(FastAPI())
"""
    variables = {
        "HONEYCOMB_TRUST_INCOMING": "maybe",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "maybe",
        "OTEL_TRACES_EXPORTER": "console",
    }

    log = run(program, variables)[1]

    assert [line.partition(" ")[0] for line in log] == list(variables)[:2]


BESIDE_CONTRIB = """
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from observability import instrument_app
from observability.testing import capture_spans
with capture_spans() as spans:
    app = FastAPI()
    for instrument in (%s):
        instrument(app)
    TestClient(app).get("/docs")
print([(span.name, span.kind.name) for span in spans])
"""


@pytest.mark.parametrize("ours_first", [True, False])
def test_request_that_the_contrib_package_traces_too_has_one_span(ours_first: bool) -> None:
    package = "opentelemetry-instrumentation-fastapi"
    pytest.importorskip("opentelemetry.instrumentation.fastapi", reason=f"requires {package}")
    both = ["instrument_app", "FastAPIInstrumentor.instrument_app"][:: 1 if ours_first else -1]

    assert run(BESIDE_CONTRIB % ", ".join(both))[0] == "[('GET /docs', 'SERVER')]"


def test_provider_without_span_processors_logs_one_warning() -> None:
    output, [line] = run(UNSUPPORTED + SET_UP + REPORT, ENDPOINT)

    assert output == "NoOpTracerProvider []"
    assert line == (
        "Could not set up telemetry; the service runs without it: NoOpTracerProvider does not"
        " support span processors"
    )


FLUSH = """
from observability import flush, traced
with traced("work"):
    pass
print(flush(), flush())
"""


def test_flush_returns_false_and_logs_one_warning_if_the_receiver_refuses_connections() -> None:
    variables = ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    output, [failing, stopped] = run(SET_UP + FLUSH, variables)

    assert output == "False False"
    where = "http://127.0.0.1:1/v1/traces"
    assert failing.startswith(f"Trace export is failing: could not reach {where}")
    assert stopped == "Trace export stopped; 1 spans were dropped."


FLUSH_WITHOUT_THREADS = """
import threading
from observability import flush
threading.stack_size(2**45)  # more than there is, so that no thread can start
print(flush())
"""


def test_flush_works_if_no_thread_can_start() -> None:
    assert run(SET_UP + FLUSH_WITHOUT_THREADS, {"OTEL_TRACES_EXPORTER": "console"}) == ("True", [])


FORKS = """
import asyncio, os, signal, time
{set_up}
from observability import flush, traced
asyncio.run(asyncio.to_thread(time.sleep, 0))  # imports what registers functions for a fork
for _ in range({generations}):
    if child := os.fork():
        end = time.monotonic() + 60
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.01)
        os._exit(os.waitstatus_to_exitcode(ended[1]) != 0)
with traced("in child"):
    pass
os._exit(0 if flush() else 1)
"""


@pytest.mark.parametrize("generations", [1, 2])
def test_process_that_is_forked_after_others_have_used_threads_does_not_hang(
    generations: int,
) -> None:
    program = FORKS.format(set_up=SET_UP, generations=generations)

    run(program, {"OTEL_TRACES_EXPORTER": "console"})


# Outside a request, the filter has nothing to add, and raises.
FILTER = """
import contextvars, logging
request_id = contextvars.ContextVar("request_id")
class AddRequestId(logging.Filter):
    def filter(self, record):
        record.request_id = request_id.get()
        return True
logging.basicConfig()
logging.getLogger().handlers[0].addFilter(AddRequestId())
"""


@pytest.mark.parametrize(
    "variables",
    [
        {},
        ENDPOINT | {"HONEYCOMB_SAMPLE_RATE": "none"},
        ENDPOINT | {"OTEL_METRICS_EXPORTER": "otlp"},
    ],
)
def test_logging_filter_that_raises_stops_neither_setup_nor_requests(
    variables: dict[str, str],
) -> None:
    program = """
from fastapi import FastAPI
from fastapi.testclient import TestClient
from observability import instrument_app, traced
app = FastAPI()
instrument_app(app)

@app.get("/orders")
def orders() -> int:
    with traced("pack", {"odd": 1}) as span:
        span.update_name(None)  # cannot be exported
    return 7

print(TestClient(app).get("/orders").json())
"""

    assert run(FILTER + SET_UP + program, variables)[0] == "7"


def test_flush_accepts_any_timeout() -> None:
    program = """
from observability import flush, traced
for timeout in (float("inf"), 1e10, 1e300):
    with traced("work"):
        pass
    assert flush(timeout)
"""

    assert run(SET_UP + program, {"OTEL_TRACES_EXPORTER": "console"})[1] == []
