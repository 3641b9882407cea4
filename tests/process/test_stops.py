"""Workers told to stop: gently, twice, too early, with the server away. Nothing is lost, and nothing runs twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from aiotq.job import parse_ticket
from aiotq.store.scripts import RETIRE
from tests import servers
from tests.faults.proxy import Fault, FaultProxy
from tests.faults.scale import only_full, scaled
from tests.faults.server_rig import SLOWLY
from tests.faults.stopwatch import Stopwatch
from tests.faults.test_crash_points import reclaimed
from tests.process.rig import Rig
from tests.process.steady import steady
from tests.process.team import taken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SIGNALS = [signal.SIGTERM, signal.SIGINT]
PAIRS = [(first, second) for first in SIGNALS for second in SIGNALS]
LONG_S = scaled(1.0, 3.0)  # a job that is running as its worker is told to stop
DEAF_S = 0.1  # from the signal to the last start
STARTS = scaled(8, 200)
AT_ONCE = 4
SILENCE_S = 1 + 5 + 1 + 1 + 1  # the grace, what a call may take (or a task its cancellation), last words, twice
EARLY_S = 0.3  # of a start: the moments at which it is cut off
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
