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
from aiotq.errors import JobNotFound, ResultTimeout
from aiotq.store.connection import listen
from tests.faults.proxy import Fault, FaultProxy
from tests.faults.stopwatch import Stopwatch
from tests.worker.kit import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.invariants import Took
    from tests.servers import Server
    from tests.worker.kit import Keys

PING_EVERY_S = 0.3  # 10 s, outside of these tests
KILL_EVERY_S = 0.02
PATIENCE_S, MARGIN_S = 1.0, 0.5  # of one who waits, and what he may be made to wait longer


async def channels(keys: Keys) -> list[bytes]:
    """Those on which somebody of this namespace listens for an end."""
    return [name for name in await keys.client.pubsub_channels() if name.startswith(f"{keys.prefix}done:".encode())]


async def nobody_listens(keys: Keys) -> None:
    """Until no subscription is left."""

    async def none() -> bool:
        return not await channels(keys)

    await until(none)


def in_time(took: Took) -> None:
    """Fail if it was not."""
    assert took.took_s <= took.limit_s, took


async def test_results_come_though_the_listeners_connection_is_killed_again_and_again(app: App, keys: Keys) -> None:
    @app.task
    async def echo(number: int) -> int:
        await asyncio.sleep(number / 50)  # so they end one after the other
        return number

    async with app.worker():
        jobs = [await echo.delay(number) for number in range(20)]
        waiting = [asyncio.create_task(job.result(timeout=20)) for job in jobs]
        kills = 0
        while not all(task.done() for task in waiting):
            kills += await keys.client.client_kill_filter(_type="pubsub")
            await asyncio.sleep(0.02)  # the pace of the fault
        assert [await task for task in waiting] == list(range(20))
    assert kills > 0
    await nobody_listens(keys)


async def test_a_result_comes_though_the_listeners_connection_has_become_a_black_hole(
    app: App, keys: Keys, valkey: Server, server_folder: Path, monkeypatch: pytest.MonkeyPatch
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
    await nobody_listens(keys)


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
    await nobody_listens(keys)
    await keys.client.delete(f"{keys.prefix}line:default:5", f"{keys.prefix}lines:default")


async def test_a_record_whose_time_is_over_while_somebody_waits_ends_the_wait_with_that_it_is_gone(
    app: App, keys: Keys, valkey: Server, server_folder: Path
) -> None:
    """Its end is published while he hears nothing, and the server has forgotten it when he looks."""
    go = asyncio.Event()

    @app.task
    async def brief() -> str:
        await go.wait()
        return "ended"

    async with (
        FaultProxy(valkey.url.removeprefix("unix://"), server_folder / "p") as proxy,
        App(proxy.url, namespace=app._core.settings.namespace, connect_timeout=10) as deaf,
        app.worker(),
    ):
        job = await brief.delay()
        waiting = asyncio.create_task(deaf.job(job.id).result(timeout=20))

        async def listens() -> bool:
            return bool(await channels(keys))

        await until(listens)
        proxy.freeze()
        await keys.client.client_kill_filter(_type="pubsub")
        go.set()

        async def ended() -> bool:
            return not (await keys.end_states())["w"]

        async def forgotten() -> bool:
            return await keys.record(job.id) is None

        await until(ended)
        await keys.client.pexpire(f"{keys.prefix}job:{job.id}", 50)
        await until(forgotten)
        proxy.thaw()
        with pytest.raises(JobNotFound):
            await waiting
    await nobody_listens(keys)


async def test_a_wait_with_a_timeout_ends_in_time_while_listeners_are_killed_all_the_time(app: App, keys: Keys) -> None:
    @app.task
    async def never() -> None:
        raise AssertionError("nobody runs it")

    jobs = [await never.delay() for _ in range(5)]
    watch = Stopwatch()
    waiting = [asyncio.create_task(job.result(timeout=PATIENCE_S)) for job in jobs]
    kills = 0
    while not all(task.done() for task in waiting):
        kills += await keys.client.client_kill_filter(_type="pubsub")
        await asyncio.sleep(KILL_EVERY_S)  # the pace of the fault
    took = watch.took("result(timeout=1) while listeners are killed", PATIENCE_S + MARGIN_S)
    assert kills > 2  # each later than the one before: it pauses longer and longer before it connects
    for task in waiting:
        assert isinstance(task.exception(), ResultTimeout)
    in_time(took)
    await nobody_listens(keys)
    for job in jobs:
        await job.cancel()


@pytest.mark.parametrize("what", ["the listener", "everything"])
async def test_a_wait_with_a_timeout_ends_in_time_over_a_black_hole(
    app: App, keys: Keys, valkey: Server, server_folder: Path, what: str
) -> None:
    """If nothing answers any more, the look that would explain it takes its second as well."""

    @app.task
    async def never() -> None:
        raise AssertionError("nobody runs it")

    async with (
        FaultProxy(valkey.url.removeprefix("unix://"), server_folder / "p") as proxy,
        App(proxy.url, namespace=app._core.settings.namespace, connect_timeout=10) as deaf,
    ):
        job = await never.delay()
        assert await deaf.job(job.id).status() == "queued"  # it is connected
        if what == "everything":
            proxy.freeze()
        else:
            proxy.arm(Fault.BLACK_HOLE, b"subscribe", times=100)
        watch = Stopwatch()
        with pytest.raises(ResultTimeout):
            await deaf.job(job.id).result(timeout=PATIENCE_S)
        explained_s = 1.0 if what == "everything" else 0.0
        in_time(watch.took(f"result(timeout=1), {what} silent", PATIENCE_S + explained_s + MARGIN_S))
        proxy.thaw()
    await nobody_listens(keys)
    await job.cancel()
