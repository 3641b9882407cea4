"""The bench: a store on each kind of server in turn, with a virtual clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from aiotq.store import connect, operator, scripts
from tests.conftest import CONNECT_TIMEOUT_S
from tests.contract.kit import Bench
from tests.faults.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiotq.store.contract import Store
    from aiotq.store.inspection import Operator
    from tests.clock import VirtualClock
    from tests.servers import Server

REAL = ("valkey", "redis", "acl")


@pytest.fixture
def bench(store: Store, raw: Any, prefix: str, clock: VirtualClock) -> Bench:
    """The store under test, with short words."""
    return Bench(store, raw, prefix, clock)


@pytest_asyncio.fixture
async def proxy(server: Server, server_folder: Path) -> AsyncIterator[FaultProxy]:
    """A fault proxy in front of the server (real ones only)."""
    async with FaultProxy(server.socket, server_folder / "p") as made:
        yield made


@pytest_asyncio.fixture
async def far(proxy: FaultProxy, server: Server, namespace: str, bench: Bench) -> AsyncIterator[Bench]:
    """Like `bench`, on the same keys, but its store is behind the proxy and waits no longer than a second."""
    for script in scripts.ALL:  # so that a reply which the proxy drops is the script's own, and no NOSCRIPT
        await bench.raw.script_load(script.text)
    store = connect(server.via(proxy.url), namespace=namespace, connect_timeout_s=1)
    await store.open()
    yield Bench(store, bench.raw, bench.prefix, bench.clock)
    await store.close()


@pytest_asyncio.fixture
async def person(server: Server, namespace: str, bench: Bench) -> AsyncIterator[Bench]:
    """A bench of somebody who has an operator's rights, where there are rights."""
    if server.kind != "acl":
        yield bench
        return
    store = connect(
        server.url.replace("aiotq_worker", "aiotq_operator"), namespace=namespace, connect_timeout_s=CONNECT_TIMEOUT_S
    )
    await store.open()
    yield Bench(store, bench.raw, bench.prefix, bench.clock)
    await store.close()


@pytest.fixture
def side(person: Bench) -> Operator:
    """The operator's side of it."""
    return operator(person.store)
