"""Purges and acts on many, with lost answers, and by somebody who is gone in the middle; all acts on a full server."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from aiotq import App, JobStatus
from aiotq.errors import JobCancelled, StoreFull, StoreUnavailable
from aiotq.inspection import JobFilter
from aiotq.store import scripts
from tests import servers
from tests.contract.test_half_done import places
from tests.faults.proxy import Fault
from tests.inspection.kit import CUTS, REAL, Shop, came_to, failed
from tests.worker.kit import until

if TYPE_CHECKING:
    from pathlib import Path

    from aiotq import Inspector, Job
    from tests.contract.kit import Bench
    from tests.faults.proxy import FaultProxy
    from tests.servers import Server

MANY: dict[str, JobStatus | None] = {  # what each makes of its jobs
    "retry_all": JobStatus.QUEUED,
    "cancel_all": JobStatus.CANCELLED,
    "discard_all": None,
    "promote_all": JobStatus.QUEUED,
    "requeue_all": JobStatus.QUEUED,
}


class Many(Shop):
    """Jobs that an act may be for, many."""

    async def of(self, act: str, count: int) -> list[Job[Any]]:
        if act in {"retry_all", "discard_all"}:
            jobs = await self.app.enqueue_many([self.fails.s() for _ in range(count)])
            async with self.app.worker(queues=["fails"]) as worker:
                await worker.run_until_empty()
            return jobs
        call = self.runs.options(countdown=3_600) if act == "promote_all" else self.runs
        return await self.app.enqueue_many([call.s() for _ in range(count)])


# --- a full server


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_all_of_it_works_on_a_full_server(kind: servers.Kind, server_folder: Path) -> None:
    if servers.find(kind) is None:
        pytest.skip(f"no {kind} server here")
    with servers.running(kind, server_folder) as server:
        async with App(server.url) as app, Redis.from_url(server.url) as raw:
            tasks, hand = Shop(app), app.inspect
            jobs, started = await tasks.jobs(), asyncio.Event()
            for queue in ("bad", "worse"):
                await failed(app, await tasks.fails.options(queue=queue).delay(), queues=[queue])

            await tasks.runs.options(countdown=3_600, queue="later").delay()

            @app.task(queue="endless")
            async def endless() -> None:
                started.set()
                await asyncio.Event().wait()

            running = await endless.delay()
            async with app.worker(queues=["endless"]):
                await started.wait()
                await raw.config_set("maxmemory", 1)
                assert await hand.cancel(running.id)
                with pytest.raises(JobCancelled):
                    await running.result(timeout=10)
            with pytest.raises(StoreFull):
                await app.tasks["runs"].delay()

            for act, job, status in [
                (hand.retry, jobs["dead"], JobStatus.QUEUED),
                (hand.discard, jobs["dead2"], None),
                (hand.cancel, jobs["waits"], JobStatus.CANCELLED),
                (hand.promote, jobs["later"], JobStatus.QUEUED),
                (hand.requeue, jobs["waits2"], JobStatus.QUEUED),
            ]:
                assert await act(job.id)
                assert await came_to(job) is status
            assert await hand.requeue(jobs["waits2"].id, queue="other")
            assert (await hand.requeue_all(JobFilter(queue="other"), queue="third")).done == 1
            assert await hand.pause("runs")
            assert await hand.resume("runs")
            assert (await hand.cancel_all(JobFilter(queue="third"))).done == 1
            assert (await hand.purge("runs")).ended == 2
            assert (await hand.retry_all(JobFilter(queue="bad"))).done == 1
            assert (await hand.discard_all(JobFilter(queue="worse"))).done == 1
            assert (await hand.promote_all(JobFilter(queue="later"))).done == 1
            assert len((await hand.audit()).items) == 15
            await raw.config_set("maxmemory", 0)


# --- lost answers


@REAL
@pytest.mark.parametrize("fault", CUTS, ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("script", [scripts.FRONT, scripts.TAKE, scripts.AUDIT], ids=lambda script: script.name)
async def test_a_purge_whose_answers_are_lost_counts_each_job_once(
    shop: App, far: Inspector, proxy: FaultProxy, script: scripts.Script, fault: Fault
) -> None:
    task = Shop(shop).runs
    jobs = await shop.enqueue_many([task.s() for _ in range(250)])
    proxy.arm(fault, script.sha, times=2)

    assert (await far.purge("runs")).ended == 250

    assert proxy.hits == 2
    assert {await job.status() for job in jobs} == {JobStatus.CANCELLED}
    assert [entry.came_to for entry in (await shop.inspect.audit()).items] == ["250 jobs"]


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
@pytest.mark.parametrize("fault", CUTS, ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("act", MANY)
async def test_an_act_on_many_whose_connection_is_cut_is_done_once_to_each(
    shop: App, far: Inspector, proxy: FaultProxy, bench: Bench, act: str, fault: Fault
) -> None:
    script = scripts.DISCARD if act == "discard_all" else scripts.REPLACE
    jobs = await Many(shop).of(act, 60)
    proxy.arm(fault, script.sha, times=3)

    came = await getattr(far, act)(JobFilter())
    assert (came.done, came.skipped) == (60, 0)

    assert proxy.hits == 3
    assert {await came_to(job) for job in jobs} == {MANY[act]}
    assert set((await places(bench)).values()) <= {1}
    assert [entry.came_to for entry in (await shop.inspect.audit()).items] == ["60 jobs"]
    again = await getattr(far, act)(JobFilter())
    assert again.done == (60 if act == "requeue_all" else 0)
    assert {await came_to(job) for job in jobs} == {MANY[act]}


# --- gone in the middle


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_who_is_gone_in_the_middle_of_a_purge_leaves_it_to_be_done_again(
    shop: App, proxy: FaultProxy, namespace: str, raw: Any, prefix: str
) -> None:
    task = Shop(shop).runs
    jobs = await shop.enqueue_many([task.s() for _ in range(350)])
    for script in scripts.ALL:
        await raw.script_load(script.text)
    async with App(proxy.url, namespace=namespace, connect_timeout=0.5) as behind:
        proxy.arm(Fault.BLACK_HOLE, scripts.TAKE.sha, times=100)
        with pytest.raises(StoreUnavailable):
            await behind.inspect.purge("runs")
    found = [await job.status() for job in jobs]
    assert found.count(JobStatus.CANCELLED) == 100
    assert found.count(JobStatus.QUEUED) == 250 == await raw.llen(f"{prefix}line:runs:5")

    assert (await shop.inspect.purge("runs")).ended == 250


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_a_bulk_act_that_is_cancelled_leaves_each_job_whole(shop: App, raw: Any, prefix: str, bench: Any) -> None:
    task = Shop(shop).runs
    await shop.enqueue_many([task.s() for _ in range(300)])
    acting = asyncio.ensure_future(shop.inspect.requeue_all(JobFilter(queue="runs"), queue="other"))

    async def begun() -> bool:
        return await raw.exists(f"{prefix}line:other:5") == 1

    await until(begun)
    acting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await acting

    assert set((await places(bench)).values()) == {1}
    assert (await shop.inspect.requeue_all(JobFilter(), queue="third")).done == 300


ACTING = """
import asyncio, sys
from aiotq import App
from aiotq.inspection import JobFilter

