"""Checks at Honeycomb: the key, the dataset, and the columns that have arrived."""

import email.utils
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from ..honeycomb.auth import KEYS_PAGE, configuration_key_error, place_of
from ..honeycomb.client import APIError, HoneycombClient, HTTPError
from ..honeycomb.columns import UnreadableRegistry, read_registry
from ..honeycomb.remote import dataset_of
from ..project import ProjectError, variable
from ..terminal import progress
from .findings import Case, Finding, ok, problem, unknown, warning

REGIONS: Final = ["https://api.honeycomb.io", "https://api.eu1.honeycomb.io"]
_CLOCK_SECONDS: Final = 300
_COARSE_SECONDS: Final = 60
_QUERY_POLLS: Final = 10
ARRIVAL_TIMEOUT: Final = 60.0
"""Seconds. A new dataset may need that long."""
POLL_SECONDS: Final = 2.0
RESPONSE_TIMEOUT: Final = 10.0


def check_key_at_honeycomb(case: Case) -> Iterator[Finding]:
    """Check if Honeycomb knows the key, unless spans are sent elsewhere."""
    if not case.is_honeycomb or case.key is None:
        return
    about = "key"
    try:
        status, answer, ahead = _auth(case.origin, case.key)
    except APIError as error:
        if case.self_check.accepted:
            # The service sends in another way, such as without the proxy in ALL_PROXY.
            yield warning(
                about, f"{error} The test span was accepted, but the key was not checked."
            )
        else:
            yield problem(about, str(error))
        return
    if status == 401:
        yield problem(about, _unknown_key(case, case.key))
        return
    if status == 407:
        yield problem(about, "The proxy from the environment requires a name and a password.")
        return
    if status == 429:
        yield warning(
            about, f"{case.origin} currently rejects requests (429), so the key was not checked"
        )
        return
    if status in (404, 405):
        yield warning(
            about,
            f"{case.origin} does not have /1/auth ({status}), so it is not Honeycomb and the key was"
            " not checked. Set a Collector or Refinery in OTEL_EXPORTER_OTLP_ENDPOINT.",
        )
        return
    if status >= 500:
        yield problem(
            about,
            f"{case.origin} has an outage: it returns {status} for /1/auth. See"
            " https://status.honeycomb.io. The service keeps spans for a while, up to 16 MB.",
        )
        return
    if status != 200 or not isinstance(answer.get("api_key_access"), dict):
        yield problem(
            about,
            f"{case.origin} is not Honeycomb's API: it returns {status} for /1/auth. Check"
            " HONEYCOMB_API_ENDPOINT.",
        )
        return
    case.auth, case.ahead = answer, ahead
    try:
        yield from _permissions(case, answer, ahead)
    except (KeyError, TypeError) as error:
        yield problem(
            about,
            f"{case.origin} is not Honeycomb's API: its response lacks {error}. Check"
            " HONEYCOMB_API_ENDPOINT.",
        )


def _permissions(case: Case, answer: Mapping[str, Any], ahead: float) -> Iterator[Finding]:
    about = "key"
    if answer["type"] == "configuration" and not answer["api_key_access"].get("events"):
        yield problem(
            about,
            "It is a configuration key without the permission to send events. Create an ingest key"
            f" {KEYS_PAGE}, Ingest.",
        )
        return
    place = place_of(answer)
    yield ok(about, f"accepted: team {place.team}, environment {place.environment}")
    if abs(ahead) > _CLOCK_SECONDS:
        yield warning(
            "clock",
            f"this machine's clock is {abs(ahead) / 60:.0f} minutes"
            f" {'ahead of' if ahead > 0 else 'behind'} Honeycomb's, so traces appear at the wrong"
            " time. Correct it.",
        )


