"""Worker processes killed, frozen, blocked and poisoned: no job is lost, and none runs twice without cause."""

from __future__ import annotations

import asyncio
import signal
import time

from tests.process.rig import Rig

LEASE_S = 2.0
HEARTBEAT_S = LEASE_S * 4 / 15
MARGIN_S = 2.0  # for a machine that has other things to do
SOON = ("--lease", f"{LEASE_S:g}")


async def test_a_killed_worker_with_a_hundred_jobs_in_hand_loses_none(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    first, second = await rig.workers(2, *SOON)
    jobs = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(200)])
    await rig.ledger.until(100, pid=first.pid)
    await rig.ledger.until(100, pid=second.pid)
    in_hand = rig.ledger.unended(first.pid)
    assert len(in_hand) == 100
    killed_s = time.monotonic()
    await first.kill()
    rig.open_gate()
    await rig.all_ended(jobs)
    again = [entry for entry in rig.ledger.starts(pid=second.pid) if entry.job_id in in_hand]
    took_s = max(entry.at_s for entry in again) - killed_s
    rig.measured(
        f"100 jobs recovered {took_s:.2f} s after the kill; lease {LEASE_S:g} s, heartbeat {HEARTBEAT_S:.2f} s"
    )
    assert took_s <= LEASE_S + 2 * HEARTBEAT_S + MARGIN_S
    await rig.stop(second)
    await rig.check(jobs, may_repeat=in_hand)


