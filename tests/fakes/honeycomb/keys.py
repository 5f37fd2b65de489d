"""API keys of the fake, with their permissions."""

from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

Plan: TypeAlias = Literal["free", "pro", "enterprise"]

CONFIGURATION_KEY: Final = "cOnFiGuRaTiOnKeY00001x"
INGEST_KEY: Final = "hcaik_" + "0123456789" * 5 + "abcdefgh"
_ALL: Final = (
    "events",
    "markers",
    "triggers",
    "boards",
    "queries",
    "columns",
    "createDatasets",
    "slos",
    "recipients",
    "privateBoards",
)


@dataclass(frozen=True)
class Key:
    """A key, as returned by GET /1/auth."""

    type: Literal["configuration", "ingest"] = "configuration"
    access: frozenset[str] = field(default_factory=lambda: frozenset(_ALL))
    environment: str = "Production"
    """Empty for a key of Classic."""

    def auth(self) -> dict[str, Any]:
        if self.type == "ingest":
            access = {"createDatasets": "createDatasets" in self.access}
        else:
            access = {name: name in self.access for name in _ALL}
        return {
            "id": "hcaik_01j1824es7n4evcmv81cn392jb" if self.type == "ingest" else "FL_xMM5LapLC",
            "type": self.type,
            "api_key_access": access,
            "environment": {"name": self.environment, "slug": self.environment.lower()},
            "team": {"name": "Acme", "slug": "acme"},
        }


KEYS: Final = {
    CONFIGURATION_KEY: Key(),
    INGEST_KEY: Key("ingest", frozenset({"createDatasets"})),
}
