"""`--max-jobs` and `--max-memory`: a process that has had enough finishes what it holds and is replaced."""

from __future__ import annotations

import os
import signal

from tests.process.rig import Rig
from tests.process.team import LONG, gone, next_pid


async def test_after_max_jobs_a_process_is_replaced_and_no_job_is_lost_or_doubled(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    jobs = await rig.enqueue(100)
    supervisor = await rig.worker("--processes", "2", "--max-jobs", "25", ready=False)
    await rig.all_ended(jobs)
    await rig.stop(supervisor)
    by_pid: dict[int, int] = {}
    for entry in rig.ledger.starts():
        by_pid[entry.pid] = by_pid.get(entry.pid, 0) + 1
    assert max(by_pid.values()) <= 25
    assert len(by_pid) >= 4
    await rig.check(jobs)


async def test_a_recycled_process_finishes_what_it_holds_while_its_successor_works(rig: Rig):
    """However long that takes: the grace is for a stop."""
    await rig.start_server()
    await rig.watch_ends()
    supervisor = await rig.worker("--max-jobs", "1", "--grace", "0.1", ready=False)
    first = await next_pid(supervisor)
    held = await rig.tasks.hold.delay()
    await supervisor.line("recycled", reason="--max-jobs")
    second = await next_pid(supervisor)
    job = await rig.tasks.note.delay()
    assert await job.result(timeout=10) == second
    third = await next_pid(supervisor)
    assert not rig.ledger.ends(held)
    rig.open_gate()
    assert await held.result(timeout=10) == first
    await gone(first)
    assert len({first, second, third}) == 3
    await rig.stop(supervisor)
    await rig.check([held, job])


async def test_above_max_memory_a_process_is_replaced(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    supervisor = await rig.worker("--max-memory", "160MiB", ready=False)
    first = await next_pid(supervisor)
    small = await rig.tasks.swell.delay(1)
    big = await rig.tasks.swell.delay(128)
    recycled = await supervisor.line("recycled")
    assert recycled["reason"].startswith("--max-memory: it takes ")
    second = await next_pid(supervisor)
    later = await rig.tasks.note.delay()
    assert [await job.result(timeout=10) for job in (small, big, later)] == [first, first, second]
    await rig.stop(supervisor)
    await rig.check([small, big, later])


async def test_a_limit_below_what_an_idle_worker_takes_is_said_once(rig: Rig):
    await rig.start_server()
    supervisor = await rig.worker("--processes", "2", "--max-memory", "1MiB", ready=False)
    assert await supervisor.exit() == 2
    assert supervisor.text.count("before its first job, and --max-memory allows 1 MiB") == 1
    await rig.check([])


async def test_processes_that_crash_after_they_had_enough_are_restarted_slower_each_time(rig: Rig):
    """One whose last job kills it has asked for its successor before."""
    await rig.start_server()
    await rig.watch_ends()
    supervisor = await rig.worker("--max-jobs", "1", *LONG, ready=False)
    job = await rig.tasks.hold.delay()
    first = await next_pid(supervisor)
    await rig.ledger.until(1, pid=first)
    second = await next_pid(supervisor)  # at once: one that has had enough has not failed
    os.kill(first, signal.SIGKILL)
    waits_s: list[float] = []
    for _ in range(2):
        told = (await supervisor.line("restarting"))["message"]  # `second` holds the job now, and then its successor
        waits_s.append(float(told.removesuffix(" s").rpartition(" ")[2]))
        if len(waits_s) == 1:
            os.kill(second, signal.SIGKILL)
    assert 0.2 <= waits_s[0] <= 0.5 <= waits_s[1] <= 1.0
    rig.open_gate()
    await rig.all_ended([job])
    await rig.stop(supervisor)
    await rig.check([job], may_repeat={job.id: 2})
