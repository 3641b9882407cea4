"""Each script, its first and its second request: what runs though its answer is lost, is done once."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App
from aiotq.store import scripts
from aiotq.store.contract import WorkerCard
from aiotq.worker import life
from tests.faults.proxy import Fault
from tests.worker.kit import WITHIN_S, Gate, until, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiotq.store.contract import Store
    from tests.faults.proxy import FaultProxy
    from tests.worker.kit import Events, Keys

HEARTBEAT_S = 4.0  # with the usual lease
CUTS = [fault for fault in Fault if fault is not Fault.BLACK_HOLE]  # that one is for tests/contract/test_silence.py
FAULTS = pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name.lower())
TIMES = pytest.mark.parametrize("times", [1, 2])
A_WORKERS = (scripts.VET, scripts.REGISTER, scripts.RENEW, scripts.PROMOTE, scripts.RETIRE, scripts.RECLAIM)
A_SENDERS = (scripts.ENQUEUE, scripts.REPLACE, scripts.CANCEL, scripts.LOCATE, scripts.WATCH, scripts.BACKLOG)


@pytest.fixture
async def taught(app: App, keys: Keys) -> Store:
    """The store of `app`, on a server that knows all scripts: else a lost answer might be NOSCRIPT."""
    for script in scripts.ALL:
        await keys.client.script_load(script.text)
    return app._core.client().store


@pytest.fixture
async def patient(app: App, proxy: FaultProxy) -> AsyncIterator[App]:
    """As `behind`, for callers who wait long enough to ask again."""
    async with App(proxy.url, namespace=app._core.settings.namespace) as opened:
        yield opened


async def vanished(store: Store, name: str) -> None:
    """Another worker that came, claimed a job, and died without a lease."""
    await store.register(WorkerCard(worker_id=name, label=name, host="h", pid=1, queues=["default"], lease_ms=1))
    assert (await store.exchange(name, [], queues=["default"], limit=1)).claimed


@asynccontextmanager
async def all_gone(app: App, keys: Keys) -> AsyncIterator[None]:
    """In the end nobody is registered but who was never answered: that one is reclaimed as its lease ends."""
    yield
    assert await keys.active() == set()
    for worker_id in await keys.workers():
        await keys.reclaim(app._core.client().store, worker_id)


@FAULTS
@TIMES
@pytest.mark.parametrize("script", A_WORKERS, ids=lambda script: script.name)
async def test_a_worker_whose_answer_is_lost_runs_each_job_once(
    app: App,
    behind: App,
    taught: Store,
    proxy: FaultProxy,
    keys: Keys,
    events: Events,
    script: scripts.Script,
    fault: Fault,
    times: int,
) -> None:
    ran: list[int] = []

    @behind.task
    async def job(number: int) -> int:
        ran.append(number)
        return number

    here = app.task(job._registered.fn, name=job.name)
    jobs = [await here.delay(number) for number in range(3)]
    for number in range(times if script is scripts.RECLAIM else 0):
        await vanished(taught, f"dead-{number}")
    async with all_gone(app, keys):
        proxy.arm(fault, script.sha, times=times)
        async with behind.worker(lease=1):
            jobs.append(await here.options(countdown=0.05).delay(3))
            assert [await sent.result(timeout=10) for sent in jobs] == [0, 1, 2, 3]
            if script is not scripts.RETIRE:
                async with within():
                    await proxy.struck()
            jobs.append(await here.delay(4))
            assert await jobs[-1].result(timeout=10) == 4
    if script is not scripts.RETIRE:  # one goodbye whose answer is late may be the last
        assert proxy.hits == times
    assert sorted(ran) == [0, 1, 2, 3, 4]
    assert not events.of("lease_lost")


@pytest.mark.parametrize("fault", CUTS, ids=lambda fault: fault.name.lower())
@TIMES
@pytest.mark.parametrize("script", A_SENDERS, ids=lambda script: script.name)
async def test_a_caller_whose_answer_is_lost_gets_it_by_asking_again(
    app: App,
    patient: App,
    taught: Store,
    proxy: FaultProxy,
    keys: Keys,
    script: scripts.Script,
    fault: Fault,
    times: int,
) -> None:
    ran: list[str] = []
    gate = Gate()

    @app.task
    async def slow() -> None:
        ran.append("slow")
        await gate.pass_through()

    @app.task
    async def quick() -> str:
        ran.append("quick")
        return "done"

    @app.task
    async def never() -> None:
        ran.append("never")

    there = {task.name: patient.task(task._registered.fn, name=task.name) for task in (slow, quick, never)}
    proxy.arm(fault, script.sha, times=times)
    async with app.worker(["default"]):
        job = await there[quick.name].delay()
        assert await job.result(timeout=10) == "done"
        running = await there[slow.name].delay()
        await gate.reached()
        assert await running.status() == "running"
        assert await running.cancel()
        waiting = await there[never.name].options(queue="unserved").delay()
        assert await waiting.cancel()
        assert await waiting.status() == "cancelled"
        late = await there[quick.name].options(countdown=0.1).delay()
        assert await late.result(timeout=10) == "done"

        async def ended() -> bool:
            return await running.status() == "cancelled"

        await until(ended)
        store = patient._core.client().store
        assert (await store.backlog(["default"])).empty
    assert proxy.hits == times
    assert sorted(ran) == ["quick", "quick", "slow"]


async def published(keys: Keys, pubsub: Any, job_id: str) -> int:
    """How often a job's end was published since `pubsub` has subscribed."""
    await keys.client.publish(f"{keys.prefix}done:last", b"")
    seen = 0
    async with within():
        async for message in pubsub.listen():
            channel = message["channel"].decode().removeprefix(f"{keys.prefix}done:")
            if channel == "last":
                return seen
            seen += channel == job_id
    raise AssertionError("the subscription has ended")


