"""What jobs write: kept only of a job in its worker's hands, bounded, never twice, and no longer than its record."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import pytest

from aiotq.errors import StoreFull
from aiotq.inspection.notes import log_lines, progress
from aiotq.job import parse_ticket
from aiotq.store.notes import MAX_NOTED, MAX_NOTED_BYTES, MAX_NOTED_LINES, MOST_BYTES, MOST_LINES, Noted
from tests.contract.conftest import REAL
from tests.contract.kit import HOUR_MS, job, returned, succeeded
from tests.contract.test_full_memory import _fill, full
from tests.meter import LIMIT_MS, Meter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from aiotq.store.contract import Claimed
    from aiotq.store.notes import News, NotesTaken
    from tests.contract.kit import Bench

__all__ = ["full"]  # the fixture
DAY_MS = 24 * HOUR_MS


def line(bench: Bench, text: str, attempt: int = 1) -> bytes:
    """A line as a worker writes it."""
    said = {"at": bench.clock.now_ms(), "level": "info", "text": text, "attempt": attempt}
    return json.dumps(said, separators=(",", ":")).encode()[:-1]


def far(bench: Bench, done: float, note: str | None = None) -> bytes:
    """Progress as a worker writes it."""
    return json.dumps({"at": bench.clock.now_ms(), "done": done, "of": 10, "note": note, "attempt": 1}).encode()


def noted(
    bench: Bench,
    held: Claimed,
    *texts: str,
    first: int = 1,
    claim: int = 7,
    done: float | None = None,
    ttl_ms: int = DAY_MS,
) -> Noted:
    return Noted(
        ticket=held.ticket,
        claim=claim,
        ttl_ms=ttl_ms,
        lines=[(first + i, line(bench, text)) for i, text in enumerate(texts)],
        progress=None if done is None else far(bench, done),
    )


async def a_job(bench: Bench, job_id: str = "j1") -> Claimed:
    await bench.enqueue(job(job_id))
    return await bench.one()


async def texts(bench: Bench, job_id: str = "j1") -> list[str]:
    found = await bench.store.notes(job_id)
    return [one.text for one in log_lines(found.lines, since_ms=found.enqueued_ms or 0)]


async def done(bench: Bench, job_id: str = "j1") -> float | None:
    found = await bench.store.notes(job_id)
    told = progress(found.progress, since_ms=found.enqueued_ms or 0)
    return None if told is None else told.done


async def test_what_a_job_writes_is_read_in_its_order_with_how_far_it_is(bench: Bench) -> None:
    await bench.worker()
    held = await a_job(bench)

    reply = await bench.store.note("w1", [noted(bench, held, "one", "two", done=1)])
    bench.clock.advance(ms=5)
    await bench.store.note("w1", [noted(bench, held, "three", first=3, done=2)])

    assert (list(reply.noted), list(reply.garbage)) == ([True], [])
    found = await bench.store.notes("j1")
    lines = log_lines(found.lines, since_ms=found.enqueued_ms or 0)
    assert [one.text for one in lines] == ["one", "two", "three"]
    assert (lines[2].at - lines[0].at).total_seconds() == 0.005
    assert await done(bench) == 2
    await bench.exchange(succeeded(held))


async def test_only_the_worker_that_holds_the_job_may_note(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.worker("w2")
    held = await a_job(bench)
    await bench.enqueue(job("gone"))
    lost = await bench.one()
    await bench.raw.delete(bench.key("job:gone"))

    async def of(worker_id: str, claimed: Claimed) -> NotesTaken:
        return await bench.store.note(worker_id, [noted(bench, claimed, "stale", done=9)])

    assert list((await of("w2", held)).noted) == [False]
    assert list((await of("nobody", held)).noted) == [False]
    assert list((await of("w1", lost)).noted) == [False]
    await bench.exchange(returned(held), by="w1")
    assert list((await of("w1", held)).noted) == [False]
    assert (await texts(bench), await done(bench)) == ([], None)
    again = await bench.one(by="w2")
    reply = await bench.store.note("w2", [noted(bench, held, "stale"), noted(bench, again, "mine")])
    assert list(reply.noted) == [False, True]
    assert await texts(bench) == ["mine"]
    await bench.exchange(succeeded(again), by="w2")


async def test_a_call_that_is_repeated_writes_nothing_twice(bench: Bench) -> None:
    await bench.worker()
    held = await a_job(bench)
    first = noted(bench, held, "one", "two")

    await bench.store.note("w1", [first])
    await bench.store.note("w1", [first])
    await bench.store.note("w1", [noted(bench, held, "one", "two", "three")])

    assert await texts(bench) == ["one", "two", "three"]
    await bench.exchange(succeeded(held))


async def test_the_log_survives_attempts_whose_lines_are_numbered_anew(bench: Bench) -> None:
    await bench.worker()
    held = await a_job(bench)
    await bench.store.note("w1", [noted(bench, held, "first run", claim=7)])
    await bench.exchange(returned(held))
    held = await bench.one()

    await bench.store.note("w1", [noted(bench, held, "second run", claim=8)])

    assert await texts(bench) == ["first run", "second run"]
    await bench.exchange(succeeded(held))


async def test_the_last_lines_are_kept_and_what_was_left_out_is_counted(bench: Bench) -> None:
    await bench.worker()
    held = await a_job(bench)
    for first in range(1, MOST_LINES + 100, 50):
        await bench.store.note("w1", [noted(bench, held, *map(str, range(first, first + 50)), first=first)])

    found = await texts(bench)

    assert found == ["… 100 lines left out", *map(str, range(101, MOST_LINES + 101))]
    await bench.store.note("w1", [noted(bench, held, "late", first=MOST_LINES + 138)])
    found = await texts(bench)
    assert found[0] == "… 101 lines left out"
    assert found[-3:] == ["300", "… 37 lines left out", "late"]
    await bench.exchange(succeeded(held))


async def test_a_log_is_bounded_in_bytes_too(bench: Bench) -> None:
    await bench.worker()
    held = await a_job(bench)
    for first in range(1, 150, 20):
        await bench.store.note("w1", [noted(bench, held, *["x" * 2_000] * 20, first=first)])

    found = await bench.store.notes("j1")

    assert MOST_BYTES - 2_200 < sum(len(one.partition(b',"k":')[0]) for one in found.lines) <= MOST_BYTES
    assert (await texts(bench))[0] == f"… {160 - len(found.lines)} lines left out"
    await bench.exchange(succeeded(held))


async def test_a_new_job_under_an_old_id_begins_with_an_empty_log(bench: Bench) -> None:
    await bench.worker()
    held = await a_job(bench)
    await bench.store.note("w1", [noted(bench, held, "old", done=5)])
    await bench.exchange(succeeded(held))
    await bench.raw.delete(bench.key("job:j1"))  # its time is over
    bench.clock.advance(ms=60_000)
    held = await a_job(bench)

    assert (await texts(bench), await done(bench)) == ([], None), "seen as nobody's before the new one has written"

    await bench.store.note("w1", [noted(bench, held, "new")])
    assert (await texts(bench), await done(bench)) == (["new"], None)
    assert await bench.raw.llen(bench.key("note:j1")) == 1
    await bench.exchange(succeeded(held))


async def test_notes_end_when_they_shall(bench: Bench) -> None:
    await bench.worker()
    held = await a_job(bench)
    await bench.store.note("w1", [noted(bench, held, "one", done=1)])
    for name in ("note:j1", "progress:j1"):
        assert DAY_MS - 5_000 < await bench.raw.pttl(bench.key(name)) <= DAY_MS

    await bench.store.note("w1", [Noted(ticket=held.ticket, claim=7, ttl_ms=HOUR_MS)])

    for name in ("note:j1", "progress:j1"):
        assert HOUR_MS - 5_000 < await bench.raw.pttl(bench.key(name)) <= HOUR_MS
    assert await texts(bench) == ["one"]
    await bench.exchange(succeeded(held))
    assert (await bench.store.notes("nobody")).enqueued_ms is None


async def _next(news: AsyncGenerator[News]) -> News:
    async with asyncio.timeout(5):
        return await anext(news)


async def test_who_watches_sees_progress_as_it_is_stored_and_then_the_end(bench: Bench) -> None:
    await bench.worker()
    held = await a_job(bench)
    await bench.store.note("w1", [noted(bench, held, done=1)])
    async with aclosing(cast("AsyncGenerator[News]", bench.store.noted("j1"))) as news:
        seen = [await _next(news), await _next(news)]
        assert {one.record for one in seen} == {await bench.store.read("j1")}
        assert {one.progress for one in seen} == {None, far(bench, 1)}

        await bench.store.note("w1", [noted(bench, held, done=2)])
        assert (await _next(news)).progress == far(bench, 2)
        outcome = succeeded(held)
        await bench.exchange(outcome)
        assert (await _next(news)).record == outcome.record


async def test_progress_is_published_only_while_somebody_waits(bench: Bench) -> None:
    await bench.worker()
    held = await a_job(bench)
    heard = bench.raw.pubsub()
    try:
        await heard.subscribe(bench.key("progress:j1"))
        await bench.store.note("w1", [noted(bench, held, done=1)])
        await bench.raw.set(bench.key("waits"), "1", px=1_000)
        await bench.store.note("w1", [noted(bench, held, done=2)])
        async with asyncio.timeout(5):
            while (message := await heard.get_message(timeout=1)) is None or message["type"] != "message":
                pass
        assert json.loads(message["data"])["done"] == 2
    finally:
        await heard.aclose()
    await bench.exchange(succeeded(held))


@pytest.mark.parametrize("server", REAL, indirect=True)
async def test_who_watches_is_told_to_look_after_a_broken_subscription(bench: Bench) -> None:
    await bench.worker()
    held = await a_job(bench)
    async with aclosing(cast("AsyncGenerator[News]", bench.store.noted("j1"))) as news:
        seen = [await _next(news), await _next(news)]
        await bench.raw.client_kill_filter(_type="pubsub")
        await bench.store.note("w1", [noted(bench, held, done=3)])

        seen = [await _next(news), await _next(news)]

        assert {one.progress for one in seen} == {None, far(bench, 3)}
    await bench.exchange(succeeded(held))


KEYS = ("note:j1", "progress:j1", "active:w1", "job:j1", "waits")


@pytest.mark.parametrize("name", KEYS)
async def test_keys_of_a_wrong_type_are_no_error(bench: Bench, name: str) -> None:
    await bench.worker()
    held = await a_job(bench)
    await bench.raw.delete(bench.key(name))
    await (bench.raw.sadd if name == "note:j1" else bench.raw.rpush)(bench.key(name), "x")

    found = await bench.store.notes("j1")
    reply = await bench.store.note("w1", [noted(bench, held, "one", done=1)])

    well = name not in {"active:w1", "job:j1"}
    assert (list(found.lines), found.progress) == ([], None)
    assert list(reply.noted) == [well]
    assert (await texts(bench), await done(bench)) == ((["one"], 1) if well else ([], None))
    assert (bench.key(name) in reply.garbage) == (name in {"active:w1", "job:j1", "note:j1"})
    await bench.wipe()


HOSTILE: list[Sequence[bytes | str]] = [
    [b"\xff\x00"],
    ["no JSON", "{"],
    ['{"at":99999999999999999999,"text":"x","k":"1:1:1:1"}'],
    ['{"at":1e300,"text":"x"}', '{"at":-1,"text":"x"}', "[" * 5_000],
    ['{"at":1795439224123,"text":"x","k":"1:2:3"}', '{"at":1795439224123,"text":"x","k":"::²:"}'],
    ['{"at":1795439224123,"text":"' + "x" * 40_000 + '","k":"1:1:1:1"}'],
]


@pytest.mark.parametrize("stored", HOSTILE, ids=range(len(HOSTILE)))
async def test_somebody_elses_lines_hurt_nobody(bench: Bench, stored: Sequence[bytes | str]) -> None:
    await bench.worker()
    held = await a_job(bench)
    await bench.raw.rpush(bench.key("note:j1"), *stored)
    await bench.raw.set(bench.key("progress:j1"), stored[0])
    await texts(bench)
    assert await done(bench) is None

    for first in (1, 2):
        assert list((await bench.store.note("w1", [noted(bench, held, "mine", first=first)])).noted) == [True]
    assert (await texts(bench))[-2:] == ["mine", "mine"]
    await bench.raw.delete(bench.key("progress:j1"))
    await bench.exchange(succeeded(held))


async def test_a_log_that_somebody_has_grown_is_cut_in_bounded_steps(bench: Bench) -> None:
    await bench.worker()
    held = await a_job(bench)
    await bench.raw.rpush(bench.key("note:j1"), *[line(bench, "x") + b',"k":"7:0:%d:1"}' % i for i in range(1_000)])

    for first in range(1, 12):
        await bench.store.note("w1", [noted(bench, held, "mine", first=first)])

    assert await bench.raw.llen(bench.key("note:j1")) <= MOST_LINES
    await bench.exchange(succeeded(held))


async def test_a_full_memory_costs_lines_and_never_the_job(full: Bench) -> None:
    await full.worker()
    held = await a_job(full)
    await full.store.note("w1", [noted(full, held, "before")])
    await _fill(full)

    with pytest.raises(StoreFull):
        await full.store.note("w1", [noted(full, held, "while it is full", done=3)])
    reply = await full.store.note("w1", [Noted(ticket=held.ticket, claim=7, ttl_ms=HOUR_MS)])

    assert list(reply.noted) == [True]
    assert (await texts(full), await done(full)) == (["before"], None)
    assert await full.raw.pttl(full.key("note:j1")) <= HOUR_MS
    assert (await full.exchange(succeeded(held))).stored == [True]


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_a_call_takes_no_longer_than_a_few_milliseconds_at_its_bound(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(*[job(f"j{i}") for i in range(MAX_NOTED)])
    held = await bench.claim(MAX_NOTED)

    def batch(first: int, size: int) -> list[Noted]:
        many = min(MAX_NOTED_BYTES // (size + 80), MAX_NOTED_LINES) // MAX_NOTED
        return [noted(bench, one, *["x" * size] * many, first=first * many + 1, done=first) for one in held]

    meter, cost = Meter(bench.raw), dict[str, float]()
    for name, size in (("small lines", 20), ("large lines", MAX_NOTED_BYTES // (2 * MAX_NOTED) - 80)):
        for warm in range(40):  # so that each call has to drop as much as it brings
            await bench.store.note("w1", batch(warm, size))
        cost[name] = await meter.least(*[bench.store.note("w1", batch(40 + i, size)) for i in range(5)])
        await bench.raw.delete(*[bench.key(f"note:{parse_ticket(one.ticket).job_id}") for one in held])
    await bench.exchange(*[succeeded(one) for one in held])

    assert {name: round(ms, 1) for name, ms in cost.items() if ms > LIMIT_MS} == {}, cost
    assert min(cost.values()) > 0.1, "the meter does not measure"
