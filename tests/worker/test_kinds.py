"""The worker's main ways, on each kind of server: Valkey, Redis, and memory:// inside the process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aiotq import RetryPolicy, current_job
from aiotq.errors import JobCancelled, JobFailed
from tests.worker.kit import Gate

if TYPE_CHECKING:
    from aiotq import App


async def test_jobs_run_on_the_loop_and_in_threads(any_app: App) -> None:
    async def on_loop(name: str) -> str:
        await asyncio.sleep(0)
        return f"{name}, {current_job().attempt}"

    def in_thread(name: str) -> str:
        return f"{name}, {current_job().attempt}"

    tasks = [any_app.task(on_loop), any_app.task(in_thread)]
    async with any_app.worker():
        assert [await (await task.delay("attempt")).result(timeout=10) for task in tasks] == ["attempt, 1"] * 2


async def test_failures_retries_and_their_history(any_app: App) -> None:
    @any_app.task(retries=2, retry=RetryPolicy(delays=[0.01]))
    async def fails(until: int) -> str:
        if current_job().attempt < until:
            raise ValueError(f"attempt {current_job().attempt}")
        return "at last"

    async with any_app.worker():
        job = await fails.delay(3)
        assert await job.result(timeout=10) == "at last"
        assert len((await job.info()).attempts) == 3
        with pytest.raises(JobFailed, match="attempt 3"):
            await (await fails.delay(4)).result(timeout=10)


async def test_priorities_and_lifo(any_app: App) -> None:
    ran: list[str] = []

    @any_app.task
    async def note(name: str) -> None:
        ran.append(name)

    await note.delay("first")
    await note.delay("second")
    await note.options(lifo=True).delay("front")
    await note.options(priority=0).delay("urgent")
    async with any_app.worker(concurrency=1) as worker:
        await worker.run_until_empty()
    assert ran == ["urgent", "front", "first", "second"]


async def test_delayed_jobs(any_app: App) -> None:
    @any_app.task
    async def when() -> float:
        return asyncio.get_running_loop().time()

    async with any_app.worker():
        began_s = asyncio.get_running_loop().time()
        job = await when.options(countdown=0.2).delay()
        later = await when.options(countdown=60).delay()
        assert await job.result(timeout=10) - began_s >= 0.19
        assert await later.status() == "scheduled"


async def test_cancelling_a_running_job(any_app: App) -> None:
    gate = Gate()

    @any_app.task
    async def wait() -> None:
        await gate.pass_through()

    async with any_app.worker():
        job = await wait.delay()
        await gate.reached()
        assert await job.cancel()
        with pytest.raises(JobCancelled):
            await job.result(timeout=10)


async def test_large_arguments_and_results(any_app: App) -> None:
    @any_app.task
    async def double(text: str) -> str:
        return text * 2

    async with any_app.worker():
        assert await (await double.delay("x" * 100_000)).result(timeout=10) == "x" * 200_000


async def test_a_stop_puts_back_what_runs(any_app: App) -> None:
    gate = Gate()
    runs: list[int] = []

    @any_app.task
    async def job() -> str:
        runs.append(current_job().attempt)
        await gate.pass_through()
        return "ended"

    async with any_app.worker(grace=0):
        sent = await job.delay()
        await gate.reached()
    assert await sent.status() == "queued"
    gate.open()
    async with any_app.worker() as worker:
        await worker.run_until_empty()
    assert await sent.result(timeout=10) == "ended"
    assert runs == [1, 1]


async def test_a_few_hundred_jobs_are_drained_by_two_workers(any_app: App) -> None:
    ran: list[int] = []

    @any_app.task
    async def note(number: int) -> None:
        ran.append(number)

    await any_app.enqueue_many([note.s(number) for number in range(300)])
    async with any_app.worker() as one, any_app.worker() as other:
        await asyncio.gather(one.run_until_empty(), other.run_until_empty())
    assert sorted(ran) == list(range(300))
