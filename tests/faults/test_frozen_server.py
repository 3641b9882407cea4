"""A server that stands still: it neither answers nor ends. Nobody loses anything but time."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from aiotq import App
from aiotq.errors import StoreUnavailable
from tests.faults.invariants import Told
from tests.faults.vitals import load_of
from tests.process.tasks import Tasks

if TYPE_CHECKING:
    from tests.process.rig import Rig

LEASE_S = 1.0
CONNECT_TIMEOUT_S = 1.0
MARGIN_S = 2.0  # for a machine that has other things to do


@pytest.mark.parametrize("leases", [0.5, 2.5])
async def test_a_server_that_is_frozen_for_a_while_costs_no_job_and_no_lease(rig: Rig, leases: float):
    await rig.start_server()
    workers = await rig.workers(2, "--lease", f"{LEASE_S:g}", "-c", "5")
    held = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(10)])
    await rig.ledger.until(10)
    naps = await rig.app.enqueue_many([rig.tasks.nap.s(0.01) for _ in range(50)])
    before = [load_of(worker) for worker in workers]
    await rig.baseline()
    os.kill(rig.pid, signal.SIGSTOP)
    frozen_s = time.monotonic()
    unsure: list[str] = []
    try:
        async with App(rig.url, namespace=rig.namespace, connect_timeout=CONNECT_TIMEOUT_S):
            raise AssertionError("a frozen server has answered")
    except StoreUnavailable:
        assert time.monotonic() - frozen_s < CONNECT_TIMEOUT_S + MARGIN_S
    with pytest.raises(StoreUnavailable) as caught:
        await Tasks(App(rig.url, namespace=rig.namespace, connect_timeout=0.2)).note.options(job_id="open").delay()
    (unsure if caught.value.sent else []).append("open")
    await asyncio.sleep(max(0.0, leases * LEASE_S - (time.monotonic() - frozen_s)))  # the length of the fault
    during = [load_of(worker) for worker in workers]
    os.kill(rig.pid, signal.SIGCONT)
    at_s = time.monotonic()
    later = await rig.enqueue(50)
    for worker in workers:
        await rig.heartbeats_of(worker, 3)
    rig.measured(f"frozen for {at_s - frozen_s:.2f} s")
    rig.open_gate()
    await rig.all_ended([*held, *naps, *later])
    await rig.stop(*workers)
    for worker in workers:
        assert "lease_lost" not in worker.text
        assert "reclaimed" not in worker.text
    acked = [job.id for job in (*held, *naps, *later)]
    told = Told(acked=acked, unsure=unsure, refused=() if unsure else ("open",))
    await rig.check([], told=told, away=list(zip(before, during, strict=True)))
