"""What a person confirmed is what is acted on: what came since to where the act looks is left as it is."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import JobStatus
from aiotq.errors import UsageError
from aiotq.inspection import Bulk, JobFilter, Moment, arrivals, bulk
from aiotq.inspection.acts import Act
from aiotq.inspection.walking import CHUNK
from aiotq.store.contract import WorkerCard
from tests.inspection.kit import REAL
from tests.worker.kit import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq import App, Inspector, Job, Task
    from aiotq.store.contract import Store

QUEUED = JobFilter(status=JobStatus.QUEUED, queue="mail")
HOUR_MS = 3_600_000
ENDING = pytest.mark.parametrize("act", ["purge", "cancel"])


class Mail:
    """Tasks of one queue."""

    def __init__(self, app: App) -> None:
        async def fails(text: str = "") -> None:
            raise ValueError("x" * 1_000)

        async def sends(text: str = "") -> None: ...

        self.app = app
        self.fails: Task[Any, Any] = app.task(fails, name="fails", queue="mail", retries=0)
        self.sends: Task[Any, Any] = app.task(sends, name="sends", queue="mail")

    async def dead(self, *texts: str) -> list[Job[Any]]:
        jobs = [await self.fails.delay(text) for text in texts]
        async with self.app.worker(queues=["mail"]) as worker:
            await worker.run_until_empty()
        return jobs

    async def waiting(self, count: int, **options: Any) -> list[Job[Any]]:
        return await self.app.enqueue_many([self.sends.options(**options).s() for _ in range(count)])

    async def come_due(self, raw: Any, prefix: str, jobs: Sequence[Job[Any]], *, promoted: bool = True) -> None:
        """These, that were due in an hour, two milliseconds ago. promoted: and are in their lines."""
        due_ms = int((await self.app.inspect.now()).timestamp() * 1_000) - 2
        tickets = {ticket[-32:].decode(): ticket for ticket in await raw.zrange(f"{prefix}schedule", 0, -1)}
        for job in jobs:
            key = f"{prefix}job:{job.id}"
            record = re.sub(rb'"u":\d+', b'"u":%d' % due_ms, await raw.get(key))
            if b'"u":' not in record:
                record = record[:6] + b"%013d" % (due_ms - HOUR_MS) + record[19:]
            await raw.set(key, record)
            await raw.zadd(f"{prefix}schedule", {tickets[job.id]: due_ms})
        if promoted:
            await self.promoted(len(jobs))

    async def promoted(self, count: int) -> None:
        moved = await self.app._core.client().store.promote("poller", limit=100, lease_ms=1_000)
        assert moved.moved == count


class Claimer:
    """A worker that runs nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    async def of(cls, app: App) -> Claimer:
        store = app._core.client().store
        card = WorkerCard(worker_id="w1", label="w1", host="b", pid=7, queues=("mail",), lease_ms=60_000)
        await store.register(card)
        return cls(store)

    async def claim(self, count: int) -> None:
        while count:
            claimed = (
                await self._store.exchange("w1", [], queues=["mail"], limit=count)
            ).claimed  # none: all was stale
            count -= len(claimed)

    async def leave(self) -> None:
        await self._store.retire("w1")


async def ended(hand: Inspector, act: str, as_of: Moment | datetime) -> int:
    if act == "purge":
        return (await hand.purge("mail", as_of=as_of)).ended
    return (await hand.act_on_all(Act.CANCEL, QUEUED, as_of=as_of)).done


async def counted(hand: Inspector) -> datetime:
    as_of = await hand.now()
    await asyncio.sleep(0.004)  # another millisecond, also two milliseconds ago
    return as_of


async def statuses(jobs: Sequence[Job[Any]]) -> set[JobStatus]:
    return {await job.status() for job in jobs}


# --- what came since, by its record


@ENDING
@pytest.mark.parametrize("size", [0, 2_000, 40_000])
async def test_what_was_retried_since_is_left(shop: App, hand: Inspector, act: str, size: int) -> None:
    mail = Mail(shop)
    dead = await mail.dead(*["x" * size] * 3)
    waits = await mail.waiting(3)
    as_of = await counted(hand)
    assert (await hand.retry_all(JobFilter(status=JobStatus.FAILED))).done == 3

    assert await ended(hand, act, as_of) == 3

    assert await statuses(waits) == {JobStatus.CANCELLED}
    assert await statuses(dead) == {JobStatus.QUEUED}
    await asyncio.sleep(0.002)
    assert await ended(hand, act, await hand.now()) == 3


