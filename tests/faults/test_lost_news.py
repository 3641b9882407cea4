"""News of a job's end that gets lost: whoever waits for the result gets it all the same, and leaves nothing behind.

The worker is one of this process, on a server that other tests use too: there is no ledger for the invariants of
invariants.py to look into. Each result is awaited here, and the fixtures see that no key, task or connection is left.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from aiotq import App
from aiotq.errors import JobNotFound
from aiotq.store import listen
from tests.faults.proxy import Fault, FaultProxy
from tests.worker.kit import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import Server
    from tests.worker.kit import Keys

PING_EVERY_S = 0.3  # 10 s, outside of these tests


async def channels(keys: Keys) -> list[bytes]:
    """Those on which somebody of this namespace listens for an end."""
    return [name for name in await keys.client.pubsub_channels() if name.startswith(f"{keys.prefix}done:".encode())]


async def test_results_come_though_the_listeners_connection_is_killed_again_and_again(app: App, keys: Keys) -> None:
    @app.task
    async def echo(number: int) -> int:
        await asyncio.sleep(number / 50)
        return number

    async with app.worker():
        jobs = [await echo.delay(number) for number in range(20)]
        waiting = [asyncio.create_task(job.result(timeout=20)) for job in jobs]
        kills = 0
        while not all(task.done() for task in waiting):
            kills += await keys.client.client_kill_filter(_type="pubsub")
            await asyncio.sleep(0.02)
        assert [await task for task in waiting] == list(range(20))
    assert kills > 0

    async def none() -> bool:
        return not await channels(keys)

    await until(none)


async def test_a_result_comes_though_the_listeners_connection_has_become_a_black_hole(
    app: App, valkey: Server, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not cut, and nothing comes from it any more: a ping finds that out, and another one is made."""
    monkeypatch.setattr(listen, "PING_EVERY_S", PING_EVERY_S)
    go = asyncio.Event()

    @app.task
    async def slow() -> str:
        await go.wait()
        return "ended"

    async with (
        FaultProxy(valkey.url.removeprefix("unix://"), server_folder / "p") as proxy,
        App(proxy.url, namespace=app._core.settings.namespace) as deaf,
        app.worker(),
    ):
        job = await slow.delay()
        proxy.arm(Fault.BLACK_HOLE, b"subscribe")
        waiting = asyncio.create_task(deaf.job(job.id).result(timeout=20))
        await proxy.struck()
        began_s = time.monotonic()
        go.set()
        assert await waiting == "ended"
        assert time.monotonic() - began_s < 10


async def test_waiting_for_a_result_that_goes_meanwhile_ends_with_that_it_is_gone(app: App, keys: Keys) -> None:
    @app.task
    async def never() -> None:
        raise AssertionError("nobody runs it")

    job = await never.delay()
    waiting = asyncio.create_task(job.result(timeout=20))

    async def listens() -> bool:
        return bool(await channels(keys))

    await until(listens)
    await keys.client.delete(f"{keys.prefix}job:{job.id}")
    await keys.client.client_kill_filter(_type="pubsub")
    with pytest.raises(JobNotFound):
        await waiting
    await keys.client.delete(f"{keys.prefix}line:default:5", f"{keys.prefix}lines:default")
