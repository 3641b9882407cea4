"""What a worker makes of lost requests, lost replies, cut connections and servers that are away."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, Reject, RetryPolicy, current_job
from aiotq.errors import JobError
from aiotq.store import scripts
from tests.faults.proxy import Fault, FaultProxy
from tests.worker.conftest import LIMIT_S
from tests.worker.kit import WITHIN_S, Gate, fetcher_of, until, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.worker.kit import Events, Keys

FAULTS = list(Fault)


@asynccontextmanager
async def drained(app: App, keys: Keys) -> AsyncIterator[None]:
    """In the end no job is in anybody's hands."""
    yield
    assert await keys.active() == set()
    store = app._core.client().store
    assert (await store.backlog(["default"])).empty


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.lower())
async def test_a_claim_whose_request_or_reply_is_lost_loses_no_job_and_runs_none_twice(
    app: App, behind: App, proxy: FaultProxy, keys: Keys, fault: Fault, times: int
) -> None:
    ran: Counter[int] = Counter()

    @behind.task
    async def job(number: int) -> int:
        ran[number] += 1
        return number

    here = app.task(job._registered.fn, name=job.name)
    jobs = await app.enqueue_many([here.s(number) for number in range(20)])
    async with drained(app, keys):
        proxy.arm(fault, scripts.EXCHANGE.sha, times=times)
        async with behind.worker(concurrency=5) as worker:
            async with within():
                await proxy.struck()
            assert [await sent.result(timeout=10) for sent in jobs] == list(range(20))
            assert proxy.hits == times
            assert worker.tally["succeeded"] == 20
    assert ran == dict.fromkeys(range(20), 1)
    assert {(await sent.info()).lost for sent in jobs} == {0}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.lower())
async def test_outcomes_whose_request_or_reply_is_lost_are_stored_once(
    app: App, behind: App, proxy: FaultProxy, keys: Keys, fault: Fault, times: int
) -> None:
    kinds = ["succeeds", "fails", "retries", "rejects"]
    gate, ran = Gate(comers=len(kinds)), Counter[str]()

    @behind.task(retries=1, retry=RetryPolicy(delays=[0.01], give_up_on=(LookupError,)))
    async def job(kind: str) -> str:
        ran[kind] += 1
        await gate.pass_through()
        if kind == "fails":
            raise KeyError("no")
        if kind == "retries" and current_job().attempt == 1:
            raise ValueError("once")
        if kind == "rejects":
            raise Reject("no")
        return kind

    here = app.task(job._registered.fn, name=job.name)
    async with drained(app, keys), behind.worker() as worker:
        jobs = {kind: await here.delay(kind) for kind in kinds}
        await gate.reached()
        proxy.arm(fault, scripts.EXCHANGE.sha, times=times)
        gate.open()
        assert await jobs["succeeds"].result(timeout=10) == "succeeds"
        assert await jobs["retries"].result(timeout=10) == "retries"
        for kind in ("fails", "rejects"):
            with pytest.raises(JobError):
                await jobs[kind].result(timeout=10)
        assert proxy.hits == times
        assert worker.tally == {"succeeded": 2, "failed": 2, "retried": 1, "returned": 0, "cancelled": 0}
    assert ran == {"succeeds": 1, "fails": 1, "retries": 2, "rejects": 1}
    assert {kind: (await sent.info()).attempt for kind, sent in jobs.items()} == {
        "succeeds": 1,
        "fails": 1,
        "retries": 2,
        "rejects": 1,
    }
    assert await keys.client.zcard(f"{keys.prefix}dead") == 2


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.lower())
async def test_jobs_put_back_by_a_stop_are_put_back_once_whatever_is_lost(
    app: App, behind: App, proxy: FaultProxy, keys: Keys, fault: Fault
) -> None:
    gate = Gate(comers=3)

    @behind.task
    async def job() -> None:
        await gate.pass_through()

    here = app.task(job._registered.fn, name=job.name)
    for number in range(4):
        await here.options(job_id=f"job-{number}").delay()
    async with behind.worker(concurrency=3, grace=0):
        await gate.reached()
        proxy.arm(fault, scripts.EXCHANGE.sha)
    assert proxy.hits == 1
    assert await keys.line("default:5") == [f"job-{number}" for number in range(4)]
    assert await keys.workers() == []
    gate.open()
    async with app.worker() as worker:
        await worker.run_until_empty()
        assert worker.tally["succeeded"] == 4


