"""An app on each kind of server, and the inspector of one that may only read there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest_asyncio

from aiotq import App
from aiotq.store import scripts
from tests.clock import VirtualClock
from tests.conftest import _check_keys
from tests.contract.kit import Bench
from tests.faults.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from aiotq import Inspector
    from tests.servers import Server


@pytest_asyncio.fixture
async def shop(request: pytest.FixtureRequest, url: str, namespace: str, prefix: str, raw: Any) -> AsyncIterator[App]:
    """An opened app on a fresh namespace, on each kind of server in turn."""
    async with App(url, namespace=namespace) as opened:
        yield opened
    await _check_keys(request, raw, prefix)


@pytest_asyncio.fixture
async def bench(shop: App, raw: Any, prefix: str) -> Bench:
    """The app's store, with short words."""
    return Bench(shop._core.client().store, raw, prefix, VirtualClock())


@pytest_asyncio.fixture
async def look(server: Server, namespace: str, shop: App) -> AsyncIterator[Inspector]:
    """Its inspector; of a user who may only read, where there are users."""
    if server.kind != "acl":
        yield shop.inspect
        return
    async with App(server.url.replace("aiotq_worker:", "aiotq_reader:"), namespace=namespace) as reader:
        reader.registry._tasks = shop.registry._tasks
        yield reader.inspect


@pytest_asyncio.fixture
async def hand(server: Server, namespace: str, shop: App) -> AsyncIterator[Inspector]:
    """An inspector of somebody who may act, and no more, where there are users."""
    if server.kind != "acl":
        yield shop.inspect.acting("ada@host")
        return
    async with App(server.url.replace("aiotq_worker:", "aiotq_operator:"), namespace=namespace) as person:
        person.registry._tasks = shop.registry._tasks
        yield person.inspect.acting("ada@host")


@pytest_asyncio.fixture
async def proxy(server: Server, server_folder: Path) -> AsyncIterator[FaultProxy]:
    """A fault proxy in front of the server (real ones only)."""
    async with FaultProxy(server.socket, server_folder / "p") as made:
        yield made


@pytest_asyncio.fixture
async def far(proxy: FaultProxy, server: Server, namespace: str, shop: App, raw: Any) -> AsyncIterator[Inspector]:
    """An inspector behind the proxy, on a server that knows all scripts."""
    for script in scripts.ALL:
        await raw.script_load(script.text)
    async with App(server.via(proxy.url), namespace=namespace) as behind:
        yield behind.inspect.acting("ada")
