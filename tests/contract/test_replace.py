"""Compare and set of records nobody holds, cancelling of jobs somebody holds, and where a job is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aiotq.job import JobStatus
from aiotq.store.contract import Replaced
from tests.contract.kit import HOUR_MS, LINES, died, ids, job, replacement, retried, returned, succeeded

if TYPE_CHECKING:
    from tests.contract.kit import Bench

POLLER = ":poller"


async def test_a_cancelled_queued_job_never_runs(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))

    assert await bench.replace(replacement("j1")) is Replaced.DONE

    assert ids(await bench.claim()) == ["j2"]
    seen = await bench.census()
    assert seen.records["j1"].startswith(b"1cRRRR")
    assert 0 < seen.ttl_ms["job:j1"] <= HOUR_MS


async def test_a_cancelled_scheduled_job_leaves_the_schedule(bench: Bench) -> None:
    await bench.enqueue(job("j1", delay_ms=10))

    assert await bench.replace(replacement("j1")) is Replaced.DONE

    assert (await bench.census()).schedule == {}


async def test_a_job_in_a_workers_hands_is_not_replaced(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2", "mail:f"))
    await bench.claim()
    before = await bench.census()

    assert await bench.replace(replacement("j1")) is Replaced.HELD
    assert await bench.replace(replacement("j2", line="mail:5")) is Replaced.HELD

    assert await bench.census() == before


async def test_a_suspect_in_a_workers_hands_is_not_replaced_either(bench: Bench) -> None:
    await bench.enqueue(job("j1"))
    for name in ("w1", "w2"):
        await bench.worker(name)
        await bench.claim(by=name)
        await bench.vanish(name)
    await bench.worker("w3")
    assert [one.ticket for one in await bench.claim(by="w3")] == ["mail:s:AAAA:j1"]

    assert await bench.replace(replacement("j1")) is Replaced.HELD


async def test_a_record_that_has_changed_since_it_was_read_is_not_replaced(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.exchange(returned(await bench.one()))
    before = await bench.census()

    assert await bench.replace(replacement("j1")) is Replaced.CHANGED
    assert await bench.replace(replacement("nobody")) is Replaced.CHANGED

    assert await bench.census() == before


@pytest.mark.parametrize("end", [succeeded, died], ids=["succeeded", "failed"])
@pytest.mark.parametrize("line", [None, "mail:0"], ids=["cancel", "reschedule"])
async def test_a_job_that_has_ended_since_it_was_read_stays_as_it_ended(
    bench: Bench, end: Any, line: str | None
) -> None:
    """Its record has the generation that was read, and nobody holds it any more."""
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.exchange(end(await bench.one()))
    before = await bench.census()

    assert await bench.replace(replacement("j1", line=line)) is Replaced.CHANGED

    assert await bench.census() == before


async def test_a_record_that_is_already_as_wanted_counts_as_done(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    wanted = replacement("j1", line="mail:0")
    await bench.replace(wanted)
    before = await bench.census()

    assert await bench.replace(wanted) is Replaced.DONE
    assert await bench.census() == before
    await bench.claim()
    assert await bench.replace(wanted) is Replaced.DONE, "even if it has been claimed since"
    assert (await bench.census()).active == {"w1": {"mail:0:RRRR:j1"}}


async def test_a_rescheduled_job_runs_once_where_it_was_put(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    await bench.take_tokens()

    assert await bench.replace(replacement("j1", line="mail:0")) is Replaced.DONE

    assert await bench.take_tokens() == {"mail"}
    claimed = await bench.claim()
    assert [one.ticket for one in claimed] == ["mail:0:RRRR:j1", "mail:5:AAAA:j2"]
    assert (await bench.census()).ttl_ms["job:j1"] == -1


async def test_a_job_rescheduled_to_the_front_is_the_first(bench: Bench) -> None:
    await bench.enqueue(job("j1"), job("j2"))

    await bench.replace(replacement("j2", line="mail:f"))

    assert (await bench.census()).lines["mail:5"] == ["mail:f:RRRR:j2", "mail:5:AAAA:j1", "mail:5:AAAA:j2"]


async def test_a_job_rescheduled_for_later_leaves_a_token_for_the_poller(bench: Bench) -> None:
    await bench.enqueue(job("j1"), job("j2", delay_ms=5_000))
    await bench.take_tokens()

    await bench.replace(replacement("j1", line="mail:5", delay_ms=100))

    assert await bench.take_tokens() == {POLLER}
    assert (await bench.census()).schedule["mail:5:RRRR:j1"] == bench.clock.now_ms() + 100


async def test_a_dead_letter_that_a_person_retries_is_none_any_more(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.exchange(died(await bench.one()))

    assert await bench.replace(replacement("j1", was="f", line="mail:5")) is Replaced.DONE

    seen = await bench.census()
    assert (seen.dead, seen.ttl_ms["job:j1"], seen.lines) == ({}, -1, {"mail:5": ["mail:5:RRRR:j1"]})
    assert ids(await bench.claim()) == ["j1"]


async def test_ending_a_job_forgets_what_was_kept_beside_it(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"))
    await bench.one()
    await bench.store.cancel("j1", generation="AAAA", lines=LINES)
    await bench.vanish("w1")

    assert await bench.replace(replacement("j1")) is Replaced.DONE

    seen = await bench.census()
    assert (seen.lost, seen.cancels) == ({}, set())


async def test_an_end_by_replacement_is_published(bench: Bench) -> None:
    await bench.enqueue(job("j1"))
    ended = bench.store.ended("j1")
    assert await anext(ended) == await bench.store.read("j1")

    await bench.replace(replacement("j1"))

    async with asyncio.timeout(5):
        assert await anext(ended) == await bench.store.read("j1")
    await ended.aclose()  # type: ignore[attr-defined]


# --- cancel


async def test_a_running_job_is_marked_and_its_worker_told(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.worker("w2")
    await bench.enqueue(job("j1"), job("j2"))
    await bench.claim(2, by="w1")
    news = bench.store.cancellations("w1")
    async with asyncio.timeout(5):
        assert await anext(news) is None  # it listens
    waiting = asyncio.ensure_future(anext(news))

    assert await bench.store.cancel("j1", generation="AAAA", lines=LINES)

    async with asyncio.timeout(5):
        assert await waiting == "j1"
    assert list((await bench.exchange(by="w1")).cancels) == ["j1"]
    assert list((await bench.exchange(by="w2")).cancels) == []
    await news.aclose()  # type: ignore[attr-defined]


async def test_a_job_that_nobody_holds_is_not_marked(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2", delay_ms=10), job("j3"))
    await bench.exchange(succeeded((await bench.claim(1))[0]))

    for name in ("j1", "j2", "j3", "nobody"):
        assert not await bench.store.cancel(name, generation="AAAA", lines=LINES)

    assert (await bench.census()).cancels == set()


async def test_a_cancel_of_an_earlier_generation_marks_nothing(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.exchange(returned(await bench.one(), generation="BBBB"))
    await bench.claim()

    assert not await bench.store.cancel("j1", generation="AAAA", lines=LINES)
    assert await bench.store.cancel("j1", generation="BBBB", lines=LINES)


async def test_the_mark_survives_the_loss_of_the_worker(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1"))
    await bench.one()
    await bench.store.cancel("j1", generation="AAAA", lines=LINES)
    await bench.vanish("w1")
    await bench.worker("w2")

    [claimed] = await bench.claim(by="w2")

    assert (claimed.cancelled, claimed.lost) == (True, 1)


@pytest.mark.parametrize("number", [400])
async def test_many_cancels_at_once_do_not_slow_an_exchange_down(bench: Bench, number: int) -> None:
    await bench.worker()
    await bench.enqueue(*[job(f"j{one}") for one in range(number)])
    held = [*await bench.claim(300), *await bench.claim(300)]
    for one in range(number):
        assert await bench.store.cancel(f"j{one}", generation="AAAA", lines=("mail:5",))

    reply = await bench.exchange(*[succeeded(one) for one in held[:300]])
    assert all(reply.stored)
    assert set(reply.cancels) <= {f"j{one}" for one in range(400)}
    reply = await bench.exchange()
    assert set(reply.cancels) == {f"j{one}" for one in range(300, 400)}


async def test_of_more_cancels_than_one_answer_carries_none_is_forgotten(bench: Bench) -> None:
    """Whoever did not hear them on the channel, or may not listen there."""
    await bench.worker()
    await bench.worker("w2")
    await bench.enqueue(*[job(f"j{number}") for number in range(400)])
    for by in ("w1", "w2"):
        await bench.claim(200, by=by)
    for number in range(400):
        assert await bench.store.cancel(f"j{number}", generation="AAAA", lines=("mail:5",))
    await bench.enqueue(*[job(f"more{number}") for number in range(200)])
    await bench.claim(200)

    told: set[str] = set()
    for _ in range(20):
        bench.clock.advance(ms=7)
        reply = await bench.exchange()
        assert len(reply.cancels) <= 300
        told |= set(reply.cancels)
    assert len(told) == 200
    assert all(name.startswith("j") for name in told)


# --- locate


async def test_where_a_job_is_at_each_station_of_its_life(bench: Bench) -> None:
    await bench.worker()

    async def where(generation: str = "AAAA") -> JobStatus | None:
        return (await bench.store.locate("j1", generation=generation, lines=LINES)).status

    assert await where() is None
    await bench.enqueue(job("j1", delay_ms=10))
    assert await where() is JobStatus.SCHEDULED
    bench.clock.advance(ms=10)
    await bench.promote()
    assert await where() is JobStatus.QUEUED
    held = await bench.one()
    assert await where() is JobStatus.RUNNING
    assert await where("ZZZZ") is None, "the record is another one now"
    await bench.exchange(retried(held, generation="BBBB", delay_ms=5))
    assert await where() is None
    assert await where("BBBB") is JobStatus.SCHEDULED
    bench.clock.advance(ms=5)
    await bench.exchange(succeeded((await bench.claim())[0]))
    assert await where("BBBB") is None, "its end stands in the record"


async def test_a_place_tells_who_holds_the_job_and_when_it_is_due(bench: Bench) -> None:
    await bench.worker("w1")
    await bench.enqueue(job("j1", "mail:f"), job("j2", delay_ms=10))
    await bench.one()

    running = await bench.store.locate("j1", generation="AAAA", lines=LINES)
    scheduled = await bench.store.locate("j2", generation="AAAA", lines=LINES)

    assert (running.worker_id, running.worker, running.due_ms, running.lost) == ("w1", "at w1", None, 0)
    assert (scheduled.worker_id, scheduled.due_ms) == (None, bench.clock.now_ms() + 10)
    await bench.vanish("w1")
    assert (await bench.store.locate("j1", generation="AAAA", lines=LINES)).lost == 1


# --- backlog


async def test_the_backlog_counts_what_is_left_in_some_queues(bench: Bench) -> None:
    await bench.worker()
    assert (await bench.store.backlog(["mail"])).empty
    await bench.enqueue(job("j1"), job("j2", "mail:0"), job("j3"), job("k1", "other:5", delay_ms=10))
    held = await bench.claim(1)

    first = await bench.store.backlog(["mail"])
    assert (first.queued, first.running, first.scheduled) == (2, 1, False)
    await bench.exchange(retried(held[0]))
    second = await bench.store.backlog(["mail"])
    assert (second.queued, second.running, second.scheduled) == (2, 0, True)
    assert not (await bench.store.backlog(["other"])).empty
    assert (await bench.store.backlog(["nothing"])).empty


async def test_the_backlog_leaves_out_what_other_queues_have(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("k1", "other:5"), job("k2", "other:5"), job("k3", "other:5", delay_ms=10))
    await bench.claim(1, queues=("other",))

    assert (await bench.store.backlog(["mail"])).empty
    other = await bench.store.backlog(["mail", "other"])
    assert (other.queued, other.running) == (1, 1)
