"""Very many jobs at one moment: due at the same millisecond, or in the hands of one worker that has died."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from aiotq.store.contract import MAX_CLAIMED, WorkerCard
from tests.faults.invariants import Took

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.process.rig import Rig

DUE_AT_ONCE = 10_000
HELD = 100_000
PING_EVERY_S = 0.002
PING_P99_S = 0.010
USUAL_S = 0.5
SLOWER = 5  # ... or so many times what the machine itself makes of it, if that is more
WITHIN_S = 60.0


@asynccontextmanager
async def pinged(rig: Rig) -> AsyncIterator[list[float]]:
    """How long the server takes to answer somebody else, meanwhile."""
    took_s: list[float] = []
    over = asyncio.Event()

    async def ping() -> None:
        async with Redis.from_url(rig.url) as client:
            while not over.is_set():
                began_s = time.monotonic()
                await client.ping()
                took_s.append(time.monotonic() - began_s)
                await asyncio.sleep(PING_EVERY_S)

    async with asyncio.TaskGroup() as group:
        group.create_task(ping())
        yield took_s
        over.set()


def p99(took_s: list[float]) -> float:
    return sorted(took_s)[len(took_s) * 99 // 100]


async def usual_p99(rig: Rig) -> float:
    """While nothing else is asked of the server."""
    async with pinged(rig) as took_s:
        await asyncio.sleep(USUAL_S)  # the length of a measurement
    return p99(took_s)


async def test_ten_thousand_jobs_due_at_one_millisecond_all_run_once_and_nobody_waits_for_the_server(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    usual_s = await usual_p99(rig)
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    jobs = await rig.app.enqueue_many([rig.tasks.note.options(eta=due).s() for _ in range(DUE_AT_ONCE)])
    worker = await rig.worker()
    async with pinged(rig) as took_s:
        await rig.ledger.until(DUE_AT_ONCE, "end", within_s=WITHIN_S)
    first, last = rig.ledger.starts()[0], rig.ledger.starts()[-1]
    rig.measured(
        f"{DUE_AT_ONCE} due at once: all started within {last.at_s - first.at_s:.2f} s; "
        f"PING p99 {p99(took_s) * 1000:.1f} ms ({usual_s * 1000:.1f} ms before)"
    )
    await rig.all_ended(jobs)
    await rig.stop(worker)
    limit_s = max(PING_P99_S, SLOWER * usual_s)
    await rig.check(jobs, times=[Took(what="PING p99", took_s=p99(took_s), limit_s=limit_s)])


async def test_a_hundred_thousand_jobs_of_a_dead_worker_come_back_and_nobody_waits_for_the_server(rig: Rig):
    await rig.start_server()
    store = rig.app._core.client().store
    card = WorkerCard(worker_id="dead", label="dead", host="h", pid=1, queues=["default"], lease_ms=600_000)
    await store.register(card)
    jobs = await rig.enqueue(HELD)
    for _ in range(0, HELD, MAX_CLAIMED):
        await store.exchange("dead", [], queues=["default"], limit=MAX_CLAIMED)
    assert await rig.raw.scard(f"{rig.prefix}active:dead") == HELD
    usual_s = await usual_p99(rig)
    worker = await rig.worker("--lease", "1", "-q", "elsewhere")
    await rig.raw.zadd(f"{rig.prefix}workers", {"dead": 1})  # its lease has ended long ago
    ended_s = time.monotonic()
    async with pinged(rig) as took_s:
        await worker.line("reclaimed", timeout_s=WITHIN_S)
    took = time.monotonic() - ended_s
    rig.measured(
        f"{HELD} jobs of a dead worker back after {took:.2f} s; PING p99 {p99(took_s) * 1000:.1f} ms "
        f"({usual_s * 1000:.1f} ms before)"
    )
    assert await rig.raw.llen(f"{rig.prefix}line:default:5") == HELD
    assert await rig.raw.hlen(f"{rig.prefix}lost") == HELD
    await rig.stop(worker)
    assert len({job.id for job in jobs}) == HELD
    limit_s = max(PING_P99_S, SLOWER * usual_s)
    assert p99(took_s) <= limit_s, f"PING p99 {p99(took_s)} s; at most {limit_s} s were promised"
