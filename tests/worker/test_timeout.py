"""What becomes of an attempt that takes too long, and of one that will not end."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import Reject, Retry, RetryPolicy, current_job
from aiotq.errors import JobFailed
from aiotq.worker.settings import STUCK_AFTER_S
from tests.worker.kit import fetcher_of, until, within

if TYPE_CHECKING:
    from aiotq import App, Job
    from tests.worker.kit import Events, Keys

AT_ONCE = RetryPolicy(delays=[0])


async def failure(job: Job[Any]) -> JobFailed:
    with pytest.raises(JobFailed) as failed:
        await job.result(timeout=10)
    return failed.value


def test_a_job_is_stuck_5_s_after_its_cancellation() -> None:
    assert STUCK_AFTER_S == 5


async def test_a_timeout_ends_the_attempt_and_is_retried_as_any_failure(app: App) -> None:
    ended: list[int] = []

    @app.task(timeout=0.05, retries=1, retry=AT_ONCE)
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(current_job().attempt)

    async with app.worker():
        job = await slow.delay()
        failed = await failure(job)
        info = await job.info()
    assert failed.error_type == "JobTimeout"
    assert "0.05 s" in failed.error_message
    assert failed.frames[0].function == "slow"  # where it was
    assert ended == [1, 2]
    assert [attempt.error and attempt.error.type for attempt in info.attempts] == ["JobTimeout"] * 2


async def test_the_timeout_of_a_call_goes_before_the_tasks(app: App) -> None:
    @app.task(timeout=60, retries=0)
    async def slow() -> None:
        await asyncio.Event().wait()

    async with app.worker():
        failed = await failure(await slow.options(timeout=0.05).delay())
    assert "0.05 s" in failed.error_message


async def test_a_job_that_ends_in_time_is_not_touched_by_its_timeout(app: App) -> None:
    @app.task(timeout=0.1)
    async def quick() -> str:
        return "in time"

    @app.task
    async def longer() -> str:
        await asyncio.sleep(0.25)  # past the timeouts of the others: nobody else's is cancelled by them
        return "not mine"

    async with app.worker(concurrency=3):
        other = await longer.delay()
        for job in await app.enqueue_many([quick.s() for _ in range(20)]):
            assert await job.result(timeout=10) == "in time"
        assert await other.result(timeout=10) == "not mine"


async def test_each_job_of_many_gets_its_own_timeout(app: App) -> None:
    @app.task(retries=0)
    async def slow() -> None:
        await asyncio.Event().wait()

    limits_s = [2.0, 0.05, 1.5, 0.1, 1.75]
    async with app.worker():
        jobs = await app.enqueue_many([slow.options(timeout=limit_s).s() for limit_s in limits_s])
        for job, limit_s in zip(jobs, limits_s, strict=True):
            failed = await failure(job)
            [attempt] = (await job.info()).attempts
            took_s = (attempt.finished_at - attempt.started_at).total_seconds()
            assert failed.error_message.count(f"{limit_s:g} s") == 1
            assert limit_s - 0.005 <= took_s < limit_s + 1.2  # a short one does not wait for a long one's


async def test_long_timeouts_of_short_jobs_do_not_pile_up(app: App, keys: Keys) -> None:
    @app.task(timeout=3_600)
    async def short() -> None: ...

    async with app.worker() as worker:
        await app.enqueue_many([short.s() for _ in range(3_000)])
        await worker.run_until_empty()
        assert worker.tally["succeeded"] == 3_000
        assert len(fetcher_of(worker)._runner._deadlines._heap) < 2_500
    await keys.forget_ended()


async def test_a_users_own_timeout_inside_is_an_ordinary_failure(app: App) -> None:
    @app.task(timeout=60, retries=0)
    async def impatient_inside() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    async with app.worker():
        assert (await failure(await impatient_inside.delay())).error_type == "TimeoutError"


async def test_a_task_that_returns_a_value_after_its_timeout_has_failed_all_the_same(app: App) -> None:
    @app.task(timeout=0.05, retries=0)
    async def swallows() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "too late"

    async with app.worker():
        assert (await failure(await swallows.delay())).error_type == "JobTimeout"


async def test_a_cleanup_that_fails_after_a_timeout_is_its_cause(app: App) -> None:
    @app.task(timeout=0.05, retries=0)
    async def fails_as_it_cleans_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionError("already closed")

    async with app.worker():
        failed = await failure(await fails_as_it_cleans_up.delay())
    assert failed.error_type == "JobTimeout"
    assert "ConnectionError: already closed" in failed.error_message


@pytest.mark.parametrize(("wish", "attempts"), [(Reject("too slow for good"), 1), (Retry(after=0), 2)])
async def test_a_task_may_say_at_its_timeout_what_shall_become_of_it(app: App, wish: Exception, attempts: int) -> None:
    @app.task(timeout=0.05, retries=1, retry=RetryPolicy(delays=[60]))
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise wish from None

    async with app.worker():
        assert (await failure(await slow.delay())).attempt == attempts


async def test_a_task_that_swallows_its_cancellation_is_stuck_and_keeps_only_its_own_slot(
    app: App, events: Events, impatient: None
) -> None:
    let_go = asyncio.Event()

    @app.task(timeout=0.05, retries=0)
    async def stubborn() -> str:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        return "at last"

    @app.task
    async def fine(number: int) -> int:
        return number

    async with app.worker(concurrency=2) as worker:
        job = await stubborn.delay()
        failed = await failure(job)  # stored while its code goes on
        assert failed.error_type == "JobTimeout"
        line = await events.line("stuck", job_id=job.id)
        assert line.levelname == "ERROR"
        assert f"{__file__.rpartition('/')[2]}:" in line.getMessage()
        assert "in stubborn" in line.getMessage()
        runner = fetcher_of(worker)._runner
        assert (runner.free, len(runner.stuck)) == (1, 1)
        for number in range(20):
            assert await (await fine.delay(number)).result(timeout=10) == number
        let_go.set()
        await until(lambda: not runner.running)
        assert runner.free == 2
        assert not runner.stuck
        assert await job.status() == "failed"  # what it came to in the end is nobody's outcome any more
        assert worker.tally["failed"] == 1


async def test_a_stuck_job_may_be_retried_beside_itself(app: App, impatient: None) -> None:
    let_go = asyncio.Event()

    @app.task(timeout=0.05, retries=1, retry=AT_ONCE)
    async def stubborn_once() -> str:
        if current_job().attempt == 2:
            return "second"
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        return "first, and too late"

    async with app.worker(concurrency=2):
        job = await stubborn_once.delay()
        assert await job.result(timeout=10) == "second"
        let_go.set()
    assert (await job.info()).result == "second"


async def test_a_worker_whose_slots_are_all_stuck_ends_with_exit_code_1(
    app: App, events: Events, impatient: None
) -> None:
    let_go = asyncio.Event()

    @app.task(timeout=0.05, retries=0)
    async def stubborn() -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    jobs = await app.enqueue_many([stubborn.s() for _ in range(2)])
    worker = app.worker(concurrency=2)
    async with within():
        assert await worker.run() == 1
    assert worker.stuck  # only the end of the process ends such code
    assert events.of("all_stuck")
    assert [(await failure(job)).error_type for job in jobs] == ["JobTimeout"] * 2
    runner = fetcher_of(worker)._runner
    ending = [held.handle for held in runner.running if held.handle is not None]
    let_go.set()
    await asyncio.wait(ending)


async def test_a_thread_that_overruns_its_timeout_has_failed_and_keeps_its_thread_until_it_returns(
    app: App, events: Events, impatient: None
) -> None:
    let_go = threading.Event()

    @app.task(timeout=0.05, retries=0)
    def overruns() -> str:
        let_go.wait(timeout=20)
        return "too late"

    @app.task
    def needs_a_thread() -> str:
        return "had one"

    @app.task
    async def needs_none() -> str:
        return "ran beside it"

    async with app.worker(threads=1) as worker:
        job = await overruns.delay()
        failed = await failure(job)
        assert failed.error_type == "JobTimeout"
        assert await events.line("stuck", job_id=job.id)
        waiting = await needs_a_thread.delay()
        assert await (await needs_none.delay()).result(timeout=10) == "ran beside it"
        assert await waiting.status() in {"queued", "running"}  # in hand for a moment, perhaps; not started
        assert not [line for line in events.of("started") if vars(line)["job_id"] == waiting.id]
        let_go.set()
        assert await waiting.result(timeout=10) == "had one"
        await worker.run_until_empty()
    assert await job.status() == "failed"


async def test_a_thread_that_returns_soon_after_its_timeout_has_failed_without_being_stuck(
    app: App, events: Events
) -> None:
    begun, let_go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @app.task(timeout=0.05, retries=0)
    def overruns() -> str:
        loop.call_soon_threadsafe(begun.set)
        let_go.wait(timeout=20)
        return "too late"

    async with app.worker() as worker:
        job = await overruns.delay()
        async with within():
            await begun.wait()
        await until(lambda: any(held.why for held in fetcher_of(worker)._runner.running))
        let_go.set()
        assert (await failure(job)).error_type == "JobTimeout"
    assert not events.of("stuck")
