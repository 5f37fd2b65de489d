"""Checks of a Collector or Refinery between the service and Honeycomb."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import httpx

from ..honeycomb.auth import place_of
from ..honeycomb.client import tls_context, user_agent
from ..terminal import printable
from .findings import Case, Finding, ok, otlp_file, problem, warning

REFINERY_PORT: Final = 8080
HEALTH_PORT: Final = 13133
_ABOUT: Final = "gateway"
_SECONDS: Final = 5.0
# The status of gRPC that a Collector responds with to a request without its key.
_UNAUTHENTICATED: Final = 16


def check_gateway(case: Case) -> Iterator[Finding]:
    """Recognise a Collector or Refinery at the endpoint, and check if it works and who samples."""
    if case.is_honeycomb:
        return
    is_grpc = case.self_check.protocol == "grpc"
    context = tls_context(otlp_file("CERTIFICATE")) if case.url.scheme == "https" else False
    headers = {"user-agent": user_agent()}
    with httpx.Client(timeout=_SECONDS, verify=context, headers=headers) as client:
        url = f"{case.url.scheme}://{case.url.hostname}:{REFINERY_PORT}" if is_grpc else case.origin
        version = _json(_get(client, f"{url}/version"))
        if version.get("source") == "refinery":
            name = f"Refinery {printable(version.get('version', ''))} at {url}"
            yield from _check_sampling(case, "Refinery samples what is left")
            yield from _check_refinery(case, client, url, name)
            return
        yield from _check_sampling(case, "your Collector may sample what is left")
        if is_grpc or _is_collector(client, url):
            yield from _check_collector(case, client)
        elif _is_website(case, client):
            yield problem(
                _ABOUT,
                f"{case.self_check.endpoint} accepts spans, but responds with a web page: it is not a"
                " receiver of OTLP. Check OTEL_EXPORTER_OTLP_ENDPOINT.",
            )


def _check_sampling(case: Case, gateway_samples: str) -> Iterator[Finding]:
    if (rate := case.self_check.sample_rate) > 1:
        yield warning(
            _ABOUT,
            f"the service keeps 1 in {rate} traces, and {gateway_samples}. Weights are multiplied, but"
            " errors of other services in dropped traces are lost. Unset HONEYCOMB_SAMPLE_RATE.",
        )


def _check_refinery(case: Case, client: httpx.Client, url: str, name: str) -> Iterator[Finding]:
    ready = _get(client, f"{url}/ready")
    if ready is None or ready.status_code != httpx.codes.OK:
        yield warning(_ABOUT, f"{name} is not ready: it is starting or overloaded. See its log.")
        return
    if case.key is None:
        yield ok(_ABOUT, f"{name} is ready")
        return
    # Refinery passes this on to Honeycomb, and asks the same before it accepts a span.
    auth = _get(client, f"{url}/1/auth", {"x-honeycomb-team": case.key})
    status = auth.status_code if auth is not None else None
    if status == httpx.codes.OK:
        place = None
        with suppress(KeyError, TypeError):
            place = place_of(_json(auth))
        where = f": team {place.team}, environment {place.environment}" if place else ""
        yield ok(_ABOUT, f"{name} is ready, and Honeycomb knows the key{where}")
    elif status == httpx.codes.UNAUTHORIZED:
        yield problem(
            _ABOUT,
            f"Honeycomb does not know the key (401), so {name} discards the spans. Set"
            " HONEYCOMB_API_KEY to an ingest key, and list it in AccessKeys of refinery.yaml.",
        )
    else:
        yield problem(
            _ABOUT,
            f"{name} does not reach Honeycomb ({status or 'no response'}), so it accepts spans and"
            " discards them. Check HoneycombAPI in refinery.yaml, and the network of Refinery.",
        )


def _is_collector(client: httpx.Client, url: str) -> bool:
    """Return true if the server at `url` responds as a Collector's OTLP receiver does."""
    response = _get(client, f"{url}/v1/traces")
    if response is None:
        return False
    if response.status_code == httpx.codes.METHOD_NOT_ALLOWED:
        return "supported: [POST]" in response.text
    return _json(response).get("code") == _UNAUTHENTICATED


def _is_website(case: Case, client: httpx.Client) -> bool:
    """Return true if an export of no spans has a response in HTML."""
    try:
        response = client.post(
            case.self_check.endpoint, headers={"content-type": "application/x-protobuf"}
        )
    except httpx.HTTPError:
        return False
    return response.is_success and "html" in response.headers.get("content-type", "")


def _check_collector(case: Case, client: httpx.Client) -> Iterator[Finding]:
    host = case.url.hostname
    health = _get(client, f"http://{host}:{HEALTH_PORT}/")
    if "upSince" not in _json(health):
        # Over gRPC, nothing else distinguishes it from another receiver.
        if case.self_check.protocol != "grpc":
            yield ok(
                _ABOUT,
                f"a Collector at {case.origin}; its health check on port {HEALTH_PORT} does not respond",
            )
        return
    assert health is not None
    if health.status_code == httpx.codes.OK:
        yield ok(_ABOUT, f"a Collector at {case.origin}, healthy")
    else:
        yield warning(_ABOUT, f"the Collector at {case.origin} is not healthy. See its log.")


def _get(
    client: httpx.Client, url: str, headers: dict[str, str] | None = None
) -> httpx.Response | None:
    try:
        return client.get(url, headers=headers)
    except httpx.HTTPError:
        return None


def _json(response: httpx.Response | None) -> dict[str, Any]:
    """The JSON object of the response, empty if there is none."""
    with suppress(ValueError):
        content = response.json() if response is not None else {}
        return content if isinstance(content, dict) else {}
    return {}
