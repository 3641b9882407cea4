"""What surrounds a worker's life: how it starts, the context manager, the lifespan."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, current_job
from aiotq.errors import StoreUnavailable, UsageError
from tests.worker.kit import Gate, fetcher_of, until, within, working

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.worker.kit import Keys


# --- the context manager ------------------------------------------------------------------------------------------


async def test_a_worker_may_be_entered_in_one_task_and_left_in_another(app: App) -> None:
    @app.task
    async def job() -> str:
        return "ran"

    worker = app.worker()
    await asyncio.create_task(worker.__aenter__())
    assert await (await job.delay()).result(timeout=5) == "ran"
    await asyncio.create_task(worker.__aexit__(None, None, None))
    assert not await app._core.client().store.live_workers()


async def test_a_worker_lives_once(app: App) -> None:
    worker = app.worker()
    async with worker:
        with pytest.raises(UsageError, match="started already"):
            await worker.start()
    with pytest.raises(UsageError, match="started already"):
        await worker.start()


async def test_a_worker_that_was_never_started_says_so(app: App) -> None:
    worker = app.worker()
    worker.stop()
    worker.stop(now=True)
    assert not worker.stuck
    assert set(worker.tally.values()) == {0}
    with pytest.raises(UsageError, match="has not been started"):
        await worker.run_until_empty()


async def test_workers_can_be_made_one_after_the_other(app: App) -> None:
    @app.task
    async def job() -> str:
        return "ran"

    loop = asyncio.get_running_loop()
    began_s = loop.time()
    for _ in range(5):
        async with app.worker() as worker:
            await until(fetcher_of(worker).thirsty.is_set)  # it sleeps
            assert await (await job.delay()).result(timeout=5) == "ran"
    assert loop.time() - began_s < 4  # none is late because of what the one before it left behind


async def test_a_start_that_is_cancelled_leaves_nothing_behind(app: App, keys: Keys, server_folder: Path) -> None:
    absent = App(f"unix://{server_folder}/none", namespace="nobody")
    for starting in (absent.worker(), app.worker()):
        start = asyncio.create_task(starting.start())
        await asyncio.sleep(0)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
    assert not await keys.workers()
    await absent._core.close()


async def test_a_start_cancelled_at_any_moment_leaves_no_worker_behind(app: App, keys: Keys) -> None:
    cancelled = 0
    for steps in range(30):
        worker = app.worker()
        start = asyncio.create_task(worker.start())
        for _ in range(steps):
            await asyncio.sleep(0)
        start.cancel()
        await asyncio.wait([start])
        if start.cancelled():
            cancelled += 1
        else:
            worker.stop()
            assert await worker.run() == 0
        assert not await keys.workers()
    assert cancelled > 3


async def test_a_worker_gives_up_on_an_absent_server_after_the_time_it_was_given(server_folder: Path) -> None:
    absent = App(f"unix://{server_folder}/none", namespace="nobody")
    with pytest.raises(StoreUnavailable):
        await absent.worker().start(give_up_s=0.2)
    await absent._core.close()


async def test_a_worker_that_fails_by_a_mistake_of_ours_raises_it_and_leaves_no_job_running(
    app: App, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, ended = Gate(), asyncio.Event()

    @app.task
    async def job() -> None:
        try:
            await gate.pass_through()
        finally:
            ended.set()

    store = app._core.client().store

    async def broken(*args: Any, **options: Any) -> Any:
        raise ZeroDivisionError("a mistake of ours")

    worker = app.worker()
    await worker.start()
    sent = await job.delay()
    await gate.reached()
    [worker_id] = await keys.workers()
    monkeypatch.setattr(store, "exchange", broken)
    fetcher_of(worker).wake(hungry=True)
    with pytest.raises(ExceptionGroup) as raised:
        async with within():
            await worker.run()
    assert raised.group_contains(ZeroDivisionError)
    async with within():
        await ended.wait()
    monkeypatch.undo()
    await keys.reclaim(store, worker_id)  # as another worker would, once its lease has ended
    await sent.cancel()


# --- the lifespan -------------------------------------------------------------------------------------------------


def with_lifespan(app: App, lifespan: Any) -> App:
    return App(app.source().url, namespace=app._core.settings.namespace, lifespan=lifespan)


async def test_the_lifespan_is_entered_once_and_its_value_is_each_jobs_state(app: App) -> None:
    said: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[dict[str, int]]:
        said.append("enter")
        yield {"pool": 7}
        said.append("leave")

    living = with_lifespan(app, lifespan)

    @living.task
    async def on_loop() -> int:
        return current_job().state["pool"]

    @living.task
    def in_thread() -> int:
        return current_job().state["pool"]

    async with living:
        async with living.worker():
            assert said == ["enter"]
            for task in (on_loop, in_thread, on_loop):
                assert await (await task.delay()).result(timeout=5) == 7
        assert said == ["enter", "leave"]
        async with living.worker():
            pass
    assert said == ["enter", "leave"] * 2  # once for each worker


async def test_a_lifespan_may_take_the_app(app: App) -> None:
    given: list[App] = []

    @asynccontextmanager
    async def lifespan(mine: App) -> AsyncIterator[str]:
        given.append(mine)
        yield "state"

    living = with_lifespan(app, lifespan)
    async with living, living.worker():
        pass
    assert given == [living]


async def test_the_lifespan_ends_after_the_last_job(app: App) -> None:
    said: list[str] = []
    gate = Gate()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield
        said.append("closed")

    living = with_lifespan(app, lifespan)

    @living.task
    async def job() -> None:
        try:
            await gate.pass_through()
        finally:
            await asyncio.sleep(0.01)  # it takes a while to clean up
            said.append("job ended")

    async with living:
        async with living.worker(grace=0):
            sent = await job.delay()
            await gate.reached()
        assert said == ["job ended", "closed"]
        await sent.cancel()


async def test_a_lifespan_that_raises_as_it_begins_makes_start_raise_and_registers_nobody(app: App, keys: Keys) -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        raise OSError("no database")
        yield

    living = with_lifespan(app, lifespan)
    async with living:
        with pytest.raises(OSError, match="no database"):
            await living.worker().start()
    assert not await keys.workers()


async def test_a_lifespan_that_raises_as_it_ends_is_told_to_whoever_leaves(app: App, keys: Keys) -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield
        raise OSError("could not close")

    living = with_lifespan(app, lifespan)
    async with living:
        with pytest.raises(OSError, match="could not close"):
            async with living.worker():
                pass
    assert not await keys.workers()


async def test_a_forced_stop_interrupts_a_lifespan_that_does_not_end(app: App) -> None:
    leaving = asyncio.Event()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield
        leaving.set()
        await asyncio.Event().wait()

    living = with_lifespan(app, lifespan)
    async with living:
        worker = living.worker()
        async with working(worker) as running:
            worker.stop()
            async with within():
                await leaving.wait()
            worker.stop(now=True)
            async with within():
                assert await running == 130
