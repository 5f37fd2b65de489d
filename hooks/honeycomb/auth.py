"""Keys: their kinds, and authentication with the management API."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from ..project import Project, variable
from ..terminal import printable
from .client import APIError, HoneycombClient, HTTPError
from .definitions import Definitions

KeyKind: TypeAlias = Literal[
    "ingest",
    "configuration",
    "Classic",
    "ingest key's id",
    "configuration key's id",
    "ingest key's id and secret",
    "incomplete ingest key",
    "uppercase",
    "management",
    "placeholder",
    "reference",
    "masked",
    "header",
    "assignment",
    "URL",
    "unknown",
]

_PLACEHOLDER: Final = (
    r"(?i)[<{\[].*|\.+|-+"
    r"|.*(?<![a-z])(your|paste|placeholder|example|change-?_?me|todo|xxx+)(?![a-z]).*"
)
# The first that fits.
_FORMS: Final[tuple[tuple[KeyKind, str], ...]] = (
    ("Classic", r"[0-9a-f]{32}|hc[a-z]ic_[0-9a-z]{58}"),
    ("ingest", r"hc[a-z]ik_[0-9a-z]{58}"),
    ("configuration", r"hc[a-z]lk_[0-9A-Za-z]{58}"),
    ("ingest key's id", r"hc[a-z]i[kc]_[0-9a-z]{26}"),
    ("ingest key's id and secret", r"hc[a-z]i[kc]_[0-9a-z]{26}\W[0-9a-z]{32}"),
    ("configuration key's id", r"hc[a-z]lk_\w+"),
    ("management", r"hc[a-z]mk_[\w:]+"),
    ("masked", r".*[*•…].*|.+\.\.\."),
    ("incomplete ingest key", r"hc[a-z]i[kc]_\w*"),
    ("uppercase", r"HC[A-Z]I[KC]_[0-9A-Z]+"),
    ("header", r"(?i)(x-honeycomb-team\s*[:=]|authorization\s*[:=]|bearer\s).*"),
    ("assignment", r"(export\s+)?[A-Z][A-Z0-9_]+\s*=.*"),
    ("URL", r"(?i)https?://.*"),
    ("reference", r"\$.*|%\w+%|\{\{.*|(op|vault|env|file|secret|aws|gcp)s?:.*"),
    ("placeholder", _PLACEHOLDER),
    ("configuration", r"[0-9A-Za-z]{20,23}"),
)
# The reasons why a text cannot be a key of any kind, or not one of the service.
DEFECTS: Final[Mapping[KeyKind, str]] = {
    "ingest key's id": "is the ingest key's id, without its secret, which is shown once. A complete"
    " ingest key has 64 characters",
    "configuration key's id": "is the configuration key's id, without its secret",
    "ingest key's id and secret": "is the id and the secret of an ingest key: join them without the"
    " character between them",
    "incomplete ingest key": "is not a complete ingest key, which has 64 characters",
    "uppercase": "is an ingest key in uppercase: keys are in lowercase",
    "management": "is a management key, which manages keys and environments: it can neither send"
    " spans nor create boards",
    "placeholder": "is still a placeholder",
    "reference": "is a reference that was not replaced by the key, as in a file that no shell reads",
    "masked": "is masked: Honeycomb shows a key once",
    "header": "is a whole header: keep only the key",
    "assignment": "is a whole assignment: keep only the part after the equals sign",
    "URL": "is a URL",
}

QUOTES: Final = frozenset("\"'`“”‘’")
KEYS_PAGE: Final = "in Honeycomb under Manage Environments, your environment, API Keys"
# As GET /1/auth names them, and as Honeycomb's page does.
PERMISSIONS: Final[Mapping[str, str]] = {
    "createDatasets": "Create Datasets",
    "columns": "Manage Queries and Columns",
    "slos": "Manage SLOs",
    "triggers": "Manage Triggers",
    "boards": "Manage Public Boards",
    "markers": "Manage Markers",
    "recipients": "Manage Recipients",
}


@dataclass(frozen=True)
class Place:
    """The team and the environment that a key belongs to."""

    team: str
    environment: str


def kind_of(key: str) -> KeyKind:
    """The kind of `key`, judged by its form; no request is sent."""
    for kind, form in _FORMS:
        if re.fullmatch(form, key, re.DOTALL):
            return kind
    return "unknown"


def configuration_key_error(key: str | None, permissions: tuple[str, ...]) -> str | None:
    """A sentence with the remedy if `key` cannot be a configuration key, judged by its form."""
    if key is None:
        reason = "is not set"
    elif not QUOTES.isdisjoint(key):
        reason = "contains a quote: the quotes of a file became part of it"
    else:
        kind = kind_of(key)
        if kind in ("configuration", "unknown"):
            return None
        if kind == "ingest":
            reason = "is an ingest key, which can only send spans"
        elif kind == "Classic":
            reason = "is a key of Honeycomb Classic, which has no environments"
        else:
            reason = DEFECTS[kind]
    return f"HONEYCOMB_CONFIG_KEY {reason}. {_create_configuration_key(permissions)}"


def authenticate(
    project: Project, permissions: tuple[str, ...], notify: Callable[[str], None]
) -> tuple[HoneycombClient, Place]:
    """A client with HONEYCOMB_CONFIG_KEY, which has `permissions`.

    Raises APIError with a sentence that names the key to create if it does not.
    """
    key = variable("HONEYCOMB_CONFIG_KEY")
    error = configuration_key_error(key, permissions)
    if error or key is None:
        raise APIError(error)
    if not key.isascii() or not key.isprintable():
        raise APIError(
            "HONEYCOMB_CONFIG_KEY contains a character that is invalid in a key. Copy it again."
        )
    client = HoneycombClient(project.honeycomb_endpoint, key, notify)
    try:
        auth = client.get("/1/auth")
    except HTTPError as rejected:
        if rejected.status != 401:
            raise
        raise APIError(
            f"{client.origin} does not know HONEYCOMB_CONFIG_KEY: it is mistyped, deleted, or"
            f" belongs to another region. {_create_configuration_key(permissions)}"
        ) from None
    with client.validated_responses():
        is_ingest = auth["type"] == "ingest"
        missing = [
            PERMISSIONS[name] for name in permissions if not auth["api_key_access"].get(name)
        ]
        place = place_of(auth)
    if is_ingest:
        raise APIError(
            "HONEYCOMB_CONFIG_KEY is an ingest key, which can only send spans."
            f" {_create_configuration_key(permissions)}"
        )
    if missing:
        raise APIError(
            f"HONEYCOMB_CONFIG_KEY lacks permissions: {', '.join(missing)}. Edit the key"
            f" {KEYS_PAGE}, Configuration."
        )
    return client, place


def place_of(auth: Mapping[str, Any]) -> Place:
    """The place that the response of GET /1/auth names."""
    team, environment = auth["team"]["name"], auth["environment"]["name"]
    return Place(printable(team), printable(environment or "Classic"))


def permissions_for(definitions: Definitions, adds_recipients: bool) -> tuple[str, ...]:
    """The permissions that a key needs to create what is defined."""
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
        "recipients": names_recipients or adds_recipients,
    }
    return tuple(name for name, is_needed in needed.items() if is_needed)


def _create_configuration_key(permissions: tuple[str, ...]) -> str:
    named = ", ".join(PERMISSIONS[name] for name in permissions)
    return f"Create a configuration key {KEYS_PAGE}, Configuration, with: {named}."
