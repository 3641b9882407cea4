"""The overview: queues, workers, counts and failures as they are, and what is wrong with them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import JobStatus
from aiotq.inspection import JobFilter, Period, Purged, Severity
from aiotq.inspection import overview as overviews
from aiotq.inspection.lines import MORE_HEADS
from aiotq.inspection.overview import overview
from aiotq.store.contract import WorkerCard
from aiotq.store.inspection import Told

if TYPE_CHECKING:
    from aiotq import App, Inspector

MINUTE_MS, HOUR_MS = 60_000, 3_600_000


async def now_ms(raw: Any) -> int:
    seconds, micros = await raw.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def put(raw: Any, key: str, mapping: dict[str, Any]) -> None:
    await raw.hset(key, mapping=mapping)
    await raw.expire(key, 600)


async def card(shop: App, name: str, *queues: str, lease_ms: int = 60_000) -> None:
    worker = WorkerCard(
        worker_id=name, label=f"at {name}", host="box", pid=77, queues=queues or ("default",), lease_ms=lease_ms
    )
    assert await shop._core.client().store.register(worker)


async def test_of_an_empty_namespace(look: Inspector) -> None:
    overview = await look.overview()
    assert (overview.queues, overview.workers, overview.scheduled, overview.dead) == ((), (), 0, 0)
    assert len(overview.minutes) == 60
    assert overview.server.url.startswith(("unix://", "memory://"))
    assert "no_worker" in {finding.code for finding in overview.findings}
    assert await look.tasks() == ()


async def test_a_queue_is_told_with_its_lines_its_age_and_its_workers(
    shop: App, look: Inspector, raw: Any, prefix: str
) -> None:
    @shop.task(name="t", queue="mail")
    async def t() -> None: ...

    for priority in (0, 5, 5):
        await t.options(priority=priority).delay()
    await t.options(queue="sms", countdown=60).delay()
    await shop.inspect._desk.store.pause("mail")
    await card(shop, "w1", "mail", "sms")
    minute = await now_ms(raw) // MINUTE_MS
    for back in (0, 1, 2):
        await put(raw, f"{prefix}stats:m:{minute - back}", {"e:mail": 10, "q:mail": 5})
    mail, sms = await look.queues()
    assert (mail.name, mail.waiting, mail.by_priority, mail.suspects) == ("mail", 3, {0: 1, 5: 2}, 0)
    assert (mail.paused, mail.workers, mail.running) == (True, 1, 0)
    assert mail.oldest_age_s is not None
    assert 0 <= mail.oldest_age_s < 30
    assert mail.enqueued_a_minute is not None
    assert 2 <= mail.enqueued_a_minute <= 6
    assert (sms.name, sms.waiting, sms.paused, sms.oldest_age_s) == ("sms", 0, False, None)
    assert await look.queue("mail") == mail or (await look.queue("mail")).waiting == 3
    [paused] = [finding for finding in (await look.overview()).findings if finding.code == "queue_paused"]
    assert paused.hint == "aiotq resume mail"
    await shop._core.client().store.resume("mail")
    await shop._core.client().store.retire("w1")


async def test_the_age_of_a_queue_is_that_of_the_first_job_that_is_still_wanted(
    shop: App, look: Inspector, raw: Any, prefix: str
) -> None:
    @shop.task(name="t")
    async def t() -> None: ...

    old = [await t.delay() for _ in range(5)]
    await t.delay()
    for job in old:
        data = await raw.get(f"{prefix}job:{job.id}")
        await raw.set(f"{prefix}job:{job.id}", data[:6] + b"1000000000000" + data[19:])
    aged = (await look.queue("default")).oldest_age_s
    assert aged is not None
    assert aged > 1e6
    for job in old:
        await job.cancel()
    aged = (await look.queue("default")).oldest_age_s
    assert aged is not None
    assert aged < 60


async def test_a_worker_is_told_as_it_said_last(shop: App, look: Inspector, raw: Any, prefix: str) -> None:
    for name in ("w1", "w2", "w3", "w4"):
        await card(shop, name)
    now = await now_ms(raw)
    jobs = [["j1", "shop:send", "mail", 2, now - 5_000], ["j2", "shop:send", "mail", 1, now - 9_000]]
    vitals = {"slots": 10, "used": 2, "stuck": 1, "memory": 5, "version": "9", "blocked_s": 3.5, "jobs": jobs}
    await raw.hset(f"{prefix}worker:w1", "vitals", json.dumps(vitals))
    await raw.hset(f"{prefix}worker:w2", "vitals", json.dumps({"stopping": True}))
    await raw.hset(f"{prefix}worker:w3", "vitals", json.dumps({"memory": 10**400, "slots": 1}))
    await raw.zadd(f"{prefix}workers", {"w3": now - 1_000, "w4": 0})
    w1, w2, w3, w4 = await look.workers()
    assert (w1.label, w1.host, w1.pid, w1.queues) == ("at w1", "box", 77, ("default",))
    assert (w1.slots, w1.used, w1.stuck, w1.memory, w1.version) == (10, 2, 1, 5, "9")
    assert (w3.slots, w3.memory) == (None, None), "what is no number of ours is as good as nothing"
    assert [worker.state for worker in (w1, w2, w3, w4)] == ["blocked", "stopping", "late", "gone"]
    assert [job.id for job in w1.jobs] == ["j2", "j1"]
    assert 9 <= w1.jobs[0].running_s < 60
    assert w1.last_seen_s is not None
    assert w1.last_seen_s < 60
    assert w3.last_seen_s is not None
    assert w3.last_seen_s > 60
    codes = {finding.code for finding in (await look.overview()).findings}
    assert {"worker_stuck", "worker_late"} <= codes
    await raw.zadd(f"{prefix}workers", {"w4": now + 60_000})
    for name in ("w1", "w2", "w3", "w4"):
        await shop._core.client().store.retire(name)


async def test_counts_come_with_their_gaps_filled(look: Inspector, raw: Any, prefix: str) -> None:
    now = await now_ms(raw)
    minute, hour = now // MINUTE_MS, now // HOUR_MS
    await put(
        raw, f"{prefix}stats:m:{minute}", {"e:(other)": 2, "succeeded": 7, "w0": 3, "wt": 500, "r16": 1, "lost": 1}
    )
    await put(raw, f"{prefix}stats:m:{minute - 2}", {"succeeded": 5, "folded": 1, "x": "garbage", "failed": "y"})
    await put(raw, f"{prefix}stats:h:{hour}", {"succeeded": 100})
    three = await look.counts(last=3)
    assert [one.succeeded for one in three] == [5, 0, 7]
    assert (three[-1].enqueued, three[-1].lost, three[0].failed) == (2, 1, 0)
    assert three[-1].waited.number == 3
    assert three[-1].waited.total_s == 0.5
    assert three[-1].ran.counts[-1] == 1
    assert [one.start.second for one in three] == [0, 0, 0]
    assert [one.succeeded for one in await look.counts(Period.HOUR, last=1)] == [107], "the running minute counts too"
    assert len(await look.counts(Period.DAY, last=400)) == 400


async def test_tasks_and_failures_are_those_of_the_hours_asked_for(
    shop: App, look: Inspector, raw: Any, prefix: str
) -> None:
    @shop.task(name="shop:idle")
    async def idle() -> None: ...

    now = await now_ms(raw)
    minute, hour = now // MINUTE_MS, now // HOUR_MS
    fields = {"t:s:shop:send": 8, "t:f:shop:send": 2, "t:r:shop:send": 10, "tm:shop:send": 4_000, "t:s:(other)": 1}
    await put(raw, f"{prefix}stats:m:{minute}", fields)
    send, other, quiet = await look.tasks()
    assert (send.name, send.succeeded, send.failed, send.retried, send.mean_s) == ("shop:send", 8, 2, 10, 0.2)
    assert [one.known for one in (send, other, quiet)] == [False, True, True]
    failure = {"n": 9, "at": now - 5_000, "id": "j1", "message": "no", "dead": True, "hours": {str(hour): 4, "1": 5}}
    old = failure | {"at": now - 5 * HOUR_MS, "hours": {str(hour - 5): 2}}
    hostile = {"a\0b": b"{", "c": b"[]", "d\0e": json.dumps(failure | {"at": -5}), "f\0\xff": b"\xff"}
    odd = failure | {"n": 1, "message": "odd", "hours": {"²": 8, "9" * 5_000: 8, str(hour): 1}}
    hostile |= {"g": json.dumps(failure | {"n": 10**400}), "h": json.dumps(failure | {"hours": {str(hour): 10**400}})}
    rows = {"shop:send\0ValueError": json.dumps(failure), "shop:send\0KeyError": json.dumps(old), **hostile}
    await put(raw, f"{prefix}failures", {"a\0b": json.dumps(odd)})
    assert [(group.message, group.count) for group in await look.failures()] == [("odd", 1)]
    await put(raw, f"{prefix}failures", rows)
    [one] = await look.failures()
    assert (one.task, one.error, one.message, one.count, one.job_id, one.dead) == (
        "shop:send", "ValueError", "no", 4, None, True,
    ), "and no job j1"  # fmt: skip
    assert [group.error for group in await look.failures(hours=24)] == ["ValueError", "KeyError"]
    failing = [finding for finding in (await look.overview()).findings if finding.code == "task_failing"]
    assert "mostly with ValueError: no" in failing[0].what


async def test_the_last_job_that_failed_is_named_for_as_long_as_it_is_there(
    shop: App, look: Inspector, hand: Inspector, raw: Any, prefix: str
) -> None:
    @shop.task(name="t")
    async def t() -> None: ...

    job = await t.delay()
    await job.cancel()
    now = await now_ms(raw)
    failure = {"n": 1, "at": now, "id": job.id, "message": "no", "dead": True, "hours": {str(now // HOUR_MS): 1}}
    await put(raw, f"{prefix}failures", {"t\0ValueError": json.dumps(failure)})
    assert [group.job_id for group in await look.failures()] == [job.id]

    assert await hand.discard(job.id)

    assert [group.job_id for group in await look.failures()] == [None]
    assert [group.job_id for group in (await look.overview()).failures] == [None]
    await hand.purge("default")


async def test_the_audit_comes_the_newest_first(look: Inspector, raw: Any, prefix: str) -> None:
    for i in range(5):
        entry = {"at": 1_800_000_000_000 + i, "by": "ada", "action": "retry", "subject": f"j{i}", "came_to": "done"}
        await raw.lpush(f"{prefix}audit", json.dumps(entry))
    await raw.lpush(f"{prefix}audit", b"\xff{")
    first = await look.audit(limit=3)
    await raw.lpush(f"{prefix}audit", json.dumps({"at": 1, "by": "b", "action": "c", "subject": "d", "came_to": "e"}))
    rest = await look.audit(cursor=first.cursor, limit=9)
    assert [entry.subject for entry in (*first.items, *rest.items)] == ["j4", "j3", "j2", "j1", "j0"]
    assert rest.cursor is None
    await raw.delete(f"{prefix}audit")


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
