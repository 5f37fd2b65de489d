"""Small repositories in the shapes of real ones, and the result of `wire` in each."""

from typing import Final

from .base import PLAIN, Repository, server
from .dependencies import DEPENDENCIES
from .modal import MODAL
from .refusals import BESIDE, REFUSED
from .routes import ROUTES
from .servers import LAYOUTS, SERVERS

ALL: Final = [*SERVERS, *LAYOUTS, *REFUSED, *BESIDE, *DEPENDENCIES, *MODAL, *ROUTES]

__all__ = [
    "ALL",
    "DEPENDENCIES",
    "LAYOUTS",
    "MODAL",
    "PLAIN",
    "REFUSED",
    "ROUTES",
    "SERVERS",
    "Repository",
    "server",
]
