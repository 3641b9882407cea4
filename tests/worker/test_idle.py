"""What a worker costs while there is nothing to do, and when it says that there is nothing left."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, RetryPolicy, current_job
from aiotq.errors import StoreUnavailable
from tests.worker.kit import Gate, fetcher_of, until, within

if TYPE_CHECKING:
    from tests.worker.kit import Events, Keys

WATCHED_S = 6.5
MOST_SENT_PER_S, MOST_PER_S = 2, 8
OURS = {"cmdstat_info"}  # what the test itself sends


async def calls(keys: Keys) -> Counter[str]:
    stats = await keys.client.info("commandstats")
    return Counter({name: figures["calls"] for name, figures in stats.items()})


async def test_an_idle_worker_sends_next_to_nothing(app: App, keys: Keys) -> None:
    """Counts real time: a worker's idle round takes seconds."""
    async with app.worker() as worker:
        await until(fetcher_of(worker).thirsty.is_set)
        before, began_s = await calls(keys), asyncio.get_running_loop().time()
        await asyncio.sleep(WATCHED_S)  # what happens in it is counted
        made, took_s = await calls(keys) - before, asyncio.get_running_loop().time() - began_s
    for name in OURS:
        made.pop(name, None)
    sent = {
        name: number for name, number in made.items() if name in {"cmdstat_evalsha", "cmdstat_blpop", "cmdstat_ping"}
    }
    assert sent["cmdstat_blpop"] >= 1  # it did sleep on the server
    assert sum(sent.values()) / took_s <= MOST_SENT_PER_S, sent
    assert sum(made.values()) / took_s <= MOST_PER_S, made


async def test_run_until_empty_returns_at_once_when_there_is_nothing(app: App) -> None:
    async with app.worker() as worker, within(3.5):
        await worker.run_until_empty()


async def test_run_until_empty_waits_for_what_is_scheduled_and_for_retries(app: App) -> None:
    ran: list[str] = []

    @app.task(retries=1, retry=RetryPolicy(delays=[0.2]))
    async def job(name: str) -> None:
        ran.append(name)
        if name == "fails once" and current_job().attempt == 1:
            raise ValueError

    await job.options(countdown=0.3).delay("scheduled")
    await job.delay("fails once")
    async with app.worker() as worker:
        await worker.run_until_empty()
        assert sorted(ran) == ["fails once", "fails once", "scheduled"]


async def test_run_until_empty_waits_for_what_runs_elsewhere(app: App) -> None:
    gate = Gate()

    @app.task
    async def job() -> None:
        await gate.pass_through()

    async with app.worker(concurrency=1) as elsewhere:
        await job.delay()
        await gate.reached()
        async with app.worker() as worker:
            emptied = asyncio.create_task(worker.run_until_empty())
            await until(fetcher_of(worker).idle.is_set)
            assert not emptied.done()
            gate.open()
            async with within():
                await emptied
        assert elsewhere.tally["succeeded"] == 1


async def test_run_until_empty_does_not_wait_for_other_queues(app: App) -> None:
    @app.task
    async def job() -> None: ...

    other = await job.options(queue="other").delay()
    later = await job.options(queue="other", countdown=60).delay()
    async with app.worker(["default"]) as worker, within(3.5):
        await worker.run_until_empty()
    await other.cancel()
    await later.cancel()


async def test_run_until_empty_ends_with_the_worker(app: App) -> None:
    gate = Gate()

    @app.task
    async def job() -> None:
        await gate.pass_through()

    async with app.worker(grace=0) as worker:
        sent = await job.delay()
        await gate.reached()
        emptied = asyncio.create_task(worker.run_until_empty())
        worker.stop()
        async with within():
            await emptied
    await sent.cancel()


async def test_run_with_until_empty_ends_by_itself(app: App) -> None:
    @app.task
    async def job() -> None: ...

    jobs = await app.enqueue_many([job.s() for _ in range(10)])
    async with within():
        assert await app.worker().run(until_empty=True) == 0
    assert {await sent.status() for sent in jobs} == {"succeeded"}


async def test_run_until_empty_gives_up_on_a_server_that_goes_away(
    app: App, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = app._core.client().store

    async def gone(*args: Any, **options: Any) -> Any:
        raise StoreUnavailable("backlog: no answer", verb="backlog", url=store.url, sent=True)

    monkeypatch.setattr(store, "backlog", gone)
    async with within():
        assert await app.worker().run(until_empty=True) == 1
    assert vars(await events.line("gave_up"))["url"] == store.url


async def test_two_workers_drain_five_thousand_jobs_each_run_exactly_once(app: App, keys: Keys, namespace: str) -> None:
    ran: Counter[int] = Counter()

    async def job(number: int) -> None:
        ran[number] += 1

    here = app.task(job, name="job")
    other_app: Any = App(app.source().url, namespace=namespace)
    other_app.task(job, name="job")
    await app.enqueue_many([here.s(number) for number in range(5_000)])
    async with other_app, app.worker() as one, other_app.worker() as other:
        await asyncio.gather(one.run_until_empty(), other.run_until_empty())
        tallies = [one.tally["succeeded"], other.tally["succeeded"]]
    assert ran == dict.fromkeys(range(5_000), 1)
    assert sum(tallies) == 5_000
    assert min(tallies) > 0
    assert await keys.active() == set()
    assert await keys.end_states() == {"s": 5_000}
    await keys.forget_ended()
