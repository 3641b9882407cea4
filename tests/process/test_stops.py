"""Workers told to stop: gently, twice, too early, with the server away. Nothing is lost, and nothing runs twice."""

from __future__ import annotations

import asyncio
import random
import signal
import time

import pytest

from aiotq.job import parse_ticket
from aiotq.store.scripts import RETIRE
from tests.faults.proxy import Fault, FaultProxy
from tests.process.rig import Rig

SIGNALS = [signal.SIGTERM, signal.SIGINT]
MARGIN_S = 2.0  # for a machine that has other things to do


async def waiting(rig: Rig) -> list[str]:
    """Ids of the jobs in the default queue's usual line, the first first."""
    return [parse_ticket(t.decode()).job_id for t in await rig.raw.lrange(f"{rig.prefix}line:default:5", 0, -1)]


@pytest.mark.parametrize("number", SIGNALS)
async def test_workers_stopped_one_after_the_other_in_mid_drain_run_each_job_once(rig: Rig, number: signal.Signals):
    await rig.start_server()
    await rig.watch_ends()
    jobs = await rig.app.enqueue_many([rig.tasks.nap.s(0.02) for _ in range(2_500)])
    worker = await rig.worker("-c", "50")
    for _ in range(2):
        successor = asyncio.create_task(rig.worker("-c", "50"))
        await rig.ledger.until(200, "end", pid=worker.pid)
        await rig.stop(worker, number=number)
        worker = await successor
    assert len(rig.ledger.ends()) < 2_500
    await rig.all_ended(jobs)
    await rig.stop(worker)
    await rig.check(jobs)


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_job_longer_than_the_grace_goes_back_to_the_front_with_its_attempt(rig: Rig, number: signal.Signals):
    await rig.start_server()
    await rig.watch_ends()
    worker = await rig.worker("-c", "2", "--grace", "0.5")
    long = [await rig.tasks.hold.delay() for _ in range(2)]
    await rig.ledger.until(2)
    behind = await rig.enqueue(2)
    at_s = time.monotonic()
    await rig.stop(worker, number=number)
    assert time.monotonic() - at_s < 0.5 + MARGIN_S
    assert set((await waiting(rig))[:2]) == {job.id for job in long}
    assert (await waiting(rig))[2:] == [job.id for job in behind]
    info = await long[0].info()
    assert (info.status, info.attempt, info.lost) == ("queued", 0, 0)
    rig.open_gate()
    other = await rig.worker()
    await rig.all_ended([*long, *behind])
    await rig.stop(other)
    await rig.check([*long, *behind], may_repeat={job.id for job in long})


async def test_a_thread_longer_than_the_grace_does_not_hold_the_process(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    worker = await rig.worker("--grace", "0.2")
    job = await rig.tasks.hold_in_thread.delay()
    await rig.ledger.until(1)
    at_s = time.monotonic()
    await rig.stop(worker)
    assert time.monotonic() - at_s < 0.2 + 5 + 1 + MARGIN_S  # a thread is given up 5 s after its cancellation
    assert await waiting(rig) == [job.id]
    rig.open_gate()
    other = await rig.worker()
    await rig.all_ended([job])
    await rig.stop(other)
    await rig.check([job], may_repeat={job.id})


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_second_signal_puts_everything_back_at_once(rig: Rig, number: signal.Signals):
    await rig.start_server()
    await rig.watch_ends()
    worker = await rig.worker()
    jobs = [await task.delay() for task in (rig.tasks.hold, rig.tasks.hold_in_thread) for _ in range(3)]
    await rig.ledger.until(6)
    worker.send_signal(number)
    await worker.line("stopping", running=6)
    at_s = time.monotonic()
    worker.send_signal(number)
    assert await worker.exit() == 130
    took_s = time.monotonic() - at_s
    rig.measured(f"forced to stop: ended after {took_s:.2f} s")
    assert took_s < 1.0 + MARGIN_S
    assert set(await waiting(rig)) == {job.id for job in jobs}
    assert await rig.raw.zcard(f"{rig.prefix}workers") == 0
    assert {(await job.info()).attempt for job in jobs} == {0}
    rig.open_gate()
    other = await rig.worker()
    await rig.all_ended(jobs)
    await rig.stop(other)
    await rig.check(jobs, may_repeat={job.id for job in jobs})


async def test_what_a_claim_in_flight_brings_after_the_signal_goes_back_unstarted(rig: Rig):
    """The proxy holds the answer of a claim back until the worker has been told to stop."""
    await rig.start_server()
    await rig.watch_ends()
    async with FaultProxy(rig.folder / "s", rig.folder / "p") as proxy:
        worker = await rig.worker(url=proxy.url)
        proxy.delay_s = 0.7
        job = await rig.tasks.hold.delay()
        await rig.until_active(1)
        worker.send_signal(signal.SIGTERM)
        await worker.line("stopping", running=0)
        proxy.delay_s = 0.0
        assert await worker.exit() == 0
    assert rig.ledger.starts() == []
    assert await waiting(rig) == [job.id]
    rig.open_gate()
    other = await rig.worker()
    await rig.all_ended([job])
    await rig.stop(other)
    await rig.check([job])


@pytest.mark.parametrize("fault", [Fault.DROP_REQUEST, Fault.DROP_REPLY])
async def test_a_goodbye_that_got_lost_is_said_again(rig: Rig, fault: Fault):
    await rig.start_server()
    await rig.watch_ends()
    async with FaultProxy(rig.folder / "s", rig.folder / "p") as proxy:
        worker = await rig.worker(url=proxy.url)
        jobs = [await rig.tasks.hold.delay() for _ in range(3)]
        await rig.ledger.until(3)
        proxy.arm(fault, RETIRE.sha)
        worker.send_signal(signal.SIGTERM)
        await worker.line("stopping")
        worker.send_signal(signal.SIGTERM)
        assert await worker.exit() == 130
        assert proxy.hits == 1
    assert set(await waiting(rig)) == {job.id for job in jobs}
    rig.open_gate()
    other = await rig.worker()
    await rig.all_ended(jobs)
    assert {(await job.info()).lost for job in jobs} == {0}
    await rig.stop(other)
    await rig.check(jobs, may_repeat={job.id for job in jobs})


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
    await rig.start_server()
    await rig.watch_ends()
    at_s = time.monotonic()
    first = await rig.worker()
    start_s = time.monotonic() - at_s
    await rig.stop(first)
    jobs = await rig.enqueue(300)
    moments = [start_s * random.uniform(0.5, 1.2) for _ in range(9)]

    async def start_and_stop(after_s: float) -> int:
        worker = await rig.worker(ready=False)
        await asyncio.sleep(after_s)  # the moment is what is tried
        worker.send_signal(signal.SIGTERM)
        return await worker.exit()

    for batch in (moments[:3], moments[3:6], moments[6:]):
        codes = await asyncio.gather(*map(start_and_stop, batch))
        assert set(codes) <= {0, -signal.SIGTERM}, f"{codes} at {batch}"  # the latter before its handlers stand
        assert await rig.raw.zcard(f"{rig.prefix}workers") == 0, f"registered and gone, at {batch}"
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
    at_s = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    assert await worker.exit() == 0
    assert time.monotonic() - at_s < 1 + 1 + MARGIN_S
    rig.open_gate()
    await rig.start_server("--appendonly", "yes", "--appendfsync", "always")
    other = await rig.worker("--lease", "1")
    await other.line("reclaimed")
    await rig.all_ended(jobs)
    await rig.stop(other)
    await rig.check(jobs, may_repeat={job.id for job in jobs})


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
