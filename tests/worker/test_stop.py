"""How a worker stops, and what becomes of the jobs in its hands; how it starts, and what surrounds its life."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, current_job
from aiotq.errors import StoreUnavailable, UsageError
from tests.worker.kit import Gate, fetcher_of, until, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiotq import Worker
    from tests.worker.kit import Events, Keys


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[asyncio.Task[int]]:
    """A worker that runs as a process's would; the task gives its exit code."""
    running = asyncio.create_task(worker.run())
    await until(lambda: worker._life is not None and worker._life.started.done())
    yield running
    async with within():
        await running


# --- gently -------------------------------------------------------------------------------------------------------


async def test_a_gentle_stop_claims_nothing_more_and_lets_running_jobs_end(app: App, events: Events) -> None:
    gate = Gate(comers=2)

    @app.task
    async def job() -> str:
        await gate.pass_through()
        return "ended"

    worker = app.worker(concurrency=2)
    async with working(worker) as running:
        jobs = [await job.delay() for _ in range(4)]
        await gate.reached()
        worker.stop()
        late = await job.delay()
        gate.open()
        async with within():
            assert await running == 0
    assert [await one.status() for one in [*jobs, late]] == ["succeeded"] * 2 + ["queued"] * 3
    assert worker.tally == {"succeeded": 2, "failed": 0, "retried": 0, "returned": 0, "cancelled": 0}
    assert vars(await events.line("stopping")) | {"running": 2, "grace_s": 30} == vars(await events.line("stopping"))
    assert vars(await events.line("stopped"))["tally"] == worker.tally
    for one in [*jobs[2:], late]:
        await one.cancel()


async def test_jobs_that_outlast_the_grace_go_back_to_the_front_in_their_order_with_their_attempt(
    app: App, keys: Keys
) -> None:
    gate = Gate(comers=5)
    seen: list[tuple[int, int]] = []

    @app.task
    async def job(number: int) -> None:
        seen.append((number, current_job().attempt))
        await gate.pass_through()

    jobs = [await job.options(job_id=f"job-{number}").delay(number) for number in range(7)]
    async with app.worker(concurrency=5, grace=0) as worker:
        await gate.reached()
    assert worker.tally["returned"] == 5
    assert await keys.line("default:5") == [f"job-{number}" for number in range(7)]
    assert [(await one.info()).attempt for one in jobs] == [0] * 7
    gate.open()
    async with app.worker(concurrency=1) as worker:
        await worker.run_until_empty()
    assert seen[5:] == [(number, 1) for number in range(7)]
    assert [len((await one.info()).attempts) for one in jobs] == [1] * 7


async def test_jobs_put_back_keep_their_order_even_if_they_fill_several_batches(app: App, keys: Keys) -> None:
    gate = Gate(comers=700)

    @app.task
    async def job() -> None:
        await gate.pass_through()

    ids = [f"job-{number:03}" for number in range(750)]
    await app.enqueue_many([job.options(job_id=job_id).s() for job_id in ids])
    async with app.worker(concurrency=700, grace=0):
        await gate.reached()
    assert await keys.line("default:5") == ids
    gate.open()
    async with app.worker() as worker:
        await worker.run_until_empty()


async def test_jobs_go_back_to_the_lines_they_came_from(app: App, keys: Keys) -> None:
    gate = Gate(comers=4)

    @app.task
    async def job() -> None:
        await gate.pass_through()

    for queue in ("a", "b"):
        for priority in (1, 8):
            await job.options(queue=queue, priority=priority, job_id=f"{queue}{priority}").delay()
    async with app.worker(["a", "b"], grace=0):
        await gate.reached()
    lines = {name: await keys.line(name) for name in ("a:1", "a:8", "b:1", "b:8")}
    assert lines == {"a:1": ["a1"], "a:8": ["a8"], "b:1": ["b1"], "b:8": ["b8"]}
    gate.open()
    async with app.worker(["a", "b"]) as worker:
        await worker.run_until_empty()


async def test_a_returned_job_is_run_at_once_by_another_worker(app: App) -> None:
    first, second = Gate(), asyncio.Event()
    names: list[str] = []

    @app.task
    async def job() -> str:
        names.append("ran")
        if len(names) == 1:
            await first.pass_through()
        second.set()
        return "by the other"

    async with app.worker(grace=0) as one:
        sent = await job.delay()
        await first.reached()
        async with app.worker() as other:
            await until(fetcher_of(other).thirsty.is_set)
            one.stop()
            assert await sent.result(timeout=2) == "by the other"
            assert other.tally["succeeded"] == 1
    assert (await sent.info()).attempt == 1


