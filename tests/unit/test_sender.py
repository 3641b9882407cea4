"""Concurrent calls share round trips: what gathers, in which order, in which batches."""

from __future__ import annotations

import asyncio

from aiotq.sender import HALF_LEAST, Sender, batches
from aiotq.store.contract import MAX_BATCH_BYTES, MAX_ENQUEUE, Enqueued
from tests.unit.outgoing import FakeStore, a_job, sender, store

__all__ = ["sender", "store"]  # fixtures


async def test_a_lone_job_is_sent_at_once(store: FakeStore, sender: Sender) -> None:
    assert await sender.send(a_job("1")) is Enqueued.NEW
    assert store.batches == [["1"]]


async def test_what_is_sent_in_one_step_of_the_loop_goes_together_in_its_order(
    store: FakeStore, sender: Sender
) -> None:
    await asyncio.gather(*[sender.send(a_job(str(i))) for i in range(10)])
    assert store.batches == [[str(i) for i in range(10)]]


async def test_while_one_batch_is_in_flight_the_next_one_gathers(store: FakeStore, sender: Sender) -> None:
    store.gate.clear()
    first = sender.send(a_job("1"))
    await store.arrived.wait()
    others = [sender.send(a_job(name)) for name in "234"]
    await asyncio.sleep(0)
    assert store.batches == [["1"]]
    store.gate.set()
    await asyncio.gather(first, *others)
    assert store.batches == [["1"], ["2", "3", "4"]]


async def test_callers_that_send_one_after_the_other_share_each_round_trip(store: FakeStore, sender: Sender) -> None:
    async def caller(name: str) -> None:
        for i in range(5):
            await sender.send(a_job(f"{name}{i}"))

    await asyncio.gather(*[caller(name) for name in "abc"])
    assert store.batches == [[f"{name}{i}" for name in "abc"] for i in range(5)]


async def test_a_cancelled_caller_takes_its_unsent_job_back(store: FakeStore, sender: Sender) -> None:
    store.gate.clear()
    first = sender.send(a_job("1"))
    await store.arrived.wait()
    second, third = sender.send(a_job("2")), sender.send(a_job("3"))
    second.cancel()
    store.gate.set()
    await asyncio.gather(first, third)
    assert store.batches == [["1"], ["3"]]


async def test_a_cancelled_caller_whose_job_is_in_flight_disturbs_nobody(store: FakeStore, sender: Sender) -> None:
    store.gate.clear()
    first, second = sender.send(a_job("1")), sender.send(a_job("2"))
    await store.arrived.wait()
    first.cancel()
    store.gate.set()
    assert await second is Enqueued.NEW


async def test_each_job_gets_its_own_answer(store: FakeStore, sender: Sender) -> None:
    answers = await asyncio.gather(*[sender.send(a_job(name)) for name in "aba"])
    assert answers == [Enqueued.NEW, Enqueued.NEW, Enqueued.EXISTED]


async def test_the_sending_task_ends_when_nothing_is_left(sender: Sender) -> None:
    await sender.send(a_job("1"))
    await sender.drain()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_draining_waits_for_what_was_handed_over(store: FakeStore, sender: Sender) -> None:
    store.gate.clear()
    jobs = [sender.send(a_job("1"))]
    await store.arrived.wait()
    jobs.append(sender.send(a_job("2")))
    draining = asyncio.create_task(sender.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    store.gate.set()
    await draining
    assert all(job.done() for job in jobs)


async def test_many_that_wait_go_out_beside_a_batch_in_flight_and_share_the_rest_with_it(
    store: FakeStore, sender: Sender
) -> None:
    await sender.send(a_job("0"))
    store.gate.clear()
    store.arrived.clear()
    jobs = [sender.send(a_job("1"))]
    await store.arrived.wait()
    store.arrived.clear()
    jobs += [sender.send(a_job(f"2-{i}")) for i in range(HALF_LEAST - 1)]
    await asyncio.sleep(0)
    assert len(store.batches) == 2, "a few wait for the answer to those before them"
    jobs += [sender.send(a_job(f"3-{i}")) for i in range(3 * HALF_LEAST)]
    await store.arrived.wait()
    assert [len(batch) for batch in store.batches] == [1, 1, 2 * HALF_LEAST], "half of all that were on their way"
    jobs += [sender.send(a_job(f"4-{i}")) for i in range(HALF_LEAST)]
    await asyncio.sleep(0)
    assert len(store.batches) == 3, "never more than two at once"
    store.gate.set()
    await asyncio.gather(*jobs)
    names = [job_id for batch in store.batches for job_id in batch]
    assert names == sorted(names, key=lambda name: name.partition("-")[0]), "each group in the order of its calls"


async def test_what_is_handed_over_as_the_last_batch_lands_is_sent(store: FakeStore, sender: Sender) -> None:
    sent: list[asyncio.Future[Enqueued]] = []
    for turns in range(6):  # whichever step the sending task is in
        await sender.send(a_job(f"{turns}a"))
        for _ in range(turns):
            await asyncio.sleep(0)
        sent.append(sender.send(a_job(f"{turns}b")))
        async with asyncio.timeout(5):
            await sent[-1]
    assert len(store.known) == 12


# --- batches ------------------------------------------------------------------------------------------------------


def test_a_batch_holds_at_most_so_many_jobs() -> None:
    jobs = [a_job(str(i)) for i in range(2 * MAX_ENQUEUE + 1)]
    found = list(batches(jobs))
    assert [len(batch) for batch in found] == [MAX_ENQUEUE, MAX_ENQUEUE, 1]
    assert [job for batch in found for job in batch] == jobs


def test_a_batch_holds_at_most_so_many_bytes() -> None:
    third = MAX_BATCH_BYTES // 3 - 200
    assert [len(batch) for batch in batches([a_job("x", third)] * 7)] == [3, 3, 1]


def test_a_job_of_any_size_goes_alone() -> None:
    sizes = [0, 3 * MAX_BATCH_BYTES, 0, 0]
    assert [len(batch) for batch in batches([a_job("x", size) for size in sizes])] == [1, 1, 2]


async def test_jobs_handed_over_one_by_one_go_out_in_batches_of_the_same_bounds(
    store: FakeStore, sender: Sender
) -> None:
    sizes = [0] * (MAX_ENQUEUE + 1) + [MAX_BATCH_BYTES - 200, 0, 0, 2 * MAX_BATCH_BYTES]
    await asyncio.gather(*[sender.send(a_job(str(i), size)) for i, size in enumerate(sizes)])
    assert [len(batch) for batch in store.batches] == [MAX_ENQUEUE, 1, 1, 2, 1]


async def test_many_jobs_go_out_in_order_and_get_their_answers_in_order(store: FakeStore, sender: Sender) -> None:
    store.known.add("1")
    answers = await sender.send_many(a_job(str(i)) for i in range(1200))
    assert len(answers) == 1200
    assert [i for i, answer in enumerate(answers) if answer is Enqueued.EXISTED] == [1]
    assert [name for batch in store.batches for name in batch] == [str(i) for i in range(1200)]
