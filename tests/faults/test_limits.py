"""A worker process that comes to its limits: of memory, of open files."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from tests.faults.vitals import load_of
from tests.process.ledger import until

if TYPE_CHECKING:
    from tests.process.rig import Rig


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
    before = load_of(worker)
    _, most = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (3, most))
    await rig.raw.client_kill_filter(skipme=True)
    await worker.line("store_down")
    starved = load_of(worker)
    rig.open_gate()
    await rig.ledger.until(5, "end")

    async def a_second() -> bool:
        return load_of(worker).at_s - starved.at_s > 1.0

    await until(a_second, "a second without file descriptors")
    still = load_of(worker)
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
