"""Jobs whose records can't be read: where they lie, what is said of them, and how a person gets rid of one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import JobStatus
from aiotq.errors import JobNotFound
from aiotq.inspection import Severity, whereabouts
from aiotq.job import parse_ticket
from tests.inspection.kit import kept
from tests.inspection.written import card, now_ms, put

if TYPE_CHECKING:
    from aiotq import App, Inspector, Job


async def unread(shop: App, raw: Any, prefix: str, *, version: bytes = b"9", **options: Any) -> Job[Any]:
    """A job in the queue `mail`, of a version that nobody has."""

    async def t() -> None: ...

    job = await shop.task(t, name=f"t{len(shop.registry.names)}", queue="mail").options(**options).delay()
    data = await raw.get(f"{prefix}job:{job.id}")
    await raw.set(f"{prefix}job:{job.id}", version + data[1:19] + b"\x00 not json", keepttl=True)
    return job


async def claimed(shop: App, worker_id: str) -> list[str]:
    reply = await shop._core.client().store.exchange(worker_id, [], queues=["mail"], limit=10)
    return [parse_ticket(one.ticket).job_id for one in reply.claimed]


@pytest.mark.parametrize(
    ("options", "status", "priority"),
    [
        ({"priority": 7}, JobStatus.QUEUED, 7),
        ({"priority": 2, "lifo": True}, JobStatus.QUEUED, 2),
        ({"countdown": 60, "priority": 1}, JobStatus.SCHEDULED, 1),
    ],
)
async def test_one_that_waits_lies_where_its_ticket_does_and_can_be_discarded(
    shop: App, look: Inspector, hand: Inspector, raw: Any, prefix: str,
    options: dict[str, Any], status: JobStatus, priority: int,
) -> None:  # fmt: skip
    job = await unread(shop, raw, prefix, **options)
    detail = await look.job(job.id)
    seen = detail.summary
    assert (seen.status, seen.queue, seen.priority, seen.placed) == (status, "mail", priority, True)
    assert (seen.due_at is not None) == (status is JobStatus.SCHEDULED)

    assert await hand.discard(job.id)

    with pytest.raises(JobNotFound):
        await look.job(job.id)
    assert (await look.jobs()).items == ()
    assert await hand.discard(job.id), "it is so already"
    assert next(entry for entry in await kept(hand) if entry[0] == "discard") == ("discard", job.id, "done")
    await card(shop, "w1", "mail")
    assert await claimed(shop, "w1") == [], "its ticket is stale, and dropped"
    assert not await raw.exists(f"{prefix}line:mail:{priority}")
    assert await raw.zcard(f"{prefix}schedule") == 0
    await shop._core.client().store.retire("w1")


async def test_one_that_runs_is_not_discarded_and_its_worker_stores_what_it_comes_to(
    shop: App, look: Inspector, hand: Inspector, raw: Any, prefix: str
) -> None:
    job = await unread(shop, raw, prefix)
    await card(shop, "w1", "mail")
    assert await claimed(shop, "w1") == [job.id]
    seen = (await look.job(job.id)).summary
    assert (seen.status, seen.queue, seen.worker) == (JobStatus.RUNNING, "mail", "at w1")
    before = await raw.get(f"{prefix}job:{job.id}")

    assert not await hand.discard(job.id)

    assert await raw.get(f"{prefix}job:{job.id}") == before
    assert (await kept(hand))[-1] == ("discard", job.id, "it is running on at w1; let it end, or end that worker")
    await shop._core.client().store.retire("w1")
    assert await hand.discard(job.id), "it is back in its line"
    await card(shop, "w1", "mail")
    assert await claimed(shop, "w1") == []
    await shop._core.client().store.retire("w1")


async def test_a_suspect_that_can_not_be_read_is_discarded_as_well(
    shop: App, look: Inspector, hand: Inspector, raw: Any, prefix: str
) -> None:
    job = await unread(shop, raw, prefix)
    store = shop._core.client().store
    for name in ("w1", "w2"):
        await card(shop, name, "mail", lease_ms=1_000)
        await store.exchange(name, [], queues=["mail"], limit=1)
        end_ms = await store.lease_end(name)
        assert end_ms is not None
        await store.reclaim(name, seen_ms=end_ms, now_ms=end_ms)
    assert await raw.llen(f"{prefix}line:mail:s") == 1

    assert await hand.discard(job.id)

    assert not await raw.hexists(f"{prefix}lost", job.id)
    await hand.purge("mail")


async def test_one_that_is_put_back_while_it_is_looked_for_is_looked_for_again(
    shop: App, look: Inspector, hand: Inspector, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await unread(shop, raw, prefix)
    key, schedule = f"{prefix}job:{job.id}", f"{prefix}schedule"
    data, due_ms = await raw.get(key), await now_ms(raw) + 60_000
    generations = iter(("AAA1", "AAA2"))

    async def put_back(*_: Any) -> None:
        for generation in generations:
            await raw.delete(f"{prefix}line:mail:5", f"{prefix}lines:mail", schedule)
            await raw.set(key, data[:2] + generation.encode() + data[6:])
            await raw.zadd(schedule, {f"mail:5:{generation}:{job.id}": due_ms})
            return

    first_look = whereabouts._soon

    async def late(desk: Any) -> Any:
        await put_back()
        return await first_look(desk)

    monkeypatch.setattr(whereabouts, "_soon", late)

    seen = (await look.job(job.id)).summary

    assert (seen.placed, seen.status) == (True, JobStatus.SCHEDULED)
    generations = iter(("AAA3",))
    assert await hand.discard(job.id)
    await raw.delete(schedule)


async def test_one_that_its_worker_leaves_in_its_line_while_it_is_looked_for_is_found(
    shop: App, look: Inspector, hand: Inspector, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await unread(shop, raw, prefix)
    await card(shop, "w1", "mail")
    assert await claimed(shop, "w1") == [job.id]
    in_hands = whereabouts._Hunt.running

    async def late(hunt: Any) -> Any:
        await shop._core.client().store.retire("w1")
        return await in_hands(hunt)

    monkeypatch.setattr(whereabouts._Hunt, "running", late)
    assert (await look.job(job.id)).summary.placed
    assert await hand.discard(job.id)
    await hand.purge("mail")


async def test_a_record_without_a_ticket_is_in_no_queue_and_a_stranger_beside_it_too(
    shop: App, look: Inspector, hand: Inspector, raw: Any, prefix: str
) -> None:
    newer, bare = await unread(shop, raw, prefix), await unread(shop, raw, prefix, version=b"?")
    await raw.set(f"{prefix}job:{bare.id}", "<script>", ex=600)
    assert (await look.job(bare.id)).summary.placed
    assert (await look.job(bare.id)).summary.queue == "mail"
    await raw.delete(f"{prefix}line:mail:5", f"{prefix}lines:mail")

    for job in (newer, bare):
        assert not (await look.job(job.id)).summary.placed
        assert not await hand.discard(job.id)

    await raw.delete(*(f"{prefix}job:{job.id}" for job in (newer, bare)))


def stale(number: int, *, queue: str = "mail", kind: str = "x") -> list[str]:
    """Tickets of jobs that there are not."""
    return [f"{queue}:5:AAAA:{kind}{n:06}" for n in range(number)]


async def test_one_in_the_midst_of_a_long_line_is_found_and_discarded(
    shop: App, look: Inspector, hand: Inspector, raw: Any, prefix: str
) -> None:
    job = await unread(shop, raw, prefix)
    line = f"{prefix}line:mail:5"
    await raw.lpush(line, *stale(1_000))
    await raw.rpush(line, *stale(10_001))

    seen = (await look.job(job.id)).summary

    assert (seen.placed, seen.status, seen.queue) == (True, JobStatus.QUEUED, "mail")
    assert await hand.discard(job.id)
    await raw.delete(line, f"{prefix}lines:mail")


async def test_one_beyond_what_is_looked_through_of_a_line_is_somewhere_not_in_no_queue(
    shop: App, look: Inspector, hand: Inspector, raw: Any, prefix: str
) -> None:
    newer, bare = await unread(shop, raw, prefix), await unread(shop, raw, prefix, version=b"?")
    line = f"{prefix}line:mail:5"
    await raw.lpush(line, *stale(10_001))
    await raw.rpush(line, *stale(10_001))
    where = "the schedule, the lines of 1 queue (the first and last {} tickets of each) and the hands of 0 workers"
    for job, most in ((newer, "10,000"), (bare, "500")):
        detail = await look.job(job.id)
        assert (detail.summary.placed, detail.searched) == (None, where.format(most))

    assert not await hand.discard(newer.id)

    [*_, (_, _, came_to)] = await kept(hand)
    assert f"was not found in {where.format('10,000')}; start a worker" in came_to
    await raw.delete(line, f"{prefix}lines:mail", *(f"{prefix}job:{job.id}" for job in (newer, bare)))


async def test_one_in_the_last_of_many_lines_is_found(
    shop: App, look: Inspector, hand: Inspector, raw: Any, prefix: str
) -> None:
    job = await unread(shop, raw, prefix, priority=9)
    for place in range(9):
        await raw.rpush(f"{prefix}line:mail:{place}", *stale(6_000))
        await raw.zadd(f"{prefix}lines:mail", {str(place): place})
    assert (await look.job(job.id)).summary.placed
    assert await hand.discard(job.id)
    await raw.delete(f"{prefix}lines:mail", *(f"{prefix}line:mail:{place}" for place in range(10)))


async def test_one_in_the_last_of_many_queues_is_found(
    shop: App, look: Inspector, hand: Inspector, raw: Any, prefix: str
) -> None:
    job = await unread(shop, raw, prefix)
    await raw.sadd(f"{prefix}queues", *(f"a{n:03}" for n in range(300)))
    assert (await look.job(job.id)).summary.placed
    assert await hand.discard(job.id)
    await hand.purge("mail")


async def test_where_there_may_be_more_queues_than_are_known_none_is_said_to_be_in_no_queue(
    shop: App, look: Inspector, raw: Any, prefix: str
) -> None:
    job = await unread(shop, raw, prefix)
    await raw.delete(f"{prefix}line:mail:5", f"{prefix}lines:mail")
    assert (await look.job(job.id)).summary.placed is False
    await raw.sadd(f"{prefix}queues", *(f"a{n:03}" for n in range(1_000)))

    detail = await look.job(job.id)

    assert detail.summary.placed is None
    assert "the lines of 1,000 queues (there may be more queues)" in (detail.searched or "")
    await raw.delete(f"{prefix}job:{job.id}")


@pytest.mark.parametrize(
    ("known", "others", "placed"),
    [(False, 1_000, True), (True, 20_001, True), (False, 20_001, None)],
    ids=["a schedule that is looked through", "a queue that is known", "neither"],
)
async def test_one_behind_many_in_the_schedule(
    shop: App, look: Inspector, hand: Inspector, raw: Any, prefix: str, *, known: bool, others: int, placed: bool | None
) -> None:
    job = await unread(shop, raw, prefix, countdown=60)
    await raw.zadd(f"{prefix}schedule", dict.fromkeys(stale(others, queue="sms"), 1))
    if known:
        await raw.sadd(f"{prefix}queues", "mail")

    detail = await look.job(job.id)

    assert detail.summary.placed is placed
    if placed is None:
        queues = "0 queues"
        assert (detail.searched or "").startswith(f"the schedule (its first 500 jobs, and all of {queues}), ")
    else:
        assert (detail.summary.status, detail.summary.queue) == (JobStatus.SCHEDULED, "mail")
        assert detail.summary.due_at is not None
    assert await hand.discard(job.id) is bool(placed)
    await raw.delete(f"{prefix}schedule", f"{prefix}job:{job.id}")


async def test_one_whose_id_ends_as_others_do_is_told_from_these(
    shop: App, look: Inspector, raw: Any, prefix: str
) -> None:
    others = {f"mail:5:AAAA:x{n}:y": 1 for n in range(1_500)}
    await raw.zadd(f"{prefix}schedule", others | {"mail:5:AAAA:y": 2})
    await raw.set(f"{prefix}job:y", "<script>", ex=600)
    assert (await look.job("y")).summary.due_at is not None
    await raw.zrem(f"{prefix}schedule", "mail:5:AAAA:y")
    assert (await look.job("y")).summary.placed is False
    await raw.delete(f"{prefix}schedule", f"{prefix}job:y")


async def test_bytes_that_are_no_record_are_found_in_a_workers_hands(
    shop: App, look: Inspector, raw: Any, prefix: str
) -> None:
    job = await unread(shop, raw, prefix)
    await card(shop, "w1", "mail")
    assert await claimed(shop, "w1") == [job.id]
    await raw.set(f"{prefix}job:{job.id}", "<script>", ex=600)

    seen = (await look.job(job.id)).summary

    assert (seen.placed, seen.status, seen.worker) == (True, JobStatus.RUNNING, "at w1")
    await raw.delete(f"{prefix}job:{job.id}")
    await shop._core.client().store.retire("w1")
    await raw.delete(f"{prefix}line:mail:5", f"{prefix}lines:mail")


async def test_jobs_that_workers_put_back_since_they_are_newer_are_found_and_what_helps(
    shop: App, look: Inspector, hand: Inspector, raw: Any, prefix: str
) -> None:
    job = await unread(shop, raw, prefix, countdown=30)
    codes = {finding.code for finding in (await look.overview()).findings}
    assert "record_newer" not in codes, "a worker that can read it may take it when it is due"
    now = await now_ms(raw)
    failure = {"n": 0, "at": now, "id": job.id, "message": "newer", "dead": False, "hours": {str(now // 3_600_000): 0}}
    await put(raw, f"{prefix}failures", {"(unreadable)\0NewerRecord": json.dumps(failure)})

    [found] = [finding for finding in (await look.overview()).findings if finding.code == "record_newer"]

    assert (found.severity, found.subject, found.kind) == (Severity.WARNING, job.id, "job")
    assert found.hint.endswith(f"aiotq discard {job.id[-6:]}")
    assert await hand.discard(job.id)
    assert "record_newer" not in {finding.code for finding in (await look.overview()).findings}