@ENDING
@pytest.mark.parametrize("lifo", [False, True])
async def test_what_came_due_since_is_left(
    shop: App, hand: Inspector, raw: Any, prefix: str, act: str, *, lifo: bool
) -> None:
    mail = Mail(shop)
    waits = await mail.waiting(2)
    delayed = await mail.waiting(2, countdown=3_600, lifo=lifo)
    delayed += await mail.waiting(2, eta=datetime.now(UTC) + timedelta(hours=1), lifo=lifo)
    as_of = await counted(hand)
    await mail.come_due(raw, prefix, delayed)

    assert await ended(hand, act, as_of) == 2

    assert await statuses(waits) == {JobStatus.CANCELLED}
    assert await statuses(delayed) == {JobStatus.QUEUED}


async def test_what_was_counted_as_scheduled_and_came_due_since_is_met_where_both_are_meant(
    shop: App, hand: Inspector, raw: Any, prefix: str
) -> None:
    mail = Mail(shop)
    dead = await mail.dead("")
    delayed = await mail.waiting(2, countdown=3_600)
    as_of = await counted(hand)
    await mail.come_due(raw, prefix, delayed)
    await hand.retry_all(JobFilter(status=JobStatus.FAILED))

    assert (await hand.act_on_all(Act.CANCEL, JobFilter(queue="mail"), as_of=as_of)).done == 2

    assert await statuses(delayed) == {JobStatus.CANCELLED}
    assert await statuses(dead) == {JobStatus.QUEUED}


async def test_what_was_due_or_enqueued_only_since_was_not_running(shop: App, hand: Inspector) -> None:
    started: list[str] = []

    @shop.task(queue="mail")
    async def endless(name: str) -> None:
        started.append(name)
        await asyncio.Event().wait()

    jobs = [await endless.delay("before")]
    async with shop.worker(queues=["mail"], concurrency=5):
        await until(lambda: started == ["before"])
        jobs.append(await endless.options(countdown=3_600).delay("due"))
        as_of = await counted(hand)
        await hand.promote(jobs[-1].id)
        jobs.append(await endless.delay("enqueued"))
        await until(lambda: len(started) == 3)

        running = JobFilter(status=JobStatus.RUNNING)
        assert (await hand.act_on_all(Act.CANCEL, running, as_of=as_of)).done == 1
        assert (await hand.cancel_all(running)).done >= 2

        async def all_ended() -> bool:
            return await statuses(jobs) == {JobStatus.CANCELLED}

        await until(all_ended)


# --- what came since, by its place


