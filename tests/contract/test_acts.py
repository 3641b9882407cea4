"""What an operator's scripts do: a discarded job, a purged line; and what is left when one comes twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiotq.job import parse_ticket
from aiotq.store.contract import MAX_ENQUEUE, Replaced, Replacement
from aiotq.store.inspection import MAX_LEFT, MAX_TAKEN, Discarding, Ending
from tests.contract.kit import ENTRY, LINES, Bench, audit, died, ids, job, record, replacement, returned, succeeded
from tests.meter import LIMIT_MS, Meter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.store.inspection import Front, Operator

MINUTE_MS = 60_000


def discarding(job_id: str, was: str = "fAAAA", generation: str = "DDDD") -> Discarding:
    return Discarding(
        job_id=job_id, was=was, record=record("c", generation), new_generation=generation, ttl_ms=MINUTE_MS
    )


def endings(front: Front, generation: str = "PPPP", *, only: Sequence[str] | None = None) -> list[Ending]:
    """What ends the jobs of a front."""
    found: list[Ending] = []
    for one in front.waiting:
        if one.ticket.count(":") >= 3 and (only is None or parse_ticket(one.ticket).job_id in only):
            ending = record("c", generation)
            found.append(Ending(ticket=one.ticket, header=one.beginning[:19], record=ending, ttl_ms=MINUTE_MS))
    return found


# --- discard


async def test_a_discarded_dead_letter_is_none_any_more_and_its_record_short(bench: Bench, side: Operator) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.exchange(died(await bench.one()))

    assert await side.discard(discarding("j1"), audit=ENTRY)

    seen = await bench.census()
    assert (seen.dead, seen.records["j1"]) == ({}, record("c", "DDDD"))
    assert 0 < seen.ttl_ms["job:j1"] <= MINUTE_MS
    assert len(await audit(bench)) == 1


async def test_a_discard_that_comes_twice_is_done_once(bench: Bench, side: Operator) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.exchange(died(await bench.one()))
    await side.discard(discarding("j1"), audit=ENTRY)
    before = await bench.census()

    assert await side.discard(discarding("j1"), audit=ENTRY), "its answer was lost"
    assert not await side.discard(discarding("j1", generation="EEEE"), audit=ENTRY), "somebody else read it before"

    assert await bench.census() == before
    assert len(await audit(bench)) == 1


async def test_what_has_not_ended_or_has_changed_is_not_discarded(bench: Bench, side: Operator) -> None:
    await bench.worker()
    await bench.enqueue(job("waits"), job("ran"))
    [_, ran] = await bench.claim()
    await bench.exchange(succeeded(ran))
    before = await bench.census()

    assert not await side.discard(discarding("waits", "wAAAA"), audit=ENTRY)
    assert not await side.discard(discarding("ran", "fAAAA"), audit=ENTRY)
    assert not await side.discard(discarding("nobody", "fAAAA"), audit=ENTRY)

    assert await bench.census() == before
    assert await audit(bench) == []


async def test_a_late_repeat_of_an_enqueue_finds_that_a_discarded_job_was_there(bench: Bench, side: Operator) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.exchange(succeeded(await bench.one()))
    await side.discard(discarding("j1", "sAAAA"))

    [found] = await bench.enqueue(job("j1"))

    assert found.name == "EXISTED"  # type: ignore[union-attr]
    assert await bench.waiting() == []


# --- take


async def test_the_front_of_a_line_shows_how_each_record_begins_and_ends(bench: Bench, side: Operator) -> None:
    await bench.enqueue(job("j1"), job("j2", body=b"{" + b"x" * 1_000 + b"}"), job("j3"))

    front = await side.front("mail:5", limit=2)

    assert front.length == 3
    assert [parse_ticket(one.ticket).job_id for one in front.waiting] == ["j1", "j2"]
    assert [one.beginning[:6] for one in front.waiting] == [b"1wAAAA"] * 2
    assert len(front.waiting[1].beginning) == 384
    assert front.waiting[1].end.endswith(b"xx}")
    assert (await side.front("mail:5", leave=2, limit=9)).waiting[0].ticket.endswith("j3")
    assert (await side.front("nothing:5", limit=2)).waiting == []


async def test_jobs_that_are_taken_end_and_leave_their_line(bench: Bench, side: Operator) -> None:
    await bench.enqueue(job("j1"), job("j2"), job("j3"))

    assert await side.take("mail:5", endings(await side.front("mail:5", limit=2)), limit=2, generation="PPPP") == (2, 0)

    seen = await bench.census()
    assert seen.lines == {"mail:5": ["mail:5:AAAA:j3"]}
    assert [seen.records[name][:6] for name in ("j1", "j2", "j3")] == [b"1cPPPP", b"1cPPPP", b"1wAAAA"]
    assert 0 < seen.ttl_ms["job:j1"] <= MINUTE_MS
    assert await side.take("mail:5", endings(await side.front("mail:5", limit=9)), limit=9, generation="PPPP") == (1, 0)
    assert (await bench.census()).lines == (await bench.census()).index == {}


async def test_jobs_that_are_taken_are_counted_as_cancelled(bench: Bench, side: Operator) -> None:
    await bench.enqueue(job("j1"), job("j2"))
    wanted = endings(await side.front("mail:5", limit=2))
    for _ in range(2):  # its answer was lost
        await side.take("mail:5", wanted, limit=2, generation="PPPP", now_ms=bench.clock.now_ms())

    assert sorted(await bench.raw.lrange(bench.key("ended"), 0, -1)) == [b"cj1", b"cj2"]
    minute = await bench.raw.hgetall(bench.key(f"stats:m:{bench.clock.now_ms() // MINUTE_MS}"))

    assert (minute[b"cancelled"], minute[b"q:mail"]) == (b"2", b"2")


async def test_a_purge_of_many_does_not_wash_out_what_had_ended_before(bench: Bench, side: Operator) -> None:
    await bench.enqueue(*[job(f"j{number}") for number in range(5)])

    await side.take("mail:5", endings(await side.front("mail:5", limit=4)), limit=4, generation="PPPP")
    assert not await bench.raw.exists(bench.key("ended"))
    await side.take("mail:5", endings(await side.front("mail:5", limit=4)), limit=4, generation="PPPP")

    assert await bench.raw.lrange(bench.key("ended"), 0, -1) == [b"cj4"]


async def test_what_a_worker_has_claimed_meanwhile_runs_and_the_rest_is_taken(bench: Bench, side: Operator) -> None:
    await bench.worker()
    await bench.enqueue(*[job(f"j{number}") for number in range(5)])
    front = await side.front("mail:5", limit=4)
    held = await bench.claim(2)

    assert await side.take("mail:5", endings(front), limit=4, generation="PPPP") == (2, 0)

    assert await bench.waiting() == ["j4"]
    assert (await bench.exchange(*map(succeeded, held))).stored == [True, True]


async def test_what_is_not_as_it_was_read_stays_in_its_order(bench: Bench, side: Operator) -> None:
    await bench.worker()
    await bench.enqueue(*[job(f"j{number}") for number in range(6)])
    front = await side.front("mail:5", limit=6)
    await bench.exchange(*[returned(one, generation="BBBB") for one in await bench.claim(2)])
    await bench.enqueue(job("first", "mail:f"))

    wanted = endings(front, only=["j0", "j1", "j3", "j5"])
    assert await side.take("mail:5", wanted, limit=9, generation="PPPP") == (2, 0)

    assert await bench.waiting() == ["first", "j0", "j1", "j2", "j4"]


async def test_a_take_whose_answer_was_lost_counts_what_it_had_ended(bench: Bench, side: Operator) -> None:
    await bench.enqueue(job("j1"), job("j2"), job("j3"), job("j4"))
    wanted = endings(await side.front("mail:5", limit=2))
    await side.take("mail:5", wanted, limit=2, generation="PPPP")
    before = await bench.census()

    assert await side.take("mail:5", wanted, limit=2, generation="PPPP") == (2, 0)

    assert await bench.census() == before


async def test_of_two_people_who_purge_at_once_each_counts_his_own(bench: Bench, side: Operator) -> None:
    await bench.enqueue(job("j1"), job("j2"), job("j3"))
    front = await side.front("mail:5", limit=3)
    assert await side.take("mail:5", endings(front, "PPPP", only=["j2"]), limit=3, generation="PPPP") == (1, 0)

    assert await side.take("mail:5", endings(front, "QQQQ"), limit=3, generation="QQQQ") == (2, 0)

    assert (await bench.census()).lines == {}


async def test_stale_tickets_and_garbage_do_not_stop_a_purge(bench: Bench, person: Bench, side: Operator) -> None:
    await bench.enqueue(job("stale"), job("gone"), job("empty"), job("j1"))
    await person.replace(replacement("stale"))
    await bench.raw.delete(bench.key("job:gone"))
    await bench.raw.set(bench.key("job:empty"), "")
    await bench.raw.lpush(bench.key("line:mail:5"), b"garbage \xff")
    await bench.raw.hset(bench.key("lost"), "gone", 1)

    front = await side.front("mail:5", limit=9)
    assert await side.take("mail:5", endings(front, only=["j1", "empty"]), limit=9, generation="PPPP") == (2, 3)

    seen = await bench.census()
    assert (seen.lines, seen.index, seen.lost) == ({}, {}, {})
    assert [name.startswith("!line:mail:5!garbage") for name in seen.dead] == [True]


async def test_a_job_that_is_taken_is_forgotten_and_its_end_published(bench: Bench, side: Operator) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    await bench.claim(1)
    await bench.vanish()
    ended = bench.store.ended("j1")
    await anext(ended)

    await side.take("mail:5", endings(await side.front("mail:5", limit=1)), limit=1, generation="PPPP")

    assert await anext(ended) == record("c", "PPPP")
    await ended.aclose()  # type: ignore[attr-defined]
    assert (await bench.census()).lost == {}


async def test_suspects_and_a_paused_queue_are_taken_as_any(bench: Bench, person: Bench, side: Operator) -> None:
    await bench.enqueue(job("j1"))
    for name in ("w1", "w2"):
        await bench.worker(name)
        await bench.claim(by=name)
        await bench.vanish(name)
    await person.store.pause("mail")

    assert await side.take("mail:s", endings(await side.front("mail:s", limit=1)), limit=1, generation="PPPP") == (1, 0)

    assert (await bench.census()).lines == {}


async def test_a_record_that_has_changed_is_not_ended(bench: Bench, person: Bench, side: Operator) -> None:
    await bench.enqueue(job("j1"), job("j2"))
    front = await side.front("mail:5", limit=2)
    assert await person.replace(replacement("j1", line="mail:5")) is Replaced.DONE

    assert await side.take("mail:5", endings(front), limit=2, generation="PPPP") == (1, 0)

    assert (await bench.census()).lines == {"mail:5": ["mail:5:RRRR:j1"]}
    assert (await bench.census()).records["j1"] == record("w", "RRRR")


@pytest.mark.parametrize("name", ["line:mail:5", "lines:mail", "dead", "audit", "lost", "job:j1", "ended", "paused"])
async def test_a_key_of_the_wrong_type_stops_no_act(bench: Bench, person: Bench, side: Operator, name: str) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"), job("j3"))
    await bench.exchange(died(await bench.one()))
    front = await side.front("mail:5", limit=9)
    await bench.raw.delete(bench.key(name))
    if name.startswith(("line:", "job:")):
        await bench.raw.hset(bench.key(name), "spoiled", 1)
    else:
        await bench.raw.set(bench.key(name), "spoiled")

    done = await side.discard(discarding("j1"), audit=ENTRY)
    ended, _ = await side.take("mail:5", endings(front), limit=9, generation="PPPP")
    await person.store.pause("mail", audit=ENTRY)
    await person.replace(replacement("j3", line="mail:5"))

    assert done is (name != "job:j1")
    assert ended == (0 if name == "line:mail:5" else 2)
    await bench.wipe()


# --- the others


async def test_a_requeued_suspect_is_an_ordinary_job_again(bench: Bench, person: Bench) -> None:
    await bench.enqueue(job("j1"))
    for name in ("w1", "w2"):
        await bench.worker(name)
        await bench.claim(by=name)
        await bench.vanish(name)
    wanted = Replacement(
        job_id="j1",
        generation="AAAA",
        lines=LINES,
        record=record("w", "RRRR"),
        new_generation="RRRR",
        line="mail:5",
        forgets=True,
    )

    assert await person.store.replace(wanted, audit=ENTRY) is Replaced.DONE
    assert await person.store.replace(wanted, audit=ENTRY) is Replaced.DONE

    seen = await bench.census()
    assert (seen.lost, seen.lines["mail:5"]) == ({}, ["mail:5:RRRR:j1"])
    assert len(await audit(bench)) == 1
    await bench.worker("w3")
    assert ids(await bench.claim(by="w3")) == ["j1"]
    assert (await bench.vanish("w3")).name == "DONE"
    assert (await bench.census()).lost == {"j1": 1}


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_a_purge_takes_a_few_milliseconds_a_call(bench: Bench, side: Operator) -> None:
    meter, cost, body = Meter(bench.raw), dict[str, float](), b"x" * 1_500
    for first in range(0, 12 * MAX_TAKEN, MAX_ENQUEUE):
        await bench.enqueue(*[job(f"j{number}", body=body) for number in range(first, first + MAX_ENQUEUE)])
    await bench.raw.hset(bench.key("lost"), "j1", 1)
    await bench.raw.set(bench.key("waits"), "1", px=MINUTE_MS)
    front = await side.front("mail:5", limit=MAX_TAKEN)

    async def take(leave: int) -> None:
        """leave: then each ticket is looked for by itself."""
        front = await side.front("mail:5", leave=leave, limit=MAX_TAKEN)
        ended, _ = await side.take("mail:5", endings(front), leave=leave, limit=MAX_TAKEN, generation="PPPP")
        assert ended == MAX_TAKEN

    cost["front"] = await meter.least(*[side.front("mail:5", limit=MAX_TAKEN) for _ in range(3)])
    cost["front and take"] = await meter.least(*[take(0) for _ in range(3)])
    cost["front and take, behind others"] = await meter.least(*[take(MAX_LEFT) for _ in range(3)])
    await bench.wipe()

    assert len(front.waiting) == MAX_TAKEN
    assert {name: round(ms, 1) for name, ms in cost.items() if ms > LIMIT_MS} == {}, cost