def check_dataset(case: Case) -> Iterator[Finding]:
    """Check if the dataset exists, and which attributes have arrived in it."""
    about = "dataset"
    key = variable("HONEYCOMB_CONFIG_KEY")
    if not case.is_honeycomb and key is None:
        yield ok(
            about,
            "not checked, since HONEYCOMB_CONFIG_KEY is not set. Your endpoint forwards the spans: see"
            " its log",
        )
        return
    error = configuration_key_error(key, ("createDatasets", "columns"))
    if key is None:
        yield ok(
            about,
            f"not checked, since HONEYCOMB_CONFIG_KEY is not set. Look for {case.service_name!r} among"
            " the datasets in Honeycomb",
        )
        yield from _unknown_dataset(case)
        return
    if error:
        yield warning(about, error)
        yield from _unknown_dataset(case)
        return
    try:
        origin = case.origin if case.is_honeycomb else case.project.honeycomb_endpoint
        with (
            HoneycombClient(origin, key, progress, RESPONSE_TIMEOUT) as client,
            client.validated_responses(),
        ):
            yield from _dataset(case, client)
    except (APIError, ProjectError) as failed:
        yield warning(about, str(failed))
        yield from _unknown_dataset(case)


def _unknown_dataset(case: Case) -> Iterator[Finding]:
    """Report a key that needs an existing dataset, if it is not known whether there is one."""
    if not _may_create_datasets(case):
        yield unknown(
            "dataset",
            f"HONEYCOMB_API_KEY may not create datasets: unless {case.service_name!r} exists, spans are"
            " accepted and dropped. Set HONEYCOMB_CONFIG_KEY to check it, or create the dataset with"
            " `copier-honeycomb apply`.",
        )


def _may_create_datasets(case: Case) -> bool:
    auth = case.auth
    is_ingest = auth is not None and auth["type"] == "ingest"
    return not is_ingest or bool(auth and auth["api_key_access"].get("createDatasets"))


def _dataset(case: Case, client: HoneycombClient) -> Iterator[Finding]:
    about, name = "dataset", case.service_name
    auth = client.get("/1/auth")
    sent, managed = place_of(case.auth or auth), place_of(auth)
    if sent != managed:
        yield warning(
            about,
            f"HONEYCOMB_API_KEY belongs to {sent.team}, {sent.environment} and HONEYCOMB_CONFIG_KEY to"
            f" {managed.team}, {managed.environment}: traces go to the first,"
            " boards to the second. Use keys of the same environment.",
        )
        yield from _unknown_dataset(case)
        return
    progress("Waiting for the test span to arrive ...")
    deadline = time.monotonic() + ARRIVAL_TIMEOUT
    while not (has_arrived := _has_arrived(case, client, dataset := dataset_of(client, name))):
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    if dataset is None:
        lacking = "" if _may_create_datasets(case) else "HONEYCOMB_API_KEY may not create it, and "
        yield problem(
            about,
            f"The dataset {name!r} does not exist, so spans are dropped: {lacking}a new one appears"
            f" within a minute. Use a key that may create datasets, or create the dataset with"
            " `copier-honeycomb apply`, and run this again.",
        )
        return
    text = f"{dataset['name']}, last written to {_ago(dataset.get('last_written_at'))}"
    if has_arrived:
        yield ok(about, f"{text}; the test span has arrived")
    elif case.is_honeycomb:
        yield problem(
            about,
            f"{text}: Honeycomb accepted the test span, but it has not arrived within"
            f" {ARRIVAL_TIMEOUT:g} s. Check https://status.honeycomb.io, the team's usage, and"
            " that the dataset is not protected from writing; then run this again.",
        )
        return
    else:
        yield unknown(
            about,
            f"{text}, so the test span has not arrived. If your endpoint samples, it may have dropped"
            " it; otherwise see its log.",
        )
    yield _columns(case, client, str(dataset["slug"]))


def _has_arrived(case: Case, client: HoneycombClient, dataset: Mapping[str, Any] | None) -> bool:
    """Return true if a query finds the test span, or else if the dataset was just written to."""
    if dataset is None:
        return False
    written = _time(dataset.get("last_written_at"))
    # Honeycomb's clock, and a coarse time.
    if written is None or written < case.started - case.ahead - _COARSE_SECONDS:
        return False
    found = _find_span(client, str(dataset["slug"]), case.self_check.trace_id)
    return found is not False


