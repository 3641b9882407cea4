"""Worker processes killed, frozen, blocked and poisoned: no job is lost, and none runs twice without cause."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from aiotq.store.contract import BLOCK_S
from tests.faults.scale import scaled
from tests.faults.stopwatch import Stopwatch
from tests.probing import Answer, Probe
from tests.process.ledger import until
from tests.process.rig import TARGET, Rig
from tests.process.steady import steady

if TYPE_CHECKING:
    from aiotq import Job
    from tests.faults.invariants import Took

LEASE_S = 2.0
HEARTBEAT_S = LEASE_S * 4 / 15
START_S = 0.3  # from a reclaim to the start of what came back
SOON = ("--lease", f"{LEASE_S:g}")
QUICK_S = 1.0  # a lease
QUICK = ("--lease", f"{QUICK_S:g}")
DEATHS = {"die": (7, -signal.SIGKILL), "crash": (-signal.SIGSEGV,)}  # exit codes
IMPATIENT, MAX_BLOCK_S = TARGET.replace(":app", ":impatient"), 1.0


async def test_a_killed_worker_with_a_hundred_jobs_in_hand_loses_none(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    first, second = await rig.workers(2, *SOON)
    jobs = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(200)])
    await rig.ledger.until(100, pid=first.pid)
    await rig.ledger.until(100, pid=second.pid)
    in_hand = rig.ledger.unended(first.pid)
    assert len(in_hand) == 100
    await rig.baseline()
    killed = Stopwatch()
    await first.kill()
    rig.open_gate()
    await rig.all_ended(jobs)
    again = [entry for entry in rig.ledger.starts(pid=second.pid) if entry.job_id in in_hand]
    last_s = max(entry.at_s for entry in again)
    limit_s = LEASE_S + 2 * HEARTBEAT_S + START_S
    times = [killed.took("from the kill to the last start of 100 jobs", limit_s, until_s=last_s)]
    await rig.stop(second)
    await rig.check(jobs, may_repeat=in_hand, most_repeats=100, times=times)


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
    """Coroutines that it ran are cancelled once it knows; threads can't be, and what they come to is dropped."""
    await rig.start_server()
    await rig.watch_ends()
    zombie = await rig.worker(*QUICK)
    (former,) = await rig.ids_of(zombie)
    coroutines: list[Job[int]] = [await rig.tasks.hold.delay() for _ in range(2)]
    threads: list[Job[int]] = [await rig.tasks.hold_in_thread.delay() for _ in range(2)]
    jobs = [*coroutines, *threads]
    await rig.ledger.until(4, pid=zombie.pid)
    other = await rig.worker(*QUICK)
    frozen = Stopwatch()
    zombie.send_signal(signal.SIGSTOP)
    await other.line("reclaimed", worker=former)
    await rig.ledger.until(4, pid=other.pid)
    last_s = max(entry.at_s for entry in rig.ledger.starts(pid=other.pid))
    limit_s = QUICK_S * (1 + 2 * 4 / 15) + START_S
    times = [frozen.took("from the freeze to the last start elsewhere", limit_s, until_s=last_s)]
    rig.open_gate()
    assert [await job.result(timeout=20) for job in jobs] == [other.pid] * 4
    (rig.folder / "gate").unlink()  # so that what the zombie runs goes on running
    await asyncio.sleep(max(0.0, frozen.began_s + 3 * QUICK_S - asyncio.get_running_loop().time()))  # the fault
    zombie.send_signal(signal.SIGCONT)
    thawed = Stopwatch()
    await zombie.line("lease_lost", jobs=4)
    times.append(thawed.took("from its thaw until it knows", 1.0))
    await rig.until_registered(2)
    (afresh,) = await rig.ids_of(zombie)
    assert afresh != former
    rig.open_gate()
    await rig.ledger.until(2, "end", pid=zombie.pid)
    assert {entry.job_id for entry in rig.ledger.ends(pid=zombie.pid)} == {job.id for job in threads}
    await rig.stop(other)
    later = await rig.enqueue(10)
    await rig.all_ended(later)
    assert len(rig.ledger.ends(*later, pid=zombie.pid)) == 10
    assert [await job.result() for job in jobs] == [other.pid] * 4
    await rig.stop(zombie)
    await rig.check([*jobs, *later], may_repeat={job.id for job in jobs}, most_repeats=4, times=times)


