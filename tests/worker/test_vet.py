"""A worker looks before it claims: what can't work is refused whole, what would hurt later is said once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from aiotq import App
from aiotq.errors import StoreUnusable
from aiotq.worker.worker import Supervised
from tests.conftest import _raw_client
from tests.rights import user, without
from tests.servers import KEEPS
from tests.worker.kit import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers import Server
    from tests.worker.kit import Events, Keys


@pytest_asyncio.fixture
async def raw(valkey: Server) -> AsyncIterator[Any]:
    """A client that may do everything."""
    async for client in _raw_client(valkey.url):
        yield client


async def test_a_worker_that_lacks_a_right_claims_nothing_and_names_it(
    app: App, keys: Keys, raw: Any, valkey: Server, namespace: str
) -> None:
    async def greet() -> str:
        return "hello"

    job = await app.task(greet, name="greet").delay()
    async with user(raw, valkey, namespace, without("HINCRBY", "SPOP")) as url:
        poor = App(url, namespace=namespace)
        poor.task(greet, name="greet")
        with pytest.raises(StoreUnusable, match="may not run HINCRBY, SPOP") as caught:
            async with within(), poor.worker():
                pass
        assert ":pw@" not in str(caught.value)

    assert await keys.workers() == []
    assert await keys.line("default:5") == [job.id]
    async with app.worker():
        assert await job.result(timeout=10) == "hello"


@pytest_asyncio.fixture
async def forgetful(raw: Any) -> AsyncIterator[None]:
    """The server keeps nothing on its disk, and may evict keys."""
    await raw.config_set("save", "")
    await raw.config_set("maxmemory-policy", "allkeys-lru")
    yield
    await raw.config_set("maxmemory-policy", "noeviction")
    await raw.config_set("save", " ".join(KEEPS[1:]))


async def test_a_worker_says_once_what_would_hurt_later(app: App, events: Events, forgetful: None) -> None:
    async with app.worker() as worker:
        assert worker.facts is not None

    said = [record.getMessage() for record in events.of("server")]
    assert said == list(worker.facts.warnings)
    assert [sum(words in line for line in said) for words in ("evict", "disk")] == [1, 1]


async def test_of_several_processes_only_the_first_says_it(app: App, events: Events, forgetful: None) -> None:
    worker = app.worker()
    worker.supervised = Supervised(registered=lambda _: None, full=lambda: None, first=False)

    async with worker:
        assert worker.facts is not None
        assert worker.facts.warnings

    assert events.of("server") == []
