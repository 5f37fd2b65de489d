"""The mark of tests that only .ci/run runs, because of their cost."""

import os
from typing import Final

import pytest

in_depth: Final = pytest.mark.skipif(
    "TEST_IN_DEPTH" not in os.environ,
    reason="costs more than it adds to the other cases: .ci/run sets TEST_IN_DEPTH and runs it",
)
