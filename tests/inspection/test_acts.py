"""What a person does to jobs, with an operator's rights, on each kind of server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, JobStatus, RetryPolicy
from aiotq.errors import JobCancelled, JobFailed, JobNotFound, StoreUnusable, UsageError
from aiotq.inspection import Act, Came
from tests.inspection.kit import Flaky, failed, kept, records
from tests.worker.kit import until

if TYPE_CHECKING:
    from aiotq import Inspector


# --- retry


async def test_a_failed_job_that_is_retried_has_all_its_attempts_again(shop: App, hand: Inspector) -> None:
    flaky = Flaky(shop, fails=3, retries=1, retry=None)
    job = await flaky.task.options(retries=0).delay()
    await failed(shop, job)

    assert await hand.retry(job.id)

    assert await job.status() is JobStatus.QUEUED
    assert (await hand.dead()).items == ()
    async with shop.worker():
        with pytest.raises(JobFailed):
            await job.result(timeout=10)
        assert await hand.retry(job.id)
        with pytest.raises(JobFailed):
            await job.result(timeout=10)
        assert await hand.retry(job.id)
        assert await job.result(timeout=10) == "done"
    info = await job.info()
    assert [attempt.number for attempt in info.attempts] == [1, 1, 1, 1]
    assert flaky.ran == 4
    assert await kept(hand) == [("retry", job.id, "done")] * 3


async def test_a_retry_that_is_repeated_does_no_harm(shop: App, hand: Inspector) -> None:
    job = await Flaky(shop, fails=1, retries=0).task.delay()
    await failed(shop, job)
    assert await hand.retry(job.id)
    before = await records(shop, job)

    assert await hand.retry(job.id), "somebody has done it, and his answer was lost"

    assert await records(shop, job) == before
    assert [came_to for _, _, came_to in await kept(hand)] == ["done", "retried already"]


async def test_what_has_not_failed_is_not_retried_and_the_audit_says_so(shop: App, hand: Inspector) -> None:
    job = await Flaky(shop, fails=0).task.delay()

    assert not await hand.retry(job.id)
    async with shop.worker():
        await job.result(timeout=10)
    assert not await hand.retry(job.id)

    assert [came_to for _, _, came_to in await kept(hand)] == [
        "it has not failed",
        "it has succeeded, and only one that has failed is retried",
    ]


# --- cancel


async def test_a_job_is_cancelled_wherever_it_is(shop: App, hand: Inspector) -> None:
    started = asyncio.Event()

    @shop.task
    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    runs = await endless.delay()
    async with shop.worker():
        await started.wait()
        assert await hand.act(Act.CANCEL, runs.id) == Came(done=True, what="its worker was told")
        with pytest.raises(JobCancelled):
            await runs.result(timeout=10)
    waits, later = await endless.delay(), await endless.options(countdown=60).delay()
    for job in (waits, later):
        assert await hand.cancel(job.id)
        assert await job.status() is JobStatus.CANCELLED
        assert await hand.cancel(job.id), "it is as it shall be"
    assert [came_to for _, _, came_to in await kept(hand)] == [
        "its worker was told",
        *["done", "cancelled already"] * 2,
    ]


async def test_an_act_that_is_none_is_refused(shop: App, hand: Inspector) -> None:
    unknown: Any = "delete"
    with pytest.raises(UsageError, match="act='delete' is none; pass one of retry, cancel"):
        await hand.act(unknown, "j1")


# --- discard


async def test_a_discarded_job_is_gone_for_whoever_looks(shop: App, hand: Inspector) -> None:
    job = await Flaky(shop, fails=1, retries=0).task.options(job_id="j1").delay()
    assert not await hand.discard(job.id)
    await failed(shop, job)

    assert await hand.discard(job.id)

    assert (await hand.dead()).items == ()
    for look in (job.status, job.info, job.result):
        with pytest.raises(JobNotFound):
            await look()
    assert await hand.discard(job.id)
    with pytest.raises(JobNotFound):
        await hand.retry(job.id)
    with pytest.raises(JobNotFound):
        await hand.cancel(job.id)
    assert (await kept(hand))[-1][2].startswith("failed: there is no job j1")


# --- promote, requeue


async def test_a_promoted_job_is_due_now(shop: App, hand: Inspector) -> None:
    job = await Flaky(shop, fails=0).task.options(countdown=3_600).delay()
    async with shop.worker():
        assert await hand.promote(job.id)
        assert await job.result(timeout=10) == "done"
    assert not await hand.promote(job.id)


async def test_a_retry_that_waits_is_promoted_as_well_and_is_the_attempt_that_it_was(
    shop: App, hand: Inspector
) -> None:
    job = await Flaky(shop, fails=1, retry=RetryPolicy(delays=[3_600])).task.delay()
    async with shop.worker():

        async def waits() -> bool:
            return await job.status() is JobStatus.SCHEDULED

        await until(waits)
        assert await hand.promote(job.id)
        assert await job.result(timeout=10) == "done"
    assert (await job.info()).attempt == 2


async def test_a_requeued_job_goes_to_another_queue_with_its_priority(shop: App, hand: Inspector) -> None:
    flaky = Flaky(shop, fails=0, queue="mail", priority=3)
    waits, later = await flaky.task.delay(), await flaky.task.options(countdown=3_600).delay()

    assert await hand.requeue(waits.id, queue="other")
    assert await hand.requeue(later.id, queue="other")

    infos = [await job.info() for job in (waits, later)]
    assert [(info.queue, info.priority, info.status) for info in infos] == [("other", 3, JobStatus.QUEUED)] * 2
    async with shop.worker(queues=["other"]):
        assert await waits.result(timeout=10) == await later.result(timeout=10) == "done"
    assert not await hand.requeue(waits.id)


async def test_a_running_job_is_neither_promoted_nor_requeued(shop: App, hand: Inspector) -> None:
    started, ends = asyncio.Event(), asyncio.Event()

    @shop.task
    async def slow() -> None:
        started.set()
        await ends.wait()

    job = await slow.delay()
    async with shop.worker(name="here"):
        await started.wait()
        assert not await hand.requeue(job.id, queue="other")
        assert not await hand.promote(job.id)
        ends.set()
        await job.result(timeout=10)
    assert {came_to for _, _, came_to in await kept(hand)} == {"it is running on here; cancel it, or let it end"}


# --- pause, resume


async def test_a_paused_queue_waits_until_it_is_resumed(shop: App, hand: Inspector) -> None:
    flaky = Flaky(shop, fails=0)
    assert await hand.pause("default")
    assert not await hand.pause("default")
    job = await flaky.task.delay()
    async with shop.worker():
        with pytest.raises(TimeoutError):
            await job.result(timeout=0.05)
        assert await hand.resume("default")
        assert await job.result(timeout=10) == "done"
    assert not await hand.resume("default")
    assert [came_to for _, _, came_to in await kept(hand)] == ["done", "paused already", "done", "not paused"]


# --- two at once, mistakes, rights


@pytest.mark.parametrize("act", ["retry", "discard"])
async def test_two_people_who_do_the_same_at_once_do_it_once(shop: App, hand: Inspector, act: str) -> None:
    job = await Flaky(shop, fails=1, retries=0).task.delay()
    await failed(shop, job)

    assert await asyncio.gather(*(getattr(hand, act)(job.id) for _ in range(3))) == [True] * 3

    done = [came_to for _, _, came_to in await kept(hand)]
    assert sorted(done) == sorted(["done", *[f"{'retried' if act == 'retry' else 'discarded'} already"] * 2])
    if act == "retry":
        async with shop.worker():
            assert await job.result(timeout=10) == "done"
        assert len((await job.info()).attempts) == 2


@pytest.mark.parametrize("text", ["", "a b", "x" * 129, "é", "../x", "\0", None, 7])
async def test_what_can_be_no_id_and_no_queue_is_refused(hand: Inspector, text: Any) -> None:
    for act in (hand.retry, hand.cancel, hand.discard, hand.promote, hand.requeue):
        with pytest.raises(UsageError):
            await act(text)
    for act in (hand.pause, hand.resume, hand.purge):
        with pytest.raises(UsageError):
            await act(text)
    if text is not None:
        with pytest.raises(UsageError):
            await hand.requeue("j1", queue=text)
    assert await kept(hand) == []


async def test_who_acts_is_said_or_found_out(shop: App, hand: Inspector) -> None:
    await shop.inspect.pause("default")
    await shop.inspect.acting("x" * 100).resume("default")

    latest, first = (await hand.audit()).items
    assert first.by.endswith(" (python)")
    assert "@" in first.by
    assert latest.by == "x" * 100
    for by in ("", "x" * 101, "a\nb", 7):
        with pytest.raises(UsageError):
            shop.inspect.acting(by)  # type: ignore[arg-type]


@pytest.mark.parametrize("server", ["acl"], indirect=True)
async def test_who_may_only_look_changes_nothing(shop: App, look: Inspector) -> None:
    job = await Flaky(shop, fails=0).task.delay()
    before = await records(shop, job)

    for act in (look.cancel(job.id), look.requeue(job.id), look.purge("default"), look.pause("default")):
        with pytest.raises(StoreUnusable, match="right"):
            await act

    assert await records(shop, job) == before
    assert (await look.audit()).items == ()
    assert [queue.name for queue in await look.queues()] == ["default"]