@REAL
async def test_what_is_put_to_the_back_while_a_queue_is_purged_stays(
    shop: App, hand: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = Mail(shop)
    old = await mail.waiting(30, queue="other")
    waits = await mail.waiting(250)
    as_of = await counted(hand)
    side = type(hand._desk.operator)
    front = side.front

    async def and_more(*given: Any, **named: Any) -> Any:
        await hand.requeue_all(JobFilter(queue="other"), queue="mail")
        return await front(*given, **named)

    monkeypatch.setattr(side, "front", and_more)
    assert (await hand.purge("mail", as_of=as_of)).ended == 250

    assert await statuses(waits) == {JobStatus.CANCELLED}
    assert await statuses(old) == {JobStatus.QUEUED}


@REAL
@ENDING
async def test_once_the_end_of_a_line_is_claimed_what_lies_there_has_come_since(
    shop: App, hand: Inspector, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """A worker claims all that there was, and as much comes from elsewhere."""
    mail, worker = Mail(shop), await Claimer.of(shop)
    old = await mail.waiting(150, queue="other")
    await mail.waiting(150)
    as_of = await counted(hand)
    side, name = type(hand._desk.operator), "take" if act == "purge" else "losses"
    verb = getattr(side, name)

    async def then_all_is_claimed(*given: Any, **named: Any) -> Any:
        patch.undo()
        came = await verb(*given, **named)
        await worker.claim(50 if act == "purge" else 150)
        await hand.requeue_all(JobFilter(queue="other"), queue="mail")
        return came

    with monkeypatch.context() as patch:
        patch.setattr(side, name, then_all_is_claimed)
        await ended(hand, act, as_of)

    assert await statuses(old) == {JobStatus.QUEUED}
    await worker.leave()


@ENDING
async def test_what_left_no_trace_is_told_by_where_the_line_ended(
    shop: App, hand: Inspector, raw: Any, prefix: str, act: str
) -> None:
    """Requeued from elsewhere, and overdue as the rest was counted; in a line that there was, and in new ones."""
    mail = Mail(shop)
    waits = await mail.waiting(3)
    came = await mail.waiting(2, queue="other")
    came += await mail.waiting(2, queue="other", priority=1)
    overdue = await mail.waiting(2, countdown=3_600)
    await mail.come_due(raw, prefix, overdue, promoted=False)
    await asyncio.sleep(0.002)
    as_of = await hand.moment("mail")
    await mail.promoted(2)
    assert (await hand.requeue_all(JobFilter(queue="other"), queue="mail")).done == 4

    assert await ended(hand, act, as_of) == 3

    assert await statuses(waits) == {JobStatus.CANCELLED}
    assert await statuses([*came, *overdue]) == {JobStatus.QUEUED}
    assert await ended(hand, act, await hand.moment()) == 6


@REAL
@ENDING
async def test_where_all_that_was_counted_is_claimed_nothing_is_done(shop: App, hand: Inspector, act: str) -> None:
    mail, worker = Mail(shop), await Claimer.of(shop)
    came = await mail.waiting(5, queue="other")
    await mail.waiting(3)
    as_of = await hand.moment("mail")
    await worker.claim(3)
    await hand.requeue_all(JobFilter(queue="other"), queue="mail")

    assert await ended(hand, act, as_of) == 0

    assert await statuses(came) == {JobStatus.QUEUED}
    await worker.leave()


async def test_of_what_lies_behind_the_end_that_was_counted_only_what_came_due_is_met_where_the_schedule_is_meant(
    shop: App, hand: Inspector, raw: Any, prefix: str
) -> None:
    mail = Mail(shop)
    came = await mail.waiting(2, queue="other")
    waits, delayed = await mail.waiting(3), await mail.waiting(2, countdown=3_600)
    as_of = await hand.moment("mail")
    await asyncio.sleep(0.004)
    await mail.come_due(raw, prefix, delayed)
    await hand.requeue_all(JobFilter(queue="other"), queue="mail")

    assert (await hand.act_on_all(Act.CANCEL, JobFilter(queue="mail"), as_of=as_of)).done == 5

    assert await statuses([*waits, *delayed]) == {JobStatus.CANCELLED}
    assert await statuses(came) == {JobStatus.QUEUED}


async def test_a_moment_of_another_queue_or_of_too_many_says_the_instant_alone(
    shop: App, hand: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = Mail(shop)
    await mail.waiting(3)
    await mail.waiting(1, queue="other")
    of_other = await hand.moment("other")
    assert of_other.queue == "other"
    assert len(of_other.ends or ()) == 1
    assert len((await hand.moment()).ends or ()) == 2
    monkeypatch.setattr(arrivals, "MOST_ENDS", 1)
    assert (await hand.moment()).ends is None
    assert (await hand.moment("nobody-ever-used-it")).ends == ()

    assert (await hand.purge("mail", as_of=of_other)).ended == 3
    assert (await hand.purge("other", as_of=await hand.moment())).ended == 1
    with pytest.raises(UsageError, match="as_of"):
        await hand.purge("other", as_of=Moment(at=datetime(2026, 1, 1)))  # noqa: DTZ001


# --- requeue


@REAL
async def test_a_line_whose_end_is_claimed_is_requeued_once_and_counted_once(
    shop: App, hand: Inspector, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail, worker = Mail(shop), await Claimer.of(shop)
    await mail.waiting(150)

    with monkeypatch.context() as patch:
        then_claims(patch, worker, 50)
        assert await hand.requeue_all(JobFilter(queue="mail")) == Bulk(done=100, skipped=0, looked=100)

    assert await raw.llen(f"{prefix}line:mail:5") == 100
    await worker.leave()


@REAL
async def test_what_a_requeue_has_put_back_is_known_though_the_end_can_not_be_told(
    shop: App, hand: Inspector, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last ticket is of somebody else; and what was requeued is met again, large records too."""
    mail, worker = Mail(shop), await Claimer.of(shop)
    await shop.enqueue_many([mail.sends.s("x" * 20_000 * (number % 2)) for number in range(120)])
    await raw.rpush(f"{prefix}line:mail:5", b"\xff")

    with monkeypatch.context() as patch:
        then_claims(patch, worker, 20)
        came = await hand.requeue_all(JobFilter(queue="mail"))

    assert (came.done, came.skipped) == (100, 0)
    assert came.looked > 100
    await worker.leave()


def then_claims(patch: pytest.MonkeyPatch, worker: Claimer, count: int) -> None:
    """Once the first chunk is requeued."""
    together, calls = bulk._together, 0

    async def and_then(*given: Any) -> Any:
        nonlocal calls
        came, calls = await together(*given), calls + 1
        if calls == CHUNK // bulk.AT_ONCE:
            await worker.claim(count)
        return came

    patch.setattr(bulk, "_together", and_then)