async def test_a_job_whose_wake_up_goes_to_a_frozen_worker_starts_in_another_within_the_block_time(rig: Rig):
    await rig.start_server()
    workers = await rig.workers(2)
    jobs: list[Job[int]] = []
    times: list[Took] = []
    for frozen in workers:  # one after the other: either may have waited for longer
        frozen.send_signal(signal.SIGSTOP)
        sent = Stopwatch()
        jobs.append(await rig.tasks.note.delay())
        await jobs[-1].result(timeout=20)
        times.append(sent.took("from the call to the result", BLOCK_S + START_S))
        frozen.send_signal(signal.SIGCONT)
    await rig.stop(*workers)
    await rig.check(jobs, times=times)


async def test_a_worker_frozen_for_less_than_its_lease_keeps_its_jobs(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    frozen, other = await rig.workers(2, *SOON, "-c", "20")
    jobs = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(40)])
    await rig.ledger.until(20, pid=frozen.pid)
    await rig.ledger.until(20, pid=other.pid)
    await rig.heartbeats_of(frozen, 1)
    frozen.send_signal(signal.SIGSTOP)
    await asyncio.sleep(0.8 * LEASE_S)  # the fault
    frozen.send_signal(signal.SIGCONT)
    await rig.heartbeats_of(frozen, 2)
    rig.open_gate()
    await rig.all_ended(jobs)
    await rig.stop(frozen, other)
    assert len(rig.ledger.ends(pid=frozen.pid)) == 20
    assert "lease_lost" not in frozen.text
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
    said = await blocked.line("blocked", jobs="block")
    assert said["blocked_s"] > 2.5
    assert "time.sleep(seconds)" in said["stack"]
    rig.open_gate()
    await rig.all_ended([neighbour])
    await rig.stop(blocked, other)
    for worker in (blocked, other):
        assert "lease_lost" not in worker.text
        assert "reclaimed" not in worker.text
    await rig.check([job, neighbour])


async def test_the_jobs_of_a_loop_that_stands_still_for_longer_than_max_block_are_given_to_another(rig: Rig):
    """Of two processes one runs a task that blocks: for `max_block` it keeps its lease, then it lets it go."""
    await rig.start_server()
    await rig.watch_ends()
    blocked = await rig.worker(*QUICK, "--health-port", "0", target=IMPATIENT, ready=False)
    probe = Probe.of((await blocked.line("ready"))["health"])
    jobs = [await task.delay() for task in (rig.tasks.hold, rig.tasks.bar)]
    await rig.ledger.until(2, pid=blocked.pid)
    (began,) = rig.ledger.starts(jobs[1])
    stands = Stopwatch(began_s=began.at_s)
    other = await rig.worker(*QUICK)
    ready_s = time.monotonic()

    async def elsewhere() -> bool:
        return len(rig.ledger.starts(jobs[1])) == 2

    await until(elsewhere, "the other runs it")
    last_s = rig.ledger.starts(jobs[1])[1].at_s
    free_s = max(began.at_s + MAX_BLOCK_S + QUICK_S, ready_s)  # from when the other may take them
    limit_s = QUICK_S * 3 * 4 / 15 + START_S
    times = [stands.took("from max_block and a lease to the start elsewhere", limit_s, lasted_s=last_s - free_s)]
    rig.measured(f"started elsewhere {last_s - began.at_s:.2f} s after the block began")
    reason = f"the event loop has been blocked for longer than {MAX_BLOCK_S:g} s (max_block)"
    assert [await probe.get(page) for page in ("readyz", "livez")] == [Answer(status=503, text=reason)] * 2
    rig.open_gate()
    await blocked.line("lease_lost", jobs=2)
    assert [await job.result(timeout=20) for job in jobs] == [other.pid] * 2
    assert {(await job.info()).lost for job in jobs} == {1}
    await probe.until(200, "ok")  # afresh
    await rig.stop(blocked, other)
    await rig.check(jobs, may_repeat={job.id for job in jobs}, most_repeats=2, times=times)