@FAULTS
@TIMES
async def test_a_claim_whose_answer_is_lost_is_found_within_a_heartbeat_and_ends_once(
    app: App, behind: App, taught: Store, proxy: FaultProxy, keys: Keys, fault: Fault, times: int
) -> None:
    started_s: list[float] = []

    @behind.task
    async def job() -> None:
        started_s.append(time.monotonic())

    here = app.task(job._registered.fn, name=job.name)
    async with keys.client.pubsub() as pubsub, behind.worker():
        await pubsub.psubscribe(f"{keys.prefix}done:*")
        await (await here.delay()).result(timeout=WITHIN_S)  # it has claimed, and sleeps or is about to
        proxy.arm(fault, scripts.EXCHANGE.sha, times=times)
        sent = await here.delay()
        async with within():
            await proxy.struck()
        struck_s = time.monotonic()
        await sent.result(timeout=WITHIN_S)
        assert await published(keys, pubsub, sent.id) == 1
    assert proxy.hits == times
    _, began_s = started_s
    assert began_s - struck_s < HEARTBEAT_S


@pytest.mark.parametrize("fault", CUTS, ids=lambda fault: fault.name.lower())
@TIMES
async def test_a_queue_is_paused_and_resumed_though_the_answers_are_lost(
    app: App, patient: App, taught: Store, proxy: FaultProxy, fault: Fault, times: int
) -> None:
    @app.task
    async def quick() -> str:
        return "done"

    store = patient._core.client().store
    proxy.arm(fault, scripts.PAUSE.sha, times=times)
    await store.pause("default")
    async with app.worker(["default", "other"]):
        waiting = await quick.delay()
        assert await (await quick.options(queue="other").delay()).result(timeout=WITHIN_S) == "done"
        assert await waiting.status() == "queued"
        assert proxy.hits == times
        proxy.arm(fault, scripts.RESUME.sha, times=times)
        await store.resume("default")
        assert await waiting.result(timeout=WITHIN_S) == "done"
    assert proxy.hits == 2 * times


@FAULTS
@TIMES
async def test_a_worker_that_stops_passes_its_token_on_though_the_answer_is_lost(
    app: App,
    behind: App,
    taught: Store,
    proxy: FaultProxy,
    keys: Keys,
    fault: Fault,
    times: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(life, "LAST_WORDS_S", WITHIN_S)

    @app.task
    async def quick() -> str:
        return "done"

    async with app.worker():
        async with behind.worker():
            proxy.arm(fault, scripts.TOKEN.sha, times=times)
        assert proxy.hits == times
        assert len(await keys.workers()) == 1
        assert await (await quick.delay()).result(timeout=WITHIN_S) == "done"
