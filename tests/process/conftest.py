"""Fixtures of the tests that break processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.process.rig import Rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest_asyncio.fixture
async def rig(server_folder: Path, namespace: str) -> AsyncIterator[Rig]:
    """A rig whose server has not been started."""
    made = Rig(folder=server_folder, namespace=namespace)
    yield made
    await made.close()
