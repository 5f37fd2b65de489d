"""What kind of key of Honeycomb a text is, told by its form; and what is said where it is the wrong one."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

KeyKind: TypeAlias = Literal[
    "ingest",
    "ingest key's id",
    "configuration",
    "configuration key's id",
    "management",
    "Classic",
    "placeholder",
    "unknown",
]

_PLACEHOLDER: Final = (
    r"(?i)[<{\[].*|\.+|-+"
    r"|.*(?<![a-z])(your|paste|placeholder|example|change-?_?me|todo|xxx+)(?![a-z]).*"
)
_FORMS: Final[tuple[tuple[KeyKind, str], ...]] = (
    ("Classic", r"[0-9a-f]{32}|hc[a-z]ic_[0-9a-z]{58}"),
    ("ingest", r"hc[a-z]ik_[0-9a-z]{58}"),
    ("ingest key's id", r"hc[a-z]i[kc]_[0-9a-z]{26}"),
    ("configuration key's id", r"hc[a-z]lk_\w+"),
    ("management", r"hc[a-z]mk_[\w:]+"),
    ("placeholder", _PLACEHOLDER),
    ("configuration", r"[0-9A-Za-z]{20,23}"),
)

WHERE_KEYS_ARE: Final = "in Honeycomb under Manage Environments, your environment, API Keys"
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


def kind_of(key: str) -> KeyKind:
    """The kind that `key` has by its form alone; no request is made."""
    for kind, form in _FORMS:
        if re.fullmatch(form, key):
            return kind
    return "unknown"


def problem_of_configuration_key(key: str | None, permissions: tuple[str, ...]) -> str | None:
    """A sentence that says which key to make where, if `key` cannot be a configuration key."""
    if key is None:
        problem = "is not set"
    else:
        match kind_of(key):
            case "configuration" | "unknown":
                return None
            case "ingest":
                problem = "is an ingest key, which sends spans and manages nothing"
            case "Classic":
                problem = "is a key of Honeycomb Classic, which has no environments"
            case "management":
                problem = "is a management key, which manages keys and environments, not boards"
            case "placeholder":
                problem = "is still a placeholder"
            case _:
                problem = "is the id of a key, without its secret"
    return f"HONEYCOMB_CONFIG_KEY {problem}. {make_a_configuration_key(permissions)}"


def make_a_configuration_key(permissions: tuple[str, ...]) -> str:
    """What to do to have a configuration key that may do what `permissions` name."""
    named = ", ".join(PERMISSIONS[name] for name in permissions)
    return f"Make a configuration key {WHERE_KEYS_ARE}, Configuration, with: {named}."


def missing_permissions(auth: Mapping[str, Any], permissions: tuple[str, ...]) -> list[str]:
    """Those of `permissions` that the answer of GET /1/auth does not grant, as Honeycomb's page says."""
    access = auth["api_key_access"]
    return [PERMISSIONS[name] for name in permissions if not access.get(name)]
