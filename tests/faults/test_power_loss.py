"""What `appendfsync everysec` can lose: a machine without power forgets what had not reached its disk."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

from tests.faults.invariants import Told

if TYPE_CHECKING:
    from aiotq import Job
    from tests.process.rig import Rig

EVERY_SECOND = ("--appendonly", "yes", "--appendfsync", "everysec")
LOSES_S = 1.0  # what had been written for longer has reached the disk
SEND_S = 3.0
LEASE_S = 2.0


async def test_jobs_of_the_last_second_may_vanish_whole_and_no_other_does(rig: Rig):
    """The file is cut off where it ended a second before: anywhere, as a disk does it, in the middle of a command."""
    await rig.start_server(*EVERY_SECOND)
    worker = await rig.worker("--lease", f"{LEASE_S:g}", "-c", "20")
    file = rig.folder / "appendonlydir" / "appendonly.aof.1.incr.aof"
    if not file.exists():  # Redis 6.2 has one file
        file = rig.folder / "appendonly.aof"
    sizes: list[tuple[float, int]] = []
    acked_s: dict[str, float] = {}
    jobs: list[Job[Any]] = []
    failures: dict[str, int] = {}
    until_s = time.monotonic() + SEND_S
    while time.monotonic() < until_s:
        if (await rig.raw.info("persistence"))["aof_buffer_length"] == 0:  # else it waits for its disk, and answers
            sizes.append((time.monotonic(), file.stat().st_size))
        some: list[Job[Any]] = await rig.app.enqueue_many([rig.tasks.nap.s(0.05) for _ in range(10)])
        some.append(await rig.tasks.note.options(countdown=0.5).delay())
        some.append(await rig.tasks.stumble.delay(1))
        failures[some[-1].id] = 1
        jobs += some
        acked_s |= {job.id: time.monotonic() for job in some}
        await asyncio.sleep(0.02)  # the pace of the load
    await rig.kill_server()
    killed_s = time.monotonic()
    at = max(number for number, (at_s, _) in enumerate(sizes) if at_s <= killed_s - LOSES_S)
    kept_s, kept = sizes[at]
    os.truncate(file, kept - 7)  # which takes at most one command more, written since the look before
    await worker.line("store_down")
    await rig.start_server(*EVERY_SECOND)
    await worker.line("store_up")
    found = await rig.raw.mget([f"{rig.prefix}job:{job.id}" for job in jobs])
    lost = {job.id for job, data in zip(jobs, found, strict=True) if data is None}
    rig.measured(
        f"{len(jobs)} acknowledged, {len(lost)} lost: of the last {killed_s - kept_s:.2f} s before the power went"
    )
    assert 0 < len(lost) < len(jobs) / 2
    assert not [job_id for job_id in lost if acked_s[job_id] < sizes[at - 1][0]]
    await rig.all_ended(jobs)
    later = await rig.enqueue(50)
    await rig.all_ended(later)
    await rig.stop(worker)
    whole = {job.id for job in (*jobs, *later)} - lost
    # What had ended in the last second is not known to have: it runs again.
    # One that stumbled has had two attempts, and each may.
    again = {
        entry.job_id: 1 + failures.get(entry.job_id, 0)
        for entry in rig.ledger.starts()
        if entry.at_s > kept_s - LEASE_S
    }
    await rig.check([], told=Told(acked=whole), may_vanish=lost, may_repeat=again, failures=failures)
