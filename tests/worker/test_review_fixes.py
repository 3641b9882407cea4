"""What a cold reading of the worker found: each test failed before its fix."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

from aiotq.worker.held import Held
from tests.worker.kit import fetcher_of, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiotq import App, Worker
    from tests.worker.kit import Events, Keys


class Stubborn:
    """A task that swallows its cancellation until it is let go."""

    def __init__(self, app: App, **options: Any) -> None:
        self.here, self._let_go = asyncio.Event(), asyncio.Event()

        async def stubborn() -> None:
            self.here.set()
            while not self._let_go.is_set():
                try:
                    await self._let_go.wait()
                except asyncio.CancelledError:
                    continue

        self.task: Callable[[], Awaitable[Any]] = app.task(stubborn, retries=0, **options).delay

    async def let_go(self, worker: Worker) -> None:
        """Let its code end at last."""
        ending = [held.handle for held in fetcher_of(worker)._runner.running if held.handle is not None]
        self._let_go.set()
        await asyncio.wait(ending)


async def test_a_worker_whose_slots_are_all_stuck_ends_though_work_is_left_to_do_until_empty(
    app: App, events: Events, impatient: None
) -> None:
    stubborn = Stubborn(app, timeout=0.05)
    for _ in range(3):
        await stubborn.task()
    worker = app.worker(concurrency=2)

    async with within():
        assert await worker.run(until_empty=True) == 1

    assert len(events.of("stopping")) == 1
    await stubborn.let_go(worker)


async def test_a_worker_whose_slots_are_all_stuck_with_jobs_that_are_others_by_now_ends(
    app: App, keys: Keys, events: Events, impatient: None
) -> None:
    stubborn = Stubborn(app)
    await stubborn.task()
    worker = app.worker(concurrency=1)
    async with within():
        await worker.start()
        await stubborn.here.wait()
        [worker_id] = await keys.workers()
        await keys.reclaim(app._core.client().store, worker_id)
        fetcher_of(worker).wake(doubt=True)
        assert await worker.run() == 1

    assert events.of("lease_lost")
    assert events.of("all_stuck")
    await stubborn.let_go(worker)


async def test_a_job_that_has_ended_is_forgotten_long_before_its_timeout_would_have_come(app: App) -> None:
    @app.task(timeout=3600)
    async def echo(text: str) -> str:
        return text

    async with app.worker() as worker, within():
        ids = {job.id for job in await app.enqueue_many([echo.s("x" * 1_000) for _ in range(50)])}
        await worker.run_until_empty()
        gc.collect()
        kept = [it for it in gc.get_objects() if isinstance(it, Held) and it.job_id in ids]
    assert not kept
