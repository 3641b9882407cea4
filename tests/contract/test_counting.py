"""What is counted and remembered for people to look at: jobs that ended, enqueued, lost; what workers tell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from aiotq.store import connect
from aiotq.store.contract import Enqueued, Reclaimed, Replaced
from aiotq.store.tallies import MAX_COUNTERS, Failing, Tally
from tests.conftest import CONNECT_TIMEOUT_S
from tests.contract.kit import LEASE_MS, Bench, died, job, replacement, retried, returned, succeeded
from tests.rights import user, without

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers import Server

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
RING, SLACK = 10_000, 1_000


@pytest_asyncio.fixture(autouse=True)
async def _clean(bench: Bench) -> AsyncIterator[None]:
    yield
    await bench.wipe()


async def ring(bench: Bench) -> list[str]:
    """What has ended, newest first."""
    return [entry.decode() for entry in await bench.raw.lrange(bench.key("ended"), 0, -1)]


async def counters(bench: Bench, period: str = "m", *, ago_ms: int = 0) -> dict[str, int]:
    """Those of now."""
    length_ms = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}[period]
    found = await bench.raw.hgetall(bench.key(f"stats:{period}:{(bench.clock.now_ms() - ago_ms) // length_ms}"))
    return {name.decode(): int(number) for name, number in found.items()}


async def failures(bench: Bench) -> dict[str, Any]:
    """By task and error."""
    found = await bench.raw.hgetall(bench.key("failures"))
    return {name.decode(): json.loads(value) for name, value in found.items()}


def failing(task: str = "shop:send", *, count: int = 1, error: str = "ValueError", job_id: str = "j1") -> Failing:
    return Failing(task=task, error=error, count=count, job_id=job_id, message='no "Bobs"', dead=True)


async def tell(bench: Bench, number: int = 1, *, by: str = "w1", ago_ms: int = 0, **told: Any) -> bool:
    """Whether the worker is known."""
    reply = await bench.store.tally(by, Tally(number=number, **told), now_ms=bench.clock.now_ms() - ago_ms)
    return reply.known


# --- what has ended


async def test_what_ends_is_remembered_newest_first_with_its_state(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(*[job(f"j{number}") for number in range(5)])
    well, badly, again, back, last = await bench.claim()

    await bench.exchange(succeeded(well), died(badly), retried(again), returned(back))
    await bench.exchange(succeeded(last))

    assert await ring(bench) == ["sj4", "fj1", "sj0"]


@pytest.mark.parametrize("server", ["valkey", "redis"], indirect=True)
async def test_however_many_end_in_a_batch_they_are_remembered_by_one_write(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(*[job(f"j{number}") for number in range(100)])
    claims = await bench.claim(100)

    await bench.raw.config_resetstat()
    await bench.exchange(*[succeeded(claim) for claim in claims])
    stats = await bench.raw.info("commandstats")

    assert len(await ring(bench)) == 100
    assert {name: stats[name]["calls"] for name in stats if "push" in name or "trim" in name} == {"cmdstat_lpush": 1}


async def test_an_outcome_that_is_not_stored_is_not_remembered(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    first, gone = await bench.claim()
    await bench.raw.delete(bench.key("job:j2"))

    for _ in range(2):
        await bench.exchange(succeeded(first), died(gone))

    assert await ring(bench) == ["sj1"]


async def test_a_job_that_a_person_cancels_while_it_waits_is_remembered_and_counted_once(bench: Bench) -> None:
    await bench.enqueue(job("j1"))

    for _ in range(2):
        assert await bench.replace(replacement("j1")) is Replaced.DONE

    assert await ring(bench) == ["cj1"]
    assert await counters(bench) == {"e:mail": 1, "cancelled": 1, "q:mail": 1}


async def test_the_ring_is_cut_once_it_has_grown_beyond_its_slack(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    first, second = await bench.claim()
    await bench.raw.rpush(bench.key("ended"), *[f"sx{number}" for number in range(RING + SLACK - 1)])

    await bench.exchange(succeeded(first))
    assert await bench.raw.llen(bench.key("ended")) == RING + SLACK

    await bench.exchange(succeeded(second))
    found = await ring(bench)
    assert (len(found), found[:3]) == (RING, ["sj2", "sj1", "sx0"])


# --- what is counted at once


async def test_jobs_are_counted_as_they_are_enqueued_each_once(bench: Bench) -> None:
    jobs = [job("j1"), job("j2"), job("later", delay_ms=1_000), job("x", "other:5"), job("full", max_len=1)]

    for _ in range(2):
        await bench.enqueue(*jobs)

    assert await counters(bench) == {"e:mail": 3, "e:other": 1}
    bench.clock.advance(ms=MINUTE_MS)
    await bench.enqueue(job("next"))
    assert await counters(bench) == {"e:mail": 1}
    assert 0 < (await bench.census()).ttl_ms[f"stats:m:{bench.clock.now_ms() // MINUTE_MS}"] <= 3 * HOUR_MS


async def test_jobs_are_counted_as_their_worker_vanishes(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(*[job(f"j{number}") for number in range(3)])
    await bench.claim()
    end_ms = (await bench.census()).workers["w1"]
    bench.clock.advance(ms=LEASE_MS)

    assert await bench.reclaim(seen_ms=end_ms, limit=2) is Reclaimed.MORE
    assert await bench.reclaim(seen_ms=0) is Reclaimed.DONE

    assert (await counters(bench))["lost"] == 3


async def test_names_that_are_too_many_are_counted_together(bench: Bench) -> None:
    now = bench.clock.now_ms() // MINUTE_MS
    await bench.raw.hset(bench.key(f"stats:m:{now}"), mapping={f"e:q{number}": 1 for number in range(500)})
    await bench.worker()

    await bench.enqueue(job("j1"), job("j2"), job("j3", "q7:5"))
    await tell(bench, counters={"t:s:shop:send": 4, "t:s:shop:get": 1, "tm:shop:send": 9, "started": 5, "e:q7": 1})

    found = await counters(bench)
    assert found["e:(other)"] == 2
    assert found["e:q7"] == 3
    assert (found["t:s:(other)"], found["tm:(other)"], found["started"]) == (5, 9, 5)
    assert not {"e:mail", "t:s:shop:send"} & set(found)


# --- what workers tell


async def test_what_a_worker_tells_is_counted_once_however_often_it_comes(bench: Bench) -> None:
    await bench.worker()

    for number in (1, 1, 3, 1, 3):
        assert await tell(bench, number, counters={"started": 2, "w0": 1}, failures=[failing(count=2)])

    assert await counters(bench) == {"started": 4, "w0": 2}
    hour = str(bench.clock.now_ms() // HOUR_MS)
    told = {"n": 4, "at": bench.clock.now_ms(), "dead": True, "hours": {hour: 4}, "id": "j1", "message": 'no "Bobs"'}
    assert await failures(bench) == {"shop:send\0ValueError": told}


async def test_of_a_worker_that_has_gone_nothing_is_counted_or_kept(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.worker("w2")
    end_ms = (await bench.census()).workers["w1"]
    bench.clock.advance(ms=LEASE_MS)
    await bench.enqueue(job("j1"), job("j2"))
    await bench.claim(by="w1")
    await bench.reclaim("w1", seen_ms=end_ms, limit=1)  # half
    await bench.retire("w2")

    for name in ("w1", "w2", "nobody"):
        assert not await tell(bench, by=name, counters={"started": 1}, failures=[failing()], vitals=b"{}")

    assert "started" not in await counters(bench)
    assert await failures(bench) == {}
    assert await bench.raw.hget(bench.key("worker:w1"), "vitals") is None
    assert (await bench.census()).cards == {"w1"}


async def test_how_a_worker_does_stands_in_its_hash(bench: Bench) -> None:
    await bench.worker()

    await tell(bench, vitals=b'{"slots":1}')
    await tell(bench, vitals=b'{"slots":2}')
    await tell(bench)

    assert await bench.raw.hget(bench.key("worker:w1"), "vitals") == b'{"slots":2}'
    await bench.retire()
    assert (await bench.census()).cards == set()


async def test_whole_minutes_are_counted_in_their_hour_and_day_each_once(bench: Bench) -> None:
    bench.clock.advance(ms=DAY_MS - bench.clock.now_ms() % DAY_MS)
    await bench.worker(lease_ms=HOUR_MS)
    await tell(bench, 1, counters={"started": 1, "t:s:shop:send": 1})
    bench.clock.advance(ms=MINUTE_MS)
    await tell(bench, 2, counters={"started": 10})
    assert await counters(bench, "h") == {"started": 1, "t:s:shop:send": 1}

    bench.clock.advance(ms=3 * MINUTE_MS)
    for minutes in (2, 1, 2, 0, 0):  # the clock steps back, and on
        await tell(bench, ago_ms=minutes * MINUTE_MS)

    assert await counters(bench, "h") == await counters(bench, "d") == {"started": 11, "t:s:shop:send": 1}
    seen = (await bench.census()).ttl_ms
    assert 7 * DAY_MS < seen[f"stats:h:{bench.clock.now_ms() // HOUR_MS}"] <= 8 * DAY_MS
    assert 399 * DAY_MS < seen[f"stats:d:{bench.clock.now_ms() // DAY_MS}"] <= 400 * DAY_MS


async def test_minutes_in_which_nobody_told_anything_are_counted_later(bench: Bench) -> None:
    bench.clock.advance(ms=DAY_MS - bench.clock.now_ms() % DAY_MS)
    for _ in range(5):
        await bench.enqueue(job(f"j{bench.clock.now_ms()}"))
        bench.clock.advance(ms=11 * MINUTE_MS)
    await bench.worker()

    await tell(bench)

    assert await counters(bench, "h") == {"e:mail": 5}


async def test_full_minutes_are_counted_a_few_a_call(bench: Bench) -> None:
    bench.clock.advance(ms=DAY_MS - bench.clock.now_ms() % DAY_MS)
    for _ in range(3):
        full = {f"e:q{number}": 1 for number in range(500)}
        await bench.raw.hset(bench.key(f"stats:m:{bench.clock.now_ms() // MINUTE_MS}"), mapping=full)
        bench.clock.advance(ms=MINUTE_MS)
    await bench.worker()

    for times in (1, 2, 3, 3):
        await tell(bench)
        assert set((await counters(bench, "d")).values()) == {times}


async def test_failures_are_bounded_and_the_oldest_make_room(bench: Bench) -> None:
    await bench.worker(lease_ms=HOUR_MS)
    for number in range(0, 200, 50):
        await tell(bench, number + 1, failures=[failing(f"t{i}") for i in range(number, number + 50)])
        bench.clock.advance(ms=1_000)

    await tell(bench, 300, failures=[failing("t7"), *[failing(f"new{number}") for number in range(10)]])

    found = await failures(bench)
    assert len(found) == 200
    assert {name.partition("\0")[0] for name in found} >= {f"new{number}" for number in range(10)} | {"t7", "t199"}


async def test_failures_are_kept_by_the_hour_for_a_week(bench: Bench) -> None:
    await bench.worker(lease_ms=HOUR_MS)
    first = bench.clock.now_ms() // HOUR_MS
    for number in range(1, 171):
        await bench.raw.zadd(bench.key("workers"), {"w1": bench.clock.now_ms() + LEASE_MS})
        await tell(bench, number, failures=[failing()])
        bench.clock.advance(ms=HOUR_MS)

    [found] = (await failures(bench)).values()
    assert found["n"] == 170
    assert sorted(found["hours"].items()) == [(str(first + 2 + number), 1) for number in range(168)]


# --- nothing of it may fail anything


SPOILED = ("ended", "failures", "stats:folded", "worker:w1")


async def test_keys_of_the_wrong_type_are_put_aside(bench: Bench) -> None:
    minute = bench.clock.now_ms() // MINUTE_MS
    now, past = f"stats:m:{minute}", f"stats:m:{minute - 1}"
    for name in (*SPOILED, now, past, f"stats:h:{(minute - 1) // 60}"):
        await bench.worker()
        await bench.enqueue(job("j1"), job("j2"))
        held = await bench.claim()
        await bench.raw.delete(bench.key(name))
        write = bench.raw.set if name in {"ended", "worker:w1"} else bench.raw.rpush
        await write(bench.key(name), b"spoiled")
        if name != past:
            await bench.raw.hset(bench.key(past), "started", 7)

        assert (await bench.exchange(succeeded(held[0]), died(held[1]))).stored == [True, True]
        await bench.enqueue(job("j3"))
        assert await tell(bench, 1, counters={"started": 1}, failures=[failing()], vitals=b"{}"), name

        assert (await counters(bench))["started"] == 1, name
        assert (await counters(bench))["e:mail"] == (1 if name == now else 3), name
        assert len(await failures(bench)) == 1, name
        assert await ring(bench) == ["fj2", "sj1"], name
        assert (await counters(bench, "h", ago_ms=MINUTE_MS)).get("started") == (None if name == past else 7), name
        await bench.wipe()


async def test_counters_that_are_no_numbers_begin_anew(bench: Bench) -> None:
    await bench.worker()
    now = bench.key(f"stats:m:{bench.clock.now_ms() // MINUTE_MS}")
    hostile = {"e:mail": "x", "started": "9" * 30, "lost": "9223372036854775807", "w0": "-3", "w1": "1.5", "w2": ""}
    await bench.raw.hset(now, mapping=hostile)

    await bench.enqueue(job("j1"))
    await tell(bench, counters=dict.fromkeys(("started", "w0", "w1", "w2"), 2))
    await bench.claim()
    await bench.vanish()

    found = await counters(bench)
    assert {name: found[name] for name in ("e:mail", "w0", "lost")} == {"e:mail": 1, "w0": 2, "lost": 1}


async def test_hostile_hashes_are_left_alone_or_put_aside(bench: Bench) -> None:
    await bench.worker(lease_ms=HOUR_MS)
    minute = bench.clock.now_ms() // MINUTE_MS
    many = {f"e:{number}": 1 for number in range(2_000)}
    await bench.raw.hset(bench.key(f"stats:m:{minute - 1}"), mapping=many)
    await bench.raw.hset(
        bench.key(f"stats:m:{minute - 2}"), mapping={"x" * 999: 1, "e:a": "1e9", "e:b": "-1", "e:c": 2}
    )
    await bench.raw.hset(bench.key("failures"), mapping=many)

    await tell(bench, failures=[failing()])

    hour = bench.key(f"stats:h:{(minute - 2) // 60}")
    assert await bench.raw.hgetall(hour) == {b"e:c": b"2"}
    assert len(await failures(bench)) == 1
    await bench.raw.hset(bench.key("failures"), mapping={"a\0b": "no JSON", "shop:send\0ValueError": '{"n":"x"}'})
    await tell(bench, 2, failures=[failing()])
    assert (await bench.raw.hget(bench.key("failures"), "shop:send\0ValueError")).startswith(b'{"n":1,')


@pytest.mark.parametrize("server", ["valkey", "redis"], indirect=True)
async def test_without_a_right_to_count_jobs_come_and_go_all_the_same(
    bench: Bench, server: Server, raw: Any, namespace: str
) -> None:
    for missing in (["HINCRBY"], ["HLEN"], ["LTRIM"], ["HGET", "HSET", "HINCRBY"]):
        await bench.worker()
        await bench.enqueue(*[job(f"held{number}") for number in range(3)])
        await bench.raw.rpush(bench.key("ended"), *["sx"] * (RING + SLACK))
        held = await bench.claim()
        async with user(raw, server, namespace, without(*missing)) as url:
            store = connect(url, namespace=namespace, connect_timeout_s=CONNECT_TIMEOUT_S)
            far = Bench(store, raw, bench.prefix, bench.clock)
            assert await far.enqueue(job("j1"), job("j2", delay_ms=5)) == [Enqueued.NEW] * 2
            assert (await far.exchange(succeeded(held[0]), succeeded(held[1]), died(held[2]))).stored == [True] * 3
            assert await far.replace(replacement("j1")) is Replaced.DONE, missing
            await store.close()
        assert await bench.raw.llen(bench.key("ended")) <= RING + SLACK + 4, missing
        await bench.wipe()


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_a_tally_at_its_bounds_is_told(bench: Bench) -> None:
    await bench.worker()

    many = {f"t:s:{'x' * 150}{number}": 1 for number in range(MAX_COUNTERS)}
    await tell(bench, counters=many, failures=[failing(f"t{number}") for number in range(50)])

    assert await counters(bench) == many
    assert len(await failures(bench)) == 50
