"""Workers told to stop before they work, or while their server is away, frozen or loading: they end all the same."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from tests import servers
from tests.faults.proxy import FaultProxy
from tests.faults.scale import only_full, scaled
from tests.faults.server_rig import SLOWLY
from tests.faults.stopwatch import Stopwatch
from tests.faults.test_crash_points import reclaimed
from tests.process.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

STARTS = scaled(8, 200)
AT_ONCE = 4
SILENCE_S = 1 + 5 + 1 + 1 + 1  # the grace, what a call may take (or a task its cancellation), last words, twice
EARLY_S = 0.3  # of a start: the moments at which it is cut off
MARGIN_S = 2.0  # for a machine that has other things to do


async def test_stopped_before_it_ever_reached_a_server_it_ends_at_once(rig: Rig):
    worker = await rig.worker(ready=False)
    await worker.line("store_down")
    at_s = time.monotonic()
    await rig.stop(worker)
    assert time.monotonic() - at_s < MARGIN_S


async def test_stopped_before_its_first_step_a_worker_does_not_start(rig: Rig):
    await rig.start_server()
    worker = rig.app.worker()
    starting = asyncio.create_task(worker.start())
    await asyncio.sleep(0)  # it waits for its owner, which has not been run yet
    worker.stop()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(starting, timeout=5)
    await rig.check([])


async def test_stopped_while_it_registers_a_worker_leaves_no_trace(rig: Rig):
    """The proxy delays the answer: it stands in the store already when the signal comes."""
    await rig.start_server()
    async with FaultProxy(rig.folder / "s", rig.folder / "p") as proxy:
        proxy.delay_s = 0.3
        worker = await rig.worker(url=proxy.url, ready=False)
        await rig.until_registered(1)
        await rig.stop(worker)
    await rig.check([])


async def test_stopped_at_random_moments_of_their_start_workers_leave_nothing(rig: Rig):
    """Half of the moments follow the birth of the process, half are around when it begins to work."""
    seed = random.randrange(1_000_000)
    rig.measured(f"seed {seed}, {STARTS} starts")
    draw = random.Random(seed)
    await rig.start_server()
    await rig.watch_ends()
    began_s = time.monotonic()
    await rig.stop(await rig.worker())
    ready_s = time.monotonic() - began_s
    moments = [
        draw.uniform(0, EARLY_S) + (number % 2) * max(0.0, ready_s - 2 * EARLY_S / 3) for number in range(STARTS)
    ]
    jobs = []

    async def start_and_stop(after_s: float) -> int:
        worker = await rig.worker(ready=False)
        await asyncio.sleep(after_s)  # the moment is what is tried
        worker.send_signal(signal.SIGTERM)
        return await worker.exit()

    for first in range(0, STARTS, AT_ONCE):
        batch = moments[first : first + AT_ONCE]
        if first >= STARTS // 2:
            jobs += await rig.enqueue(100)
        codes = await asyncio.gather(*map(start_and_stop, batch))
        assert set(codes) <= {0, -signal.SIGTERM}, f"{codes} at {batch}, seed {seed}"  # the latter: no handlers yet
        assert await rig.raw.zcard(f"{rig.prefix}workers") == 0, f"registered and gone, at {batch}, seed {seed}"
    last = await rig.worker()
    await rig.all_ended(jobs)
    await rig.stop(last)
    await rig.check(jobs)


@pytest.mark.parametrize("busy", ["busy", ""])
async def test_stopped_while_the_server_is_away_it_ends_within_its_grace(rig: Rig, busy: str):
    await rig.start_server("--appendonly", "yes", "--appendfsync", "always")
    worker = await rig.worker("--grace", "1", "--lease", "1")
    jobs = [await rig.tasks.hold.delay()] if busy else []
    await rig.ledger.until(len(jobs))
    await rig.kill_server()
    await worker.line("store_down")
    told = Stopwatch()
    worker.send_signal(signal.SIGTERM)
    assert await worker.exit() == 0
    times = [told.took("from the signal to the exit", 1 + 1)]
    rig.open_gate()
    await rig.start_server("--appendonly", "yes", "--appendfsync", "always")
    other = await rig.worker("--lease", "1")
    await other.line("reclaimed")
    await rig.all_ended(jobs)
    await rig.stop(other)
    await rig.check(jobs, may_repeat={job.id for job in jobs}, most_repeats=len(jobs), times=times)


async def frozen(rig: Rig) -> Callable[[], Awaitable[None]]:
    """The server stands still. Returns what heals it."""
    os.kill(rig.pid, signal.SIGSTOP)

    async def go_on() -> None:
        os.kill(rig.pid, signal.SIGCONT)

    return go_on


async def loading(rig: Rig) -> Callable[[], Awaitable[None]]:
    """The server starts again, and takes long to load what it has."""
    servers.skip_if_it_loads_in_one_go("valkey")
    await rig.raw.execute_command("DEBUG", "POPULATE", 20_000, "other", 30)  # a millisecond each
    await rig.raw.save()
    await rig.kill_server()
    starting = asyncio.create_task(rig.start_server(*SLOWLY))
    await rig.until_loading()

    async def quickly() -> None:
        async with Redis.from_url(rig.url) as client:
            await client.config_set("key-load-delay", 0)
        await starting

    return quickly


@pytest.mark.parametrize(
    ("trouble", "busy"),
    [
        pytest.param(frozen, "busy", id="frozen-busy"),
        pytest.param(frozen, "", id="frozen", marks=only_full),
        pytest.param(loading, "busy", id="loading-busy"),
        pytest.param(loading, "", id="loading", marks=only_full),
        pytest.param(None, "busy", id="black hole-busy", marks=only_full),
        pytest.param(None, "", id="black hole"),
    ],
)
async def test_stopped_while_the_server_says_nothing_or_loads_it_ends_in_time(
    rig: Rig, trouble: Callable[[Rig], Awaitable[Callable[[], Awaitable[None]]]] | None, busy: str
):
    """Of a silence that began just before the signal it learns as its calls come to their limits."""
    await rig.start_server()
    async with FaultProxy(rig.folder / "s", rig.folder / "p") as proxy:
        worker = await rig.worker("--grace", "1", "--lease", "1", url=proxy.url)
        jobs = [await rig.tasks.hold.delay()] if busy else []
        await rig.ledger.until(len(jobs))
        if trouble is None:
            proxy.freeze()
            heal = None
        else:
            heal = await trouble(rig)
        told = Stopwatch()
        worker.send_signal(signal.SIGTERM)
        assert await worker.exit() == 0
        times = [told.took("from the signal to the exit", SILENCE_S)]
        proxy.thaw()
    if heal is not None:
        await heal()
    rig.open_gate()
    other = await rig.worker("--lease", "1")
    await rig.all_ended(jobs)
    await reclaimed(rig, 1)
    await rig.stop(other)
    await rig.check(jobs, may_repeat={job.id for job in jobs}, most_repeats=len(jobs), times=times)


async def test_stopped_between_two_lives_with_the_server_away_it_ends(rig: Rig):
    """Reclaimed, it has to register anew; the server goes before it can, and then the signal comes."""
    await rig.start_server()
    worker = await rig.worker("--grace", "0.5", "--lease", "1")
    (former,) = await rig.ids_of(worker)
    await rig.raw.zrem(f"{rig.prefix}workers", former)
    await rig.raw.config_set("maxmemory", 1)  # nobody can register
    await worker.line("lease_lost")
    worker.send_signal(signal.SIGTERM)
    at_s = time.monotonic()
    assert await worker.exit() == 0
    assert time.monotonic() - at_s < 0.5 + 1 + MARGIN_S
