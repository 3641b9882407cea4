"""A server that loses keys, as a cache evicts them: a worker warns of it, outlives it, and goes on.

Which keys an eviction takes is chance: so each kind is also deleted by hand, while jobs flow. What can't come back is
what lay in the deleted key (docs/reliability.md says it kind by kind); that it is no more than that is what is tested.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.ledger import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiotq import Job
    from tests.model.census import Census
    from tests.process.rig import Rig

MIB = 1 << 20
LEASE_S = 1.0
AT_ONCE = 20  # jobs a worker runs: fewer than are sent, so that some always wait
SEND_EVERY_S = 0.05
# Deletes keys. ARGV: a pattern of theirs, and one of keys of which it says what lies in them at this moment.
DELETE = """
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[2])) do
  local kind = redis.call('TYPE', key).ok
  local held = {}
  if kind == 'list' then held = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'set' then held = redis.call('SMEMBERS', key)
  elseif kind == 'zset' then held = redis.call('ZRANGE', key, 0, -1) end
  for _, one in ipairs(held) do found[#found + 1] = one end
  if kind == 'string' then found[#found + 1] = key end
end
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end
return found
"""
COMES_BACK = ("workers", "worker:*", "lines:*")
IS_LOST = ("active:*", "line:*", "schedule", "job:*")


@pytest.mark.parametrize("policy", ["allkeys-random", "allkeys-lru"])
async def test_a_worker_outlives_the_eviction_of_any_of_its_keys_and_goes_on(rig: Rig, policy: str):
    await rig.start_server("--maxmemory-policy", policy)
    worker = await rig.worker("--lease", f"{LEASE_S:g}")
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
    later = await rig.enqueue(50)
    await rig.all_ended(later)
    stranded = await settled(rig)
    rig.measured(f"{policy}: {evicted} keys evicted, {len(jobs)} jobs went through, {len(stranded)} wait for ever")
    assert stranded <= {job.id for job in jobs}
    await forget(rig, stranded)

    async def alone() -> bool:
        return await rig.raw.zcard(f"{rig.prefix}workers") == 1

    await until(alone, "what the worker was before it came anew is taken back")
    await rig.stop(worker)
    ids = {job.id for job in jobs}
    await rig.check([*jobs, *later], may_vanish=ids, may_repeat=dict.fromkeys(ids, evicted))


async def test_a_key_that_is_deleted_takes_what_lay_in_it_at_most_and_all_else_goes_on(rig: Rig):
    await rig.start_server()
    workers = await rig.workers(2, "--lease", f"{LEASE_S:g}", "-c", str(AT_ONCE))
    jobs: list[Job[Any]] = []
    lost, may_repeat = set[str](), set[str]()
    for kind in (*COMES_BACK, *IS_LOST):
        async with flowing(rig) as sent:
            lay = await delete(rig, kind)
            may_repeat |= lay if kind == "workers" else set()  # their leases were lost
        jobs += sent
        stranded = await settled(rig)
        gone = {job.id for job in sent} - set((await rig.sample()).records)
        rig.measured(
            f"{kind}: {len(lay)} lay there; of {len(sent)} jobs {len(stranded)} wait for ever, {len(gone)} are gone"
        )
        assert stranded | gone <= (set() if kind in COMES_BACK else lay), kind
        await forget(rig, stranded)
        lost |= lay if kind == "job:*" else stranded | gone  # records of jobs that had ended went, too
    assert lost, "nothing that can't come back was deleted"
    await rig.stop(*workers)
    await rig.check(jobs, may_vanish=lost, may_repeat=may_repeat)


@asynccontextmanager
async def flowing(rig: Rig) -> AsyncIterator[list[Job[Any]]]:
    """Jobs that run, wait and are due later, before the context and within it. Yields them, complete at its end."""
    jobs: list[Job[Any]] = []
    over = asyncio.Event()

    async def send() -> None:
        while not over.is_set():
            jobs.extend(await rig.app.enqueue_many([rig.tasks.nap.s(0.2) for _ in range(AT_ONCE)]))
            jobs.append(await rig.tasks.note.options(countdown=0.5).delay())
            jobs.append(await rig.tasks.note.options(priority=1).delay())
            await asyncio.sleep(SEND_EVERY_S)  # else they would wait longer than the test does

    async def busy() -> bool:
        waiting = await rig.raw.llen(f"{rig.prefix}line:default:5")
        return waiting > AT_ONCE and len(rig.ledger.starts(*jobs)) > AT_ONCE

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        await until(busy, "jobs that run and wait")
        yield jobs
        over.set()
    # Into lines that may have been forgotten: each is found again with what waits there.
    jobs += [await rig.tasks.note.options(priority=priority).delay() for priority in (1, 5)]


async def delete(rig: Rig, kind: str) -> set[str]:
    """Delete all keys of a kind; the ids of the jobs that lay there, or in workers' hands if those are forgotten."""
    held = "active:*" if kind == "workers" else kind
    found = [one.decode() for one in await rig.raw.eval(DELETE, 0, rig.prefix + kind, rig.prefix + held)]
    keys = f"{rig.prefix}job:"
    return {one.removeprefix(keys) if kind == "job:*" else one.rpartition(":")[2] for one in found}


async def settled(rig: Rig, *, lines: bool = True) -> set[str]:
    """Wait until no worker's hands, schedule or line holds anything; the ids of the jobs that still wait."""
    last: list[Census] = []

    async def at_rest() -> bool:
        last[:] = [await rig.sample()]
        return not any([*(last[0].lines.values() if lines else ()), last[0].schedule, *last[0].active.values()])

    try:
        await until(at_rest, "no job runs or waits in a line, in the schedule or in a worker's hands")
    except AssertionError as error:
        seen = last[0]
        raise AssertionError(
            f"{error}: {seen.workers=} {seen.cards=} {seen.active=} {seen.lines=} {seen.index=}"
        ) from None
    return {job_id for job_id, record in last[0].records.items() if record[1:2] == b"w"}


async def forget(rig: Rig, stranded: set[str]) -> None:
    """Remove their records, and the lines where they may wait: nobody ever will."""
    for job_id in stranded:
        await rig.raw.delete(f"{rig.prefix}job:{job_id}")
        await rig.raw.hdel(f"{rig.prefix}lost", job_id)
    if stranded:
        await delete(rig, "line:*")
