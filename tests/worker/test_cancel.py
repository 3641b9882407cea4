"""Cancelling a job: before, while and after it runs, from wherever."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App
from aiotq.errors import JobCancelled
from aiotq.worker.fetch import Fetcher
from tests.worker.kit import Gate, fetcher_of, until, within

if TYPE_CHECKING:
    from aiotq import Job
    from tests.worker.kit import Events, Keys

SOON_S = 2.0  # generous: the machine may be busy; where the news were lost it would be 4 s


async def is_cancelled(job: Job[Any]) -> None:
    with pytest.raises(JobCancelled):
        await job.result(timeout=10)
    info = await job.info()
    assert (info.status, info.reason) == ("cancelled", "cancelled")


@pytest.mark.parametrize("options", [{}, {"countdown": 0.05}, {"priority": 0, "lifo": True}], ids=str)
async def test_a_job_cancelled_before_it_starts_never_runs(app: App, options: Any) -> None:
    ran: list[str] = []

    @app.task
    async def note(name: str) -> None:
        ran.append(name)

    job = await note.options(**options).delay("cancelled")
    assert await job.cancel()
    other = await note.options(countdown=0.1).delay("other")
    await is_cancelled(job)
    async with app.worker():
        await other.result(timeout=10)
    await is_cancelled(job)
    assert ran == ["other"]


async def test_a_running_job_is_cancelled_at_its_next_await_within_100_ms(app: App) -> None:
    loop = asyncio.get_running_loop()
    gate = Gate()
    cancelled_s: list[float] = []

    @app.task
    async def wait() -> None:
        try:
            await gate.pass_through()
        except asyncio.CancelledError:
            cancelled_s.append(loop.time())
            raise

    async with app.worker() as worker:
        job = await wait.delay()
        await gate.reached()
        asked_s = loop.time()
        assert await job.cancel()
        await is_cancelled(job)
        assert cancelled_s[0] - asked_s < SOON_S
        assert worker.tally["cancelled"] == 1
    assert (await job.info()).attempt == 1


async def test_a_running_job_is_cancelled_from_another_app_and_connection(app: App, namespace: str) -> None:
    loop = asyncio.get_running_loop()
    gate = Gate()
    cancelled_s: list[float] = []

    @app.task
    async def wait() -> None:
        try:
            await gate.pass_through()
        finally:
            cancelled_s.append(loop.time())

    async with app.worker(), App(app.source().url, namespace=namespace) as elsewhere:
        job = await wait.delay()
        await gate.reached()
        asked_s = loop.time()
        assert await elsewhere.job(job.id).cancel()
        await is_cancelled(job)
        assert cancelled_s[0] - asked_s < SOON_S


async def test_cancelling_a_job_that_has_ended_says_so_and_changes_nothing(app: App) -> None:
    @app.task
    async def fine() -> str:
        return "fine"

    async with app.worker():
        job = await fine.delay()
        assert await job.result(timeout=10) == "fine"
        assert not await job.cancel()
    assert await job.status() == "succeeded"


async def test_a_cancelled_job_may_clean_up_and_what_it_returns_comes_too_late(app: App) -> None:
    gate, cleaned = Gate(), asyncio.Event()

    @app.task
    async def cleans_up() -> str:
        try:
            await gate.pass_through()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)  # it takes a while to clean up
            cleaned.set()
        return "too late"

    async with app.worker():
        job = await cleans_up.delay()
        await gate.reached()
        assert await job.cancel()
        await is_cancelled(job)
        assert cleaned.is_set()


async def test_a_cancelled_job_whose_cleanup_fails_is_cancelled_and_not_retried(app: App) -> None:
    gate = Gate()

    @app.task(retries=5)
    async def fails_as_it_cleans_up() -> None:
        try:
            await gate.pass_through()
        finally:
            raise ConnectionError("already closed")

    async with app.worker() as worker:
        job = await fails_as_it_cleans_up.delay()
        await gate.reached()
        assert await job.cancel()
        await is_cancelled(job)
        assert worker.tally["retried"] == 0


async def test_only_the_named_job_is_cancelled(app: App) -> None:
    gate = Gate(comers=5)

    @app.task
    async def wait(number: int) -> int:
        await gate.pass_through()
        return number

    async with app.worker():
        jobs = [await wait.delay(number) for number in range(5)]
        await gate.reached()
        assert await jobs[2].cancel()
        await is_cancelled(jobs[2])
        gate.open()
        assert [await job.result(timeout=10) for job in jobs if job is not jobs[2]] == [0, 1, 3, 4]


async def test_a_job_in_a_thread_is_cancelled_once_the_thread_returns(app: App, events: Events) -> None:
    begun, let_go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @app.task
    def in_thread() -> str:
        loop.call_soon_threadsafe(begun.set)
        let_go.wait(timeout=20)
        return "too late"

    async with app.worker() as worker:
        job = await in_thread.delay()
        async with within():
            await begun.wait()
        assert await job.cancel()
        await until(lambda: any(held.why for held in fetcher_of(worker)._runner.running))
        let_go.set()
        await is_cancelled(job)
    assert not events.of("stuck")


async def test_a_job_in_a_thread_that_goes_on_is_cancelled_after_a_while_and_keeps_its_thread(
    app: App, events: Events, impatient: None
) -> None:
    begun, let_go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @app.task
    def in_thread() -> None:
        loop.call_soon_threadsafe(begun.set)
        let_go.wait(timeout=20)

    async with app.worker(threads=1) as worker:
        job = await in_thread.delay()
        async with within():
            await begun.wait()
        assert await job.cancel()
        await is_cancelled(job)
        assert events.of("stuck", job_id=job.id)
        assert fetcher_of(worker)._runner.free_threads == 0
        let_go.set()


async def test_a_job_that_waits_for_its_retry_is_cancelled(app: App) -> None:
    from aiotq import RetryPolicy

    @app.task(retry=RetryPolicy(delays=[60]))
    async def fails() -> None:
        raise ValueError

    async with app.worker():
        job = await fails.delay()
        await until(lambda: _status_is(job, "scheduled"))
        assert await job.cancel()
        await is_cancelled(job)
        assert (await job.info()).attempt == 1


async def test_a_job_that_is_claimed_but_not_started_is_cancelled_before_it_starts(app: App) -> None:
    begun, let_go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    ran: list[int] = []

    @app.task
    def in_thread(number: int) -> None:
        ran.append(number)
        loop.call_soon_threadsafe(begun.set)
        let_go.wait(timeout=20)

    async with app.worker(threads=1) as worker:
        jobs = await app.enqueue_many([in_thread.s(number) for number in range(2)])
        async with within():
            await begun.wait()
        # The second one is in hand, or has been given back: cancel it in either place.
        assert await jobs[1].cancel()
        await is_cancelled(jobs[1])
        let_go.set()
        await worker.run_until_empty()
    assert ran == [0]


async def test_a_cancel_reaches_a_job_that_waits_in_hand_for_a_thread(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiotq.worker import fetch

    monkeypatch.setattr(fetch, "GIVE_BACK_S", 60)  # it stays in hand
    begun, let_go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    ran: list[int] = []

    @app.task
    def in_thread(number: int) -> None:
        ran.append(number)
        loop.call_soon_threadsafe(begun.set)
        let_go.wait(timeout=20)

    async with app.worker(threads=1) as worker:
        jobs = await app.enqueue_many([in_thread.s(number) for number in range(2)])
        async with within():
            await begun.wait()
        await until(lambda: len(fetcher_of(worker).ready) == 1)
        assert await jobs[1].cancel()
        await is_cancelled(jobs[1])
        let_go.set()
        await worker.run_until_empty()
    assert ran == [0]


async def test_a_cancel_whose_news_overtakes_the_claim_is_heard(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim's reply is still on its way as the news comes."""
    take, ran = Fetcher._take, []

    def take_late(self: Fetcher, reply: Any, *args: Any, **options: Any) -> None:
        for claim in reply.claimed:
            self.cancel(claim.ticket.rpartition(":")[2])
        take(self, reply, *args, **options)

    @app.task
    async def note() -> None:
        ran.append("ran")

    monkeypatch.setattr(Fetcher, "_take", take_late)
    async with app.worker():
        await is_cancelled(await note.delay())
    assert not ran