async def main(url, namespace, act):
    async with App(url, namespace=namespace) as app:
        await (app.inspect.purge("runs") if act == "purge" else getattr(app.inspect, act)(JobFilter()))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
@pytest.mark.parametrize("act", ["purge", *MANY])
async def test_who_is_killed_in_the_middle_leaves_each_job_whole_and_the_rest_to_be_done(
    shop: App, server: Server, namespace: str, raw: Any, prefix: str, bench: Any, act: str
) -> None:
    jobs = await Many(shop).of(act, 1_000)
    before = await came_to(jobs[0])
    keys = [f"{prefix}job:{job.id}" for job in jobs]
    first = [await raw.getrange(key, 1, 5) for key in (keys[0], keys[-1])]  # whichever comes first
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", ACTING, server.url, namespace, act)

    async def begun() -> bool:
        return [await raw.getrange(key, 1, 5) for key in (keys[0], keys[-1])] != first

    await until(begun)
    process.kill()
    await process.wait()

    [entry] = (await shop.inspect.audit()).items
    assert (entry.action, entry.came_to) == (act.replace("_", " "), "begun")
    assert set((await places(bench)).values()) <= {1}
    left = [await came_to(job) for job in jobs].count(before)
    if act == "purge":
        again = (await shop.inspect.purge("runs")).ended
    else:
        again = (await getattr(shop.inspect, act)(JobFilter())).done
    assert again == left
    assert [entry.came_to != "begun" for entry in (await shop.inspect.audit()).items] == [True, False]
    assert {await came_to(job) for job in jobs} == {MANY.get(act, JobStatus.CANCELLED)}
