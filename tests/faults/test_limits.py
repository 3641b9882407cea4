"""A worker process that comes to its limits: of memory, of open files."""

from __future__ import annotations

import resource
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.vitals import PAGE_BYTES, load_of
from tests.process.ledger import until

if TYPE_CHECKING:
    from tests.faults.invariants import Load
    from tests.process.rig import Rig
    from tests.processes import WorkerProcess

LEASE_S = 1.0
SPARE_MIB, WANTED_MIB = 64, 40  # one job gets it, and leaves enough for the worker itself
FEW, GREEDY = 64, 100  # file descriptors of a worker, and tasks that each want one


async def test_a_task_that_wants_more_memory_than_there_is_has_failed_and_nothing_else(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    worker = await rig.worker()
    neighbours = [await rig.tasks.hold.delay() for _ in range(3)]
    await rig.ledger.until(3)
    greedy = [await rig.tasks.gorge.delay(1_024) for _ in range(3)]
    await rig.all_ended(greedy)
    for job in greedy:
        info = await job.info()
        assert info.error is not None
        assert (info.status, info.attempt, info.error.type) == ("failed", 1, "MemoryError")
    later = await rig.enqueue(50)
    await rig.all_ended(later)
    rig.open_gate()
    await rig.all_ended(neighbours)
    await rig.stop(worker)
    await rig.check([*neighbours, *greedy, *later], dead={job.id for job in greedy})


async def test_a_worker_without_a_free_file_descriptor_waits_for_one_and_ends_what_it_holds(rig: Rig):
    """Its connections are gone and it can open no other: as if the server were away, and as quiet."""
    await rig.start_server()
    worker = await rig.worker("--lease", "4")
    jobs = [await rig.tasks.hold.delay() for _ in range(5)]
    await rig.ledger.until(5)
    await rig.baseline()
    before = load_of(worker)
    _, most = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (3, most))
    await rig.raw.client_kill_filter(skipme=True)
    await worker.line("store_down")
    starved = load_of(worker)
    rig.open_gate()
    await rig.ledger.until(5, "end")
    still = await load_after(worker, starved, 1.0)
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (most, most))
    back = await worker.line("store_up")
    rig.measured(f"back {back['down_s']:.2f} s after its connections went")
    await rig.all_ended(jobs)
    later = await rig.enqueue(50)
    await rig.all_ended(later)
    await rig.heartbeats_of(worker, 1)
    settled = [(before, load_of(worker))]
    await rig.stop(worker)
    await rig.check([*jobs, *later], settled=settled, away=[(starved, still)])


