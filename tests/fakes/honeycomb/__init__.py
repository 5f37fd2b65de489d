"""A fake of Honeycomb on 127.0.0.1, as strict as the documented API."""

from .faults import Fault
from .keys import CONFIGURATION_KEY, INGEST_KEY, Key, Plan
from .server import Exchange, FakeHoneycomb

__all__ = [
    "CONFIGURATION_KEY",
    "INGEST_KEY",
    "Exchange",
    "FakeHoneycomb",
    "Fault",
    "Key",
    "Plan",
]
