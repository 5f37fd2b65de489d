"""The tracer provider that `setup_observability` creates."""

from observability._settings import Settings
from observability._setup import _create_provider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider


def create_provider(rate: int, resource: Resource, trust_incoming: bool = False) -> TracerProvider:
    """Create a provider that samples 1 in `rate` traces, as a service without one does."""
    variables = {"HONEYCOMB_API_KEY": "hcaik_" + "k" * 58, "HONEYCOMB_SAMPLE_RATE": str(rate)}
    variables["HONEYCOMB_TRUST_INCOMING"] = str(trust_incoming)
    provider: TracerProvider = _create_provider(
        Settings.from_environment(variables=variables), resource
    )
    return provider
