"""Ids of traces and spans, fresh in every process."""

import os
import random

from opentelemetry.sdk.trace.id_generator import IdGenerator


class FreshIds(IdGenerator):
    """Random ids from a source of their own.

    Python's shared one begins anew where somebody seeds it, and goes on the same way in every
    container that is restored from one memory snapshot: then traces have the ids of others.
    """

    def __init__(self) -> None:
        self._random = random.Random()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._random.seed)

    # Zero is the id of nothing.

    def generate_span_id(self) -> int:
        return self._random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        return self._random.getrandbits(128) or 1

    def is_trace_id_random(self) -> bool:
        return True
