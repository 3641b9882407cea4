"""`max_len`: how many jobs may wait in a queue. Only new ones of callers are refused, each by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiotq.errors import QueueFull
from aiotq.store import scripts
from aiotq.store.contract import Enqueued, Replaced
from tests.contract.conftest import REAL
from tests.contract.kit import job, replacement, retried, returned
from tests.faults.proxy import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.contract.kit import Bench
    from tests.faults.proxy import FaultProxy

NEW, SAME, EXISTED = Enqueued.NEW, Enqueued.SAME, Enqueued.EXISTED


def told(answers: Sequence[Enqueued | QueueFull]) -> list[Enqueued | None]:
    """The answers, with None for a job that did not fit."""
    return [answer if isinstance(answer, Enqueued) else None for answer in answers]


async def test_a_job_too_many_is_refused_and_nothing_of_it_is_written(bench: Bench) -> None:
    assert told(await bench.enqueue(job("j1", max_len=2), job("j2", max_len=2))) == [NEW, NEW]
    await bench.take_tokens()
    before = await bench.census()

    [answer] = await bench.enqueue(job("j3", max_len=2))

    assert isinstance(answer, QueueFull)
    assert (answer.queue, answer.max_len, answer.job_id, answer.verb) == ("mail", 2, "j3", "enqueue")
    after = await bench.census()
    assert (after.lines, after.records, after.wake) == (before.lines, before.records, {})


async def test_each_job_of_a_batch_gets_its_own_answer_and_those_that_fit_go_in(bench: Bench) -> None:
    await bench.enqueue(job("j0"))

    answers = await bench.enqueue(
        job("j1", max_len=2),
        job("j2", max_len=2),
        job("j3", "other:5", max_len=1),
        job("j4", "mail:0", max_len=2),
        job("j5", "other:5", max_len=1),
        job("j6"),
    )

    assert told(answers) == [NEW, None, NEW, None, None, NEW]
    assert (await bench.waiting(), await bench.waiting("other:5")) == (["j0", "j1", "j6"], ["j3"])


async def test_those_of_a_batch_with_a_bound_and_without_are_counted_together_and_keep_one_order(bench: Bench) -> None:
    jobs = [job("j1"), job("j2", max_len=3), job("j3"), job("j4", max_len=3), job("j5"), job("j6", max_len=9)]

    assert told(await bench.enqueue(*jobs)) == [NEW, NEW, NEW, None, NEW, NEW]
    assert await bench.waiting() == ["j1", "j2", "j3", "j5", "j6"]


async def test_jobs_of_all_priorities_and_suspects_are_counted(bench: Bench) -> None:
    await bench.enqueue(job("j1", "mail:0"), job("j2", "mail:9"), job("j3", "mail:f"), job("j4"))
    for name in ("w1", "w2"):  # lost twice: a suspect
        await bench.worker(name)
        await bench.claim(1, by=name)
        await bench.vanish(name)
    assert len((await bench.census()).lines) == 3

    assert told(await bench.enqueue(job("j5", max_len=5), job("j6", max_len=5))) == [NEW, None]


async def test_scheduled_and_running_jobs_and_those_of_other_queues_do_not_count(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.one()
    await bench.enqueue(job("j2", delay_ms=60_000), job("j3", "other:5"), job("j4", "mail.b:5"))

    assert told(await bench.enqueue(job("j5", max_len=1), job("j6", max_len=1))) == [NEW, None]


async def test_a_queue_that_is_drained_takes_jobs_again(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1", max_len=1))
    assert told(await bench.enqueue(job("j2", max_len=1))) == [None]

    await bench.one()

    assert told(await bench.enqueue(job("j2", max_len=1))) == [NEW]


async def test_a_known_id_is_answered_as_known_although_the_queue_is_full(bench: Bench) -> None:
    first = job("j1", max_len=1)
    await bench.enqueue(first)

    answers = await bench.enqueue(first, job("j1", generation="CCCC", max_len=1), job("j2", max_len=1))

    assert told(answers) == [SAME, EXISTED, None]


async def test_an_id_twice_in_a_batch_takes_one_place(bench: Bench) -> None:
    jobs = [job("j1", max_len=2), job("j1", max_len=2), job("j2", max_len=2), job("j3", max_len=2)]

    assert told(await bench.enqueue(*jobs)) == [NEW, SAME, NEW, None]


async def test_a_scheduled_job_is_taken_and_comes_to_its_line_although_that_is_full(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))

    assert told(await bench.enqueue(job("j2", delay_ms=100))) == [NEW]
    bench.clock.advance(ms=100)
    await bench.promote()

    assert await bench.waiting() == ["j1", "j2"]
    assert told(await bench.enqueue(job("j3", max_len=2))) == [None], "a promoted one is counted"


async def test_what_comes_back_comes_back_however_full_the_queue_is(bench: Bench) -> None:
    """Retries, returns, reclaims and what a person does."""
    await bench.worker()
    await bench.worker("w2")
    await bench.enqueue(*[job(f"j{number}", max_len=4) for number in range(4)])
    retry, back = await bench.claim(2)
    await bench.claim(1, by="w2")
    await bench.enqueue(*[job(f"n{number}", max_len=4) for number in range(3)])
    assert told(await bench.enqueue(job("more", max_len=4))) == [None]

    answered = await bench.exchange(retried(retry, delay_ms=0), returned(back))
    await bench.promote()
    await bench.vanish("w2")

    assert all(answered.stored)
    assert sorted(await bench.waiting()) == ["j0", "j1", "j2", "j3", "n0", "n1", "n2"]
    assert await bench.replace(replacement("j3", line="mail:5")) is Replaced.DONE
    assert len(await bench.waiting()) == 8, "its former ticket is dropped when a claim meets it, and counted until then"


@pytest.mark.parametrize("server", REAL, indirect=True)
async def test_a_repeated_request_whose_answer_got_lost_is_answered_as_known(far: Bench, proxy: FaultProxy) -> None:
    proxy.arm(Fault.DROP_REPLY, scripts.ENQUEUE.sha)

    assert told(await far.enqueue(job("j1", max_len=1))) == [SAME]


@pytest.mark.parametrize("server", REAL, indirect=True)
async def test_a_batch_looks_once_at_each_queue_that_has_a_limit_and_not_at_all_at_others(bench: Bench) -> None:
    await bench.enqueue(job("j1", "mail:1"), job("j2", "mail:2"), job("o1", "other:5"))

    async def calls(*jobs: str, max_len: int | None) -> dict[str, int]:
        await bench.raw.config_resetstat()
        await bench.enqueue(
            *[job(f"{name}m", "mail:1", max_len=max_len) for name in jobs],
            *[job(f"{name}n", "mail:7", max_len=max_len) for name in jobs],
            *[job(f"{name}o", "other:5", max_len=max_len) for name in jobs],
        )
        stats = await bench.raw.info("commandstats")
        return {name: stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("zrange", "llen", "exists")}

    free = await calls("a", "b", "c", max_len=None)
    bound = await calls("d", "e", "f", max_len=1_000)

    assert free["zrange"] == free["exists"] == 0
    assert bound["zrange"] == 2, "one look at each queue"
    assert bound["llen"] - free["llen"] == 4, "and at each of its lines: three of mail, one of other"
    assert bound["exists"] == 0
