"""How a job runs: on the loop or in a thread, in a context of its own."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import pytest

from aiotq import App, current_job
from aiotq.current import CURRENT
from aiotq.errors import UsageError
from tests.worker.kit import Gate, fetcher_of, until, within

MINE: ContextVar[str] = ContextVar("mine", default="untouched")


async def test_an_async_task_runs_on_the_loop_and_a_plain_def_in_a_thread(app: App) -> None:
    @app.task
    async def on_loop() -> int:
        return threading.get_ident()

    @app.task
    def in_thread() -> int:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return threading.get_ident()

    async with app.worker():
        here = threading.get_ident()
        assert await (await on_loop.delay()).result(timeout=5) == here
        assert await (await in_thread.delay()).result(timeout=5) != here


async def test_as_many_jobs_run_at_once_as_concurrency_says(app: App) -> None:
    gate, running, most = Gate(comers=3), 0, 0

    @app.task
    async def job() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.pass_through()
        running -= 1

    async with app.worker(concurrency=3) as worker:
        await app.enqueue_many([job.s() for _ in range(10)])
        await gate.reached()
        gate.open()
        await worker.run_until_empty()
    assert most == 3


async def test_as_many_plain_defs_run_at_once_as_threads_says(app: App) -> None:
    lock, running, most = threading.Lock(), 0, 0
    both = threading.Barrier(2)

    @app.task
    def job() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait(timeout=10)  # so that two at once are proved as well
        with lock:
            running -= 1

    async with app.worker(threads=2) as worker:
        await app.enqueue_many([job.s() for _ in range(6)])
        await worker.run_until_empty()
        assert worker.tally["succeeded"] == 6
    assert most == 2


async def test_threads_are_not_shared_with_the_users_own_use_of_anyio(app: App) -> None:
    """A limiter of the worker's own: the tokens of anyio's default one stay free."""
    import anyio.to_thread

    gate = threading.Event()
    here: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    limiter = anyio.to_thread.current_default_thread_limiter()

    @app.task
    def job() -> None:
        here.get_loop().call_soon_threadsafe(here.set_result, limiter.borrowed_tokens)
        gate.wait(timeout=10)

    async with app.worker() as worker:
        await job.delay()
        async with within():
            assert await here == 0
        gate.set()
        await worker.run_until_empty()


async def test_current_job_tells_on_the_loop_and_in_a_thread(app: App) -> None:
    def told() -> dict[str, Any]:
        job = current_job()
        return {
            "id": job.id,
            "attempt": job.attempt,
            "task": job.task,
            "queue": job.queue,
            "priority": job.priority,
            "retries": job.retries,
            "last": job.last_attempt,
            "age_s": (datetime.now(UTC) - job.enqueued_at).total_seconds(),
        }

    async def tell() -> dict[str, Any]:
        await asyncio.sleep(0)
        return told()

    on_loop = app.task(tell, name="on_loop")
    in_thread = app.task(told, name="in_thread")
    async with app.worker(["reports"]):
        for task in (on_loop, in_thread):
            job = await task.options(queue="reports", priority=2, retries=4).delay()
            facts = await job.result(timeout=5)
            assert abs(facts.pop("age_s")) < 10
            assert facts == {
                "id": job.id,
                "attempt": 1,
                "task": task.name,
                "queue": "reports",
                "priority": 2,
                "retries": 4,
                "last": False,
            }
    with pytest.raises(UsageError, match="outside of a job"):
        current_job()


async def test_a_fence_grows_with_every_claim(app: App) -> None:
    @app.task
    async def fence() -> int:
        return current_job().fence

    async with app.worker():
        fences = [await (await fence.delay()).result(timeout=5) for _ in range(3)]
    assert fences == sorted(set(fences))
    assert fences[0] > 0


async def test_jobs_that_run_at_once_do_not_see_each_others_context(app: App) -> None:
    gate = Gate(comers=10)

    @app.task
    async def job(name: str) -> list[str]:
        before = MINE.get()
        MINE.set(name)
        await gate.pass_through()
        return [before, MINE.get(), current_job().id]

    async with app.worker():
        jobs = [await job.delay(f"job {number}") for number in range(10)]
        await gate.reached()
        gate.open()
        for number, one in enumerate(jobs):
            assert await one.result(timeout=5) == ["untouched", f"job {number}", one.id]


@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_nothing_of_a_jobs_context_leaks_into_the_next_one(app: App, where: str) -> None:
    def body() -> str:
        before = MINE.get()
        MINE.set("leaked")
        return before

    async def on_loop() -> str:
        return body()

    def in_thread() -> str:
        return body()

    job = app.task(on_loop if where == "loop" else in_thread, name="job")
    # One slot, and so many that some are claimed ahead: those are started as the one before them ends.
    jobs = await app.enqueue_many([job.s() for _ in range(300)])
    async with app.worker(concurrency=1, threads=1):
        assert {await one.result(timeout=5) for one in jobs} == {"untouched"}
    assert MINE.get() == "untouched"
    assert CURRENT.get(None) is None


async def test_jobs_see_the_context_that_the_lifespan_has_set(namespace: str, app: App) -> None:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def life():
        MINE.set("by the lifespan")
        yield

    with_life = App(app.source().url, namespace=namespace, lifespan=life)

    @with_life.task
    async def seen() -> str:
        return MINE.get()

    async with with_life, with_life.worker():
        assert await (await seen.delay()).result(timeout=5) == "by the lifespan"


async def test_plain_defs_that_find_no_thread_go_to_a_worker_that_has_one(app: App) -> None:
    """A worker with one thread has claimed all of them; while that thread is busy, another worker runs the others."""
    release = threading.Event()
    names: list[str] = []

    @app.task
    def job(number: int) -> None:
        names.append(threading.current_thread().name)
        if number == 0:
            release.wait(timeout=20)

    async with app.worker(threads=1) as busy:
        await app.enqueue_many([job.s(number) for number in range(10)])
        await until(lambda: len(names) == 1)
        async with app.worker(threads=1) as helper:
            await until(lambda: helper.tally["succeeded"] == 9)
            assert busy.tally["succeeded"] == 0
        release.set()
        await busy.run_until_empty()
    assert len(names) == 10


async def test_async_jobs_run_while_all_threads_are_busy(app: App) -> None:
    """Also those that were enqueued long after the plain defs in front of them were given back."""
    release = threading.Event()
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    @app.task
    def slow() -> None:
        loop.call_soon_threadsafe(started.set)
        release.wait(timeout=20)

    @app.task
    async def fast() -> str:
        return "ran"

    async with app.worker(threads=1) as worker:
        await app.enqueue_many([slow.s() for _ in range(3)])
        async with within():
            await started.wait()
        await until(lambda: len(fetcher_of(worker).held) == 1)
        for _ in range(3):
            assert await (await fast.delay()).result(timeout=5) == "ran"
        release.set()
        await worker.run_until_empty()
        assert worker.tally["succeeded"] == 6


async def test_a_worker_holds_no_more_jobs_than_it_can_run(app: App) -> None:
    """Jobs whose duration is unknown, or long, are left to other workers."""
    gate = Gate(comers=2)

    @app.task
    async def slow() -> None:
        await gate.pass_through()

    jobs = await app.enqueue_many([slow.s() for _ in range(6)])
    async with app.worker(concurrency=2) as worker:
        await gate.reached()
        assert len(fetcher_of(worker).held) == 2
        statuses = [await job.status() for job in jobs]
        assert statuses == ["running"] * 2 + ["queued"] * 4
        gate.open()
        await worker.run_until_empty()


async def test_short_jobs_are_claimed_ahead_and_those_not_started_in_time_are_given_back(app: App) -> None:
    gate = Gate()
    slow_from = 1_000

    @app.task
    async def job(number: int) -> None:
        if number >= slow_from:
            await gate.pass_through(number)

    async with app.worker(concurrency=2) as worker:
        await app.enqueue_many([job.s(number) for number in range(slow_from + 20)])
        await gate.reached()
        async with app.worker(concurrency=20):
            await until(lambda: len(gate.here) == 20)  # none stays behind the two slow ones of the first worker
            gate.open()
            await worker.run_until_empty()
    assert sorted(gate.here) == list(range(slow_from, slow_from + 20))
