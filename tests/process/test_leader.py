"""The leader among the pollers is gone: delayed jobs wait for its lease to end, and no longer."""

from __future__ import annotations

import signal
import time

import pytest

from aiotq.store.contract import POLLER_LEASE_MS
from tests.faults.stopwatch import Stopwatch
from tests.process.rig import Rig

MARGIN_S = 1.5  # for a machine that has other things to do


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_delayed_jobs_are_late_by_no_more_than_the_lease_of_a_poller_that_is_gone(
    rig: Rig, number: signal.Signals
):
    await rig.start_server()
    await rig.watch_ends()
    leader = await rig.worker("-q", "elsewhere")  # it takes no token that is another worker's
    await rig.until_leads(leader)
    worker = await rig.worker()
    jobs, due_s, watch = [], {}, Stopwatch()
    for tenths in range(2, 52, 5):
        sent_s = time.monotonic()
        job = await rig.tasks.note.options(countdown=tenths / 10).delay()
        due_s[job.id] = sent_s + tenths / 10  # at the earliest
        jobs.append(job)
    leader.send_signal(number)
    await rig.all_ended(jobs)
    late_s = [entry.at_s - due_s[entry.job_id] for entry in rig.ledger.starts()]
    rig.measured(
        f"{number.name}: late by {max(late_s):.2f} s at most, {sorted(late_s)[len(late_s) // 2]:.4f} s in the median"
    )
    assert max(late_s) <= POLLER_LEASE_MS / 1000 + MARGIN_S + min(watch.starved_s, 3.0)
    assert min(late_s) > -0.01
    await rig.until_leads(worker)
    if number is signal.SIGSTOP:
        leader.send_signal(signal.SIGCONT)
        await rig.stop(leader)
        await rig.stop(worker)
        await rig.check(jobs)
    else:
        await rig.stop(worker)
        await rig.forget_worker(leader)
        await rig.check(jobs)
