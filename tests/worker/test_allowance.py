"""A worker that may run so many jobs: it claims no more, ends what it holds, and ends."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from aiotq.worker.worker import GENTLE, Supervised
from tests.worker.kit import Gate, fetcher_of, within

if TYPE_CHECKING:
    from aiotq import App, Worker
    from tests.worker.kit import Keys


def limited(app: App, max_jobs: int | None, **options: Any) -> tuple[Worker, asyncio.Event]:
    """A worker under a supervisor, and whether it has said that it has had enough."""
    worker, full = app.worker(**options), asyncio.Event()
    worker.supervised = Supervised(registered=lambda _: None, full=full.set, max_jobs=max_jobs)
    return worker, full


async def test_a_worker_that_has_had_all_it_may_and_is_reclaimed_ends(app: App, keys: Keys) -> None:
    gate = Gate()

    @app.task
    async def job() -> None:
        await gate.pass_through()

    await job.delay()
    worker, full = limited(app, 1)
    running = asyncio.create_task(worker.run())
    await gate.reached()
    await full.wait()
    [worker_id] = await keys.workers()

    await keys.reclaim(app._core.client().store, worker_id)
    fetcher_of(worker).wake(doubt=True)

    async with within():
        assert await running == GENTLE
    gate.open()
    async with app.worker() as other:
        await other.run_until_empty()


async def test_jobs_that_were_handed_back_unrun_are_not_counted(app: App) -> None:
    ran: list[int] = []

    @app.task
    def slow(number: int) -> None:
        time.sleep(0.12)  # longer than a claimed job may wait for its thread
        ran.append(number)

    await app.enqueue_many([slow.s(number) for number in range(12)])
    worker, full = limited(app, 6, threads=2)
    async with within():
        assert await worker.run() == GENTLE

    assert full.is_set()
    assert len(ran) == 6
    async with app.worker(threads=8) as other:
        await other.run_until_empty()
    assert sorted(ran) == list(range(12))


async def test_one_that_is_told_to_drain_says_so_and_claims_no_more(app: App) -> None:
    gate = Gate()

    @app.task
    async def job() -> None:
        await gate.pass_through()

    first = await job.delay()
    worker, full = limited(app, None)
    running = asyncio.create_task(worker.run())
    await gate.reached()
    worker.drain()
    assert full.is_set()
    second = await job.delay()
    gate.open()
    async with within():
        assert await running == GENTLE
    assert (await first.status()).ended
    assert not (await second.status()).ended
    async with app.worker() as other:
        await other.run_until_empty()