async def test_twenty_thousand_jobs_through_two_workers_run_once_each(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    workers = await rig.workers(2)
    jobs = await rig.enqueue(20_000)
    await rig.all_ended(jobs)
    await rig.stop(*workers)
    assert all(rig.ledger.ends(pid=worker.pid) for worker in workers)
    await rig.check(jobs)


async def test_a_worker_frozen_past_its_lease_stores_nothing_and_starts_afresh(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    zombie = await rig.worker("--lease", "1")
    (former,) = await rig.ids_of(zombie)
    jobs = [await task.delay() for task in (rig.tasks.hold, rig.tasks.hold_in_thread) for _ in range(2)]
    await rig.ledger.until(4, pid=zombie.pid)
    other = await rig.worker("--lease", "1")
    zombie.send_signal(signal.SIGSTOP)
    await other.line("reclaimed", worker=former)
    await rig.ledger.until(4, pid=other.pid)
    rig.open_gate()
    assert [await job.result(timeout=20) for job in jobs] == [other.pid] * 4
    zombie.send_signal(signal.SIGCONT)
    await zombie.line("lease_lost", jobs=4)
    await rig.stop(other)
    later = await rig.enqueue(10)
    await rig.all_ended(later)
    assert len(rig.ledger.ends(*later, pid=zombie.pid)) == 10
    (afresh,) = await rig.ids_of(zombie)
    assert afresh != former
    assert [await job.result() for job in jobs] == [other.pid] * 4
    await rig.stop(zombie)
    await rig.check([*jobs, *later], may_repeat={job.id for job in jobs})


async def test_a_worker_frozen_for_less_than_its_lease_keeps_its_jobs(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    frozen = await rig.worker("--lease", "4")
    jobs = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(20)])
    await rig.ledger.until(20, pid=frozen.pid)
    other = await rig.worker("--lease", "4")
    frozen.send_signal(signal.SIGSTOP)
    await asyncio.sleep(1.5)  # at most 1.07 s had passed since its last heartbeat
    frozen.send_signal(signal.SIGCONT)
    await rig.heartbeats_of(frozen, 2)
    rig.open_gate()
    await rig.all_ended(jobs)
    await rig.stop(frozen, other)
    assert len(rig.ledger.ends(pid=frozen.pid)) == 20
    await rig.check(jobs)


async def test_a_task_that_blocks_the_loop_for_three_leases_loses_no_lease(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    blocked = await rig.worker("--lease", "1")
    neighbour = await rig.tasks.hold.delay()
    await rig.ledger.until(1, pid=blocked.pid)
    other = await rig.worker("--lease", "1", "-q", "elsewhere")
    job = await rig.tasks.block.delay(3.5)
    assert await job.result(timeout=20) == blocked.pid
    said = await blocked.line("blocked")
    assert said["blocked_s"] > 2.5
    assert "time.sleep(seconds)" in said["stack"]
    rig.open_gate()
    await rig.all_ended([neighbour])
    await rig.stop(blocked, other)
    for worker in (blocked, other):
        assert "lease_lost" not in worker.text
        assert "reclaimed" not in worker.text
    await rig.check([job, neighbour])


async def test_poison_becomes_a_dead_letter_and_takes_nobody_with_it(rig: Rig):
    """A job kills whoever runs it. Each dead worker is followed by a new one."""
    await rig.start_server()
    await rig.watch_ends()
    poison = await rig.tasks.die.delay()
    innocent = await rig.app.enqueue_many([rig.tasks.nap.s(0.2) for _ in range(30)])
    jobs = [poison, *innocent]
    over = asyncio.Event()

    async def keep_one_alive() -> int:
        deaths = 0
        while True:
            worker = await rig.worker("--lease", "1")
            dying, ending = asyncio.create_task(worker.exit(timeout_s=60)), asyncio.create_task(over.wait())
            await asyncio.wait({dying, ending}, return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            if over.is_set():
                worker.send_signal(signal.SIGTERM)
                await dying
                return deaths
            assert dying.result() in (7, -signal.SIGKILL)
            deaths += 1

    async with asyncio.TaskGroup() as group:
        keepers = [group.create_task(keep_one_alive()) for _ in range(2)]
        await rig.all_ended(jobs, within_s=60)
        over.set()
    deaths = sum(keeper.result() for keeper in keepers)
    info = await poison.info()
    assert (info.status, info.reason, info.lost, info.attempt) == ("failed", "lost", 4, 0)
    assert all([(await job.info()).status == "succeeded" for job in innocent])
    assert all([(await job.info()).attempt == 1 for job in innocent])  # what the poison cost them is not on their bill
    assert deaths == 4
    await rig.check(jobs, dead={poison.id}, may_repeat={job.id for job in jobs})


async def test_jobs_of_a_killed_worker_wait_at_the_front(rig: Rig):
    await rig.start_server()
    killed = await rig.worker(*SOON, "-c", "1")
    first = await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    behind = await rig.enqueue(3)
    await killed.kill()
    watcher = await rig.worker(*SOON, "-q", "elsewhere")
    await watcher.line("reclaimed")
    rig.open_gate()
    last = await rig.worker("-c", "1")
    await rig.all_ended([first, *behind])
    assert [entry.job_id for entry in rig.ledger.starts(pid=last.pid)] == [job.id for job in (first, *behind)]
    assert (await first.info()).lost == 1
    await rig.stop(watcher, last)
    await rig.check([first, *behind], may_repeat={first.id})


async def test_until_empty_waits_for_the_jobs_of_a_killed_worker(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    killed = await rig.worker("--lease", "1")
    jobs = [await rig.tasks.hold.delay() for _ in range(3)]
    await rig.ledger.until(3)
    last = await rig.worker("--lease", "1", "--until-empty")
    await killed.kill()
    rig.open_gate()
    assert await last.exit() == 0
    await rig.check(jobs, may_repeat={job.id for job in jobs})


async def test_a_worker_that_can_not_keep_its_lease_any_more_ends(rig: Rig):
    """Its lease is lost, and for a new one it needs a thread with a loop: there is no file descriptor left for that."""
    await rig.start_server()
    worker = await rig.worker("--lease", "1")
    starving = await rig.tasks.starve.delay()
    await rig.all_ended([starving])
    (former,) = await rig.ids_of(worker)
    await rig.raw.zrem(f"{rig.prefix}workers", former)
    assert await worker.exit() == 1
    assert "the keeper's thread has ended" in worker.text
