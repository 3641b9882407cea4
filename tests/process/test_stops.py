"""Workers told to stop: gently, twice, with a claim or a goodbye on its way. Nothing is lost, nothing runs twice."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest

from aiotq.job import parse_ticket
from aiotq.store.scripts import RETIRE
from tests.faults.proxy import Fault, FaultProxy
from tests.faults.scale import scaled
from tests.faults.stopwatch import Stopwatch
from tests.process.rig import Rig
from tests.process.steady import steady
from tests.process.team import taken

SIGNALS = [signal.SIGTERM, signal.SIGINT]
PAIRS = [(first, second) for first in SIGNALS for second in SIGNALS]
LONG_S = scaled(1.0, 3.0)  # a job that is running as its worker is told to stop
DEAF_S = 0.1  # from the signal to the last start
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
async def test_nothing_starts_after_the_signal_and_the_process_ends_with_its_last_job(rig: Rig, number: signal.Signals):
    """It has free slots, and jobs go on being sent: until the signal it runs them at once, and none after it."""
    await rig.start_server()
    await rig.watch_ends()
    worker = await rig.worker("-c", "20", "--grace", "10")
    async with steady(rig) as notes:
        long = await rig.app.enqueue_many([rig.tasks.nap.s(LONG_S) for _ in range(10)])
        await rig.ledger.until(10 + 20, pid=worker.pid)
        told = Stopwatch()
        await rig.stop(worker, number=number)
        times = [told.took("from the signal to the exit", LONG_S + 1)]
    deaf_s = told.began_s + DEAF_S + min(told.starved_s, 0.3)
    late = [entry for entry in rig.ledger.starts(pid=worker.pid) if entry.at_s > deaf_s]
    assert not late, f"started {late[0].at_s - told.began_s:.3f} s after the signal"
    assert {entry.job_id for entry in rig.ledger.ends(pid=worker.pid)} > {job.id for job in long}
    last = max(entry.at_s for entry in rig.ledger.starts(pid=worker.pid))
    rig.measured(f"its last start was {last - told.began_s:+.3f} s from the signal")
    other = await rig.worker()
    await rig.all_ended([*long, *notes.jobs])
    await rig.stop(other)
    await rig.check([*long, *notes.jobs], times=times)


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_job_longer_than_the_grace_runs_again_elsewhere_at_once(rig: Rig, number: signal.Signals):
    grace_s = scaled(0.5, 2.0)
    await rig.start_server()
    await rig.watch_ends()
    worker = await rig.worker("--grace", f"{grace_s:g}")
    job = await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    other = await rig.worker()
    told = Stopwatch()
    await rig.stop(worker, number=number)
    times, gone = [told.took("from the signal to the exit", grace_s + 1)], Stopwatch()
    await rig.ledger.until(1, pid=other.pid)
    (again,) = rig.ledger.starts(pid=other.pid)
    times.append(gone.took("from the exit to the start elsewhere", 1.0, until_s=again.at_s))
    info = await job.info()
    assert (again.attempt, info.attempt, info.lost) == (1, 1, 0)
    rig.open_gate()
    await rig.all_ended([job])
    await rig.stop(other)
    await rig.check([job], may_repeat={job.id}, most_repeats=1, times=times)


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


@pytest.mark.parametrize("name", ["hold_in_thread", "hold_elsewhere"])
async def test_a_thread_longer_than_the_grace_does_not_hold_the_process(rig: Rig, name: str):
    await rig.start_server()
    await rig.watch_ends()
    worker = await rig.worker("--grace", "0.2")
    job: Any = await getattr(rig.tasks, name).delay()
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


@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_a_second_signal_puts_everything_back_at_once(rig: Rig, first: signal.Signals, second: signal.Signals):
    await rig.start_server()
    await rig.watch_ends()
    worker = await rig.worker()
    jobs = [await task.delay() for task in (rig.tasks.hold, rig.tasks.hold_in_thread) for _ in range(3)]
    await rig.ledger.until(6)
    worker.send_signal(first)
    await worker.line("stopping", running=6)
    told = Stopwatch()
    worker.send_signal(second)
    assert await worker.exit() == 130
    times = [told.took("from the second signal to the exit", 1.0)]
    assert set(await waiting(rig)) == {job.id for job in jobs}
    assert await rig.raw.zcard(f"{rig.prefix}workers") == 0
    assert {(await job.info()).attempt for job in jobs} == {0}
    rig.open_gate()
    other = await rig.worker()
    await rig.all_ended(jobs)
    await rig.stop(other)
    await rig.check(jobs, may_repeat={job.id for job in jobs}, most_repeats=6, times=times)


async def test_a_third_signal_ends_the_process_whatever_holds_it(rig: Rig):
    """A task stands in the loop's way: the first two signals wait for the loop, the third does not."""
    await rig.start_server()
    await rig.watch_ends()
    worker = await rig.worker("--lease", "1")
    job = await rig.tasks.bar.delay()
    await rig.ledger.until(1)
    worker.send_signal(signal.SIGTERM)
    await taken(worker.pid, signal.SIGTERM)  # else the kernel makes one of them
    worker.send_signal(signal.SIGINT)
    await taken(worker.pid, signal.SIGINT)
    assert worker.process.returncode is None
    told = Stopwatch()
    worker.send_signal(signal.SIGTERM)
    assert await worker.exit() == 130
    times = [told.took("from the third signal to the exit", 1.0)]
    rig.open_gate()
    other = await rig.worker("--lease", "1")
    await rig.all_ended([job])
    await rig.stop(other)
    await rig.check([job], may_repeat={job.id}, most_repeats=1, times=times)


async def test_what_a_claim_in_flight_brings_after_the_signal_goes_back_unstarted(rig: Rig):
    """The proxy holds the answer of a claim back until the worker has been told to stop."""
    await rig.start_server()
    await rig.watch_ends()
    async with FaultProxy(rig.folder / "s", rig.folder / "p") as proxy:
        worker = await rig.worker(url=proxy.url)
        proxy.delay_s = 2.5
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
