"""What the worker's tests share.

events      all that the worker says, as it says it: `await events.line("stuck", job_id=...)`
keys        a redis client on the app's server and namespace, by the names of keys
any_app     an `App` on each kind of server in turn
short_lease a lease that is over soon, for workers whose lease ends in the test
impatient   a job is stuck soon after its cancellation
proxy       a fault proxy in front of the app's server
behind      an app of the same namespace whose every connection goes through that proxy
noted       what the store has been told of jobs' logs and progress, call by call
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from aiotq import App
from aiotq.store.redis import RedisStore
from aiotq.worker import life, run
from tests.conftest import _check_keys, _raw_client
from tests.faults.proxy import FaultProxy
from tests.worker.kit import Events, Keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from aiotq.store.notes import Noted, NotesTaken
    from tests.servers import Server

STUCK_SOON_S = 0.1
LIMIT_S = 0.5  # how long `behind` waits for an answer


@pytest.fixture
def events() -> Iterator[Events]:
    """Every line of the worker, from DEBUG on."""
    logger = logging.getLogger("aiotq.worker")
    heard = Events()
    before = logger.level
    logger.addHandler(heard)
    logger.setLevel(logging.DEBUG)
    yield heard
    logger.setLevel(before)
    logger.removeHandler(heard)


@pytest_asyncio.fixture
async def keys(valkey: Server, prefix: str) -> AsyncIterator[Keys]:
    """The keys of the test's namespace."""
    async for client in _raw_client(valkey.url):
        yield Keys(client, prefix)


@pytest_asyncio.fixture
async def any_app(request: pytest.FixtureRequest, server: Server, namespace: str, prefix: str) -> AsyncIterator[App]:
    """An opened app on a fresh namespace, once for each kind of server."""
    async with App(server.url, namespace=namespace) as opened:
        yield opened
    async for client in _raw_client(server.admin):
        await _check_keys(request, client, prefix)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that has not ended 0.1 s after its cancellation is stuck."""
    monkeypatch.setattr(run, "STUCK_AFTER_S", STUCK_SOON_S)
    monkeypatch.setattr(life, "STUCK_AFTER_S", STUCK_SOON_S)


@pytest.fixture
async def proxy(valkey: Server, server_folder: Path) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(valkey.url.removeprefix("unix://"), server_folder / "p") as running:
        yield running


@pytest.fixture
async def behind(app: App, proxy: FaultProxy) -> AsyncIterator[App]:
    """An app of the same namespace whose every connection goes through the proxy; `app` has none of the faults."""
    store = app._core.client().store
    await store.exchange("nobody", [], queues=["default"], limit=0)  # so that the server knows the script
    faulty = App(proxy.url, namespace=app._core.settings.namespace, connect_timeout=LIMIT_S)
    yield faulty  # unopened: workers try for ever, whatever the machine does meanwhile
    await faulty._core.close()


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Noted]]:
    """What the store has been told, call by call."""
    heard: list[Sequence[Noted]] = []
    real = RedisStore.note

    async def note(self: RedisStore, worker_id: str, notes: Sequence[Noted]) -> NotesTaken:
        heard.append(notes)
        return await real(self, worker_id, notes)

    monkeypatch.setattr(RedisStore, "note", note)
    return heard
