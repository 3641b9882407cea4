"""How outcomes are stored: behind the fence, whole, and only onto a record that still exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.store.contract import MAX_FINISHED
from tests.contract.kit import HOUR_MS, MONTH_MS, died, ids, job, record, retried, returned, succeeded

if TYPE_CHECKING:
    from tests.contract.kit import Bench

POLLER = ":poller"


async def test_an_end_leaves_the_record_with_a_ttl_and_nothing_else(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    outcome = succeeded(await bench.one(), ttl_ms=HOUR_MS)

    reply = await bench.exchange(outcome)

    assert (list(reply.stored), reply.active) == ([True], 0)
    seen = await bench.census()
    assert seen.records == {"j1": outcome.record}
    assert HOUR_MS - 10_000 < seen.ttl_ms["job:j1"] <= HOUR_MS
    assert (seen.lines, seen.schedule, seen.active, seen.dead) == ({}, {}, {}, {})


async def test_an_end_forgets_how_often_the_job_was_lost_and_that_it_should_stop(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"))
    await bench.one()
    await bench.vanish("w1")
    await bench.worker("w2")
    held = await bench.one(by="w2")
    await bench.store.cancel("j1", generation="AAAA", lines=("mail:5",))
    seen = await bench.census()
    assert (seen.lost, seen.cancels) == ({"j1": 1}, {"j1"})

    await bench.exchange(succeeded(held), by="w2")

    seen = await bench.census()
    assert (seen.lost, seen.cancels) == ({}, set())


async def test_a_dead_letter_is_kept_by_its_time_of_death(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    first, second = await bench.claim()
    await bench.exchange(died(first))
    bench.clock.advance(ms=5)
    await bench.exchange(died(second))

    seen = await bench.census()
    assert seen.dead == {"j1": bench.clock.now_ms() - 5, "j2": bench.clock.now_ms()}
    assert MONTH_MS - 10_000 < seen.ttl_ms["dead"] <= MONTH_MS
    assert seen.ttl_ms["job:j1"] > 0


async def test_dead_letters_whose_records_have_gone_are_trimmed_bit_by_bit(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(*[job(f"old{number}") for number in range(20)], job("kept"))
    await bench.exchange(*[died(one) for one in await bench.claim(21)])
    await bench.raw.delete(*[bench.key(f"job:old{number}") for number in range(20)])  # as their TTL will
    bench.clock.advance(ms=HOUR_MS)
    for number in range(20):
        await bench.enqueue(job(f"new{number}"))
        await bench.exchange(died(await bench.one()))

    assert set((await bench.census()).dead) == {"kept", *(f"new{number}" for number in range(20))}


async def test_garbage_among_the_dead_letters_is_trimmed_after_a_month(bench: Bench) -> None:
    await bench.worker()
    await bench.raw.rpush(bench.key("line:mail:5"), b"garbage")
    await bench.raw.zadd(bench.key("lines:mail"), {"5": 5})
    await bench.claim()
    assert len((await bench.census()).dead) == 1
    bench.clock.advance(ms=MONTH_MS + 1)
    await bench.enqueue(job("j1"))
    await bench.exchange(died(await bench.one()))

    assert set((await bench.census()).dead) == {"j1"}


async def test_a_retry_lies_in_the_schedule_under_its_new_generation(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    outcome = retried(await bench.one(), delay_ms=750)
    await bench.take_tokens()

    reply = await bench.exchange(outcome)

    assert (list(reply.stored), reply.next_due_us) == ([True], 750_000)
    seen = await bench.census()
    assert seen.schedule == {"mail:5:BBBB:j1": bench.clock.now_ms() + 750}
    assert seen.records == {"j1": outcome.record}
    assert seen.ttl_ms["job:j1"] == -1
    assert set(seen.wake) == {POLLER}


async def test_a_retry_that_is_not_the_next_due_leaves_the_poller_alone(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2", delay_ms=100))
    held = await bench.one()
    await bench.take_tokens()

    await bench.exchange(retried(held, delay_ms=200))

    assert await bench.take_tokens() == set()


async def test_returned_jobs_keep_their_order_at_the_front(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(*[job(f"j{number}") for number in range(5)])
    held = await bench.claim(3)

    reply = await bench.exchange(*[returned(one) for one in held])

    assert list(reply.stored) == [True, True, True]
    assert await bench.waiting() == ["j0", "j1", "j2", "j3", "j4"]


async def test_a_returned_job_has_a_new_generation_and_else_the_same_record(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    held = await bench.one()
    await bench.take_tokens()

    await bench.exchange(returned(held, generation="BBBB"))

    assert held.record is not None
    seen = await bench.census()
    assert seen.records["j1"] == held.record.replace(b"1wAAAA", b"1wBBBB")
    assert seen.lines == {"mail:5": ["mail:5:BBBB:j1"]}
    assert seen.wake == {"mail": 1}


async def test_a_returned_lifo_job_lies_where_it_was(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2", "mail:f"))
    held = await bench.one()

    await bench.exchange(returned(held))

    assert ids([held]) == ["j2"]
    assert await bench.waiting() == ["j2", "j1"]


async def test_a_return_leaves_a_token_on_a_queue_of_others_too(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("k1", "other:5"))
    held = await bench.one(queues=("other",))
    await bench.take_tokens()

    await bench.exchange(returned(held), queues=("mail",))

    assert await bench.take_tokens() == {"other"}


async def test_an_outcome_of_a_job_in_other_hands_is_not_stored(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.worker("w2")
    await bench.enqueue(job("j1"))
    held = await bench.one(by="w1")
    before = await bench.census()

    for outcome in (succeeded(held), retried(held), returned(held), died(held)):
        assert list((await bench.exchange(outcome, by="w2")).stored) == [False]

    after = await bench.census()
    assert (after.records, after.active, after.lines) == (before.records, before.active, {})
    assert (after.schedule, after.dead) == ({}, {})


async def test_an_outcome_stored_once_is_not_stored_again(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"), job("j3"))
    first, second, third = await bench.claim()
    outcomes = (succeeded(first), retried(second), returned(third))
    await bench.exchange(*outcomes)
    before = await bench.census()

    reply = await bench.exchange(*outcomes)

    assert list(reply.stored) == [False, False, False]
    after = await bench.census()
    assert (after.records, after.schedule, after.lines) == (before.records, before.schedule, before.lines)


async def test_a_late_duplicate_cannot_end_the_next_attempt(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    first = await bench.one()
    await bench.exchange(returned(first, generation="BBBB"))
    second = await bench.one()

    assert list((await bench.exchange(succeeded(first))).stored) == [False]

    assert (await bench.census()).active == {"w1": {second.ticket}}
    assert list((await bench.exchange(succeeded(second))).stored) == [True]


async def test_an_outcome_never_brings_back_a_record_that_has_gone(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(*[job(f"j{number}") for number in range(4)])
    held = await bench.claim()
    for number in range(4):
        await bench.raw.delete(bench.key(f"job:j{number}"))

    reply = await bench.exchange(succeeded(held[0]), retried(held[1]), returned(held[2]), died(held[3]))

    assert (list(reply.stored), reply.active) == ([False] * 4, 0)
    seen = await bench.census()
    assert (seen.records, seen.lines, seen.schedule, seen.dead) == ({}, {}, {}, {})


async def test_an_outcome_that_finds_no_record_forgets_what_was_kept_beside_it(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(*[job(f"j{number}") for number in range(3)])
    await bench.claim()
    await bench.vanish("w1")
    await bench.worker("w2")
    held = await bench.claim(by="w2")
    for number in range(3):
        await bench.store.cancel(f"j{number}", generation="AAAA", lines=("mail:5",))
        await bench.raw.delete(bench.key(f"job:j{number}"))

    await bench.exchange(succeeded(held[0]), retried(held[1]), returned(held[2]), by="w2")

    seen = await bench.census()
    assert (seen.lost, seen.cancels) == ({}, set())


async def test_outcomes_and_claims_go_in_one_exchange_in_that_order(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    held = await bench.one()

    reply = await bench.exchange(returned(held), limit=2)

    assert list(reply.stored) == [True]
    assert [one.ticket for one in reply.claimed] == ["mail:5:BBBB:j1", "mail:5:AAAA:j2"]


async def test_a_retry_that_is_due_at_once_comes_with_the_same_exchange(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    held = await bench.one()

    reply = await bench.exchange(retried(held, delay_ms=0), limit=1)

    assert [one.ticket for one in reply.claimed] == ["mail:5:BBBB:j1"]


async def test_a_full_batch_of_every_kind_is_stored(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(*[job(f"j{number:03}") for number in range(MAX_FINISHED)])
    held = await bench.claim(MAX_FINISHED)
    kinds = (succeeded, died, retried, returned)

    reply = await bench.exchange(*[kinds[number % 4](one) for number, one in enumerate(held)])

    assert all(reply.stored)
    seen = await bench.census()
    quarter = MAX_FINISHED // 4
    assert len(seen.dead) == len(seen.schedule) == len(seen.lines["mail:5"]) == quarter
    assert (seen.active, len(seen.records)) == ({}, MAX_FINISHED)


async def test_a_garbage_record_is_replaced_by_the_outcome(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    held = await bench.one()
    await bench.raw.set(bench.key("job:j1"), b"\xff garbage")

    assert list((await bench.exchange(died(held))).stored) == [True]

    assert (await bench.census()).records == {"j1": record("f")}
