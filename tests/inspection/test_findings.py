"""What is wrong, as the overview tells it: of tasks, queues, workers, the schedule and the server."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import JobStatus
from aiotq.inspection import JobFilter, Purged, Severity
from aiotq.inspection import overview as overviews
from aiotq.inspection.lines import MORE_HEADS
from aiotq.inspection.overview import overview
from aiotq.store.inspection import Told
from tests.inspection.written import HOUR_MS, MINUTE_MS, card, now_ms, put

if TYPE_CHECKING:
    from aiotq import App, Inspector


async def test_a_mistyped_task_is_told_with_the_name_that_was_meant(
    shop: App, look: Inspector, raw: Any, prefix: str
) -> None:
    @shop.task(name="shop:send_mail")
    async def send_mail() -> None: ...

    @shop.task(name="shop:sned_mail")
    async def wrong() -> None: ...

    job = await wrong.delay()
    del shop.registry._tasks["shop:sned_mail"]
    async with shop.worker():
        while (await job.status()) is not JobStatus.SCHEDULED:
            pass
        [found] = [finding for finding in (await look.overview()).findings if finding.code == "task_unknown"]
        assert "'shop:send_mail' looks like it" in found.what
        assert found.severity is Severity.CRITICAL
    message = "no task is named 'shop:sned_mail'; did you mean shop:send_mail? (known here: shop:send_mail)"
    now = await now_ms(raw)
    hours = {str(now // HOUR_MS): 0}
    failure = {"n": 0, "at": now, "id": job.id, "message": message, "dead": False, "hours": hours}
    await put(raw, f"{prefix}failures", {"shop:sned_mail\0UnknownTask": json.dumps(failure)})
    shop.registry._tasks.clear()
    overview = await look.overview()
    [found] = [finding for finding in overview.findings if finding.code == "task_unknown"]
    assert (overview.failures, await look.failures()) == ((), ()), "a job that is put back has not failed"
    assert "'shop:send_mail' looks like it" in found.what, "as its worker has said, whatever this app knows"
    await job.cancel()


@pytest.mark.parametrize("counted_in", ["m", "d"])
async def test_a_mistyped_task_in_a_queue_that_nobody_serves_is_told_beside_that(
    shop: App, look: Inspector, raw: Any, prefix: str, counted_in: str
) -> None:
    @shop.task(name="shop:sned_mail", queue="orphan")
    async def wrong() -> None: ...

    @shop.task(name="shop:report", queue="orphan")
    async def other() -> None: ...

    await card(shop, "w1", "mail")
    jobs = [await wrong.delay(), await wrong.delay(), await other.delay()]
    shop.registry._tasks.clear()
    assert "task_misspelt" not in {finding.code for finding in (await look.overview()).findings}
    ordinal = await now_ms(raw) // (MINUTE_MS if counted_in == "m" else 24 * HOUR_MS)
    await put(raw, f"{prefix}stats:{counted_in}:{ordinal}", {"t:s:shop:send_mail": 3, "t:f:shop:sned_mail": 1})

    found = {finding.code: finding for finding in (await look.overview()).findings}

    assert {"queue_unserved", "task_misspelt"} <= found.keys()
    told = found["task_misspelt"]
    assert told.what == (
        "2 jobs at the front of a queue from which nobody takes any name the task 'shop:sned_mail', which has not run "
        "of late; 'shop:send_mail', which has, looks like it"
    )
    assert told.hint.endswith("then: aiotq cancel --all --task shop:sned_mail")
    for job in jobs:
        await job.cancel()
    await shop._core.client().store.retire("w1")


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_of_very_many_names_that_nobody_knows_few_are_compared(
    shop: App, look: Inspector, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def t(number: int) -> None: ...

    made_up = [shop.task(t, name=f"shop:sned_{number}", queue="orphan") for number in range(30)]
    jobs = await shop.enqueue_many([task.options(priority=at % 10).s(at) for at, task in enumerate(made_up)])
    await card(shop, "w1", "mail")
    shop.registry._tasks.clear()
    await put(raw, f"{prefix}stats:m:{await now_ms(raw) // MINUTE_MS}", {"t:s:shop:send_1": 3})
    compared: list[str] = []
    nearest = overviews.nearest
    monkeypatch.setattr(overviews, "nearest", lambda name, names: compared.append(name) or nearest(name, names))

    assert "task_misspelt" in {finding.code for finding in (await look.overview()).findings}

    assert len(compared) == overviews.SUSPECTS
    await shop.inspect.cancel_all(JobFilter())
    assert {await job.status() for job in jobs} == {JobStatus.CANCELLED}
    await shop._core.client().store.retire("w1")


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_of_very_many_scheduled_names_few_are_compared_and_first_those_that_a_worker_has_met(
    shop: App, look: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def t() -> None: ...

    met = shop.task(t, name="shop:z_send_mail")
    made_up = [shop.task(t, name=f"shop:send_mial_{number}") for number in range(40)]
    shop.task(t, name="shop:send_mail")
    job = await met.delay()
    for task in [met, *made_up]:
        del shop.registry._tasks[task.name]
    async with shop.worker():
        while (await job.status()) is not JobStatus.SCHEDULED:
            pass
    jobs = await shop.enqueue_many([task.options(countdown=60).s() for task in made_up for _ in range(2)])
    compared: list[str] = []
    nearest = shop.registry.nearest
    monkeypatch.setattr(shop.registry, "nearest", lambda name: compared.append(name) or nearest(name))

    found = [finding for finding in (await look.overview()).findings if finding.code == "task_unknown"]

    assert compared[0] == "shop:z_send_mail"
    assert len(compared) == overviews.SUSPECTS
    assert {"'shop:send_mail' looks like it" in finding.what for finding in found} == {True}
    await shop.inspect.cancel_all(JobFilter())
    assert {await one.status() for one in [job, *jobs]} == {JobStatus.CANCELLED}


async def test_a_mistyped_task_behind_a_worker_that_stands_still_is_told_beside_that(
    shop: App, look: Inspector, raw: Any, prefix: str
) -> None:
    @shop.task(name="shop:sned_mail", queue="mail")
    async def wrong() -> None: ...

    await card(shop, "w1", "mail")
    await raw.hset(f"{prefix}worker:w1", "vitals", json.dumps({"slots": 1, "used": 1, "blocked_s": 60.0}))
    job = await wrong.delay()
    shop.registry._tasks.clear()
    await put(raw, f"{prefix}stats:m:{await now_ms(raw) // MINUTE_MS}", {"t:s:shop:send_mail": 3})

    overview = await look.overview()

    found = {finding.code: finding for finding in overview.findings}
    assert "1 job waits in queue mail, and nobody else serves it" in found["worker_blocked"].what
    assert "'shop:send_mail', which has, looks like it" in found["task_misspelt"].what
    assert [(one.workers, one.standing, one.held_up) for one in overview.queues] == [(1, 1, True)]
    await card(shop, "w2", "mail")
    overview = await look.overview()
    assert "task_misspelt" not in {finding.code for finding in overview.findings}, "the other one would say so"
    assert [(one.workers, one.standing, one.held_up) for one in overview.queues] == [(2, 1, False)]
    await job.cancel()
    for name in ("w1", "w2"):
        await shop._core.client().store.retire(name)


@pytest.mark.parametrize("act", ["cancel_all", "requeue_all"])
async def test_tickets_of_jobs_that_are_gone_are_no_jobs_that_wait_and_a_purge_clears_them(
    shop: App, look: Inspector, hand: Inspector, act: str
) -> None:
    @shop.task(name="t", queue="orphan")
    async def t() -> None: ...

    jobs = await shop.enqueue_many([t.s() for _ in range(7)])
    await card(shop, "w1", "other")
    told = {finding.code for finding in (await look.overview()).findings}
    assert "queue_unserved" in told
    orphans = JobFilter(queue="orphan")
    bulk = await (hand.cancel_all(orphans) if act == "cancel_all" else hand.requeue_all(orphans, queue="other"))
    assert bulk.done == 7

    overview = await look.overview()

    [left] = [finding for finding in overview.findings if finding.subject == "orphan"]
    assert (left.code, left.severity, left.hint) == ("queue_leftovers", Severity.NOTE, "aiotq purge orphan")
    assert [(one.waiting, one.leftovers) for one in overview.queues if one.name == "orphan"] == [(7, 7)]
    assert await hand.purge("orphan") == Purged(ended=0, cleared=7)
    assert await hand.purge("orphan") == Purged(ended=0, cleared=0)
    assert not [finding for finding in (await look.overview()).findings if finding.subject == "orphan"]
    statuses = {await job.status() for job in jobs}
    assert statuses == {JobStatus.CANCELLED if act == "cancel_all" else JobStatus.QUEUED}
    await shop._core.client().store.retire("w1")
    await hand.purge("other")


async def test_of_a_long_line_whose_front_is_of_jobs_that_are_gone_no_more_is_said_than_was_seen(
    shop: App, look: Inspector, hand: Inspector
) -> None:
    @shop.task(name="t", queue="orphan")
    async def t() -> None: ...

    await shop.enqueue_many([t.s() for _ in range(MORE_HEADS + 1)])
    await hand.cancel_all(JobFilter(queue="orphan"))
    await t.delay()

    [left] = [finding for finding in (await look.overview()).findings if finding.subject == "orphan"]

    assert left.severity is Severity.WARNING, "there may be jobs behind them"
    assert f"the first {MORE_HEADS} of its {MORE_HEADS + 2} tickets" in left.what
    assert left.hint.startswith("aiotq jobs --queue orphan --state queued")
    assert await hand.purge("orphan") == Purged(ended=1, cleared=MORE_HEADS + 1)


async def test_keys_that_were_put_aside_are_told(shop: App, look: Inspector, raw: Any, prefix: str) -> None:
    @shop.task(name="t")
    async def t() -> None: ...

    job = await t.delay()
    for name in ("schedule", "line:default:5"):
        await raw.set(f"{prefix}aside:{name}", "x", ex=600)
    [found] = [finding for finding in (await look.overview()).findings if finding.code == "keys_aside"]
    assert "2 keys of a wrong type were put aside (aside:schedule, aside:line:default:5)" in found.what
    await job.cancel()


async def test_poison_is_told_where_it_waits_and_where_it_died(
    shop: App, look: Inspector, raw: Any, prefix: str
) -> None:
    @shop.task(name="shop:render")
    async def render() -> None: ...

    job = await render.delay()
    store = shop._core.client().store
    for name in ("w1", "w2"):
        await card(shop, name, lease_ms=1_000)
        await store.exchange(name, [], queues=["default"], limit=1)
        end_ms = await store.lease_end(name)
        assert end_ms is not None
        await store.reclaim(name, seen_ms=end_ms, now_ms=end_ms)
    [found] = [finding for finding in (await look.overview()).findings if finding.code == "poison"]
    assert "(shop:render) has taken its worker down 2 times" in found.what
    assert found.subject == job.id
    [summary] = (await look.jobs()).items
    assert (summary.lost, summary.status) == (2, JobStatus.QUEUED)
    assert (await look.queue("default")).suspects == 1
    detail = await look.job(job.id)
    assert detail.summary.lost == 2
    assert [entry.what for entry in detail.timeline][1:] == [
        "its worker vanished 2 times", "waits among the suspects, one of which runs at a time",
    ]  # fmt: skip
    await job.cancel()


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_an_overdue_schedule_is_told(shop: App, look: Inspector, raw: Any, prefix: str) -> None:
    @shop.task(name="t")
    async def t() -> None: ...

    await t.options(countdown=60).delay()
    await card(shop, "w1")
    [ticket] = await raw.zrange(f"{prefix}schedule", 0, 0)
    await raw.zadd(f"{prefix}schedule", {ticket: await now_ms(raw) - 100_000})
    [found] = [finding for finding in (await look.overview()).findings if finding.code == "schedule_overdue"]
    assert "1 m 4" in found.what
    await shop._core.client().store.retire("w1")


class Loading:
    """An operator's side of a server that loads its data: it answers INFO and TIME, and nothing else."""

    url = "redis://host"

    async def told(self, **asked: Any) -> Told:
        return Told(kind="Redis", info={"loading": "1", "redis_version": "7.4.9"}, config={}, ping_s=[])

    async def now_ms(self) -> int:
        return 1_800_000_000_000


async def test_a_server_that_loads_its_data_is_told_at_once() -> None:
    seen = await overview(SimpleNamespace(operator=Loading()))  # type: ignore[arg-type]
    assert [finding.code for finding in seen.findings] == ["server_loading"]
    assert seen.severity is Severity.CRITICAL
    assert not seen.server.writable
