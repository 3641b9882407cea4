"""A dashboard on an inspector made by hand, and a visitor of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from aiotq.web import aiotq_dashboard
from tests.web import sample
from tests.web.visitor import visitor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx


@pytest.fixture
def inspector() -> sample.Inspector:
    """What the pages read."""
    return sample.Inspector()


@pytest.fixture
def dashboard(inspector: sample.Inspector) -> Any:
    """One without any guard."""
    return aiotq_dashboard(sample.app(inspector))


@pytest_asyncio.fixture
async def client(dashboard: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who looks at it."""
    async with visitor(dashboard) as made:
        yield made
