"""What `enqueue` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiotq.errors import StoreUnusable
from aiotq.store.contract import MAX_ENQUEUE, Enqueued
from tests.contract.kit import BODY, ids, job, succeeded

if TYPE_CHECKING:
    from tests.contract.kit import Bench

POLLER = ":poller"


async def test_a_new_job_lies_in_its_line_with_the_time_of_enqueuing_in_its_record(bench: Bench) -> None:
    assert await bench.enqueue(job("j1")) == [Enqueued.NEW]

    seen = await bench.census()
    assert seen.lines == {"mail:5": ["mail:5:AAAA:j1"]}
    assert seen.records == {"j1": b"1wAAAA%013d" % bench.clock.now_ms() + BODY}
    assert seen.queues == {"mail"}
    assert await bench.store.read("j1") == seen.records["j1"]


async def test_without_a_virtual_time_the_record_has_the_servers_own(bench: Bench) -> None:
    before = await bench.raw.time()
    await bench.store.enqueue([job("j1")])
    after = await bench.raw.time()

    written = int((await bench.census()).records["j1"][6:19])
    assert before[0] * 1_000 + before[1] // 1_000 <= written <= after[0] * 1_000 + after[1] // 1_000


async def test_a_repeated_request_enqueues_nothing_twice(bench: Bench) -> None:
    await bench.enqueue(job("j1"))

    assert await bench.enqueue(job("j1")) == [Enqueued.SAME]
    assert await bench.waiting() == ["j1"]


async def test_another_job_of_a_known_id_is_not_enqueued(bench: Bench) -> None:
    await bench.enqueue(job("j1"))
    first = (await bench.census()).records

    assert await bench.enqueue(job("j1", "other:0", generation="CCCC", body=b"{}")) == [Enqueued.EXISTED]

    seen = await bench.census()
    assert seen.records == first
    assert list(seen.lines) == ["mail:5"]


async def test_a_repeated_request_finds_the_job_even_after_its_end(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.exchange(succeeded(await bench.one()))

    assert await bench.enqueue(job("j1")) == [Enqueued.SAME]
    assert await bench.enqueue(job("j1", generation="CCCC")) == [Enqueued.EXISTED]
    assert await bench.waiting() == []


async def test_an_id_twice_in_one_batch_is_one_job(bench: Bench) -> None:
    jobs = [job("j1"), job("j1"), job("j1", generation="CCCC")]

    assert await bench.enqueue(*jobs) == [Enqueued.NEW, Enqueued.SAME, Enqueued.EXISTED]
    assert await bench.waiting() == ["j1"]


async def test_each_job_of_a_batch_gets_its_own_answer(bench: Bench) -> None:
    await bench.enqueue(job("j2"))

    got = await bench.enqueue(job("j1"), job("j2"), job("j3", "other:0"))

    assert got == [Enqueued.NEW, Enqueued.SAME, Enqueued.NEW]


async def test_an_id_may_hold_colons(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("order:17:mail"))

    assert ids(await bench.claim()) == ["order:17:mail"]


async def test_a_queue_may_have_the_name_of_a_key(bench: Bench) -> None:
    queues = ("poller", "s", "5", "job", "nothing", "a.b-c_d")
    await bench.worker(queues=queues)
    for name in queues:
        await bench.enqueue(job(f"in-{name}", f"{name}:5"))

    assert await bench.take_tokens() == set(queues)
    assert ids(await bench.claim(queues=queues)) == [f"in-{name}" for name in queues]


async def test_a_delayed_job_lies_in_the_schedule(bench: Bench) -> None:
    now_ms = bench.clock.now_ms()

    await bench.enqueue(job("j1", delay_ms=1_500), job("j2", due_ms=now_ms + 700), job("j3", due_ms=now_ms - 5))

    seen = await bench.census()
    assert seen.schedule == {
        "mail:5:AAAA:j1": now_ms + 1_500,
        "mail:5:AAAA:j2": now_ms + 700,
        "mail:5:AAAA:j3": now_ms - 5,
    }
    assert seen.lines == {}


async def test_a_job_in_a_line_leaves_one_token_on_its_queue(bench: Bench) -> None:
    await bench.enqueue(job("j1"), job("j2"), job("j3", "other:9"))
    await bench.enqueue(job("j4"))

    seen = await bench.census()
    assert seen.wake == {"mail": 1, "other": 1}
    assert all(0 < seen.ttl_ms[f"wake:{queue}"] <= 60_000 for queue in ("mail", "other"))


async def test_only_an_earlier_due_time_leaves_a_token_for_the_poller(bench: Bench) -> None:
    await bench.enqueue(job("j1", delay_ms=1_000))
    assert await bench.take_tokens() == {POLLER}
    await bench.enqueue(job("j2", delay_ms=2_000))
    assert await bench.take_tokens() == set()
    await bench.enqueue(job("j3", delay_ms=500))
    assert await bench.take_tokens() == {POLLER}


async def test_a_repeated_request_leaves_no_token(bench: Bench) -> None:
    await bench.enqueue(job("j1"))
    await bench.take_tokens()

    await bench.enqueue(job("j1"))

    assert await bench.take_tokens() == set()


async def test_a_full_batch_keeps_its_order(bench: Bench) -> None:
    await bench.worker()
    wanted = [f"j{number}" for number in range(MAX_ENQUEUE)]

    assert set(await bench.enqueue(*[job(name) for name in wanted])) == {Enqueued.NEW}

    assert ids(await bench.claim(300)) + ids(await bench.claim(300)) == wanted


async def test_a_waiting_record_has_no_end(bench: Bench) -> None:
    await bench.enqueue(job("j1"), job("j2", delay_ms=10))

    seen = await bench.census()
    assert seen.ttl_ms["job:j1"] == seen.ttl_ms["job:j2"] == -1


async def test_many_records_are_read_at_once(bench: Bench) -> None:
    await bench.enqueue(job("j1"), job("j2"))

    first, gone, second = await bench.store.read_many(["j1", "nobody", "j2"])

    assert (first, second) == (await bench.store.read("j1"), await bench.store.read("j2"))
    assert gone is None
    assert list(await bench.store.read_many([])) == []


async def test_a_due_time_before_1970_is_due_at_once(bench: Bench) -> None:
    assert await bench.enqueue(job("j1"), job("j2", due_ms=-62_135_596_800_000)) == [Enqueued.NEW] * 2

    seen = await bench.census()
    assert (seen.lines, list(seen.schedule)) == ({"mail:5": ["mail:5:AAAA:j1"]}, ["mail:5:AAAA:j2"])


async def test_a_line_that_is_none_fails_the_batch_and_leaves_nothing(bench: Bench) -> None:
    with pytest.raises(StoreUnusable):
        await bench.enqueue(job("j1"), job("j2", line=""))

    assert (await bench.census()).records == {}
