"""The overview: queues, workers, counts and failures as they are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from aiotq.inspection import Period
from tests.inspection.written import HOUR_MS, MINUTE_MS, card, now_ms, put

if TYPE_CHECKING:
    from aiotq import App, Inspector


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
    assert mail.ended_a_minute == pytest.approx(mail.enqueued_a_minute / 2)
    assert (sms.name, sms.waiting, sms.paused, sms.oldest_age_s) == ("sms", 0, False, None)
    assert (await look.queue("mail")).waiting == 3
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
