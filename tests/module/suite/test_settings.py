"""Settings and resource attributes, as read from environment variables."""

from pathlib import Path
from typing import Any

import pytest
from observability import _settings
from observability._settings import Settings
from observability._setup import create_resource
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from .programs import run

# Rendered only if gRPC was selected.
GRPC = "grpc" in _settings.PROTOCOLS
HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
KEY = "hcaik_" + "k" * 58


def test_without_variables_nothing_is_exported(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(variables={})

    assert settings.enabled
    assert settings.exporter == "none"
    assert settings.service_name == _settings.SERVICE_NAME == "shop"
    assert settings.protocol == ("grpc" if GRPC else "http/protobuf")
    assert settings.headers == {}
    [record] = caplog.records
    assert record.getMessage() == (
        "HONEYCOMB_API_KEY is not set; no traces are exported. Set it, or set"
        " OTEL_EXPORTER_OTLP_ENDPOINT to another receiver."
    )


@pytest.mark.parametrize(
    ("variables", "endpoint"),
    [
        ({}, f"{_settings.HONEYCOMB_ENDPOINT}/v1/traces"),
        ({"HONEYCOMB_API_ENDPOINT": "https://refinery:8080/"}, "https://refinery:8080/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "HTTP://[::1]:4318"}, "HTTP://[::1]:4318/v1/traces"),
        (
            {
                "HONEYCOMB_API_ENDPOINT": "https://api.honeycomb.io",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
            },
            "http://collector:4318/v1/traces",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://traces:4318/its/own/path",
            },
            "http://traces:4318/its/own/path",
        ),
    ],
)
def test_standard_endpoint_takes_precedence(variables: dict[str, str], endpoint: str) -> None:
    assert Settings(variables=HTTP | variables).endpoint == endpoint


GRPC_VARIABLES = {
    "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317",
}


@pytest.mark.skipif(not GRPC, reason="requires gRPC to be selected")
def test_endpoint_over_grpc_has_no_path() -> None:
    settings = Settings(variables=GRPC_VARIABLES)

    assert (settings.protocol, settings.endpoint) == ("grpc", "http://collector:4317")


@pytest.mark.skipif(GRPC, reason="requires gRPC not to be selected")
def test_grpc_falls_back_to_http_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(variables=GRPC_VARIABLES)

    assert settings.protocol == "http/protobuf"
    assert settings.endpoint == "http://collector:4317/v1/traces"
    assert [record.getMessage() for record in caplog.records] == [
        "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf; using http/protobuf."
    ]


def test_key_is_a_header_and_is_not_in_the_representation() -> None:
    settings = Settings(variables={"HONEYCOMB_API_KEY": f"  {KEY}\n"})

    assert settings.headers == {"x-honeycomb-team": KEY}
    assert settings.exporter == "otlp"
    assert KEY not in repr(settings)


def test_classic_key_adds_a_dataset_header() -> None:
    variables = {"HONEYCOMB_API_KEY": "0123456789abcdef" * 2}

    headers = Settings("orders", variables).headers
    assert headers["x-honeycomb-dataset"] == "orders"

    headers = Settings("orders", variables | {"HONEYCOMB_DATASET": "d"}).headers
    assert headers["x-honeycomb-dataset"] == "d"

    headers = Settings("orders", {"HONEYCOMB_API_KEY": KEY}).headers
    assert "x-honeycomb-dataset" not in headers


def test_longest_timeouts_are_those_of_sockets_and_locks() -> None:
    variables = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1e12", "OTEL_BSP_SCHEDULE_DELAY": "1e15"}

    settings = Settings(variables=variables)

    assert (settings.timeout, settings.delay_ms) == (1e6, 1e9)


def test_lists_of_exporters_export_and_print_spans() -> None:
    for exporters in ("otlp,console", "console, otlp"):
        variables = {"HONEYCOMB_API_KEY": KEY, "OTEL_TRACES_EXPORTER": exporters}
        settings = Settings(variables=variables)
        assert (settings.exporter, settings.console) == ("otlp", True)


def test_custom_headers_are_added() -> None:
    variables = {"HONEYCOMB_API_KEY": KEY, "OTEL_EXPORTER_OTLP_HEADERS": "X-Tenant=a%20b"}

    headers = Settings(variables=variables).headers

    assert headers == {"x-honeycomb-team": KEY, "x-tenant": "a b"}


@pytest.mark.parametrize(
    "variable",
    [
        {"HONEYCOMB_API_KEY": '"a-secret'},
        {"HONEYCOMB_API_KEY": "a-secret\nx"},
        {"HONEYCOMB_API_KEY": "a-secret\u00e9"},
        {"HONEYCOMB_ENABLED": "a-secret"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "a-secret"},
        {"OTEL_EXPORTER_OTLP_COMPRESSION": "a-secret"},
        {"OTEL_EXPORTER_OTLP_TIMEOUT": "a-secret"},
        {"OTEL_EXPORTER_OTLP_TIMEOUT": "-1"},
        {"OTEL_EXPORTER_OTLP_TIMEOUT": "nan"},
        {"OTEL_TRACES_EXPORTER": "a-secret"},
        {"OTEL_TRACES_SAMPLER": "a-secret"},
        {"OTEL_BSP_SCHEDULE_DELAY": "a-secret"},
        {"HONEYCOMB_SAMPLE_RATE": "0"},
        {"HONEYCOMB_SAMPLE_RATE": "2.5"},
        {"HONEYCOMB_SAMPLE_RATE": "1e400"},
        {"HONEYCOMB_KEEP_SLOW_MS": "a-secret"},
        {"HONEYCOMB_KEEP_COST_USD": "-1"},
    ],
)
def test_invalid_value_logs_one_warning_and_falls_back_to_the_default(
    variable: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    # An invalid key is ignored, so the settings are those without one.
    valid = {} if "HONEYCOMB_API_KEY" in variable else {"HONEYCOMB_API_KEY": KEY}
    default = Settings(variables=valid)
    caplog.clear()

    assert vars(Settings(variables=valid | variable)) == vars(default)

    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert next(iter(variable)) in record.message
    assert "a-secret" not in record.message


@pytest.mark.parametrize(
    ("variables", "rate"),
    [
        ({}, 1),
        ({"HONEYCOMB_SAMPLE_RATE": "10"}, 10),
        ({"OTEL_TRACES_SAMPLER": "always_on", "HONEYCOMB_SAMPLE_RATE": "10"}, 1),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}, 10),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, 1),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.15"}, 7),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1e-320"}, 10**9),
    ],
)
def test_sampler_ratio_is_converted_to_a_sample_rate(variables: dict[str, str], rate: int) -> None:
    assert Settings(variables=variables).sample_rate == rate


