"""From the schedule to the lines: one leader among all workers, in due order, in bounded batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.store.contract import POLLER_LEASE_MS
from tests.contract.kit import HOUR_MS, ids, job, replacement

if TYPE_CHECKING:
    from tests.contract.kit import Bench
    from tests.servers import Server


async def test_due_jobs_come_to_their_lines_in_the_order_of_their_due_times(bench: Bench) -> None:
    await bench.enqueue(
        job("j3", delay_ms=30), job("j1", delay_ms=10), job("j2", delay_ms=20), job("later", delay_ms=31)
    )
    await bench.enqueue(job("first"))
    bench.clock.advance(ms=30)

    reply = await bench.promote()

    assert (reply.leader, reply.moved, reply.wait_us) == (True, 3, 1_000)
    assert await bench.waiting() == ["first", "j1", "j2", "j3"]


async def test_a_due_job_keeps_its_priority_and_its_end_of_the_line(bench: Bench) -> None:
    await bench.enqueue(job("waiting"), job("p0", "mail:0", delay_ms=1), job("lifo", "mail:f", delay_ms=2))
    await bench.enqueue(job("fifo", delay_ms=3), job("lifo2", "mail:f", delay_ms=4), job("k1", "other:9", delay_ms=5))
    bench.clock.advance(ms=5)

    await bench.promote()

    assert await bench.waiting("mail:0") == ["p0"]
    assert await bench.waiting("mail:5") == ["lifo2", "lifo", "waiting", "fifo"]
    assert await bench.waiting("other:9") == ["k1"]


async def test_each_queue_that_gets_a_job_gets_a_token(bench: Bench) -> None:
    await bench.enqueue(job("j1", delay_ms=1), job("k1", "other:0", delay_ms=1), job("later", "far:0", delay_ms=9))
    await bench.take_tokens()
    bench.clock.advance(ms=1)

    await bench.promote()

    assert await bench.take_tokens() == {"mail", "other"}


async def test_an_empty_schedule_has_no_next_due(bench: Bench) -> None:
    reply = await bench.promote()

    assert (reply.leader, reply.moved, reply.wait_us, list(reply.garbage)) == (True, 0, None, [])


async def test_one_worker_leads_until_its_lease_ends(bench: Bench) -> None:
    await bench.enqueue(job("j1", delay_ms=10))
    assert (await bench.promote("w1")).leader
    bench.clock.advance(ms=1_000)

    reply = await bench.promote("w2")
    assert (reply.leader, reply.moved, reply.wait_us) == (False, 0, (POLLER_LEASE_MS - 1_000) * 1_000)

    bench.clock.advance(ms=POLLER_LEASE_MS - 1_000)
    reply = await bench.promote("w2")
    assert (reply.leader, reply.moved) == (True, 1)
    assert not (await bench.promote("w1")).leader


async def test_a_leader_that_goes_gives_its_lease_up(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.promote("w1")
    await bench.worker("w3")
    await bench.retire("w3")
    assert not (await bench.promote("w2")).leader, "another worker's going changes nothing"

    await bench.retire("w1")

    assert (await bench.promote("w2")).leader


async def test_a_leader_keeps_its_lease_by_promoting(bench: Bench) -> None:
    for _ in range(5):
        assert (await bench.promote("w1")).leader
        bench.clock.advance(ms=POLLER_LEASE_MS - 1)
        assert not (await bench.promote("w2")).leader


async def test_a_leaders_lease_from_before_the_clock_stepped_back_binds_nobody(bench: Bench) -> None:
    far_ms = bench.clock.now_ms() + HOUR_MS
    await bench.store.promote("w1", now_ms=far_ms)

    assert (await bench.promote("w2")).leader


async def test_the_leaders_key_ends_by_itself(bench: Bench) -> None:
    await bench.promote("w1")

    assert 0 < (await bench.census()).ttl_ms["poller"] <= 10 * POLLER_LEASE_MS


async def test_a_batch_is_bounded_and_the_next_one_is_due_at_once(bench: Bench) -> None:
    await bench.enqueue(*[job(f"j{number:02}", delay_ms=10) for number in range(25)])
    bench.clock.advance(ms=10)

    replies = [await bench.promote(limit=10) for _ in range(3)]

    assert [one.moved for one in replies] == [10, 10, 5]
    assert [one.wait_us for one in replies] == [0, 0, None]
    assert await bench.waiting() == [f"j{number:02}" for number in range(25)]


async def test_any_number_of_jobs_due_at_one_millisecond_all_come(bench: Bench, server: Server) -> None:
    number = 2_000 if server.kind == "memory" else 10_000
    for start in range(0, number, 500):
        await bench.enqueue(*[job(f"j{one}", delay_ms=10) for one in range(start, start + 500)])
    bench.clock.advance(ms=10)

    moved = 0
    while (reply := await bench.promote()).moved:
        assert reply.moved <= 1_000
        moved += reply.moved

    assert moved == number
    assert len(set(await bench.waiting())) == number
    assert (await bench.census()).schedule == {}
    await bench.wipe()


async def test_garbage_in_the_schedule_is_put_among_the_dead_letters(bench: Bench) -> None:
    now_ms = bench.clock.now_ms()
    await bench.raw.zadd(bench.key("schedule"), {b"\xff garbage": now_ms, b"": now_ms - 1})
    await bench.enqueue(job("j1", due_ms=now_ms))

    reply = await bench.promote()

    assert set(reply.garbage) == {bench.key("schedule")}
    assert await bench.waiting() == ["j1"]
    seen = await bench.census()
    assert (len(seen.dead), seen.schedule) == (2, {})
    assert seen.ttl_ms["dead"] > 0


async def test_a_stale_ticket_in_the_schedule_is_dropped_at_the_latest_by_the_claim(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1", delay_ms=10), job("j2", delay_ms=10))
    stale = b"mail:5:AAAA:j1"
    await bench.replace(replacement("j1", line="mail:5", delay_ms=10))
    await bench.raw.zadd(bench.key("schedule"), {stale: bench.clock.now_ms()})
    bench.clock.advance(ms=10)

    await bench.promote()

    claimed = await bench.claim()
    assert sorted(ids(claimed)) == ["j1", "j2"]
    assert stale.decode() not in {one.ticket for one in claimed}
