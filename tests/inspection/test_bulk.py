"""Acts on all jobs that match: which are met, and what they come to."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, JobStatus
from aiotq.errors import UsageError
from aiotq.inspection import Bulk, JobFilter
from aiotq.inspection.acts import Act
from aiotq.inspection.walking import CHUNK, MOST_BYTES, walk
from aiotq.store import reading
from tests.inspection.many import ALL, REAL, Shop, all_end, kept, statuses
from tests.worker.kit import until

if TYPE_CHECKING:
    from aiotq import Inspector


async def test_what_matches_is_retried_and_nothing_else(shop: App, hand: Inspector) -> None:
    tasks = Shop(shop)
    first = [await tasks.fails.delay(number) for number in range(5)]
    other = [await tasks.fails.delay(number, "KeyError") for number in range(3)]
    await all_end(shop, [*first, *other])

    wanted = JobFilter(error="ValueError", task="fails", queue="default", status=JobStatus.FAILED)
    assert await hand.retry_all(wanted) == Bulk(done=5, skipped=0, looked=8)

    assert await statuses(first) == {JobStatus.QUEUED}
    assert await statuses(other) == {JobStatus.FAILED}
    assert await hand.retry_all(wanted) == Bulk(done=0, skipped=0, looked=3)
    assert await hand.retry_all(JobFilter(status=JobStatus.QUEUED)) == Bulk(done=0, skipped=0, looked=0)
    assert await kept(hand) == [
        ("retry all", "status=failed queue=default task=fails error=ValueError", "5 jobs"),
        ("retry all", "status=failed queue=default task=fails error=ValueError", "0 jobs"),
        ("retry all", "status=queued", "0 jobs"),
    ]


async def test_dead_letters_are_retried_over_several_chunks_though_each_leaves_its_list(
    shop: App, hand: Inspector
) -> None:
    tasks = Shop(shop)
    jobs = await shop.enqueue_many([tasks.fails.s(number) for number in range(2 * CHUNK + 30)])
    await all_end(shop, jobs)

    assert (await hand.retry_all(ALL)).done == len(jobs)

    assert await statuses(jobs) == {JobStatus.QUEUED}
    assert (await hand.dead()).items == ()


@REAL
async def test_what_fails_again_while_all_are_retried_is_left_as_it_is(
    shop: App, hand: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = Shop(shop)
    jobs = [await tasks.fails.delay(number) for number in range(3)]
    await all_end(shop, jobs)
    scored = reading.ReadingVerbs.scored

    async def while_all_fail_again(*given: Any, **named: Any) -> Any:
        await all_end(shop, jobs)
        return await scored(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(reading.ReadingVerbs, "scored", while_all_fail_again)
        assert (await hand.retry_all(ALL)).done == len(jobs)
    assert await statuses(jobs) == {JobStatus.FAILED}
    assert (await hand.retry_all(ALL)).done == len(jobs)


async def test_all_that_waits_is_cancelled_wherever_it_waits(shop: App, hand: Inspector) -> None:
    tasks = Shop(shop)
    waits = await shop.enqueue_many([tasks.runs.options(priority=number % 4).s(number) for number in range(CHUNK + 50)])
    later = [await tasks.runs.options(countdown=60, queue="other").delay(number) for number in range(5)]

    assert (await hand.cancel_all(JobFilter(queue="other"))).done == 5
    assert await statuses(later) == {JobStatus.CANCELLED}
    assert await hand.cancel_all(ALL) == Bulk(done=len(waits), skipped=0, looked=len(waits))
    assert await statuses(waits) == {JobStatus.CANCELLED}
    assert (await hand.cancel_all(ALL)).done == 0


async def test_what_came_or_ended_since_it_was_counted_is_left_as_it_is(shop: App, hand: Inspector) -> None:
    tasks = Shop(shop)
    waits = [await tasks.runs.delay(number) for number in range(3)]
    old = [await tasks.fails.options(queue="fails").delay(number) for number in range(2)]
    ends = await tasks.fails.options(queue="later").delay(9)
    await all_end(shop, old, queues=["fails"])
    as_of = await hand.now()
    await asyncio.sleep(0.002)
    came = [await tasks.runs.options(lifo=lifo).delay(7) for lifo in (False, True)]
    new = await tasks.fails.options(queue="fails").delay(7)
    await all_end(shop, [new, ends], queues=["fails", "later"])

    assert (await hand.act_on_all(Act.CANCEL, ALL, as_of=as_of)).done == 3
    assert (await hand.act_on_all(Act.DISCARD, JobFilter(status=JobStatus.FAILED), as_of=as_of)).done == 2

    assert await statuses(waits) == {JobStatus.CANCELLED}
    assert await statuses(came) == {JobStatus.QUEUED}
    assert await statuses([new, ends]) == {JobStatus.FAILED}
    assert (await hand.act_on_all(Act.CANCEL, ALL, as_of=datetime(2999, 1, 1, tzinfo=UTC))).done == 2
    with pytest.raises(UsageError, match="as_of"):
        await hand.act_on_all(Act.CANCEL, ALL, as_of=datetime(2026, 1, 1))  # noqa: DTZ001


async def test_jobs_from_before_a_step_back_of_the_clock_are_there_too(
    shop: App, hand: Inspector, raw: Any, prefix: str
) -> None:
    job = await Shop(shop).runs.delay(1)
    in_an_hour = f"{(await hand.now() + timedelta(hours=1)).timestamp() * 1000:.0f}"
    await raw.setrange(f"{prefix}job:{job.id}", 6, in_an_hour)

    assert (await hand.cancel_all(ALL)).done == 1

    assert await job.status() is JobStatus.CANCELLED


async def test_running_jobs_are_stopped(shop: App, hand: Inspector) -> None:
    started: list[int] = []

    @shop.task
    async def endless(number: int) -> None:
        started.append(number)
        await asyncio.Event().wait()

    jobs = [await endless.delay(number) for number in range(4)]
    async with shop.worker():
        await until(lambda: len(started) == 4)
        assert await hand.cancel_all(JobFilter(status=JobStatus.RUNNING, task="endless")) == Bulk(
            done=4, skipped=0, looked=4, told=4
        )

        async def ended() -> bool:
            return await statuses(jobs) == {JobStatus.CANCELLED}

        await until(ended)


async def test_scheduled_jobs_are_promoted_many_of_one_instant_too(shop: App, hand: Inspector) -> None:
    tasks = Shop(shop)
    due = datetime.now(UTC) + timedelta(hours=1)
    jobs = await shop.enqueue_many([tasks.runs.options(eta=due).s(number) for number in range(2 * CHUNK + 7)])

    assert await hand.promote_all(JobFilter(task="shop:runs")) == Bulk(done=len(jobs), skipped=0, looked=len(jobs))

    assert await statuses(jobs) == {JobStatus.QUEUED}


async def test_all_are_requeued_once_though_they_go_to_the_back_of_the_same_line(shop: App, hand: Inspector) -> None:
    tasks = Shop(shop)
    jobs = await shop.enqueue_many([tasks.runs.s(number) for number in range(CHUNK + 20)])
    later = await tasks.runs.options(countdown=60).delay(9)

    assert await hand.requeue_all(ALL) == Bulk(done=CHUNK + 21, skipped=0, looked=CHUNK + 21)
    assert (await hand.requeue_all(JobFilter(queue="default"), queue="other")).done == CHUNK + 21
    assert {(await job.info()).queue for job in (jobs[0], jobs[-1], later)} == {"other"}
    assert (await kept(hand))[-1] == ("requeue all", "queue=default to other", f"{CHUNK + 21} jobs")

    await all_end(shop, [*jobs, later], queues=["default", "other"])
    assert sorted(tasks.ran) == sorted([*range(CHUNK + 20), 9])


async def test_dead_letters_are_discarded_by_their_time(shop: App, hand: Inspector) -> None:
    tasks = Shop(shop)
    old = [await tasks.fails.delay(number) for number in range(3)]
    await all_end(shop, old)
    await asyncio.sleep(0.002)
    then = (await hand._desk.operator.now_ms()) / 1000
    await asyncio.sleep(0.002)
    young = [await tasks.fails.delay(number) for number in range(2)]
    await all_end(shop, young)

    wanted = JobFilter(status=JobStatus.FAILED, until=datetime.fromtimestamp(then, UTC))
    assert (await hand.discard_all(wanted)).done == 3

    assert await statuses(young) == {JobStatus.FAILED}
    assert len((await hand.dead()).items) == 2
    assert (await kept(hand))[-1][1].startswith("status=failed until=20")


async def test_a_large_record_is_judged_by_all_of_it(shop: App, hand: Inspector) -> None:
    async def fails(text: str) -> None:
        raise ValueError("of a large one")

    task = shop.task(fails, name="shop:large", retries=0, queue="large")
    job = await task.delay("x" * 50_000)
    await all_end(shop, [job], queues=["large"])

    assert (await hand.retry_all(JobFilter(error="large one", queue="large"))).done == 1

    assert await job.status() is JobStatus.QUEUED


@REAL
async def test_of_large_records_a_chunk_holds_few_and_reads_no_further(
    shop: App, hand: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def takes(text: str) -> None: ...

    task, text = shop.task(takes, name="shop:large"), "x" * 900_000
    jobs = [await task.delay(text) for _ in range(20)]
    for number in range(3):
        await Shop(shop).runs.delay(number)
    store, bytes_read = type(shop._core.client().store), 0
    read = store.read

    async def counted(*given: Any, **named: Any) -> Any:
        nonlocal bytes_read
        data = await read(*given, **named)
        bytes_read += len(data or b"")
        return data

    with monkeypatch.context() as patch:
        patch.setattr(store, "read", counted)
        held: list[int] = []
        async for chunk in walk(hand._desk, Act.CANCEL, ALL):
            held.append(sum(job.summary.size for job in chunk.jobs))
            assert held[-1] <= MOST_BYTES
            assert bytes_read <= sum(held) + MOST_BYTES // 8, "what is held beside the chunk"
    assert sum(held) > 20 * len(text)

    assert await hand.cancel_all(ALL) == Bulk(done=23, skipped=0, looked=23)
    assert await statuses(jobs) == {JobStatus.CANCELLED}
