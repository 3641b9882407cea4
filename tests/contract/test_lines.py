"""The index of a queue's lines, and the tokens that a claim leaves where more is to be claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.contract.kit import ids, job, retried, returned

if TYPE_CHECKING:
    from tests.contract.kit import Bench


# --- tokens


async def test_a_claim_leaves_a_token_on_each_queue_that_still_has_jobs(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"), job("k1", "other:5"), job("x1", "foreign:5"))
    await bench.take_tokens()

    await bench.claim(1, queues=("mail", "other"))

    assert await bench.take_tokens() == {"mail", "other"}


async def test_a_claim_that_takes_all_leaves_no_token(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    await bench.take_tokens()

    await bench.claim(2)

    assert await bench.take_tokens() == set()


async def test_a_full_worker_leaves_its_tokens_to_others(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.take_tokens()

    await bench.claim(0)

    assert await bench.take_tokens() == {"mail"}


async def test_jobs_that_a_claim_promotes_for_other_queues_leave_tokens_there(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("k1", "other:5", delay_ms=10), job("j1", delay_ms=20))
    bench.clock.advance(ms=20)
    await bench.take_tokens()

    assert ids(await bench.claim(5)) == ["j1"]

    assert await bench.take_tokens() >= {"other"}
    assert await bench.waiting("other:5") == ["k1"]


# --- the index of lines


async def test_the_index_of_lines_names_only_lines_that_hold_something(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1", "mail:3"), job("j2", "mail:a"), job("j3", "mail:9"))
    assert (await bench.census()).index == {"mail": ["0", "3", "9"]}

    held = await bench.claim(2)
    assert (await bench.census()).index == {"mail": ["9"]}

    await bench.exchange(retried(held[0], delay_ms=0), returned(held[1], generation="CCCC"))
    assert (await bench.census()).index == {"mail": ["3", "9"]}
    assert ids(await bench.claim(10)) == ["j2", "j1", "j3"]
    assert (await bench.census()).index == {}


async def test_a_line_that_the_index_names_in_vain_is_removed_from_it(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.raw.delete(bench.key("line:mail:5"))

    assert await bench.claim() == []
    assert (await bench.census()).index == {}
    await bench.raw.delete(bench.key("job:j1"))