async def test_tasks_that_can_not_be_ended_keep_their_slots_and_are_named_and_hold_no_process(rig: Rig):
    """With slots left a worker goes on, and says what is short; without one it ends by itself, with exit code 1."""
    await rig.start_server()
    await rig.watch_ends()
    full = await rig.worker("-q", "full", "-c", "1")
    short = await rig.worker(
        "-q", "short", "-c", "3", "--threads", "1", "--grace", "1", "--health-port", "0", ready=False
    )
    probe = Probe.of((await short.line("ready"))["health"])
    stuck: list[Job[Any]] = [await rig.tasks.cling.options(queue=queue).delay() for queue in ("full", "short")]
    stuck.append(await rig.tasks.hold_in_thread.options(queue="short", timeout=0.2, retries=0).delay())
    await rig.ledger.until(3)
    given_up = Stopwatch()
    assert await full.exit() == 1
    limit_s = 0.2 + 5 + 1
    times = [given_up.took("until one without a free slot has ended", limit_s)]
    assert "every slot holds a job that can't be ended" in full.text
    await probe.until(503, "every thread holds a job that can't be ended")
    times.append(given_up.took("until one without a free thread says so", limit_s))
    assert await probe.get("livez") == Answer(status=200, text="ok")
    for job in stuck:
        info = await job.info()
        assert info.error is not None
        assert (info.status, info.error.type) == ("failed", "JobTimeout"), info
    well = await rig.tasks.note.options(queue="short").delay()
    await rig.all_ended([*stuck, well])
    told = Stopwatch()
    await rig.stop(short)
    times.append(told.took("from the signal to the exit, with both still running", 1 + 1))
    await rig.check([*stuck, well], dead={job.id for job in stuck}, times=times)


@pytest.mark.parametrize("kind", scaled(["crash"], ["crash", "die"]))
async def test_poison_becomes_a_dead_letter_and_takes_nobody_with_it(rig: Rig, kind: str):
    """A job kills whoever runs it, or makes it crash. Each dead worker is followed by a new one; others flow."""
    await rig.start_server()
    await rig.watch_ends()
    poison = await getattr(rig.tasks, kind).delay()
    innocent = await rig.app.enqueue_many([rig.tasks.nap.s(0.2) for _ in range(30)])
    over = asyncio.Event()

    async def keep_one_alive() -> int:
        deaths = 0
        while True:
            worker = await rig.worker(*QUICK)
            dying, ending = asyncio.create_task(worker.exit(timeout_s=60)), asyncio.create_task(over.wait())
            await asyncio.wait({dying, ending}, return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            if over.is_set():
                worker.send_signal(signal.SIGTERM)
                await dying
                return deaths
            assert dying.result() in DEATHS[kind]
            deaths += 1

    async with asyncio.TaskGroup() as group:
        keepers = [group.create_task(keep_one_alive()) for _ in range(2)]
        await rig.until_registered(2)
        flow = Stopwatch()
        async with steady(rig) as notes:
            await rig.all_ended([poison, *innocent], within_s=60)
        await rig.all_ended(notes.jobs)
        over.set()
    deaths = sum(keeper.result() for keeper in keepers)
    info = await poison.info()
    assert (info.status, info.reason, info.lost, info.attempt) == ("failed", "lost", 4, 0)
    assert all([(await job.info()).status == "succeeded" for job in innocent])
    assert all([(await job.info()).attempt == 1 for job in innocent])  # what the poison cost them is not on their bill
    assert deaths == 4
    jobs = [poison, *innocent, *notes.jobs]
    # One whose claim a dying worker had just made waits for the end of its lease.
    others = sorted(notes.waits_s(rig))[: -deaths or None]
    times = [flow.took("poison: other jobs start", 1.0, lasted_s=max(others))]
    rig.measured(f"{len(notes.jobs)} of them while {deaths} workers died")
    await rig.check(jobs, dead={poison.id}, may_repeat={job.id: deaths for job in jobs}, times=times)


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


@pytest.mark.parametrize("name", ["wait_token", "cancellations", "exchange"])
async def test_a_mistake_of_ours_in_a_duty_of_the_loop_ends_the_process_and_its_jobs_go_to_another(rig: Rig, name: str):
    await rig.start_server()
    mistaken = await rig.worker(*QUICK, target="tests.process.mistaken:app", env={"MISTAKE": name}, ready=False)
    jobs = [await rig.tasks.hold.delay() for _ in range(2)]
    assert await mistaken.exit() == 1
    assert f"ZeroDivisionError: a mistake of ours in {name}" in mistaken.text
    rig.crew.remove(mistaken)  # it may say that
    rig.open_gate()
    other = await rig.worker(*QUICK)
    await rig.all_ended(jobs)
    await rig.until_registered(1)

    async def alone() -> bool:
        return await rig.raw.zcard(f"{rig.prefix}workers") == 1

    await until(alone, "the dead one is seen off")
    await rig.stop(other)
    await rig.check(jobs, excused={mistaken.pid})
