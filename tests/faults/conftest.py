"""The rig of tests/process and the keys of tests/worker are the fault laboratory's, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import clocks
from tests.process.conftest import rig, warm
from tests.worker.conftest import keys

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["keys", "rig", "shim", "warm"]


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of clocks.py, compiled once a run."""
    reason = clocks.why_not()
    if reason is not None:
        pytest.skip(reason)
    return clocks.build(tmp_path_factory.mktemp("shim"))
