"""A worker's right to its jobs: how it is given, lengthened, lost, and what becomes of the jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiotq.job import parse_ticket
from aiotq.store.contract import Peer, Reclaimed, WorkerCard
from tests.contract.kit import LEASE_MS, job, retried, returned, succeeded

if TYPE_CHECKING:
    from tests.contract.kit import Bench


def card(worker_id: str, *, former: list[str]) -> WorkerCard:
    return WorkerCard(worker_id=worker_id, label="", host="", pid=7, queues=["mail"], lease_ms=LEASE_MS, former=former)


async def test_a_worker_is_known_from_its_coming_to_its_going(bench: Bench) -> None:
    assert await bench.worker("w1", queues=("mail", "other"))
    assert await bench.store.live_workers() == {"at w1": ["mail", "other"]}
    assert (await bench.census()).workers == {"w1": bench.clock.now_ms() + LEASE_MS}

    assert await bench.retire("w1") == 0

    assert await bench.store.live_workers() == {}
    assert {name.partition(":")[0] for name in (await bench.census()).ttl_ms} <= {"queues", "wake"}


async def test_an_id_is_given_once(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"))
    await bench.one()

    assert not await bench.worker("w1", queues=("other",))

    assert await bench.store.live_workers() == {"at w1": ["mail"]}
    assert len((await bench.census()).active["w1"]) == 1


async def test_renewing_lengthens_the_lease_and_touches_nothing_else(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    await bench.one()
    await bench.take_tokens()
    before = await bench.census()
    bench.clock.advance(ms=4_000)

    reply = await bench.renew()

    assert (reply.alive, reply.now_ms, list(reply.suspicious)) == (True, bench.clock.now_ms(), [])
    after = await bench.census()
    assert after.workers == {"w1": bench.clock.now_ms() + LEASE_MS}
    assert (after.active, after.lines, after.records, after.wake) == (before.active, before.lines, before.records, {})


async def test_a_late_worker_is_alive_until_somebody_reclaims_it(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    held = await bench.one()
    bench.clock.advance(ms=10 * LEASE_MS)

    assert await bench.store.live_workers() == {"at w1": ["mail"]}
    assert (await bench.renew()).alive
    assert list((await bench.exchange(succeeded(held))).stored) == [True]


async def test_renewing_names_workers_whose_lease_has_ended_or_ends_too_far_ahead(bench: Bench) -> None:
    start_ms = bench.clock.now_ms()
    await bench.worker("late")
    await bench.worker("far")
    await bench.raw.zadd(bench.key("workers"), {"far": start_ms + 100 * LEASE_MS})
    await bench.worker("long", lease_ms=2 * LEASE_MS)
    bench.clock.advance(ms=LEASE_MS)
    await bench.worker("longer", lease_ms=100 * LEASE_MS)
    await bench.worker("good")
    await bench.worker("me")

    reply = await bench.renew("me")

    assert set(reply.suspicious) == {
        Peer(worker_id="late", lease_end_ms=start_ms + LEASE_MS, lease_ms=LEASE_MS),
        Peer(worker_id="far", lease_end_ms=start_ms + 100 * LEASE_MS, lease_ms=LEASE_MS),
    }
    bench.clock.advance(ms=LEASE_MS)
    late = {peer.worker_id: peer.lease_ms for peer in (await bench.renew("me")).suspicious}
    assert late["long"] == 2 * LEASE_MS


async def test_a_thousand_dead_workers_are_named_bit_by_bit(bench: Bench) -> None:
    for number in range(150):
        await bench.raw.zadd(bench.key("workers"), {f"dead{number}": 1})
    await bench.worker("me")

    assert 0 < len((await bench.renew("me")).suspicious) <= 100


# --- reclaim


async def test_a_reclaimed_workers_jobs_come_to_the_front_each_lost_once(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"), job("j2"), job("j3"))
    held = await bench.claim(2)
    await bench.take_tokens()

    assert await bench.vanish("w1") is Reclaimed.DONE

    seen = await bench.census()
    assert set(seen.lines["mail:5"][:2]) == {one.ticket for one in held}, "nothing is rewritten"
    assert seen.lines["mail:5"][2] == "mail:5:AAAA:j3"
    assert seen.lost == {"j1": 1, "j2": 1}
    assert (seen.workers, seen.cards, seen.active, set(seen.wake)) == ({}, set(), {}, {"mail"})
    await bench.worker("w2")
    assert sorted((parse_ticket(one.ticket).job_id, one.lost) for one in await bench.claim(2, by="w2")) == [
        ("j1", 1),
        ("j2", 1),
    ]


async def test_a_worker_is_reclaimed_only_with_the_lease_end_that_was_seen(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"))
    await bench.one()
    seen_ms = (await bench.census()).workers["w1"]
    bench.clock.advance(ms=LEASE_MS + 1)
    await bench.renew("w1")  # it was only late
    before = await bench.census()

    for wrong_ms in (seen_ms, 0, seen_ms + 1):
        assert await bench.reclaim("w1", seen_ms=wrong_ms) is Reclaimed.CHANGED
    assert await bench.reclaim("nobody", seen_ms=0) is Reclaimed.CHANGED

    assert await bench.census() == before


async def test_a_lease_that_has_not_ended_is_left_alone(bench: Bench) -> None:
    await bench.worker("w1")
    end_ms = bench.clock.now_ms() + LEASE_MS

    assert await bench.reclaim("w1", seen_ms=end_ms) is Reclaimed.CHANGED

    assert (await bench.renew("w1")).alive


async def test_a_lease_too_far_ahead_is_pulled_in_and_then_runs_out(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"))
    await bench.one()
    far_ms = bench.clock.now_ms() + 100 * LEASE_MS  # given before the clock stepped back
    await bench.raw.zadd(bench.key("workers"), {"w1": far_ms})

    assert await bench.reclaim("w1", seen_ms=far_ms) is Reclaimed.PULLED_IN

    near_ms = bench.clock.now_ms() + LEASE_MS
    assert (await bench.census()).workers == {"w1": near_ms}
    assert (await bench.census()).lost == {}
    bench.clock.advance(ms=LEASE_MS)
    assert await bench.reclaim("w1", seen_ms=near_ms) is Reclaimed.DONE


async def test_a_reclaim_in_batches_shuts_the_worker_out_from_the_first_one_on(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(*[job(f"j{number}") for number in range(5)])
    held = await bench.claim(5)
    end_ms = (await bench.census()).workers["w1"]
    bench.clock.advance(ms=LEASE_MS)

    assert await bench.reclaim("w1", seen_ms=end_ms, limit=2) is Reclaimed.MORE

    before = await bench.census()
    assert (before.workers, len(before.active["w1"]), len(before.lines["mail:5"])) == ({"w1": 0}, 3, 2)
    assert not (await bench.exchange(succeeded(held[0]), limit=1)).alive
    assert not (await bench.renew("w1")).alive
    assert await bench.retire("w1") == 0
    assert await bench.store.live_workers() == {}
    assert not await bench.worker("w1"), "an id is not given again"
    assert (await bench.census()).lines == before.lines

    assert await bench.reclaim("w1", seen_ms=end_ms) is Reclaimed.CHANGED, "that lease end is seen no more"
    assert await bench.reclaim("w1", seen_ms=0, limit=2) is Reclaimed.MORE
    assert await bench.reclaim("w1", seen_ms=0, limit=2) is Reclaimed.DONE
    seen = await bench.census()
    assert (len(seen.lines["mail:5"]), seen.workers, seen.active) == (5, {}, {})
    assert set(seen.lost.values()) == {1}


async def test_a_worker_in_the_middle_of_being_reclaimed_is_named_to_the_others(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"), job("j2"))
    await bench.claim()
    end_ms = (await bench.census()).workers["w1"]
    bench.clock.advance(ms=LEASE_MS)
    await bench.reclaim("w1", seen_ms=end_ms, limit=1)
    await bench.worker("w2")

    assert list((await bench.renew("w2")).suspicious) == [Peer(worker_id="w1", lease_end_ms=0, lease_ms=LEASE_MS)]


async def test_a_worker_whose_lease_ran_out_and_was_reclaimed_stores_nothing(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"), job("j2"), job("j3"))
    held = await bench.claim()
    await bench.vanish("w1")
    await bench.worker("w2")
    await bench.claim(by="w2")
    before = await bench.census()

    reply = await bench.exchange(succeeded(held[0]), retried(held[1]), returned(held[2]), limit=5)

    assert not reply.alive
    assert await bench.census() == before


async def test_a_zombie_under_a_new_id_owns_nothing_of_its_former_jobs(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"))
    held = await bench.one()
    await bench.vanish("w1")
    await bench.worker("w2")

    reply = await bench.exchange(succeeded(held), by="w2", held=[], limit=5)

    assert (list(reply.stored), list(reply.claimed)) == ([False], [])
    assert await bench.waiting() == ["j1"]


async def test_what_an_id_held_that_workers_names_no_more_is_reclaimed_once_its_worker_has_come_anew(
    bench: Bench,
) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"), job("j2"))
    await bench.claim(2)
    await bench.raw.delete(f"{bench.prefix}workers")  # evicted, or by hand

    await bench.store.register(card("w2", former=["w0", "w1"]), now_ms=bench.clock.now_ms())

    assert not (await bench.exchange(by="w1")).alive
    assert (await bench.renew("w2")).suspicious == [Peer(worker_id="w1", lease_end_ms=0, lease_ms=LEASE_MS)]
    assert await bench.reclaim("w1", seen_ms=0) is Reclaimed.DONE
    seen = await bench.census()
    back = sorted(parse_ticket(ticket).job_id for ticket in seen.lines["mail:5"])
    assert (back, seen.lost, seen.active) == (["j1", "j2"], {"j1": 1, "j2": 1}, {})


async def test_a_worker_that_comes_anew_changes_nothing_of_a_former_id_that_is_known_or_holds_nothing(
    bench: Bench,
) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"))
    await bench.one()
    before = await bench.census()

    await bench.store.register(card("w2", former=["w0", "w1"]), now_ms=bench.clock.now_ms())
    await bench.store.register(card("w3", former=["w0"]), now_ms=bench.clock.now_ms())

    after = await bench.census()
    assert (after.workers["w1"], after.active) == (before.workers["w1"], before.active)
    assert set(after.workers) == {"w1", "w2", "w3"}


async def test_garbage_in_dead_hands_is_put_aside(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"))
    await bench.one()
    await bench.raw.sadd(bench.key("active:w1"), b"garbage", b"\xff\xfe")

    assert await bench.vanish("w1") is Reclaimed.DONE

    assert await bench.waiting() == ["j1"]
    letters = await bench.raw.zrange(bench.key("dead"), 0, -1)
    assert sorted(one.rpartition(b"!")[2] for one in letters) == [b"garbage", b"\xff\xfe"]


# --- retire


async def test_a_worker_that_goes_gives_back_what_it_holds_with_nothing_counted(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"), job("j2"), job("j3"), job("k1", "other:0"))
    await bench.claim(2)
    await bench.claim(1, queues=("other",))
    await bench.take_tokens()

    assert await bench.retire("w1") == 3

    seen = await bench.census()
    assert set(await bench.waiting()) == {"j1", "j2", "j3"}
    assert (await bench.waiting())[2] == "j3"
    assert (await bench.waiting("other:0")) == ["k1"]
    assert (seen.lost, seen.workers, seen.active, seen.cards) == ({}, {}, {}, set())
    assert set(seen.wake) == {"mail", "other"}


async def test_a_worker_that_is_not_known_has_nothing_to_give_back(bench: Bench) -> None:
    assert await bench.retire("nobody") == 0


async def test_a_worker_whose_process_was_seen_to_end_is_reclaimed_before_its_lease_ends(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    await bench.claim()
    end_ms = bench.clock.now_ms() + LEASE_MS
    assert await bench.store.lease_end("w1") == end_ms

    assert await bench.store.reclaim("w1", seen_ms=end_ms, now_ms=end_ms, limit=1) is Reclaimed.MORE
    assert await bench.store.lease_end("w1") == 0
    assert await bench.store.reclaim("w1", seen_ms=0) is Reclaimed.DONE

    assert await bench.store.lease_end("w1") is None
    assert not (await bench.renew()).alive
    await bench.worker("w2")
    assert [(claim.lost, claim.cancelled) for claim in (await bench.claim(by="w2"))] == [(1, False)] * 2


async def test_a_heartbeat_between_a_look_and_a_reclaim_keeps_a_worker_its_jobs(bench: Bench) -> None:
    await bench.worker()
    seen_ms = await bench.store.lease_end("w1")
    assert seen_ms is not None
    bench.clock.advance(ms=10)
    await bench.renew()

    assert await bench.store.reclaim("w1", seen_ms=seen_ms, now_ms=seen_ms) is Reclaimed.CHANGED

    assert await bench.store.lease_end("w1") == seen_ms + 10


@pytest.mark.parametrize("spoiled", ["1e300", "junk", "-1", "", "999999999999"])
async def test_a_card_whose_lease_nobody_can_have_been_given_keeps_no_dead_workers_jobs(
    bench: Bench, spoiled: str
) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"))
    await bench.claim()
    await bench.raw.hset(bench.key("worker:w1"), "lease_ms", spoiled)
    far_ms = bench.clock.now_ms() + 1_000 * LEASE_MS
    await bench.raw.zadd(bench.key("workers"), {"w1": far_ms})
    await bench.worker("w2")

    [odd] = (await bench.renew("w2")).suspicious
    assert odd == Peer(worker_id="w1", lease_end_ms=far_ms, lease_ms=LEASE_MS)
    assert await bench.reclaim("w1", seen_ms=far_ms) is Reclaimed.PULLED_IN
    end_ms = (await bench.census()).workers["w1"]
    bench.clock.advance(ms=LEASE_MS)
    assert await bench.reclaim("w1", seen_ms=end_ms) is Reclaimed.DONE
    assert await bench.waiting() == ["j1"]
