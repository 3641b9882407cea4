"""A task that computes in pure Python on the leader's loop: the keeper's thread promotes all the same."""

from __future__ import annotations

import asyncio

from aiotq import Job
from tests.process.rig import Rig

SPIN_S = 6.0
LAST_DUE_S = 1.3


async def test_delayed_jobs_are_promoted_while_a_task_spins_on_the_leaders_loop(rig: Rig):
    """A fresh process, so that its first promotes are among them; no other worker could lead before the spin ends."""
    await rig.start_server()
    leader = await rig.worker("-q", "spins")
    await rig.until_leads(leader)
    other = await rig.worker()
    spinning = await rig.tasks.spin.options(queue="spins").delay(SPIN_S)
    await rig.ledger.until(1, pid=leader.pid)
    due_s, loop = {}, asyncio.get_running_loop()
    near: list[Job[int]] = []
    for tenths in (1, 3, 5, 7, 9, 11, 13):
        job = await rig.tasks.note.options(countdown=tenths / 10).delay()
        near.append(job)
        due_s[job.id] = loop.time() + tenths / 10  # CLOCK_MONOTONIC, as in the ledger
    await rig.ledger.until(1 + len(due_s))
    starts = [entry for entry in rig.ledger.starts() if entry.job_id in due_s]
    late_s = [entry.at_s - due_s[entry.job_id] for entry in starts]
    rig.measured(f"beside a spinning task: the first late by {late_s[0]:.4f} s, all by {max(late_s):.4f} s at most")
    await rig.all_ended([spinning, *near])
    (end,) = rig.ledger.ends(spinning)
    assert len(starts) == len(due_s)
    assert max(entry.at_s for entry in starts) < end.at_s
    assert max(late_s) < SPIN_S - LAST_DUE_S - 1
    await rig.stop(leader, other)
    await rig.check([spinning, *near])
