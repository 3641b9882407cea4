"""Jobs whose worker vanished twice or more: one of them may be what kills, so they run apart from the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.job import parse_ticket
from tests.contract.kit import ids, job, replacement, retried, returned, succeeded

if TYPE_CHECKING:
    from tests.contract.kit import Bench


async def _lose(bench: Bench, times: int, *job_ids: str) -> None:
    """Have workers claim these jobs, and vanish with them."""
    for number in range(times):
        name = f"victim{number}-{'-'.join(job_ids)}"
        await bench.worker(name)
        got: list[str] = []
        while len(got) < len(job_ids):
            got += ids(await bench.claim(by=name))
        await bench.vanish(name)


async def test_a_job_lost_twice_becomes_a_suspect(bench: Bench) -> None:
    await bench.enqueue(job("j1"))
    await _lose(bench, 1, "j1")
    assert (await bench.census()).lines == {"mail:5": ["mail:5:AAAA:j1"]}

    await _lose(bench, 1, "j1")

    seen = await bench.census()
    assert (seen.lines, seen.index) == ({"mail:s": ["mail:s:AAAA:j1"]}, {"mail": ["s"]})
    assert seen.lost == {"j1": 2}


async def test_suspects_are_claimed_before_all_else_and_one_at_a_time(bench: Bench) -> None:
    await bench.enqueue(job("j1"), job("j2"), job("j3"))
    await _lose(bench, 2, "j1", "j2", "j3")
    await bench.enqueue(job("good1", "mail:0"), job("good2", "mail:0"))
    await bench.worker()

    first = await bench.claim(10)
    assert len(first) == 3
    assert parse_ticket(first[0].ticket).suspect
    assert first[0].lost == 2
    assert ids(first[1:]) == ["good1", "good2"]
    assert await bench.claim(10, suspects=False) == []
    await bench.exchange(succeeded(first[0]))
    second = await bench.claim(10)
    assert [parse_ticket(one.ticket).suspect for one in second] == [True]


async def test_one_suspect_of_all_queues_is_claimed_at_a_time(bench: Bench) -> None:
    await bench.enqueue(job("j1", "a:5"))
    await bench.worker("x1")
    await bench.claim(by="x1", queues=("a",))
    await bench.vanish("x1")
    await bench.worker("x2")
    await bench.claim(by="x2", queues=("a",))
    await bench.vanish("x2")
    await bench.enqueue(job("k1"))
    await _lose(bench, 2, "k1")
    await bench.worker()

    assert ids(await bench.claim(queues=("a", "mail"))) == ["j1"]


async def test_a_suspect_that_a_worker_may_not_take_leaves_no_token(bench: Bench) -> None:
    await bench.enqueue(job("j1"), job("j2"))
    await _lose(bench, 2, "j1", "j2")
    await bench.worker()
    assert len(await bench.claim()) == 1
    await bench.take_tokens()

    await bench.claim(suspects=False)

    assert await bench.take_tokens() == set(), "it would spin"


async def test_a_suspect_that_is_put_back_leaves_a_token_even_when_no_slot_is_free(bench: Bench) -> None:
    await bench.enqueue(job("j1"))
    await _lose(bench, 2, "j1")
    await bench.worker()
    suspect = await bench.one()
    await bench.take_tokens()

    await bench.exchange(returned(suspect), limit=0, suspects=False)

    assert await bench.take_tokens() == {"mail"}
    assert (await bench.census()).lines == {"mail:s": ["mail:s:BBBB:j1"]}


async def test_a_suspect_stays_one_when_it_is_retried_and_waits_behind_the_others(bench: Bench) -> None:
    await bench.enqueue(job("j1"), job("j2"))
    await _lose(bench, 2, "j1", "j2")
    await bench.worker()
    suspect = await bench.one()
    [other] = set(await bench.waiting("mail:s"))
    await bench.exchange(retried(suspect, delay_ms=10))
    bench.clock.advance(ms=10)

    assert (await bench.promote()).moved == 1

    assert await bench.waiting("mail:s") == [other, *ids([suspect])]


async def test_a_suspect_that_a_person_reschedules_waits_behind_the_others(bench: Bench) -> None:
    await bench.enqueue(job("j1"), job("j2"))
    await _lose(bench, 2, "j1", "j2")

    await bench.replace(replacement((await bench.waiting("mail:s"))[0], line="mail:s"))

    assert (await bench.census()).lines["mail:s"][-1].startswith("mail:s:RRRR:")