async def test_a_job_may_clean_up_when_the_grace_is_over_and_one_that_fails_at_it_goes_back_all_the_same(
    app: App,
) -> None:
    gate, cleaned = Gate(comers=2), []

    @app.task
    async def cleans() -> None:
        try:
            await gate.pass_through()
        finally:
            await asyncio.sleep(0.01)  # it takes a while to clean up
            cleaned.append("cleans")

    @app.task
    async def fails() -> None:
        try:
            await gate.pass_through()
        finally:
            cleaned.append("fails")
            raise ConnectionError("already closed")

    async with app.worker(grace=0) as worker:
        jobs = [await cleans.delay(), await fails.delay()]
        await gate.reached()
    assert sorted(cleaned) == ["cleans", "fails"]
    assert worker.tally["returned"] == 2
    assert [(await job.info()).attempt for job in jobs] == [0, 0]
    for job in jobs:
        assert await job.status() == "queued"
        await job.cancel()


async def test_a_job_that_ends_well_after_the_grace_has_ended_well(app: App) -> None:
    gate = Gate()

    @app.task
    async def job() -> str:
        try:
            await gate.pass_through()
        except asyncio.CancelledError:
            return "saved what it had"
        return "whole"

    async with app.worker(grace=0):
        sent = await job.delay()
        await gate.reached()
    assert await sent.result(timeout=5) == "saved what it had"


async def test_a_job_that_swallows_the_stop_is_put_back_and_the_worker_ends(
    app: App, events: Events, impatient: None
) -> None:
    gate, let_go = Gate(), asyncio.Event()

    @app.task
    async def stubborn() -> None:
        gate.here.append("here")
        gate._all_here.set()
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    async with app.worker(grace=0) as worker:
        job = await stubborn.delay()
        await gate.reached()
    assert events.of("stuck", job_id=job.id)
    assert worker.stuck
    assert await job.status() == "queued"
    ending = [held.handle for held in fetcher_of(worker)._runner.running if held.handle is not None]
    let_go.set()
    await asyncio.wait(ending)
    assert await job.status() == "queued"  # nothing came of the leftover
    await job.cancel()


# --- at once ------------------------------------------------------------------------------------------------------


async def test_a_forced_stop_puts_back_what_runs_at_once_in_its_order(app: App, keys: Keys) -> None:
    gate = Gate(comers=3)
    cancelled: list[int] = []

    @app.task
    async def job(number: int) -> None:
        try:
            await gate.pass_through()
        finally:
            cancelled.append(number)

    loop = asyncio.get_running_loop()
    worker = app.worker(concurrency=3)
    async with working(worker) as running:
        for number in range(5):
            await job.options(job_id=f"job-{number}").delay(number)
        await gate.reached()
        began_s = loop.time()
        worker.stop(now=True)
        async with within():
            assert await running == 130
        assert loop.time() - began_s < 1
    assert sorted(cancelled) == [0, 1, 2]
    assert worker.tally["returned"] == 3
    assert await keys.line("default:5") == [f"job-{number}" for number in range(5)]
    assert not await keys.workers()
    for number in range(5):
        assert (await app.job(f"job-{number}").info()).attempt == 0
        await app.job(f"job-{number}").cancel()


async def test_a_second_stop_forces_the_first(app: App) -> None:
    gate = Gate()

    @app.task
    async def job() -> None:
        await gate.pass_through()

    worker = app.worker()
    async with working(worker) as running:
        sent = await job.delay()
        await gate.reached()
        worker.stop()
        worker.stop()  # a gentle one again: nothing new
        await asyncio.sleep(0)
        assert not running.done()
        worker.stop(now=True)
        async with within(2):
            assert await running == 130
    assert await sent.status() == "queued"
    await sent.cancel()


async def test_a_forced_stop_does_not_wait_for_a_job_that_will_not_end(app: App) -> None:
    gate, let_go = Gate(), asyncio.Event()

    @app.task
    async def stubborn() -> None:
        gate.here.append("here")
        gate._all_here.set()
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    worker = app.worker()
    async with working(worker) as running:
        job = await stubborn.delay()
        await gate.reached()
        worker.stop(now=True)
        async with within(3):
            assert await running == 130
    assert worker.stuck
    assert await job.status() == "queued"
    ending = [held.handle for held in fetcher_of(worker)._runner.running if held.handle is not None]
    let_go.set()
    await asyncio.wait(ending)
    await job.cancel()


async def test_a_stop_in_mid_drain_loses_nothing_and_keeps_the_order(app: App, keys: Keys) -> None:
    ran: list[int] = []
    enough = asyncio.Event()

    @app.task
    async def job(number: int) -> None:
        ran.append(number)
        if len(ran) >= 300:
            enough.set()

    await app.enqueue_many([job.options(job_id=f"job-{number:04}").s(number) for number in range(3_000)])
    async with app.worker() as worker, within():
        await enough.wait()
    assert ran == list(range(len(ran)))
    assert len(ran) < 3_000
    assert await keys.line("default:5") == [f"job-{number:04}" for number in range(len(ran), 3_000)]
    assert worker.tally["returned"] == 0  # those had not been started
    async with app.worker() as worker:
        await worker.run_until_empty()
    assert sorted(ran) == list(range(3_000))


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
    assert loop.time() - began_s < 3  # none is late because of what the one before it left behind


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