async def test_connections_cut_again_and_again_in_mid_drain_lose_nothing_and_run_nothing_twice(
    app: App, behind: App, proxy: FaultProxy, keys: Keys
) -> None:
    ran: Counter[int] = Counter()
    cuts = 0

    @behind.task
    async def job(number: int) -> None:
        ran[number] += 1

    def more_than(so_far: int) -> bool:
        return ran.total() > so_far

    async def cut() -> None:
        nonlocal cuts
        while True:
            await until(partial(more_than, ran.total()))
            proxy.cut_all()
            cuts += 1

    here = app.task(job._registered.fn, name=job.name)
    await app.enqueue_many([here.s(number) for number in range(1_000)])
    async with drained(app, keys), behind.worker(concurrency=20) as worker:
        cutting = asyncio.create_task(cut())
        await until(lambda: worker.tally["succeeded"] == 1_000)
        cutting.cancel()
        await asyncio.wait([cutting])
        async with within():
            await fetcher_of(worker).idle.wait()
    assert cuts > 2
    assert ran == dict.fromkeys(range(1_000), 1)
    assert await keys.end_states() == {"s": 1_000}


async def test_a_job_enqueued_by_a_task_is_enqueued_once_whatever_is_lost(
    app: App, behind: App, proxy: FaultProxy, keys: Keys
) -> None:
    ran: list[str] = []

    @behind.task
    async def child() -> None:
        ran.append("child")

    @behind.task
    async def parent() -> str:
        proxy.arm(Fault.DROP_REPLY, scripts.ENQUEUE.sha)
        return (await child.delay()).id

    here = app.task(parent._registered.fn, name=parent.name)
    async with app.worker(["unserved"]):
        await here.options(queue="unserved").delay()  # so that the server knows the script
    async with behind.worker(["unserved", "default"]) as worker:
        await worker.run_until_empty()
    assert proxy.hits == 1
    assert ran == ["child"]


async def test_a_worker_says_once_that_the_server_is_away_and_once_that_it_is_back_and_ends_what_it_holds(
    app: App, proxy: FaultProxy, events: Events
) -> None:
    gate = Gate()
    behind = App(proxy.url, namespace=app._core.settings.namespace)  # what it meets is cut, and not silent

    @behind.task
    async def job() -> str:
        await gate.pass_through()
        return "ended while it was away"

    here = app.task(job._registered.fn, name=job.name)
    async with behind.worker() as worker:
        sent = await here.delay()
        await gate.reached()
        upstream, proxy.upstream = proxy.upstream, "/nowhere"
        proxy.cut_all()
        gate.open()
        line = await events.line("store_down")
        assert vars(line)["url"] == proxy.url
        assert line.levelname == "ERROR"
        outage = fetcher_of(worker).outage
        tries = 0

        async def tried_again() -> bool:
            nonlocal tries
            tries += 1
            return tries > 60

        await until(tried_again)  # some 0.3 s: it tries quietly
        assert outage.lasts
        proxy.upstream = upstream
        assert await sent.result(timeout=10) == "ended while it was away"
        assert vars(await events.line("store_up"))["down_s"] > 0.2
    await behind._core.close()
    assert len(events.of("store_down")) == len(events.of("store_up")) == 1
    loud = [line for line in events.records if line.levelno >= 30]
    assert len(loud) == 2


