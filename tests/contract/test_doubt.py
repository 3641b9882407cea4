"""A worker whose exchange got no reply asks with all that it holds, and nothing is lost or done twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.store.contract import MAX_CLAIMED
from tests.contract.kit import ids, job, record, retried, returned, succeeded

if TYPE_CHECKING:
    from tests.contract.kit import Bench


async def test_claimed_jobs_whose_reply_was_lost_come_with_the_next_exchange(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"), job("j3"))
    known = await bench.one()
    lost = await bench.exchange(limit=1)  # its reply never arrives

    reply = await bench.exchange(held=[known.ticket], limit=MAX_CLAIMED)

    assert reply.claimed == lost.claimed
    assert (list(reply.gone), reply.active) == ([], 2)
    assert reply.fence > lost.fence
    assert await bench.waiting() == ["j3"], "nothing new is claimed in doubt"


async def test_what_a_worker_holds_in_vain_is_named(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    first, second = await bench.claim()
    await bench.exchange(succeeded(first))  # its reply never arrives

    reply = await bench.exchange(held=[first.ticket, second.ticket], limit=MAX_CLAIMED)

    assert (list(reply.gone), list(reply.claimed), reply.active) == ([first.ticket], [], 1)


async def test_repeated_outcomes_meet_the_fence(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(*[job(f"j{number}") for number in range(4)])
    first, second, third, fourth = await bench.claim()
    outcomes = (succeeded(first), retried(second, generation="CCCC"), returned(third, generation="DDDD"))
    await bench.exchange(*outcomes)  # its reply never arrives
    before = await bench.census()

    reply = await bench.exchange(*outcomes, held=[fourth.ticket], limit=MAX_CLAIMED)

    assert list(reply.stored) == [False, False, False]
    assert (list(reply.gone), list(reply.claimed), reply.active) == ([], [], 1)
    after = await bench.census()
    assert (after.records, after.lines, after.schedule) == (before.records, before.lines, before.schedule)


async def test_outcomes_that_never_arrived_are_stored_by_the_repetition(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    first, second = await bench.claim()

    reply = await bench.exchange(succeeded(first), held=[second.ticket], limit=MAX_CLAIMED)

    assert (list(reply.stored), list(reply.gone), reply.active) == ([True], [], 1)


async def test_a_job_claimed_and_returned_by_requests_without_reply_is_in_one_place(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    held = await bench.one()
    await bench.exchange(returned(held, generation="BBBB"), limit=1)  # its reply never arrives

    reply = await bench.exchange(returned(held, generation="BBBB"), held=[], limit=MAX_CLAIMED)

    assert [one.ticket for one in reply.claimed] == ["mail:5:BBBB:j1"]
    assert await bench.waiting() == []


async def test_an_exchange_in_doubt_promotes_and_claims_nothing_new(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2", delay_ms=10))
    bench.clock.advance(ms=10)

    reply = await bench.exchange(held=[], limit=MAX_CLAIMED)

    assert list(reply.claimed) == []
    seen = await bench.census()
    assert (len(seen.lines), len(seen.schedule)) == (1, 1)


async def test_a_duplicate_that_claims_behind_the_workers_back_shows_in_the_count(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    known = await bench.one()
    await bench.exchange(limit=1)  # a late duplicate; nobody reads its reply

    reply = await bench.exchange()
    assert reply.active == 2, "more than the worker holds: it is in doubt"

    reply = await bench.exchange(held=[known.ticket], limit=MAX_CLAIMED)
    assert ids(reply.claimed) == ["j2"]


async def test_a_reclaimed_worker_in_doubt_is_told_that_it_has_lost_all(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    held = await bench.one()
    await bench.vanish()

    reply = await bench.exchange(succeeded(held), held=[], limit=MAX_CLAIMED)

    assert not reply.alive
    assert await bench.waiting() == ["j1"]
    assert (await bench.census()).records["j1"] == held.record


async def test_what_was_claimed_in_the_dark_and_is_no_longer_true_is_dropped(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"), job("j3"))
    await bench.exchange(limit=3)  # its reply never arrives
    await bench.raw.delete(bench.key("job:j1"))
    await bench.raw.set(bench.key("job:j2"), record("w", "ZZZZ"))
    await bench.raw.sadd(bench.key("active:w1"), b"garbage")

    reply = await bench.exchange(held=[], limit=MAX_CLAIMED)

    assert ids(reply.claimed) == ["j3"]
    assert (reply.dropped, reply.active) == (3, 1)
    assert list(reply.garbage) == [bench.key("active:w1")]
    await bench.raw.delete(bench.key("job:j2"))


async def test_recovered_jobs_carry_their_marks(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"))
    await bench.one()
    await bench.vanish("w1")
    await bench.worker("w2")
    await bench.exchange(by="w2", limit=1)  # its reply never arrives
    await bench.store.cancel("j1", generation="AAAA", lines=("mail:5",))

    [claimed] = (await bench.exchange(by="w2", held=[], limit=MAX_CLAIMED)).claimed

    assert (claimed.lost, claimed.cancelled) == (1, True)
