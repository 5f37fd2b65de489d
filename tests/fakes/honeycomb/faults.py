"""What can be made to go wrong with a request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

How: TypeAlias = Literal["answer", "reset before", "reset after"]


@dataclass(frozen=True)
class Fault:
    """Something that happens to requests from the `first` on, `last` included.

    "answer" answers with `status` and does no work; "reset before" closes the connection and does no
    work; "reset after" does the work and closes the connection before the answer.
    """

    first: int
    last: int
    how: How = "answer"
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    works_last: bool = False
    """Whether the first of these requests is carried out all the same, as by one that was killed."""

    def hits(self, number: int) -> bool:
        return self.first <= number <= self.last