def _find_span(client: HoneycombClient, slug: str, trace_id: str) -> bool | None:
    """Return true if a query finds the trace; None if the team's plan or the key allows none."""
    query = {
        "calculations": [{"op": "COUNT"}],
        "filters": [{"column": "trace.trace_id", "op": "=", "value": trace_id}],
        "time_range": 3600,
    }
    try:
        created = client.create(f"/1/queries/{slug}", query, lambda: None)
        body = {"query_id": created["id"], "disable_series": True, "limit": 1}
        result = client.create(f"/1/query_results/{slug}", body, lambda: None)
        for _ in range(_QUERY_POLLS):
            if result["complete"]:
                return any(row["data"].get("COUNT") for row in result["data"]["results"])
            time.sleep(POLL_SECONDS)
            result = client.get(f"/1/query_results/{slug}/{result['id']}")
    except HTTPError:
        pass
    return None


def _columns(case: Case, client: HoneycombClient, slug: str) -> Finding:
    about = "columns"
    try:
        declared = read_registry(case.project.honeycomb_dir / "telemetry.yaml")
    except (ProjectError, UnreadableRegistry) as error:
        return warning(about, f"honeycomb/telemetry.yaml cannot be read: {error}")
    arrived = {
        column["key_name"]
        for column in client.get(f"/1/columns/{slug}")
        # apply creates columns before anything is written to them.
        if column.get("last_written", "unknown")
    }
    missing = sorted(declared.keys() - arrived)
    count = f"{len(declared) - len(missing)} of {len(declared)} attributes of the service"
    if len(missing) == len(declared):
        return warning(
            about,
            "no attribute of the service has arrived yet. Send it a request, and run this again.",
        )
    if not missing:
        return ok(about, f"all {len(declared)} attributes of the service have arrived")
    # Some are only sent on Modal, or if something happens.
    named = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    return ok(about, f"{count} have arrived; not yet: {named}")


def _auth(endpoint: str, key: str) -> tuple[int, Mapping[str, Any], float]:
    """Status and JSON of GET /1/auth, and the seconds by which this machine's clock is ahead.

    Raises APIError if there is no response.
    """
    with HoneycombClient(endpoint, key, progress, RESPONSE_TIMEOUT) as client:
        response = client.request("GET", "/1/auth")
    ahead = 0.0
    with suppress(KeyError, TypeError, ValueError):
        ahead = (
            time.time() - email.utils.parsedate_to_datetime(response.headers["date"]).timestamp()
        )
    try:
        answer = response.json()
    except ValueError:
        answer = {}
    return response.status_code, answer if isinstance(answer, dict) else {}, ahead


def _unknown_key(case: Case, key: str) -> str:
    if case.origin in REGIONS:
        [other] = [region for region in REGIONS if region != case.origin]
        with suppress(APIError):
            if _auth(other, key)[0] == 200:
                return (
                    f"{case.origin} does not know the key, but {other} does: your team is in that"
                    f" region. Set HONEYCOMB_API_ENDPOINT={other}"
                )
    return (
        f"{case.origin} does not know the key (401): it is mistyped, deleted or disabled. Create an"
        f" ingest key {KEYS_PAGE}, Ingest."
    )


def _time(written: str | None) -> float | None:
    """A time of Honeycomb in seconds since the epoch, or None."""
    try:
        return datetime.fromisoformat(written or "").timestamp()
    except ValueError:
        return None


def _ago(written: str | None) -> str:
    then = _time(written)
    if then is None:
        return "never"
    seconds = max(0, time.time() - then)
    if seconds < 120:
        return f"{seconds:.0f} seconds ago"
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes ago"
    return f"{seconds / 3600:.0f} hours ago"
