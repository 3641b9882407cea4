"""How much a fault test does: little by default, and what the row of the matrix says with AIOTQ_FAULTS=full."""

from __future__ import annotations

import os
from typing import TypeVar

import pytest

T = TypeVar("T")
FULL = os.environ.get("AIOTQ_FAULTS") == "full"


def scaled(little: T, full: T) -> T:
    """`full` where AIOTQ_FAULTS=full, else `little`."""
    return full if FULL else little


# Of many cases of one kind: those that a default run leaves out.
only_full = pytest.mark.skipif(not FULL, reason="others of its kind run here: with AIOTQ_FAULTS=full")
