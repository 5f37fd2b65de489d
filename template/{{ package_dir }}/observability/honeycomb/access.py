"""With which key Honeycomb is asked, and whether that key may do what is needed."""

from collections.abc import Callable
from dataclasses import dataclass

from ..settings import Settings, configuration_key
from ..terminal import printable
from .api import APIError, HoneycombAPI, Refused, address_of, understood
from .files import Definitions
from .keys import (
    WHERE_KEYS_ARE,
    make_a_configuration_key,
    missing_permissions,
    problem_of_configuration_key,
)


@dataclass(frozen=True)
class Place:
    """What a key belongs to."""

    team: str
    environment: str


def open_api(
    settings: Settings, permissions: tuple[str, ...], say: Callable[[str], None]
) -> tuple[HoneycombAPI, Place]:
    """The API with the configuration key of the environment.

    Raises `APIError` with a sentence that says which key to make where, unless the key has
    `permissions`.
    """
    key = configuration_key()
    problem = problem_of_configuration_key(key, permissions)
    if problem or key is None:
        raise APIError(problem)
    if not key.isascii() or not key.isprintable():
        raise APIError("HONEYCOMB_CONFIG_KEY holds a character that no key has: copy it again.")
    api = HoneycombAPI(settings, key, say)
    try:
        auth = api.get("/1/auth")
    except Refused as refusal:
        if refusal.status != 401:
            raise
        raise APIError(
            f"{address_of(settings)} does not know HONEYCOMB_CONFIG_KEY: it is mistyped, deleted,"
            f" or of another region. {make_a_configuration_key(permissions)}"
        ) from None
    with understood(settings):
        is_ingest = auth["type"] == "ingest"
        missing = missing_permissions(auth, permissions)
        team, environment = auth["team"]["name"], auth["environment"]["name"]
    if is_ingest:
        raise APIError(
            "HONEYCOMB_CONFIG_KEY is an ingest key, which sends spans and manages nothing."
            f" {make_a_configuration_key(permissions)}"
        )
    if missing:
        raise APIError(
            f"HONEYCOMB_CONFIG_KEY is not allowed to: {', '.join(missing)}. Edit the key"
            f" {WHERE_KEYS_ARE}, Configuration."
        )
    return api, Place(printable(team), printable(environment or "Classic"))


def permissions_for(definitions: Definitions) -> tuple[str, ...]:
    """What a key must be allowed to make what the files say."""
    kinds = {definition.kind for definition in definitions.active()}
    names_recipients = any(
        "id" not in recipient
        for definition in definitions.active()
        for recipient in definition.body.get("recipients") or ()
    )
    needed = {
        "createDatasets": True,
        "columns": True,
        "slos": "SLO" in kinds,
        "triggers": True,
        "boards": True,
        "recipients": names_recipients,
    }
    return tuple(name for name, is_needed in needed.items() if is_needed)
