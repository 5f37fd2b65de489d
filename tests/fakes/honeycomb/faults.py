"""Faults of requests to the fake."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

How: TypeAlias = Literal["answer", "reset before", "reset after"]


@dataclass(frozen=True)
class Fault:
    """Fails the requests `first` to `last`, inclusive, counted from 1.

    "answer" responds with `status` and does not execute the request. "reset before" resets the
    connection before executing it, "reset after" after executing it, both without a response.
    """

    first: int
    last: int
    how: How = "answer"
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    works_last: bool = False
    """Execute the first of these requests anyway, as if the client was killed after sending it."""

    def hits(self, number: int) -> bool:
        return self.first <= number <= self.last
