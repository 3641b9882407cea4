"""Jobs in lists: those of each state, paged, filtered, each once, and none of what is stale or not ours."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import JobStatus
from aiotq.errors import UsageError
from aiotq.inspection import JobFilter

if TYPE_CHECKING:
    from aiotq import App, Inspector


async def all_of(look: Inspector, wanted: JobFilter | None = None, *, limit: int = 3) -> list[str]:
    """The ids on all pages."""
    found, cursor = [], None
    while True:
        page = await look.jobs(wanted or JobFilter(), cursor=cursor, limit=limit)
        assert len(page.items) <= limit
        found += [item.id for item in page.items]
        cursor = page.cursor
        if cursor is None:
            return found


async def ring(shop: App, raw: Any, prefix: str, *entries: str) -> None:
    """What workers write into it, the last one last."""
    await raw.lpush(f"{prefix}ended", *entries)
    await raw.expire(f"{prefix}ended", 600)


async def test_of_an_empty_namespace(look: Inspector) -> None:
    page = await look.jobs()
    assert (page.items, page.cursor, page.looked) == ((), None, 0)
    assert await look.find("abcdef") == ()
    assert await look.count() == 0


async def test_queued_jobs_come_the_newest_first_page_by_page(shop: App, look: Inspector) -> None:
    @shop.task(name="shop:send", queue="mail")
    async def send(to: str) -> None: ...

    ids = [(await send.delay(f"{i}")).id for i in range(10)]
    assert await all_of(look) == ids[::-1]
    assert await all_of(look, JobFilter(status=JobStatus.QUEUED, queue="mail"), limit=4) == ids[::-1]
    assert await all_of(look, JobFilter(queue="other")) == []
    [newest] = (await look.jobs(limit=1)).items
    assert (newest.task, newest.queue, newest.priority, newest.status) == ("shop:send", "mail", 5, JobStatus.QUEUED)
    assert newest.readable
    assert newest.attempt == 0
    assert await look.count() == 10
    assert await look.count(JobFilter(status=JobStatus.QUEUED, queue="mail")) == 10


async def test_jobs_that_come_and_go_meanwhile_shift_no_page(shop: App, look: Inspector) -> None:
    @shop.task(name="t")
    async def t(i: int) -> None: ...

    ids = [(await t.delay(i)).id for i in range(10)]
    first = await look.jobs(limit=4)
    for i in range(5):
        await t.delay(i)
    second = await look.jobs(cursor=first.cursor, limit=4)
    assert [item.id for item in second.items] == ids[5:1:-1]
    await shop.job(ids[1]).cancel()
    third = await look.jobs(cursor=second.cursor, limit=4)
    assert [item.id for item in third.items][:1] == [ids[0]]
    assert all(item.id != ids[1] for item in third.items if item.status is JobStatus.QUEUED)


async def test_scheduled_jobs_come_by_when_they_are_due(shop: App, look: Inspector) -> None:
    @shop.task(name="t")
    async def t(i: int) -> None: ...

    ids = [(await t.options(countdown=60 + i).delay(i)).id for i in range(5)]
    eta = datetime.now(UTC) + timedelta(hours=1)
    same = sorted([(await t.options(eta=eta, queue="mail").delay(i)).id for i in range(7)])
    found = await all_of(look, JobFilter(status=JobStatus.SCHEDULED))
    assert found[:5] == ids
    assert sorted(found[5:]) == same
    [first] = (await look.jobs(JobFilter(status=JobStatus.SCHEDULED), limit=1)).items
    assert first.due_at is not None
    assert timedelta(seconds=50) < first.due_at - datetime.now(UTC) < timedelta(seconds=61)
    assert await look.count(JobFilter(status=JobStatus.SCHEDULED)) == 12
    assert await look.count(JobFilter(status=JobStatus.SCHEDULED, queue="mail")) == 7


async def test_a_page_of_the_schedule_goes_on_where_a_job_has_gone(shop: App, look: Inspector) -> None:
    @shop.task(name="t")
    async def t(i: int) -> None: ...

    eta = datetime.now(UTC) + timedelta(hours=1)
    for i in range(9):
        await t.options(eta=eta).delay(i)
    order = await all_of(look, JobFilter(status=JobStatus.SCHEDULED), limit=9)
    page = await look.jobs(JobFilter(status=JobStatus.SCHEDULED), limit=4)
    await shop.job(order[3]).cancel()
    rest = await look.jobs(JobFilter(status=JobStatus.SCHEDULED), cursor=page.cursor, limit=10)
    assert [item.id for item in rest.items] == order[4:]


async def test_running_jobs_say_who_runs_them(shop: App, look: Inspector) -> None:
    hold = asyncio.Event()

    @shop.task(name="hold")
    async def wait() -> None:
        started.set()
        await hold.wait()

    started = asyncio.Event()
    async with shop.worker(name="w-1"):
        job = await wait.delay()
        await started.wait()
        [one] = (await look.jobs(JobFilter(status=JobStatus.RUNNING))).items
        assert (one.id, one.worker, one.attempt, one.status) == (job.id, "w-1", 1, JobStatus.RUNNING)
        assert (await look.jobs(JobFilter(status=JobStatus.RUNNING, queue="other"))).items == ()
        assert await look.find(job.id[-6:]) == (job.id,)
        hold.set()
        await job.result(timeout=5)


async def test_dead_letters_come_the_latest_first(shop: App, look: Inspector) -> None:
    @shop.task(name="shop.mail:fail", retries=0)
    async def fail(i: int) -> None:
        raise ValueError(f"no {i}")

    async with shop.worker():
        ids = []
        for i in range(5):
            job = await fail.delay(i)
            with pytest.raises(Exception, match="no"):
                await job.result(timeout=5)
            ids.append(job.id)
    assert await all_of(look, JobFilter(status=JobStatus.FAILED)) == ids[::-1]
    page = await look.dead(limit=2)
    assert [item.error for item in page.items] == ["ValueError: no 4", "ValueError: no 3"]
    assert [item.id for item in (await look.dead(cursor=page.cursor)).items] == ids[2::-1]
    for error in ("ValueError", "NO 2"):
        items = (await look.dead(JobFilter(error=error))).items
        assert len(items) == (5 if error == "ValueError" else 1)
    assert len((await look.dead(JobFilter(task="fail"))).items) == 5
    assert (await look.dead(JobFilter(task="ail"))).items == ()
    assert (await look.dead(JobFilter(since=datetime.now(UTC) + timedelta(minutes=5)))).items == ()
    assert len((await look.dead(JobFilter(until=datetime.now(UTC) + timedelta(minutes=5)))).items) == 5
    assert page.items[0].finished_at is not None
    assert page.items[0].worker is not None


async def test_ended_jobs_come_from_the_ring_each_once(shop: App, look: Inspector, raw: Any, prefix: str) -> None:
    @shop.task(name="t", retries=0)
    async def t(i: int) -> int:
        if i % 3 == 0:
            raise ValueError
        return i

    async with shop.worker():
        jobs = [await t.delay(i) for i in range(9)]
        for job in jobs:
            await asyncio.wait([asyncio.ensure_future(_end(job))])
    await raw.delete(f"{prefix}ended")  # ours, in this order
    await ring(shop, raw, prefix, *(f"{'f' if i % 3 == 0 else 's'}{job.id}" for i, job in enumerate(jobs)))
    ids = [job.id for job in jobs]
    good = [ids[i] for i in range(8, -1, -1) if i % 3]
    assert await all_of(look, JobFilter(status=JobStatus.SUCCEEDED)) == good
    everything = await all_of(look, limit=4)
    assert everything[:9] == ids[::-1]
    assert len((await look.jobs(limit=20)).items) == 9, "a dead letter that is in the ring comes once"


async def _end(job: Any) -> None:
    try:
        await job.result(timeout=5)
    except Exception:  # noqa: BLE001
        pass


async def test_a_page_of_the_ring_goes_on_after_what_was_shown_last(
    shop: App, look: Inspector, raw: Any, prefix: str
) -> None:
    @shop.task(name="t")
    async def t() -> None: ...

    jobs = [await t.delay() for _ in range(8)]
    for job in jobs:
        await job.cancel()
    await raw.delete(f"{prefix}ended")
    await ring(shop, raw, prefix, *(f"c{job.id}" for job in jobs[:6]))
    wanted = JobFilter(status=JobStatus.CANCELLED)
    first = await look.jobs(wanted, limit=3)
    await ring(shop, raw, prefix, *(f"c{job.id}" for job in jobs[6:]))
    second = await look.jobs(wanted, cursor=first.cursor, limit=3)
    assert [item.id for item in (*first.items, *second.items)] == [job.id for job in jobs[5::-1]]


async def test_what_is_not_ours_is_not_shown_and_does_no_harm(
    shop: App, look: Inspector, raw: Any, prefix: str
) -> None:
    @shop.task(name="t")
    async def t() -> None: ...

    job = await t.delay()
    hostile = [b"\xff\xfe", b"default:5", b"default:5:AAAA:gone", b"x" * 5_000, b"<script>", b"::::", b"default:5:AA:x"]
    await raw.rpush(f"{prefix}line:default:5", *hostile)
    await raw.zadd(f"{prefix}schedule", dict.fromkeys(hostile, float("inf")))
    await raw.zadd(f"{prefix}dead", {**dict.fromkeys(hostile, 5.0), b"!line:x!\xff": 7.0})
    await raw.lpush(f"{prefix}ended", *hostile, b"s", b"s\xff")
    await raw.zadd(f"{prefix}workers", {b"\xff": 1, b"<b>": float("inf")})
    await raw.hset(f"{prefix}worker:<b>", mapping={b"vitals": b"{", b"queues": b"\xff", b"pid": b"-7"})
    await raw.sadd(f"{prefix}active:<b>", *hostile)
    await raw.sadd(f"{prefix}queues", b"\xff", b"a b")
    for limit in (1, 50):
        assert await all_of(look, limit=limit) == [job.id]
    assert await look.find(job.id[-6:]) == (job.id,)
    assert [one.name for one in await look.queues()] == ["default"]
    assert {one.label for one in await look.workers()} == {"<b>", "\\xff"}
    keys = [f"{prefix}{name}" for name in ("line:default:5", "schedule", "dead", "ended", "workers", "queues")]
    await raw.delete(*keys, f"{prefix}worker:<b>", f"{prefix}active:<b>", f"{prefix}job:{job.id}")
    await raw.delete(f"{prefix}lines:default")


async def test_keys_of_another_type_are_nothing_of_ours(shop: App, look: Inspector, raw: Any, prefix: str) -> None:
    names = ("queues", "paused", "lines:default", "schedule", "dead", "ended", "workers", "lost", "failures", "audit")
    await raw.sadd(f"{prefix}queues", "default")
    for name in names:
        await raw.delete(f"{prefix}{name}")
        if name == "queues":
            await raw.set(f"{prefix}{name}", "x")
        else:
            await raw.hset(f"{prefix}{name}", "a", "b") if name not in {"lost", "failures"} else await raw.set(
                f"{prefix}{name}", "x"
            )
    assert (await look.jobs()).items == ()
    assert (await look.dead()).items == ()
    assert (await look.queue("default")).waiting == 0
    assert await look.workers() == ()
    assert await look.failures() == ()
    assert (await look.audit()).items == ()
    await raw.delete(*(f"{prefix}{name}" for name in names))


async def test_records_that_cannot_be_read_are_shown_as_such(shop: App, look: Inspector, raw: Any, prefix: str) -> None:
    @shop.task(name="t")
    async def t() -> None: ...

    jobs = [await t.delay() for _ in range(3)]
    newer, broken, signed = (job.id for job in jobs)
    data = {job.id: await raw.get(f"{prefix}job:{job.id}") for job in jobs}
    await raw.set(f"{prefix}job:{newer}", b"9" + data[newer][1:19] + b"\x00\xff not json")
    await raw.set(f"{prefix}job:{broken}", data[broken][:19] + b"{]")
    await raw.set(f"{prefix}job:{signed}", b"<script>")
    items = {item.id: item for item in (await look.jobs()).items}
    assert set(items) == {newer, broken, signed}
    assert not any(item.readable for item in items.values())
    assert items[newer].queue == "default"
    for job_id in items:
        detail = await look.job(job_id)
        assert detail.info is None
        assert detail.raw == await raw.get(f"{prefix}job:{job_id}")
        assert not detail.summary.readable
        hiding = await look.redacting(lambda _task, arguments: arguments).job(job_id)  # it can't be asked about these
        assert hiding.raw == (detail.raw or b"")[:19]
    for job_id in items:
        await raw.delete(f"{prefix}job:{job_id}")
    await raw.delete(f"{prefix}line:default:5", f"{prefix}lines:default")


async def test_a_large_record_is_shown_by_its_beginning(shop: App, look: Inspector) -> None:
    @shop.task(name="shop:large")
    async def large(text: str) -> None: ...

    job = await large.delay("x" * 500_000)
    [one] = (await look.jobs()).items
    assert (one.task, one.readable, one.id) == ("shop:large", True, job.id)
    assert one.size > 500_000
    detail = await look.job(job.id)
    assert detail.arguments_cut
    assert len(detail.arguments) == 64 << 10


async def test_a_large_record_of_a_dead_letter_says_what_it_died_of(shop: App, look: Inspector) -> None:
    @shop.task(name="shop:large", retries=0)
    async def large(text: str) -> None:
        raise KeyError("seat")

    async with shop.worker(name="w-1"):
        job = await large.options(queue="default", priority=2).delay("x" * 100_000)
        await _end(job)
    [one] = (await look.dead(JobFilter(error="KeyError", since=datetime.now(UTC) - timedelta(minutes=5)))).items
    assert (one.error, one.worker, one.attempt, one.priority) == ("KeyError: 'seat'", "w-1", 1, 2)
    assert one.finished_at is not None
    assert (await look.dead(JobFilter(error="ValueError"))).items == ()


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
@pytest.mark.parametrize(
    "cursor",
    ["", "x", "é", "AAAA", "W10", "WyJxdWV1ZWQiLDEsMiwzXQ", "WyJkZWFkIiwiMSIsIjIiLCIzIl0", "A" * 3_000, "WyJub25lIl0",
     "WyJkZWFkIiwibmFuIiwieCJd", "WyJlbmRlZCIsLTEsIngiXQ", "W1tbW1tbW1tb", 7, b"x"],
)  # fmt: skip
async def test_hostile_cursors_are_refused_in_words(look: Inspector, cursor: Any) -> None:
    with pytest.raises(UsageError, match="cursor="):
        await look.jobs(cursor=cursor)
    with pytest.raises(UsageError, match="cursor="):
        await look.audit(cursor=cursor)


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
@pytest.mark.parametrize("limit", [0, -1, 501, "5", None, 1.5, True])
async def test_hostile_sizes_of_pages_are_refused(look: Inspector, limit: Any) -> None:
    for read in (look.jobs, look.dead, look.audit):
        with pytest.raises(UsageError, match="limit="):
            await read(limit=limit)


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
@pytest.mark.parametrize(
    "wanted",
    [{"queue": "a b"}, {"queue": ""}, {"task": ""}, {"task": "x" * 501}, {"error": 7}, {"status": "queued!"},
     {"since": datetime(2026, 1, 1)}, {"until": "now"}],  # noqa: DTZ001
)  # fmt: skip
async def test_hostile_filters_are_refused(look: Inspector, wanted: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        await look.jobs(JobFilter(**wanted))
    with pytest.raises(UsageError):
        await look.count(JobFilter(**wanted))


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_ids_are_found_by_their_end_or_their_beginning(shop: App, look: Inspector) -> None:
    @shop.task(name="t")
    async def t() -> None: ...

    named = await t.options(job_id="order-17").delay()
    later = await t.options(countdown=60).delay()
    assert await look.find("order-17") == ("order-17",)
    assert await look.find("order") == ("order-17",)
    assert await look.find("-17") == (named.id,)
    assert await look.find(later.id[-6:]) == (later.id,)
    assert await look.find("nothing") == ()
    for text in ("", "a b", "x" * 200, "<script>"):
        with pytest.raises(UsageError):
            await look.find(text)
