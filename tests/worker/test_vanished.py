"""What becomes of the jobs of workers that have vanished, and who takes them back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aiotq import App
from aiotq.errors import JobFailed
from tests.faults.stopwatch import Stopwatch
from tests.worker.ghosts import SHORT_S, ghost, same
from tests.worker.kit import WITHIN_S, Gate, until

if TYPE_CHECKING:
    from tests.faults.proxy import FaultProxy
    from tests.worker.kit import Events, Keys


async def test_the_jobs_of_a_vanished_worker_run_again_soon_after_its_lease(
    app: App, keys: Keys, events: Events
) -> None:
    @app.task
    async def job(number: int) -> int:
        return number

    jobs = [await job.delay(number) for number in range(5)]
    await ghost(app._core.client().store, jobs=5)
    vanished = Stopwatch()
    async with app.worker(lease=SHORT_S):
        assert [await sent.result(timeout=WITHIN_S) for sent in jobs] == list(range(5))
        took = vanished.took("the jobs of a vanished worker", SHORT_S + 2 * 0.27 + 1)
        assert took.took_s < took.limit_s
        assert {(await sent.info()).lost for sent in jobs} == {1}
        assert vars(await events.line("reclaimed"))["worker"] == "ghost"
        assert len(await keys.workers()) == 1


async def test_a_job_whose_worker_vanished_too_often_is_a_dead_letter(app: App, keys: Keys, events: Events) -> None:
    poisoned = same(app, max_lost=1)
    ran: list[str] = []

    @poisoned.task
    async def job() -> None:
        ran.append("ran")

    async with poisoned:
        store = poisoned._core.client().store
        sent = await job.delay()
        for _ in range(2):
            await ghost(store)
            await keys.reclaim(store, "ghost")
        async with poisoned.worker():
            with pytest.raises(JobFailed, match="its worker vanished 2 times"):
                await sent.result(timeout=5)
        info = await sent.info()
    assert (info.reason, info.lost, info.attempt) == ("lost", 2, 0)
    assert not ran
    assert not await keys.client.exists(f"{keys.prefix}lost")


async def test_suspects_run_one_at_a_time_and_others_beside_them(app: App, keys: Keys, events: Events) -> None:
    store = app._core.client().store
    running, most = 0, 0
    gate = Gate(comers=4)

    @app.task
    async def suspect() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)  # the work
        running -= 1

    @app.task
    async def innocent() -> None:
        await gate.pass_through()

    suspects = [await suspect.delay() for _ in range(4)]
    for _ in range(2):
        await ghost(store, jobs=4)
        await keys.reclaim(store, "ghost")
    assert len(await keys.line("default:s")) == 4
    others = [await innocent.delay() for _ in range(4)]
    async with app.worker(concurrency=10) as worker:
        await gate.reached()
        gate.open()
        await worker.run_until_empty()
        assert worker.tally["succeeded"] == 8
    assert most == 1
    assert {await job.status() for job in [*suspects, *others]} == {"succeeded"}
    said = events.of("suspect")
    assert {vars(line)["job_id"] for line in said} == {job.id for job in suspects}
    assert all("was in the hands of 2 workers that vanished" in line.getMessage() for line in said)


async def test_a_server_that_has_lost_its_last_moments_is_asked_what_is_in_hand_though_the_numbers_agree(
    app: App, keys: Keys, events: Events, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover: what this worker claimed last has been forgotten there, and an outcome of it as well."""
    monkeypatch.setattr("aiotq.worker.fetch.LOOK_S", 3_600)
    gate = Gate(comers=2)
    behind = App(proxy.url, namespace=app._core.settings.namespace)

    @behind.task
    async def job(name: str) -> str:
        await gate.pass_through()
        return name

    async with behind.worker(concurrency=3):
        forgotten = await job.delay("its claim is lost")
        await until(lambda: len(gate.here) == 1)
        [ticket] = await keys.active()
        [worker_id] = await keys.workers()
        active = f"{keys.prefix}active:{worker_id}"
        later = await job.options(countdown=3_600).delay("its postponement is lost")
        [scheduled] = [entry.decode() for entry in await keys.client.zrange(f"{keys.prefix}schedule", 0, -1)]
        async with keys.client.pipeline(transaction=True) as pipe:
            pipe.zrem(f"{keys.prefix}schedule", scheduled).srem(active, ticket).sadd(active, scheduled)
            await pipe.execute()
        proxy.cut_all()
        await gate.reached()  # the one that lay in its hands runs
        await events.line("lost", job_id=forgotten.id)  # and what it runs no more is stopped
        gate.open()
        assert await later.result(timeout=WITHIN_S) == "its postponement is lost"
        assert await keys.client.rpush(f"{keys.prefix}line:default:5", ticket)  # where the other server has it
        await keys.client.zadd(f"{keys.prefix}lines:default", {"5": 5})
        await keys.client.rpush(f"{keys.prefix}wake:default", "1")
        assert await forgotten.result(timeout=WITHIN_S) == "its claim is lost"
    await behind._core.close()