async def test_a_cancel_whose_news_was_lost_is_found_by_looking(
    app: App, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker without a free slot exchanges nothing by itself: it looks now and then."""
    from aiotq.worker import fetch

    monkeypatch.setattr(fetch, "LOOK_S", 0.05)
    gate = Gate()

    @app.task
    async def wait() -> None:
        await gate.pass_through()

    async with app.worker(concurrency=1):
        job = await wait.delay()
        await gate.reached()
        [worker_id] = await keys.workers()
        await keys.client.hset(f"{keys.prefix}cancels", job.id, worker_id)  # marked, and nobody told
        await is_cancelled(job)


async def test_cancels_that_race_with_claims_and_ends_leave_every_job_ended_and_no_mark_behind(
    app: App, keys: Keys
) -> None:
    ran: set[int] = set()

    @app.task
    async def short(number: int) -> int:
        await asyncio.sleep(0)
        ran.add(number)
        return number

    async with app.worker(concurrency=5) as worker:
        jobs = await app.enqueue_many([short.s(number) for number in range(200)])
        told = await asyncio.gather(*(job.cancel() for job in jobs[::2]))
        await worker.run_until_empty()
    statuses = [await job.status() for job in jobs]
    assert set(statuses) <= {"succeeded", "cancelled"}
    for number, (status, answer) in enumerate(zip(statuses[::2], told, strict=True)):
        if status == "cancelled":
            assert answer
        else:
            assert 2 * number in ran
    assert statuses[1::2] == ["succeeded"] * 100
    assert not await keys.client.exists(f"{keys.prefix}cancels")


async def test_cancelling_twice_is_as_cancelling_once(app: App) -> None:
    gate, seen = Gate(), 0

    @app.task
    async def wait() -> None:
        nonlocal seen
        try:
            await gate.pass_through()
        except asyncio.CancelledError:
            seen += 1
            await asyncio.sleep(0.02)  # it takes a while to clean up
            raise

    async with app.worker():
        job = await wait.delay()
        await gate.reached()
        assert await job.cancel()
        await job.cancel()
        await is_cancelled(job)
        assert not await job.cancel()
    assert seen == 1


async def _status_is(job: Job[Any], status: str) -> bool:
    return await job.status() == status