@pytest.mark.parametrize(
    "variables",
    [
        {"HONEYCOMB_ENABLED": "false"},
        {"HONEYCOMB_ENABLED": "No"},
        {"HONEYCOMB_ENABLED": "off"},
        {"HONEYCOMB_ENABLED": "0"},
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_SDK_DISABLED": "yes"},
        {"OTEL_TRACES_SAMPLER": "always_off"},
    ],
)
def test_telemetry_can_be_disabled(variables: dict[str, str]) -> None:
    assert not Settings(variables=variables).enabled


def test_resource_describes_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.version=from-otel,team=intake")

    settings = Settings("orders", {"ENVIRONMENT": "production"})
    attributes = create_resource(settings).attributes

    assert attributes["service.name"] == "orders"
    assert attributes["deployment.environment.name"] == "production"
    assert attributes["service.version"] == "from-otel"
    assert attributes["team"] == "intake"
    assert attributes["service.instance.id"]


def test_resource_of_an_existing_provider_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    def attributes(existing: Resource) -> Any:
        provider = TracerProvider(resource=existing, shutdown_on_exit=False)
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
        return create_resource(Settings("orders", {"ENVIRONMENT": "production"})).attributes

    both = attributes(Resource({"service.name": "theirs", "team": "intake"}))
    assert (both["service.name"], both["team"]) == ("theirs", "intake")
    assert both["deployment.environment.name"] == "production"
    assert attributes(Resource.create())["service.name"] == "orders"


def test_own_variables_take_precedence_over_those_of_modal() -> None:
    modal = {"MODAL_ENVIRONMENT": "main", "MODAL_IMAGE_ID": "im-01"}

    settings = Settings(variables={**modal, "ENVIRONMENT": "staging", "SHOP_VERSION": "1"})
    assert settings.environment == "staging"
    assert Settings(variables=modal).environment == "main"


VERSION = """
from acme.observability._settings import Settings
print(Settings().service_version)
"""


def test_version_variable_is_named_after_the_package(tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme/observability").symlink_to(Path(_settings.__file__).parent)
    path = {"PYTHONPATH": str(tmp_path)}

    assert run(VERSION, path | {"ACME_VERSION": "1.2.3"})[0] == "1.2.3"
    assert run(VERSION, path | {"MODAL_IMAGE_ID": "im-01"})[0] == "im-01"
    assert run(VERSION, path)[0] == "dev"


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "HONEYCOMB_API_ENDPOINT"])
@pytest.mark.parametrize(
    "value",
    [
        *("collector/path", "ftp://host", "https://", "https://host:port"),
        *("https://name:a-secret@host", "https://host name", "https://host\n:443"),
    ],
)
def test_unreadable_endpoint_exports_nothing(
    name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(variables=HTTP | {"HONEYCOMB_API_KEY": KEY, name: value})

    assert settings.exporter == "none"
    [record] = caplog.records
    assert record.getMessage() == (
        f"{name} must be a URL such as https://host:4318, without credentials; no traces are exported."
    )


@pytest.mark.skipif(not GRPC, reason="requires gRPC to be selected")
@pytest.mark.parametrize(
    ("insecure", "scheme"), [("", "https"), ("false", "https"), ("true", "http")]
)
def test_endpoint_over_grpc_may_be_host_and_port(insecure: str, scheme: str) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}
    variables["OTEL_EXPORTER_OTLP_INSECURE"] = insecure

    assert Settings(variables=variables).endpoint == f"{scheme}://collector:4317"
