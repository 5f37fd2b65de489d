"""What Honeycomb says: of the key, of the dataset, and of the columns that have arrived."""

import email.utils
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from ..honeycomb.api import APIError, HoneycombAPI, understood
from ..honeycomb.current import dataset_of
from ..honeycomb.files import FilesError, find_folder, types_in
from ..honeycomb.keys import WHERE_KEYS_ARE, problem_of_configuration_key
from ..settings import configuration_key
from ..terminal import passing, printable
from .findings import Case, Finding, ok, problem, warning

REGIONS: Final = ["https://api.honeycomb.io", "https://api.eu1.honeycomb.io"]
_CLOCK_SECONDS: Final = 300
_ARRIVAL_SECONDS: Final = 6.0
_ANSWER_SECONDS: Final = 10.0


def check_key_at_honeycomb(case: Case) -> Iterator[Finding]:
    """Whether Honeycomb knows the key, where spans are sent to Honeycomb."""
    if not case.is_honeycomb or case.key is None:
        return
    about = "key"
    try:
        status, answer, ahead = _auth(case, case.origin, case.key)
    except APIError as error:
        yield problem(about, str(error))
        return
    if status == 401:
        yield problem(about, _unknown_key(case, case.key))
        return
    if status == 407:
        yield problem(about, "The proxy that the environment names wants a name and a password.")
        return
    if status == 429:
        yield warning(
            about, f"{case.origin} answers no questions for now (429), so nothing is known"
        )
        return
    if status in (404, 405):
        yield warning(
            about,
            f"{case.origin} has no /1/auth ({status}), so it is not Honeycomb itself and the key is"
            " not looked at. A Collector or a Refinery belongs into OTEL_EXPORTER_OTLP_ENDPOINT.",
        )
        return
    if status != 200 or not isinstance(answer.get("api_key_access"), dict):
        yield problem(
            about,
            f"{case.origin} is not Honeycomb's API: it answers {status} to /1/auth."
            " Check HONEYCOMB_API_ENDPOINT.",
        )
        return
    case.auth = answer
    try:
        with understood(case.settings):
            yield from _what_the_key_may(case, answer, ahead)
    except APIError as error:
        yield problem(about, str(error))


def _what_the_key_may(case: Case, answer: Mapping[str, Any], ahead: float) -> Iterator[Finding]:
    about = "key"
    if answer["type"] == "configuration" and not answer["api_key_access"].get("events"):
        yield problem(
            about,
            "It is a configuration key that may not send events. Make an ingest key"
            f" {WHERE_KEYS_ARE}, Ingest.",
        )
        return
    environment = printable(answer["environment"]["name"] or "Classic")
    yield ok(about, f"known: team {printable(answer['team']['name'])}, environment {environment}")
    if answer["type"] == "ingest" and not answer["api_key_access"].get("createDatasets"):
        yield warning(
            about,
            f"it may not create datasets: unless the dataset {case.service_name!r} is there, spans"
            " are taken and dropped.",
        )
    if abs(ahead) > _CLOCK_SECONDS:
        yield warning(
            "clock",
            f"this machine's clock is {abs(ahead) / 60:.0f} minutes"
            f" {'ahead of' if ahead > 0 else 'behind'} Honeycomb's: traces are not where you look"
            " for them. Set it.",
        )


def check_dataset(case: Case) -> Iterator[Finding]:
    """Whether the span has arrived in the dataset, and what the service has sent so far."""
    about = "dataset"
    if not case.is_honeycomb:
        yield ok(about, "your endpoint decides where spans go from there; its own log says more")
        return
    key = configuration_key(case.variables)
    wrong = problem_of_configuration_key(key, ("createDatasets", "columns"))
    if key is None:
        yield ok(
            about,
            f"not looked at, as HONEYCOMB_CONFIG_KEY is not set. In Honeycomb, look for"
            f" {case.service_name!r} among the datasets",
        )
        return
    if wrong:
        yield warning(about, wrong)
        return
    settings = replace(case.settings, api_endpoint=case.origin)
    api = HoneycombAPI(settings, key, passing, _ANSWER_SECONDS)
    try:
        with understood(settings):
            yield from _dataset(case, api)
    except APIError as error:
        yield warning(about, str(error))
    finally:
        api.close()


