"""Fixtures of the tests that break processes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.process.rig import Rig
from tests.process.warm import Warm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """What runs the commands of all rigs: started with the first of them."""
    with tempfile.TemporaryDirectory(prefix="aiotq-") as folder:
        made = Warm(Path(folder))
        yield made
        made.close()


@pytest_asyncio.fixture
async def rig(server_folder: Path, namespace: str, warm: Warm) -> AsyncIterator[Rig]:
    """A rig whose server has not been started."""
    made = Rig(folder=server_folder, namespace=namespace, warm=warm)
    yield made
    await made.close()