async def test_a_worker_that_starts_before_its_server_waits_for_it(app: App, proxy: FaultProxy, events: Events) -> None:
    upstream, proxy.upstream = proxy.upstream, "/nowhere"
    early = App(proxy.url, namespace=app._core.settings.namespace, connect_timeout=LIMIT_S)

    @early.task
    async def job() -> str:
        return "ran"

    worker = early.worker()
    starting = asyncio.create_task(worker.start())
    await events.line("store_down")
    assert not starting.done()
    proxy.upstream = upstream
    async with within():
        await starting
    async with early:
        assert await (await job.delay()).result(timeout=5) == "ran"
        assert events.of("store_up")
        worker.stop()
        assert await worker.run() == 0


async def test_a_worker_stopped_while_its_server_is_away_ends_after_its_grace_and_its_jobs_are_reclaimed_later(
    app: App, behind: App, proxy: FaultProxy, keys: Keys, events: Events
) -> None:
    gate = Gate()

    @behind.task
    async def job() -> str:
        await gate.pass_through()
        return "ran"

    here = app.task(job._registered.fn, name=job.name)
    worker = behind.worker(grace=0.1)
    await worker.start()
    sent = await here.delay()
    await gate.reached()
    proxy.upstream = "/nowhere"
    proxy.cut_all()
    worker.stop()
    async with within():
        assert await worker.run() == 0
    assert events.of("store_down")
    assert await sent.status() == "running"  # until its lease has ended
    [worker_id] = await keys.workers()
    await keys.reclaim(app._core.client().store, worker_id)
    gate.open()
    async with app.worker():
        assert await sent.result(timeout=5) == "ran"


async def test_a_busy_server_that_refuses_for_a_while_is_waited_for(app: App, behind: App, monkeypatch: Any) -> None:
    """As one that loads its data, or whose memory is full: nothing was done, and nothing is lost."""
    from aiotq.errors import StoreRefused

    @behind.task
    async def job() -> str:
        return "ran"

    store = behind._core.client().store
    exchange, refusals = store.exchange, 5

    async def refusing(*args: Any, **options: Any) -> Any:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise StoreRefused("exchange: LOADING", verb="exchange", url=store.url, code="LOADING")
        return await exchange(*args, **options)

    monkeypatch.setattr(store, "exchange", refusing)
    async with behind.worker():
        assert await (await job.delay()).result(timeout=10) == "ran"
    assert refusals == 0


async def test_an_end_that_the_store_refuses_is_said_and_does_not_count(app: App, keys: Keys, events: Events) -> None:
    gate = Gate()

    @app.task
    async def job() -> None:
        await gate.pass_through()

    async with app.worker() as worker:
        sent = await job.delay()
        await gate.reached()
        [ticket] = await keys.active()
        [worker_id] = await keys.workers()
        await keys.client.srem(f"{keys.prefix}active:{worker_id}", ticket)  # as if it had been reclaimed
        gate.open()
        await events.line("refused", job_id=sent.id)
        assert worker.tally["succeeded"] == 0
    await keys.client.delete(f"{keys.prefix}job:{sent.id}")


async def test_an_end_on_its_way_as_a_worker_is_told_that_it_was_reclaimed_does_not_count(
    app: App, keys: Keys, events: Events
) -> None:
    gate = Gate()

    @app.task
    async def job() -> None:
        await gate.pass_through()

    async with app.worker(concurrency=1) as worker:
        sent = await job.delay()
        await gate.reached()
        [worker_id] = await keys.workers()
        await keys.reclaim(app._core.client().store, worker_id)
        gate.open()  # its exchange has the end with it, and is told
        await events.line("lease_lost")
        await sent.result(timeout=WITHIN_S)  # run again, by this worker under its new id
        await until(lambda: worker.tally["succeeded"] == 1)
    assert worker.tally["succeeded"] == 1
    assert (await sent.info()).lost == 1
