"""The tracer provider that `setup_observability` creates."""

from observability._settings import Settings
from observability._setup import _create_provider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider


def sampling_settings(
    rate: int, trust_incoming: bool = False, slow_ms: float = 1e4, cost_usd: float = 1.0
) -> Settings:
    """Return the settings of a service that samples 1 in `rate` traces."""
    return Settings(
        variables={
            "HONEYCOMB_API_KEY": "hcaik_" + "k" * 58,
            "HONEYCOMB_SAMPLE_RATE": str(rate),
            "HONEYCOMB_TRUST_INCOMING": str(trust_incoming),
            "HONEYCOMB_KEEP_SLOW_MS": str(slow_ms),
            "HONEYCOMB_KEEP_COST_USD": str(cost_usd),
        }
    )


def create_provider(rate: int, resource: Resource, trust_incoming: bool = False) -> TracerProvider:
    """Create a provider that samples 1 in `rate` traces, as a service without one does."""
    settings = sampling_settings(rate, trust_incoming)
    provider: TracerProvider = _create_provider(settings, resource)
    return provider