def _dataset(case: Case, api: HoneycombAPI) -> Iterator[Finding]:
    about, name = "dataset", case.service_name
    auth = api.get("/1/auth")
    here, there = _environment(case.auth or auth), _environment(auth)
    if here != there:
        yield warning(
            about,
            f"HONEYCOMB_API_KEY is of {here} and HONEYCOMB_CONFIG_KEY of {there}: traces go into the"
            " one, and boards would be made in the other. Use keys of one environment.",
        )
        return
    passing("Waiting for the test span to arrive ...")
    deadline = time.monotonic() + _ARRIVAL_SECONDS
    while (dataset := dataset_of(api, name)) is None and time.monotonic() < deadline:
        time.sleep(1)
    if dataset is None:
        yield warning(
            about,
            f"There is no dataset {name!r} yet. A new one may take a minute: run this again. If it"
            " stays away, the key may not create datasets.",
        )
        return
    written = dataset.get("last_written_at")
    yield ok(about, f"{dataset['name']}, last written to {_ago(written)}")
    yield _columns(api, str(dataset["slug"]))


def _columns(api: HoneycombAPI, slug: str) -> Finding:
    about = "columns"
    try:
        declared = types_in(find_folder() / "telemetry.yaml")
    except FilesError as error:
        return warning(about, str(error))
    arrived = {
        column["key_name"]
        for column in api.get(f"/1/columns/{slug}")
        # One that apply made has not been written to.
        if column.get("last_written", "unknown")
    }
    missing = sorted(declared.keys() - arrived)
    if not missing:
        return ok(about, f"all {len(declared)} attributes of the service are there")
    named = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    return warning(
        about,
        f"{len(missing)} of {len(declared)} attributes of the service have never arrived: {named}."
        " Send it a request, and run this again.",
    )


def _auth(case: Case, endpoint: str, key: str) -> tuple[int, Mapping[str, Any], float]:
    """Status and JSON of GET /1/auth, and how far this machine's clock is ahead, in seconds.

    Raises `APIError` where no answer comes.
    """
    settings = replace(case.settings, api_endpoint=endpoint)
    api = HoneycombAPI(settings, key, passing, _ANSWER_SECONDS)
    try:
        status, headers, body = api.exchange("GET", "/1/auth", None)
    finally:
        api.close()
    ahead = 0.0
    with suppress(TypeError, ValueError):
        ahead = time.time() - email.utils.parsedate_to_datetime(headers["date"]).timestamp()
    try:
        answer = json.loads(body)
    except ValueError:
        answer = {}
    return status, answer if isinstance(answer, dict) else {}, ahead


def _unknown_key(case: Case, key: str) -> str:
    if case.origin in REGIONS:
        [other] = [region for region in REGIONS if region != case.origin]
        with suppress(APIError):
            if _auth(case, other, key)[0] == 200:
                return (
                    f"{case.origin} does not know the key, and {other} does: your team is there."
                    f" Set HONEYCOMB_API_ENDPOINT={other}"
                )
    return (
        f"{case.origin} does not know the key (401): it is mistyped, deleted or switched off. Make"
        f" an ingest key {WHERE_KEYS_ARE}, Ingest."
    )


def _environment(auth: Mapping[str, Any]) -> str:
    return printable(f"{auth['team']['name']}, {auth['environment']['name'] or 'Classic'}")


def _ago(written: str | None) -> str:
    try:
        then = datetime.fromisoformat(written or "")
    except ValueError:
        return "never"
    seconds = max(0, (datetime.now(UTC) - then).total_seconds())
    if seconds < 120:
        return f"{seconds:.0f} seconds ago"
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes ago"
    return f"{seconds / 3600:.0f} hours ago"
