"""A network that is slow, loses connections, loses single requests and answers, or falls apart and heals.

Everything is drawn from SEED, and bounded. What a cut connection costs is time; only a lease that ended lets a job run
a second time.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from aiotq.errors import StoreUnavailable
from aiotq.store import connect
from tests.faults.fake_server import SILENCE, answering
from tests.faults.proxy import Fault, FaultProxy
from tests.faults.scale import scaled
from tests.faults.vitals import load_of
from tests.process.ledger import until
from tests.process.rig import Rig
from tests.process.witness import clients_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aiotq import Job
    from tests.faults.invariants import Load
    from tests.processes import WorkerProcess

SEED = 20
LATENCY_S = 0.2  # of each answer
PATIENCE_S = 30.0  # of who enqueues: where each try is struck, luck decides how many it takes
LONG = ("--lease", "20")  # nothing here lasts so long: no job may run twice
SHORT_S = 1.5
LASTS_S = scaled(5.0, 60.0)  # of trouble that goes on and on
CUT_EVERY_S, LOSE_EVERY_S = 0.15, 0.05
FEWEST = 40  # cuts and losses, however slow the machine is
MOST_CPU_SHARE = 0.5  # of a core, for a worker that is busy and loses its connections all the time


@pytest_asyncio.fixture
async def rig(server_folder: Path, namespace: str) -> AsyncIterator[Rig]:
    made = Rig(folder=server_folder, namespace=namespace)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def proxy(rig: Rig) -> AsyncIterator[FaultProxy]:
    """What stands between the server and all others, the test's own looks aside."""
    await rig.start_server()
    async with FaultProxy(rig.folder / "s", rig.folder / "p") as made:
        await rig.send_through(made.url)
        yield made


@asynccontextmanager
async def trouble(strike: Callable[[], None], draw: random.Random, *, every_s: float) -> AsyncIterator[list[float]]:
    """Strike again and again while the context lasts, in uneven steps of `every_s` on average; yields when it did."""
    struck: list[float] = []
    over = asyncio.Event()

    async def go_on() -> None:
        while not over.is_set():
            strike()
            struck.append(time.monotonic())
            await asyncio.sleep(draw.uniform(0.5, 1.5) * every_s)  # the pace of the fault

    async with asyncio.TaskGroup() as group:
        group.create_task(go_on())
        try:
            yield struck
        finally:
            over.set()


async def a_mixed_load(rig: Rig, struck: list[float]) -> tuple[list[Job[Any]], dict[str, int]]:
    """Jobs of all kinds, sent and awaited while trouble lasts. Returns them, and who fails how often."""
    jobs: list[Job[Any]] = []
    failures: dict[str, int] = {}
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as waiting:
        while len(struck) < FEWEST or time.monotonic() - began_s < LASTS_S:
            jobs += await rig.app.enqueue_many([rig.tasks.nap.s(0.02) for _ in range(20)])
            jobs += await asyncio.gather(*(rig.tasks.note.delay() for _ in range(5)))
            jobs.append(await rig.tasks.note.options(countdown=0.1).delay())
            jobs.append(await rig.tasks.carry.delay("x" * 20_000))
            jobs.append(stumbling := await rig.tasks.stumble.delay(1))
            failures[stumbling.id] = 1
            waiting.create_task(stumbling.result(timeout=60))
    return jobs, failures


async def clients(rig: Rig) -> int:
    """How many connections the server has."""
    return (await clients_of(rig.raw, rig.pid)).clients


@asynccontextmanager
async def modest(rig: Rig, workers: list[WorkerProcess]) -> AsyncIterator[list[tuple[Load, Load]]]:
    """What happens within leaves no connection open, and takes a part of the processor only.

    Yields a list, filled at the end: what each worker took before and after.
    """
    loads: list[tuple[Load, Load]] = []
    jobs = await rig.enqueue(50)  # so that each connection has been opened that they use
    await rig.all_ended(jobs)
    opened, before = await clients(rig), [load_of(worker) for worker in workers]
    yield loads

    async def as_many() -> bool:
        # While a connection is being made, a worker has two sockets for it.
        few = all(load_of(worker).fds <= was.fds + 1 for worker, was in zip(workers, before, strict=True))
        return few and await clients(rig) <= opened + 1

    await until(as_many, "as many connections as before")
    loads += zip(before, [load_of(worker) for worker in workers], strict=True)
    for was, now in loads:
        share = (now.cpu_s - was.cpu_s) / (now.at_s - was.at_s)
        rig.measured(f"worker {now.pid}: {share:.0%} of a core, {was.fds} files and sockets before, {now.fds} after")
        assert share < MOST_CPU_SHARE


