"""Acts on a full server, with lost answers, with a right missing, and by somebody who is gone in the middle."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from aiotq import App, JobStatus, Reject, RetryPolicy
from aiotq.errors import JobCancelled, JobFailed, JobNotFound, StoreError, StoreFull, StoreUnavailable
from aiotq.inspection import JobFilter
from aiotq.store import scripts
from tests import servers
from tests.conftest import CONNECT_TIMEOUT_S
from tests.contract.test_half_done import places
from tests.faults.proxy import Fault, FaultProxy
from tests.rights import user
from tests.worker.kit import until
from tools import acl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from aiotq import Inspector, Job
    from tests.servers import Server

CUTS = [fault for fault in Fault if fault is not Fault.BLACK_HOLE]
REAL = pytest.mark.parametrize("server", ["valkey", "redis"], indirect=True)


class Shop:
    """A job of each kind, for each act: `dies` has failed, `waits` is queued, `later` scheduled."""

    def __init__(self, app: App) -> None:
        async def fails() -> None:
            raise ValueError("no")

        async def runs() -> str:
            return "done"

        self.app = app
        self.fails = app.task(fails, name="fails", retries=0, queue="fails")
        self.runs = app.task(runs, name="runs", queue="runs")

    async def jobs(self) -> dict[str, Job[Any]]:
        dead = [await self.fails.delay() for _ in range(2)]
        async with self.app.worker(queues=["fails"]):
            for job in dead:
                with pytest.raises(JobFailed):
                    await job.result(timeout=10)
        waits = [await self.runs.delay() for _ in range(3)]
        later = await self.runs.options(countdown=3_600).delay()
        return dict(zip(("dead", "dead2", "waits", "waits2", "waits3", "later"), [*dead, *waits, later], strict=True))


ACTS: dict[str, tuple[str, JobStatus | None]] = {
    "retry": ("dead", JobStatus.QUEUED),
    "discard": ("dead", None),
    "cancel": ("waits", JobStatus.CANCELLED),
    "promote": ("later", JobStatus.QUEUED),
    "requeue": ("waits", JobStatus.QUEUED),
}


async def came_to(job: Job[Any]) -> JobStatus | None:
    """None: it is gone."""
    try:
        return await job.status()
    except JobNotFound:
        return None


# --- a full server


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_all_of_it_works_on_a_full_server(kind: servers.Kind, server_folder: Path) -> None:
    if servers.find(kind) is None:
        pytest.skip(f"no {kind} server here")
    with servers.running(kind, server_folder) as server:
        async with App(server.url) as app, Redis.from_url(server.url) as raw:
            jobs, hand = await Shop(app).jobs(), app.inspect
            await raw.config_set("maxmemory", 1)
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
            assert len((await hand.audit()).items) == 11
            await raw.config_set("maxmemory", 0)


# --- lost answers


@pytest_asyncio.fixture
async def proxy(server: Server, server_folder: Path) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(server.socket, server_folder / "p") as made:
        yield made


@pytest_asyncio.fixture
async def far(proxy: FaultProxy, server: Server, namespace: str, shop: App, raw: Any) -> AsyncIterator[Inspector]:
    """An inspector behind the proxy, on a server that knows all scripts."""
    for script in scripts.ALL:
        await raw.script_load(script.text)
    async with App(server.via(proxy.url), namespace=namespace) as behind:
        yield behind.inspect.acting("ada")


@REAL
@pytest.mark.parametrize("fault", CUTS, ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("act", ACTS)
async def test_an_act_whose_answer_is_lost_is_done_once(
    shop: App, far: Inspector, proxy: FaultProxy, act: str, fault: Fault
) -> None:
    name, status = ACTS[act]
    job = (await Shop(shop).jobs())[name]
    proxy.arm(fault, (scripts.DISCARD if act == "discard" else scripts.REPLACE).sha, times=2)

    assert await getattr(far, act)(job.id)

    assert proxy.hits == 2
    assert await came_to(job) is status
    assert [entry.came_to for entry in (await shop.inspect.audit()).items] == ["done"]


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


@REAL
@pytest.mark.parametrize("fault", CUTS, ids=lambda fault: fault.name.lower())
async def test_a_pause_whose_answer_is_lost_has_paused(
    shop: App, far: Inspector, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.arm(fault, scripts.PAUSE.sha, times=2)
    assert await far.pause("runs")
    proxy.arm(fault, scripts.RESUME.sha, times=2)
    assert await far.resume("runs")

    assert proxy.hits == 4
    assert [entry.came_to for entry in (await shop.inspect.audit()).items] == ["done", "done"]


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_a_job_that_goes_on_while_the_answer_is_lost_was_retried_by_who_asked_and_stopped(
    shop: App, far: Inspector, proxy: FaultProxy
) -> None:
    raised: list[Exception] = [ValueError("waits then"), Reject("for good")]

    async def fails() -> None:
        raise raised.pop()

    job = await shop.task(fails, name="again", retry=RetryPolicy(delays=[3_600])).delay()

    async def waits_again() -> bool:
        return await job.status() is JobStatus.SCHEDULED

    async with shop.worker():
        with pytest.raises(JobFailed):
            await job.result(timeout=10)
        proxy.arm(Fault.DROP_REPLY, scripts.REPLACE.sha)
        acting = asyncio.ensure_future(far.retry(job.id))
        await proxy.struck()
        proxy.freeze()
        await until(waits_again)
        proxy.thaw()
        assert await acting

        runs = await shop.task(_endless, name="endless").delay()

        async def running() -> bool:
            return await runs.status() is JobStatus.RUNNING

        await until(running)
        proxy.arm(Fault.DROP_REPLY, scripts.CANCEL.sha)
        acting = asyncio.ensure_future(far.cancel(runs.id))
        await proxy.struck()
        proxy.freeze()
        with pytest.raises(JobCancelled):
            await runs.result(timeout=10)
        proxy.thaw()
        assert await acting

    assert [entry.came_to for entry in (await shop.inspect.audit()).items] == ["its worker was told", "done"]


async def _endless() -> None:
    await asyncio.Event().wait()


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
@pytest.mark.parametrize("act", ["purge", "cancel_all", "requeue_all"])
async def test_who_is_killed_in_the_middle_leaves_each_job_whole_and_the_rest_to_be_done(
    shop: App, server: Server, namespace: str, raw: Any, prefix: str, bench: Any, act: str
) -> None:
    task = Shop(shop).runs
    jobs = await shop.enqueue_many([task.s() for _ in range(2_000)])
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", ACTING, server.url, namespace, act)

    async def begun() -> bool:
        if act == "purge":
            return await raw.llen(f"{prefix}line:runs:5") < 2_000
        return await raw.getrange(f"{prefix}job:{jobs[0].id}", 1, 5) != first

    first = await raw.getrange(f"{prefix}job:{jobs[0].id}", 1, 5)
    await until(begun)
    process.kill()
    await process.wait()

    assert set((await places(bench)).values()) <= {1}
    waiting = [await job.status() for job in jobs].count(JobStatus.QUEUED)
    if act == "purge":
        again = (await shop.inspect.purge("runs")).ended
    else:
        again = (await getattr(shop.inspect, act)(JobFilter())).done
    assert again == waiting


# --- rights


async def _purge(hand: Inspector, _: Job[Any]) -> bool:
    return (await hand.purge("runs")).ended > 0


STEPS: dict[str, tuple[str, Callable[[Inspector, Job[Any]], Awaitable[bool]]]] = {
    "retry": ("dead", lambda hand, job: hand.retry(job.id)),
    "discard": ("dead", lambda hand, job: hand.discard(job.id)),
    "cancel": ("waits", lambda hand, job: hand.cancel(job.id)),
    "promote": ("later", lambda hand, job: hand.promote(job.id)),
    "requeue": ("waits", lambda hand, job: hand.requeue(job.id, queue="other")),
    "purge": ("waits", _purge),
}


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
@pytest.mark.parametrize("step", STEPS)
async def test_without_any_one_right_nothing_is_half_done_and_the_act_can_be_repeated(
    shop: App, server: Server, namespace: str, raw: Any, bench: Any, step: str
) -> None:
    name, act = STEPS[step]
    tasks, rights, refused = Shop(shop), acl.commands("operator"), 0
    for command in sorted(rights):
        job = (await tasks.jobs())[name]
        before = await came_to(job)
        async with user(raw, server, namespace, rights - {command}) as url:
            app = App(url, namespace=namespace, connect_timeout=CONNECT_TIMEOUT_S)
            try:
                await act(app.inspect, job)
            except StoreError:
                refused += 1
            await app._core.close()
        half = await places(bench)
        assert set(half.values()) <= {1}, f"without {command}: {half}"
        again = await came_to(job)

        if again is before:
            assert await act(shop.inspect, job)

        assert set((await places(bench)).values()) <= {1}, f"repeated after {command} was missing"
        if step == "discard":
            assert await came_to(job) is None, f"without {command}"
            assert job.id not in (await bench.census()).dead, f"without {command}"
        elif step == "purge":
            assert await came_to(job) is JobStatus.CANCELLED, f"without {command}"
        await bench.wipe()
    assert refused > 2