async def test_a_worker_with_few_file_descriptors_and_tasks_that_take_them_all_comes_back_when_it_has_more(rig: Rig):
    """It is starved for longer than its lease: another one takes its jobs, and it starts afresh."""
    await rig.start_server()
    starved = await rig.worker("--lease", f"{LEASE_S:g}", "-c", str(GREEDY), ready=False)
    _, most = resource.prlimit(starved.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(
        starved.pid, resource.RLIMIT_NOFILE, (FEW, most)
    )  # before its Python has come so far as to open any
    await starved.line("ready")
    jobs = [await rig.tasks.grasp.delay() for _ in range(GREEDY)]
    await rig.ledger.until(GREEDY, pid=starved.pid)

    async def all_are_taken() -> bool:
        return load_of(starved).fds >= FEW

    await until(all_are_taken, f"{FEW} files and sockets open")
    (former,) = await rig.ids_of(starved)
    other = await rig.worker("--lease", f"{LEASE_S:g}", "-c", str(GREEDY))

    async def cut_off() -> bool:
        await rig.raw.client_kill_filter(skipme=True)  # a task takes what a connection gives back
        return "store_down" in starved.text

    await until(cut_off, "the worker can open no connection")
    away = load_of(starved)
    await other.line("reclaimed", worker=former)
    await rig.ledger.until(GREEDY, pid=other.pid)
    still = await load_after(starved, away, 2.0)  # a share of less than that is one of a few ticks
    resource.prlimit(starved.pid, resource.RLIMIT_NOFILE, (most, most))
    raised_s = time.monotonic()
    await starved.line("lease_lost")
    rig.measured(f"back {time.monotonic() - raised_s:.2f} s after its limit was raised")
    rig.open_gate()
    await rig.all_ended(jobs)
    await rig.stop(other)
    later = await rig.enqueue(50)
    await rig.all_ended(later)
    assert len(rig.ledger.ends(*later, pid=starved.pid)) == 50
    await rig.stop(starved)
    ids = {job.id for job in jobs}
    await rig.check([*jobs, *later], may_repeat=ids, most_repeats=GREEDY, away=[(away, still)])


async def test_a_worker_that_may_have_little_memory_fails_the_jobs_that_want_more_and_runs_all_others(rig: Rig):
    await rig.start_server()
    worker = await rig.worker("-c", "20")
    limit_memory(worker, SPARE_MIB)
    greedy = await rig.app.enqueue_many([rig.tasks.swell.options(retries=0).s(WANTED_MIB) for _ in range(50)])
    others = await rig.enqueue(200)
    await rig.all_ended([*greedy, *others])
    infos = [await job.info() for job in greedy]
    failed = [info for info in infos if info.status == "failed"]
    assert {info.error.type for info in failed if info.error} == {"MemoryError"}
    rig.measured(f"{len(failed)} of {len(greedy)} failed, for want of {WANTED_MIB} MiB each")
    assert len(failed) == len(greedy) - SPARE_MIB // WANTED_MIB
    await rig.stop(worker)
    await rig.check([*greedy, *others], dead={info.id for info in failed})


async def test_a_worker_whose_process_is_out_of_memory_to_the_last_page_may_end_and_loses_no_job(rig: Rig):
    """It may fail jobs, or end by itself: then what it held comes back as from one that was killed."""
    await rig.start_server()
    tight = await rig.worker("--lease", f"{LEASE_S:g}", "-c", "10")
    held = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(5)])
    await rig.ledger.until(5, pid=tight.pid)
    limit_memory(tight, SPARE_MIB)
    devouring = await rig.tasks.devour.delay()
    await rig.ledger.until(6, pid=tight.pid)
    other = await rig.worker("--lease", f"{LEASE_S:g}")
    jobs = await rig.enqueue(200)
    rig.open_gate()
    await rig.all_ended([*held, devouring, *jobs])
    ended = tight.process.returncode is not None
    rig.measured(f"the worker {'ended by itself' if ended else 'lived on'}")
    await tight.kill()
    assert tight.process.returncode in (1, -signal.SIGKILL), tight.text[-3_000:]
    rig.crew.remove(tight)  # what it says with no memory left is not judged
    await until_forgotten(rig, tight)
    await rig.stop(other)
    maybe = {devouring.id, *(job.id for job in jobs)}
    await rig.check([*held, devouring, *jobs], may_die=maybe, excused=[tight.pid], most_repeats=GREEDY)


async def load_after(worker: WorkerProcess, before: Load, seconds: float) -> Load:
    """What it has taken so long after it was seen before."""

    async def later() -> bool:
        return load_of(worker).at_s - before.at_s > seconds

    await until(later, f"{seconds:g} s without file descriptors")
    return load_of(worker)


def limit_memory(worker: WorkerProcess, spare_mib: int) -> None:
    """From now on it may have so much more than it has."""
    taken = int(Path(f"/proc/{worker.pid}/statm").read_text().split()[0]) * PAGE_BYTES
    _, most = resource.prlimit(worker.pid, resource.RLIMIT_AS)
    resource.prlimit(worker.pid, resource.RLIMIT_AS, (taken + (spare_mib << 20), most))


async def until_forgotten(rig: Rig, worker: WorkerProcess) -> None:
    """Until another one has reclaimed what it held."""

    async def gone() -> bool:
        return not await rig.ids_of(worker)

    await until(gone, f"worker {worker.pid} is reclaimed")
