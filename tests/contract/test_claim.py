"""What a claim takes, in which order, and what it makes of what it can't use."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from aiotq.job import LARGE_RECORD
from aiotq.store.contract import MAX_CLAIMED
from tests.contract.kit import BODY, HOUR_MS, ids, job, record, replacement, returned, succeeded

if TYPE_CHECKING:
    from tests.contract.kit import Bench


async def test_queues_come_in_the_order_asked_for(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("slow", "low:0"), job("mid", "mail:5"), job("fast", "high:9"))

    assert ids(await bench.claim(queues=("high", "mail", "low"))) == ["fast", "mid", "slow"]


async def test_a_queue_that_is_not_asked_for_is_left_alone(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1", "other:5"))

    assert await bench.claim() == []
    assert await bench.waiting("other:5") == ["j1"]


async def test_within_a_queue_priority_0_is_first(bench: Bench) -> None:
    await bench.worker()
    order = list(range(10))
    random.Random(1).shuffle(order)
    await bench.enqueue(*[job(f"p{priority}", f"mail:{priority}") for priority in order])

    assert ids(await bench.claim()) == [f"p{priority}" for priority in range(10)]


async def test_within_a_priority_the_oldest_is_first_but_for_lifo(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    await bench.enqueue(job("j3", "mail:f"))  # f: to the front of 5
    await bench.enqueue(job("j4", "mail:f"), job("j5"))

    assert ids(await bench.claim()) == ["j4", "j3", "j1", "j2", "j5"]


async def test_no_more_than_the_limit_is_claimed_and_the_rest_keeps_its_order(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("a1", "mail:1"), job("b1"), job("b2"), job("b3"))

    assert ids(await bench.claim(2)) == ["a1", "b1"]
    assert await bench.claim(0) == []
    assert ids(await bench.claim(2)) == ["b2", "b3"]


async def test_the_ticket_moves_into_the_workers_hands_and_the_record_stays_as_it_was(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    before = await bench.census()

    reply = await bench.exchange(limit=1)

    seen = await bench.census()
    assert seen.records == before.records
    assert seen.active == {"w1": {"mail:5:AAAA:j1"}}
    assert (seen.lines, seen.index) == ({}, {})
    assert reply.claimed[0].record == before.records["j1"]
    assert (reply.active, reply.now_ms) == (1, bench.clock.now_ms())
    assert (reply.claimed[0].lost, reply.claimed[0].cancelled) == (0, False)


async def test_no_two_workers_get_the_same_job(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.worker("w2")
    await bench.enqueue(*[job(f"j{number}") for number in range(10)])

    first, second = await bench.claim(6, by="w1"), await bench.claim(6, by="w2")

    assert [len(first), len(second)] == [6, 4]
    assert len(set(ids(first) + ids(second))) == 10


async def test_each_claim_has_a_larger_number_than_all_before(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.worker("w2")
    await bench.enqueue(job("j1"), job("j2"), job("j3"))

    numbers = [(await bench.exchange(by=by, limit=1)).fence for by in ("w1", "w2", "w1")]

    assert numbers == sorted(set(numbers))
    assert (await bench.exchange(limit=1)).fence == 0, "nothing was claimed"


async def test_a_claims_number_is_never_less_than_the_clock_says(bench: Bench) -> None:
    """So it grows even if the server has lost the last one: after FLUSHALL, or as a replica that lagged behind."""
    await bench.worker("w1")
    await bench.enqueue(*[job(f"j{number}") for number in range(5)])
    first = (await bench.exchange(limit=1)).fence
    assert first == bench.clock.now_ms() * 1000
    assert (await bench.exchange(limit=1)).fence == first + 1, "within the same moment"
    await bench.raw.delete(bench.key("fence"))
    bench.clock.advance(ms=1)

    assert (await bench.exchange(limit=1)).fence > first + 1
    earlier_ms = bench.clock.now_ms() - 60_000  # it steps back
    stepped = await bench.store.exchange("w1", [], queues=["mail"], limit=1, now_ms=earlier_ms)
    assert stepped.fence == first + 1_001


async def test_a_number_that_is_none_of_ours_is_no_obstacle(bench: Bench) -> None:
    await bench.worker("w1")
    for number, found in enumerate(("", "garbage", "nan", "inf", "-inf", "1e300", "0x7fffffffffffffff")):
        await bench.enqueue(job(f"j{number}"))
        await bench.raw.set(bench.key("fence"), found)
        assert (await bench.exchange(limit=1)).fence == bench.clock.now_ms() * 1000


async def test_a_number_is_stored_to_the_last_digit(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"), job("j2"))
    await bench.raw.set(bench.key("fence"), "1800000000123456")
    numbers = [(await bench.exchange(limit=1)).fence for _ in range(2)]
    assert numbers == [1800000000123457, 1800000000123458]
    assert await bench.raw.get(bench.key("fence")) == b"1800000000123458"


async def test_a_worker_that_is_not_registered_is_told_so_and_gets_nothing(bench: Bench) -> None:
    await bench.enqueue(job("j1"))

    reply = await bench.exchange(by="nobody", limit=1)

    assert not reply.alive
    assert await bench.waiting() == ["j1"]


async def test_a_paused_queue_gives_nothing_until_it_is_resumed(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("k1", "other:5"))
    await bench.store.pause("mail")
    await bench.take_tokens()

    assert ids(await bench.claim(queues=("mail", "other"))) == ["k1"]
    assert await bench.take_tokens() == set(), "a token for a paused queue would let idle workers spin"

    await bench.store.resume("mail")
    assert await bench.take_tokens() == {"mail"}
    assert ids(await bench.claim()) == ["j1"]


async def test_due_jobs_are_promoted_by_the_claim_itself(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1", delay_ms=1_000), job("j2", delay_ms=500), job("j3", delay_ms=5_000))
    assert await bench.claim() == []
    bench.clock.advance(ms=1_000)

    reply = await bench.exchange(limit=5)

    assert ids(reply.claimed) == ["j2", "j1"]
    assert reply.next_due_us == 4_000_000


async def test_a_claim_promotes_no_more_than_it_may_claim(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(*[job(f"j{number}", delay_ms=number) for number in range(10)])
    bench.clock.advance(ms=10)

    assert len(await bench.claim(3)) == 3

    seen = await bench.census()
    assert len(seen.schedule) == 7
    assert seen.lines == {}


async def test_the_time_to_the_next_due_job_comes_with_each_reply(bench: Bench) -> None:
    await bench.worker()
    assert (await bench.exchange()).next_due_us is None
    await bench.enqueue(job("j1", delay_ms=250))

    assert (await bench.exchange()).next_due_us == 250_000
    bench.clock.advance(ms=300)
    assert (await bench.exchange()).next_due_us == -50_000


# --- what a claim can't use


async def test_a_ticket_whose_record_has_changed_is_dropped_and_counted(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"), job("j3"))
    await bench.replace(replacement("j1"))  # ended
    await bench.replace(replacement("j2", line="mail:0"))  # elsewhere, under a new generation
    await bench.raw.delete(bench.key("job:j3"))

    reply = await bench.exchange(limit=10)

    assert ids(reply.claimed) == ["j2"]
    assert reply.claimed[0].ticket == "mail:0:RRRR:j2"
    assert reply.dropped == 3, "those of j1 and j3, and the first one of j2"
    assert (await bench.census()).lines == {}


async def test_a_claim_that_finds_no_record_forgets_what_was_kept_beside_it(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    held = await bench.one()
    await bench.store.cancel("j1", generation="AAAA", lines=("mail:5",))
    await bench.vanish()
    seen = await bench.census()
    assert (seen.lost, seen.cancels) == ({"j1": 1}, {"j1"})
    await bench.raw.delete(bench.key("job:j1"))

    await bench.worker("w2")
    assert await bench.claim(by="w2") == []

    seen = await bench.census()
    assert (seen.lost, seen.cancels) == ({}, set())
    assert held.ticket not in str(seen.lines)


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"garbage",
        b"mail:5:AAA:j1",
        b"mail:x:AAAA:j1",
        b"mail:5:AAAA:",
        b":5:AAAA:j1",
        b"\xff\xfe\x00",
        b"mail:5:AAAA:j 1",
    ],
)
async def test_garbage_in_a_line_is_put_among_the_dead_letters(bench: Bench, garbage: bytes) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.raw.lpush(bench.key("line:mail:5"), garbage)

    reply = await bench.exchange(limit=10)

    assert ids(reply.claimed) == ["j1"]
    assert (reply.dropped, list(reply.garbage)) == (1, [bench.key("line:mail:5")])
    seen = await bench.census()
    [letter] = await bench.raw.zrange(bench.key("dead"), 0, -1)
    assert letter.endswith(garbage)
    assert seen.ttl_ms["dead"] > HOUR_MS


async def test_a_huge_piece_of_garbage_is_not_kept_whole(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.raw.lpush(bench.key("line:mail:5"), b"x" * (1 << 20))

    assert ids(await bench.claim()) == ["j1"]

    [letter] = await bench.raw.zrange(bench.key("dead"), 0, -1)
    assert len(letter) < 2_000


@pytest.mark.leaves_keys("the record has no header that says it waits")
@pytest.mark.parametrize("garbage", [b"x", b"", b"{}" * 20, b"\xff" * 40, b"1xAAAA0000000000000{}"])
async def test_a_record_that_is_garbage_is_handed_to_a_worker_to_make_a_dead_letter_of_it(
    bench: Bench, garbage: bytes
) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.raw.set(bench.key("job:j1"), garbage)

    [claimed] = await bench.claim()

    assert claimed.record == garbage
    assert (await bench.exchange(returned(claimed))).stored == [True]
    [again] = await bench.claim()
    assert (await bench.exchange(succeeded(again))).stored == [True]


async def test_a_record_of_the_wrong_type_is_put_aside(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    await bench.raw.delete(bench.key("job:j1"))
    await bench.raw.rpush(bench.key("job:j1"), b"x")

    reply = await bench.exchange(limit=10)

    assert ids(reply.claimed) == ["j2"]
    assert (reply.dropped, list(reply.garbage)) == (1, [bench.key("job:j1")])
    seen = await bench.census()
    assert [seen.ttl_ms[name] > 0 for name in seen.others] == [True]


# --- large records


async def test_a_large_record_comes_as_a_mark_and_in_its_place(bench: Bench) -> None:
    await bench.worker()
    body = b"x" * (LARGE_RECORD + 1)
    await bench.enqueue(job("j1"), job("j2", generation="!AAA", body=body), job("j3"))

    claimed = await bench.claim()

    assert ids(claimed) == ["j1", "j2", "j3"]
    assert [one.record is None for one in claimed] == [False, True, False]
    assert (await bench.store.read("j2") or b"").endswith(body)


async def test_a_stale_ticket_of_a_large_record_is_dropped_too(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1", generation="!AAA"), job("j2", generation="!BBB"))
    await bench.replace(replacement("j1", generation="!AAA"))
    await bench.raw.delete(bench.key("job:j2"))

    reply = await bench.exchange(limit=10)

    assert (list(reply.claimed), reply.dropped) == ([], 2)


async def test_a_reply_is_bounded_in_bytes_and_the_rest_keeps_its_order(bench: Bench) -> None:
    await bench.worker()
    body = b"x" * (LARGE_RECORD - 100)
    wanted = [f"j{number:03}" for number in range(200)]
    for start in range(0, 200, 50):
        await bench.enqueue(*[job(name, body=body) for name in wanted[start : start + 50]])
    await bench.take_tokens()

    got: list[str] = []
    while len(got) < 200:
        claimed = await bench.claim(MAX_CLAIMED)
        assert 0 < sum(len(one.record or b"") for one in claimed) <= 2 << 20
        got += ids(claimed)
        assert (await bench.take_tokens() == {"mail"}) is (len(got) < 200)

    assert got == wanted


async def test_a_record_that_another_hand_made_large_comes_as_a_mark(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.raw.set(bench.key("job:j1"), record(body=b"x" * LARGE_RECORD))

    [claimed] = await bench.claim()

    assert claimed.record is None


async def test_a_record_of_a_newer_version_is_handed_to_a_worker(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    newer = b"3wAAAA%013d" % 0 + BODY
    await bench.raw.set(bench.key("job:j1"), newer)

    assert (await bench.one()).record == newer
