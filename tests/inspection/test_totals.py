"""What was counted since the month began, out of days and of minutes that have not been counted in theirs yet."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiotq.inspection import Period, tallies, totals
from aiotq.inspection.totals import _month_ms

if TYPE_CHECKING:
    import pytest

    from aiotq import App, Inspector

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


async def now_ms(raw: Any) -> int:
    seconds, micros = await raw.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def put(raw: Any, key: str, fields: dict[Any, Any]) -> None:
    await raw.hset(key, mapping=fields)
    await raw.expire(key, 60)


def test_a_month_begins_at_its_first_second_in_utc() -> None:
    at = datetime(2026, 11, 27, 15, 3, 9, 123_000, tzinfo=UTC)
    assert _month_ms(round(at.timestamp() * 1000)) == datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1000


async def test_of_an_empty_namespace_all_is_zero(shop: App, look: Inspector) -> None:
    found = await look.totals()
    assert (found.enqueued, found.ended, found.tasks, found.took_s) == ({}, {}, {}, {})
    assert set(found.attempts.values()) == {0}
    assert (found.ran.number, found.waited.number, found.scheduled, found.due, found.dead) == (0, 0, 0, 0, 0)
    assert (found.since.day, found.since.hour, found.since.tzinfo) == (1, 0, UTC)


async def test_days_and_unfolded_minutes_are_added_and_nothing_counts_twice(
    shop: App, look: Inspector, raw: Any, prefix: str
) -> None:
    now = await now_ms(raw)
    day, minute, first = now // DAY_MS, now // MINUTE_MS, _month_ms(now) // MINUTE_MS
    await put(
        raw,
        f"{prefix}stats:d:{day}",
        {"e:mail": 100, "q:mail": 90, "started": 91, "succeeded": 80, "failed": 10, "t:s:greet": 80, "tm:greet": 1_500,
         "r3": 90, "rt": 4_000, "w0": 91, "wt": 5},
    )  # fmt: skip
    await put(raw, f"{prefix}stats:m:{minute}", {"e:mail": 5, "started": 2, "lost": 1, "t:f:greet": 1, "tm:greet": 500})
    if minute - 3 >= first:
        await put(raw, f"{prefix}stats:m:{minute - 2}", {"e:mail": 50, "folded": 1})  # it is in its day
        await put(raw, f"{prefix}stats:m:{minute - 3}", {"e:mail": 7})  # no worker has folded it yet
    await put(raw, f"{prefix}stats:d:{_month_ms(now) // DAY_MS - 1}", {"e:mail": 1_000})  # last month's

    found = await look.totals()

    assert found.enqueued == {"mail": 112 if minute - 3 >= first else 105}
    assert found.ended == {"mail": 90}
    assert found.attempts == {
        "started": 93, "succeeded": 80, "failed": 10, "retried": 0, "cancelled": 0, "returned": 0, "lost": 1,
    }  # fmt: skip
    assert found.tasks == {("greet", "succeeded"): 80, ("greet", "failed"): 1}
    assert found.took_s == {"greet": 2.0}
    assert (found.ran.counts[3], found.ran.number, found.ran.total_s) == (90, 90, 4.0)
    assert (found.waited.number, found.waited.total_s) == (91, 0.005)


async def test_what_is_folded_while_it_is_read_is_never_counted_twice(
    shop: App, look: Inspector, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = await now_ms(raw)
    minute, fields = now // MINUTE_MS, {"t:s:greet": 7, "e:mail": 7, "succeeded": 7}
    await put(raw, f"{prefix}stats:m:{minute}", fields)
    read = tallies.unfolded

    async def and_fold(operator: Any, number: int) -> Any:
        """A worker folds it as soon as its minutes have been read."""
        found = await read(operator, number)
        await put(raw, f"{prefix}stats:m:{minute}", {"folded": 1})
        for key in (f"h:{now // HOUR_MS}", f"d:{now // DAY_MS}"):
            await put(raw, f"{prefix}stats:{key}", fields)
        return found

    monkeypatch.setattr(tallies, "unfolded", and_fold)
    keys = [f"{prefix}stats:{key}" for key in (f"m:{minute}", f"h:{now // HOUR_MS}", f"d:{now // DAY_MS}")]
    for period in (None, Period.HOUR, Period.DAY):
        await raw.delete(*keys)
        await put(raw, f"{prefix}stats:m:{minute}", fields)
        if period is None:
            assert [task.succeeded for task in await look.tasks(hours=2)] == [7]
        else:
            assert sum(one.succeeded for one in await look.counts(period, last=2)) == 7
    await raw.delete(
        f"{prefix}stats:m:{minute}", f"{prefix}stats:h:{now // HOUR_MS}", f"{prefix}stats:d:{now // DAY_MS}"
    )
    await put(raw, f"{prefix}stats:m:{minute}", fields)
    assert (await look.totals()).enqueued == {"mail": 7}


async def test_what_is_scheduled_due_and_dead_is_counted(shop: App, look: Inspector, raw: Any, prefix: str) -> None:
    @shop.task
    async def later() -> None: ...

    jobs = [await later.options(countdown=after).delay() for after in (0.001, 3_600, 3_600)]
    await raw.zadd(f"{prefix}dead", {"gone": 1})
    await raw.expire(f"{prefix}dead", 60)
    while (await look.totals()).due == 0:
        pass
    found = await look.totals()
    assert (found.scheduled, found.due, found.dead) == (3, 1, 1)
    for job in jobs:
        await job.cancel()


async def test_keys_and_fields_of_a_stranger_are_nothing_and_raise_nothing(
    shop: App, look: Inspector, raw: Any, prefix: str
) -> None:
    now = await now_ms(raw)
    await raw.set(f"{prefix}stats:d:{now // DAY_MS}", "x", ex=60)
    await put(
        raw, f"{prefix}stats:m:{now // MINUTE_MS}", {"e:mail": "many", b"t:s:\xff\xfe": 1, "t:s:": "2", "t:x:y": 3}
    )
    found = await look.totals()
    assert found.enqueued == {"mail": 0}
    assert sorted(outcome for _, outcome in found.tasks) == ["succeeded", "succeeded"]
    assert all(name.isprintable() for name, _ in found.tasks)
    assert totals.counted({}, month_ms=0).tasks == {}
