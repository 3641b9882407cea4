"""A server that evicts keys, as a cache does: a worker warns of it, and outlives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiotq import Job
    from tests.process.rig import Rig

MIB = 1 << 20
KINDS_OF_SERVER = ("--maxmemory-policy", "allkeys-random")


async def test_a_worker_outlives_the_eviction_of_any_of_its_keys_and_goes_on(rig: Rig):
    await rig.start_server(*KINDS_OF_SERVER)
    worker = await rig.worker("--lease", "1")
    warned = await worker.line("server")
    assert "may evict keys" in warned["message"]
    assert "noeviction" in warned["message"]
    jobs: list[Job[Any]] = []
    used = int((await rig.raw.info("memory"))["used_memory"])
    await rig.raw.config_set("maxmemory", used + MIB)
    for _ in range(20):
        jobs += await rig.app.enqueue_many([rig.tasks.carry.s("x" * 2_000) for _ in range(100)])
    evicted = int((await rig.raw.info("stats"))["evicted_keys"])
    await rig.raw.config_set("maxmemory", 0)
    assert evicted > 0
    rig.measured(f"{evicted} keys evicted while {len(jobs)} jobs went through")
    later = await rig.enqueue(50)
    await rig.all_ended(later)
    succeeded = [entry.job_id for entry in rig.ledger.ends(*later)]
    assert sorted(succeeded) == sorted(job.id for job in later)
    await rig.stop(worker)
    assert "Traceback" not in worker.text
