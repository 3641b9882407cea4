"""Keys of the wrong type: put aside with a TTL, and never an error of the batch."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiotq.store.contract import MAX_CLAIMED, Enqueued, Reclaimed, Replaced
from tests.clock import START_MS
from tests.contract.kit import LINES, died, ids, job, replacement, retried, returned, succeeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.contract.kit import Bench

MINUTE = f"stats:m:{START_MS // 60_000}"  # in which these tests are
FAMILIES = (
    *("line:mail:5", "lines:mail", "schedule", "active:w1", "workers", "worker:w1", "fence", "lost", "cancels"),
    *("wake:mail", "wake::poller", "poller", "dead", "queues", "paused"),
    *("ended", "failures", "stats:folded", MINUTE),
)


async def _spoil(bench: Bench, name: str) -> None:
    """Put something of a type that the key never has in its place."""
    key = bench.key(name)
    await bench.raw.delete(key)
    if name.startswith(("line:", "wake:")) or name == "ended":
        await bench.raw.set(key, b"spoiled")
    else:
        await bench.raw.rpush(key, b"spoiled")


@asynccontextmanager
async def _life(bench: Bench, name: str) -> AsyncIterator[None]:
    """One case of many in a test (a test each would take a minute): from no key at all to none."""
    try:
        yield
        seen = await bench.census()
        endless = [one for one in seen.ttl_ms if one.startswith("aside:") and seen.ttl_ms[one] < 0]
        assert not endless, "what is put aside has to end by itself"
    except Exception as error:
        error.add_note(f"the spoiled key: {name}")
        raise
    finally:
        await bench.wipe()


async def test_a_job_is_enqueued_all_the_same(bench: Bench) -> None:
    for name in ("line:mail:5", "lines:mail", "schedule", "wake:mail", "wake::poller", "queues", MINUTE):
        async with _life(bench, name):
            await _spoil(bench, name)

            assert await bench.enqueue(job("j1"), job("j2", delay_ms=10)) == [Enqueued.NEW] * 2

            seen = await bench.census()
            assert seen.lines == {"mail:5": ["mail:5:AAAA:j1"]}
            assert (seen.index, seen.queues) == ({"mail": ["5"]}, {"mail"})
            assert list(seen.schedule) == ["mail:5:AAAA:j2"]
            assert seen.queues == {"mail"}
            assert name not in seen.others


async def test_an_index_that_was_spoiled_names_no_line_that_was_spoiled_as_well(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1", "mail:0"))
    for name in ("line:mail:5", "lines:mail"):
        await _spoil(bench, name)

    await bench.exchange(held=[])  # in doubt: it looks at the index, and claims nothing

    seen = await bench.census()
    assert (seen.index, seen.lines) == ({"mail": ["0"]}, {"mail:0": ["mail:0:AAAA:j1"]})


async def test_a_record_of_the_wrong_type_is_not_taken_for_a_job(bench: Bench) -> None:
    async with _life(bench, "job:j1"):
        await _spoil(bench, "job:j1")

        assert await bench.enqueue(job("j1"), job("j2")) == [Enqueued.NEW] * 2

        assert await bench.waiting() == ["j1", "j2"]


async def test_an_exchange_stores_claims_and_loses_nothing(bench: Bench) -> None:
    for name in FAMILIES:
        async with _life(bench, name):
            await bench.worker("w1")
            await bench.enqueue(*[job(f"held{number}", "other:5") for number in range(4)])
            held = await bench.claim(by="w1", queues=("other",))
            await bench.enqueue(job("j1", "third:5"))
            await _spoil(bench, name)
            outcomes = (succeeded(held[0]), died(held[1]), retried(held[2]), returned(held[3]))

            reply = await bench.exchange(*outcomes, queues=("third",), limit=5)

            if name == "workers":  # who is alive can't be known: each comes again under a new id
                assert not reply.alive
                await bench.worker("w2")
                reply = await bench.exchange(by="w2", queues=("third",), limit=5)
            else:
                assert list(reply.stored) == [name != "active:w1"] * 4
            assert ids(reply.claimed) == ["j1"]


async def test_a_worker_in_doubt_gets_an_answer(bench: Bench) -> None:
    for name in FAMILIES:
        async with _life(bench, name):
            await bench.worker()
            await bench.enqueue(job("j1"))
            await bench.claim()
            await _spoil(bench, name)

            reply = await bench.exchange(held=["mail:5:AAAA:held"], limit=MAX_CLAIMED)

            assert reply.alive is (name != "workers")
            assert ids(reply.claimed) == ([] if name in {"workers", "active:w1"} else ["j1"])


async def test_a_heartbeat_and_a_promotion_go_on(bench: Bench) -> None:
    for name in FAMILIES:
        async with _life(bench, name):
            await bench.worker()
            await bench.enqueue(job("j1", delay_ms=1))
            bench.clock.advance(ms=1)
            await _spoil(bench, name)

            reply = await bench.promote()

            assert reply.leader
            assert await bench.waiting() == ([] if name == "schedule" else ["j1"])
            assert (await bench.renew()).alive is (name != "workers")


async def test_a_dead_workers_jobs_come_back(bench: Bench) -> None:
    for name in FAMILIES:
        async with _life(bench, name):
            await bench.worker()
            await bench.enqueue(job("j1"), job("j2"))
            await bench.claim()
            end_ms = (await bench.census()).workers["w1"]
            bench.clock.advance(ms=end_ms - bench.clock.now_ms())
            await _spoil(bench, name)

            reply = await bench.reclaim(seen_ms=end_ms)

            assert reply is (Reclaimed.CHANGED if name == "workers" else Reclaimed.DONE)
            assert sorted(await bench.waiting()) == ([] if name in {"workers", "active:w1"} else ["j1", "j2"])


async def test_a_worker_goes_and_gives_back(bench: Bench) -> None:
    for name in FAMILIES:
        async with _life(bench, name):
            await bench.worker()
            await bench.enqueue(job("j1"), job("j2"))
            await bench.claim()
            await _spoil(bench, name)

            count = await bench.retire()

            assert count == (0 if name in {"workers", "active:w1"} else 2)


async def test_people_and_senders_get_answers(bench: Bench) -> None:
    for name in FAMILIES:
        async with _life(bench, name):
            await bench.worker()
            await bench.enqueue(job("j1"), job("j2", delay_ms=1_000), job("j3"), job("held"))
            await bench.exchange(died((await bench.claim(1))[0]))
            await _spoil(bench, name)
            verbs: list[Any] = [
                await bench.store.locate("j2", generation="AAAA", lines=LINES),
                await bench.store.backlog(["mail"]),
                await bench.store.cancel("j3", generation="AAAA", lines=LINES),
            ]
            assert len(verbs) == 3

            assert await bench.replace(replacement("j1", line="mail:5", was="f")) is Replaced.DONE
            assert await bench.replace(replacement("j2", line="mail:5", delay_ms=10)) is Replaced.DONE
            assert await bench.replace(replacement("j3")) is Replaced.DONE
            await bench.store.pause("mail")
            await bench.store.resume("mail")
            await bench.store.leave_token("mail")
            await bench.store.leave_poller_token()
            assert await bench.worker("new")


async def test_a_place_that_is_none_is_put_aside_and_its_tickets_wait_for_a_person(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    for place in (b"\xff", b"5x"):
        await bench.raw.zadd(bench.key("lines:mail"), {place: 0})
        await bench.raw.rpush(bench.key("line:mail:").encode() + place, b"mail:" + place + b":AAAA:j1")

    reply = await bench.exchange(limit=10)

    assert ids(reply.claimed) == ["j1"]
    assert reply.claimed[0].ticket == "mail:5:AAAA:j1"
    assert (await bench.exchange(succeeded(reply.claimed[0]))).stored == [True]
    assert await bench.raw.zcard(bench.key("lines:mail")) == 0
    await bench.wipe()


async def test_a_count_of_losses_that_is_no_number_counts_as_none(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    await bench.raw.hset(bench.key("lost"), mapping={"j1": "x", "j2": "1"})

    first = await bench.exchange(limit=10)
    assert {one.ticket: one.lost for one in first.claimed} == {"mail:5:AAAA:j1": 0, "mail:5:AAAA:j2": 1}

    end_ms = int(await bench.raw.zscore(bench.key("workers"), "w1"))
    bench.clock.advance(ms=end_ms - bench.clock.now_ms())
    assert await bench.reclaim(seen_ms=end_ms) is Reclaimed.DONE
    seen = await bench.census()
    assert (seen.lines, seen.lost) == ({"mail:5": ["mail:5:AAAA:j1"], "mail:s": ["mail:s:AAAA:j2"]}, {"j1": 1, "j2": 2})
    await bench.wipe()