@pytest.mark.timeout(240)
async def test_latency_and_connections_lost_at_random_lose_nothing_and_repeat_nothing(rig: Rig, proxy: FaultProxy):
    draw = random.Random(SEED)
    workers = [await rig.worker(*LONG, url=proxy.url) for _ in range(2)]
    async with rig.sampling(), modest(rig, workers) as settled:
        proxy.delay_s = LATENCY_S
        async with trouble(lambda: proxy.cut_one(draw), draw, every_s=CUT_EVERY_S) as cuts:
            jobs, failures = await a_mixed_load(rig, cuts)
        proxy.delay_s = 0.0
        await rig.all_ended(jobs)
    rig.measured(f"{len(jobs)} jobs with {LATENCY_S:g} s of latency, {len(cuts)} connections cut")
    await rig.stop(*workers)
    await rig.check(jobs, failures=failures, settled=settled)


@pytest.mark.timeout(240)
async def test_requests_and_answers_lost_at_random_lose_nothing_and_repeat_nothing(rig: Rig, proxy: FaultProxy):
    draw = random.Random(SEED)
    faults = (Fault.DROP_REQUEST, Fault.DROP_REPLY, Fault.HALF_REPLY)
    await rig.send_through(proxy.url, within_s=PATIENCE_S)
    workers = [await rig.worker(*LONG, url=proxy.url) for _ in range(2)]
    async with rig.sampling(), modest(rig, workers) as settled:
        async with trouble(lambda: proxy.arm(draw.choice(faults), b"EVALSHA"), draw, every_s=LOSE_EVERY_S) as armed:
            jobs, failures = await a_mixed_load(rig, armed)
        proxy.arm(Fault.DROP_REPLY, b"EVALSHA", times=0)
        await rig.all_ended(jobs)
    rig.measured(f"{len(jobs)} jobs, {proxy.hits} requests or answers lost")
    assert proxy.hits > FEWEST // 2
    await rig.stop(*workers)
    await rig.check(jobs, failures=failures, settled=settled)


async def test_a_worker_that_is_cut_off_for_longer_than_its_lease_stores_nothing_late_and_starts_afresh(rig: Rig):
    await rig.start_server()
    lease = ("--lease", f"{SHORT_S:g}", "-c", "10")
    async with FaultProxy(rig.folder / "s", rig.folder / "p") as proxy:
        cut_off = await rig.worker(*lease, url=proxy.url)
        jobs = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(10)])
        await rig.ledger.until(10, pid=cut_off.pid)
        (former,) = await rig.ids_of(cut_off)
        other = await rig.worker(*lease)
        await rig.baseline()
        proxy.freeze()
        began_s = time.monotonic()
        await other.line("reclaimed", worker=former)
        await rig.ledger.until(10, pid=other.pid)
        rig.measured(f"all in other hands {time.monotonic() - began_s:.2f} s after the cut; lease {SHORT_S:g} s")
        rig.open_gate()
        await rig.all_ended(jobs)
        await rig.ledger.until(10, "end", pid=cut_off.pid)  # it has ended them too, and tells nobody yet
        proxy.thaw()  # what it had sent arrives now
        await cut_off.line("lease_lost")
        assert [await job.result() for job in jobs] == [other.pid] * 10
        await rig.stop(other)
        later = await rig.enqueue(10)
        await rig.all_ended(later)
        assert len(rig.ledger.ends(*later, pid=cut_off.pid)) == 10
        await rig.stop(cut_off)
        await rig.check([*jobs, *later], may_repeat={job.id for job in jobs})


async def test_when_all_were_cut_off_for_longer_than_a_lease_nobody_takes_anothers_jobs(rig: Rig, proxy: FaultProxy):
    lease = ("--lease", f"{SHORT_S:g}", "-c", "5")
    workers = [await rig.worker(*lease, url=proxy.url) for _ in range(3)]
    jobs: list[Any] = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(15)])
    await rig.ledger.until(15)
    members = await rig.raw.zrange(f"{rig.prefix}workers", 0, -1, withscores=True)
    await rig.baseline()
    proxy.freeze()
    last_ms = max(end_ms for _, end_ms in members)

    async def over() -> bool:  # ... and a heartbeat may have been on its way
        seconds, microseconds = await rig.raw.time()
        return seconds * 1000 + microseconds // 1000 > last_ms + SHORT_S * 1000

    await until(over, "every lease has ended")
    proxy.thaw()
    for worker in workers:
        await rig.heartbeats_of(worker, 2)
    rig.open_gate()
    await rig.all_ended(jobs)
    await rig.stop(*workers)
    assert not any('"event":"reclaimed"' in worker.text for worker in workers)
    await rig.check(jobs)


async def test_a_server_that_accepts_and_says_nothing_keeps_no_listener_waiting():
    async with answering(lambda _: SILENCE) as port:
        store = connect(f"redis://127.0.0.1:{port}", namespace="test", connect_timeout_s=0.2)
        ended = store.ended("j1")
        began_s = time.monotonic()

        with pytest.raises(StoreUnavailable, match=r"no answer after 0\.2 s"):
            await anext(ended)

        assert time.monotonic() - began_s < 2
        await store.close()
