"""Tokens that wake, ends that are published: hints, which may be lost at the price of a little time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import pytest

from tests.contract.conftest import REAL
from tests.contract.kit import ids, job, succeeded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.contract.kit import Bench

real = pytest.mark.parametrize("server", REAL, indirect=True)


async def test_a_waiting_worker_is_woken_by_a_token_and_told_of_which_queue(bench: Bench) -> None:
    waiting = asyncio.ensure_future(bench.store.wait_token(["other", "mail"], block_s=4))
    await asyncio.sleep(0)
    await bench.enqueue(job("j1"))

    async with asyncio.timeout(3):
        assert await waiting == "mail"
    assert await bench.take_tokens() == set()


async def test_a_token_that_lies_there_already_wakes_at_once(bench: Bench) -> None:
    await bench.enqueue(job("j1"))

    async with asyncio.timeout(3):
        assert await bench.store.wait_token(["mail"], block_s=4) == "mail"


async def test_a_wait_without_a_token_ends_with_its_time(bench: Bench) -> None:
    async with asyncio.timeout(3):
        assert await bench.store.wait_token(["mail"], block_s=0.05) is None
        assert await bench.store.wait_poller_token(block_s=0.05) is False


async def test_the_poller_is_woken_by_an_earlier_due_time(bench: Bench) -> None:
    waiting = asyncio.ensure_future(bench.store.wait_poller_token(block_s=4))
    await asyncio.sleep(0)
    await bench.enqueue(job("j1", delay_ms=1_000))

    async with asyncio.timeout(3):
        assert await waiting


async def test_a_wait_does_not_hold_up_other_verbs(bench: Bench) -> None:
    await bench.worker()
    waiting = asyncio.ensure_future(bench.store.wait_token(["mail"], block_s=4))

    async with asyncio.timeout(3):
        for number in range(20):
            await bench.enqueue(job(f"k{number}", "other:5"))
        assert len(await bench.claim(20, queues=("other",))) == 20

    await bench.store.leave_token("mail")
    assert await waiting == "mail"


async def test_a_cancelled_wait_loses_at_most_a_token_and_never_a_job(bench: Bench) -> None:
    await bench.worker()
    for number in range(10):
        waiting = asyncio.ensure_future(bench.store.wait_token(["mail"], block_s=0.2))
        for _ in range(number):
            await asyncio.sleep(0)  # the later ones block by now
        await bench.enqueue(job(f"j{number}"))
        waiting.cancel()
        await asyncio.wait([waiting])

    assert sorted(ids(await bench.claim(20))) == [f"j{number}" for number in range(10)]
    async with asyncio.timeout(10):  # those that were cancelled may still wait there, and take a token to nowhere
        await bench.store.wait_token(["mail"], block_s=0.01)
    await bench.take_tokens()
    await bench.store.leave_token("mail")
    async with asyncio.timeout(3):
        assert await bench.store.wait_token(["mail"], block_s=1) == "mail", "the connection is still in step"


async def test_a_token_is_passed_on_and_there_is_never_more_than_one(bench: Bench) -> None:
    for _ in range(3):
        await bench.store.leave_token("mail")
        await bench.store.leave_poller_token()

    seen = await bench.census()
    assert seen.wake == {"mail": 1, ":poller": 1}
    assert all(0 < seen.ttl_ms[f"wake:{name}"] <= 60_000 for name in seen.wake)


# --- ends of jobs


def _ends(bench: Bench, job_id: str) -> aclosing[AsyncGenerator[bytes | None]]:
    return aclosing(cast("AsyncGenerator[bytes | None]", bench.store.ended(job_id)))


async def test_jobs_taken_back_wake_somebody_although_the_vanished_worker_takes_a_token(bench: Bench) -> None:
    """Frozen or cut off, it has not left: its blocking pop waits at the server, and longest of all."""
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.claim(1)
    await bench.take_tokens()
    await bench.vanish()

    assert await bench.raw.lpop(bench.key("wake:mail")) is not None  # the vanished one's

    async with asyncio.timeout(3):
        assert await bench.store.wait_token(["mail"], block_s=4) == "mail"
    assert await bench.take_tokens() == set()


async def test_the_end_of_a_job_comes_to_whoever_waits_for_it(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    first, second = await bench.claim()
    outcome = succeeded(second)

    async with _ends(bench, "j2") as ended, asyncio.timeout(5):
        assert await anext(ended) == await bench.store.read("j2"), "once subscribed: as it is now"
        await bench.exchange(succeeded(first), outcome)
        assert await anext(ended) == outcome.record


async def test_a_large_record_is_not_published_but_its_end_is(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    outcome = succeeded(await bench.one(), body=b"x" * 100_000)

    async with _ends(bench, "j1") as ended, asyncio.timeout(5):
        assert await anext(ended) == await bench.store.read("j1")
        await bench.exchange(outcome)
        assert await anext(ended) is None

    assert await bench.store.read("j1") == outcome.record


async def test_any_number_may_wait_for_one_job_and_each_is_told(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    outcome = succeeded(await bench.one())

    async with asyncio.timeout(5), _ends(bench, "j1") as first, _ends(bench, "j1") as second:
        assert [await anext(first), await anext(second)] == [await bench.store.read("j1")] * 2
        await bench.exchange(outcome)
        assert [await anext(first), await anext(second)] == [outcome.record] * 2


async def test_whoever_waits_no_more_leaves_no_subscription(bench: Bench) -> None:
    async with asyncio.timeout(5):
        for number in range(5):
            async with _ends(bench, f"j{number}") as ended:
                await anext(ended)
        async with _ends(bench, "other") as ended:
            await anext(ended)
            channels = await bench.raw.pubsub_channels(bench.key("done:*"))

    assert [channel.decode() for channel in channels] == [bench.key("done:other")]


@real
async def test_after_a_broken_subscription_the_waiting_are_told_to_look_for_themselves(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    held = await bench.one()

    async with _ends(bench, "j1") as ended, asyncio.timeout(5):
        await anext(ended)
        await bench.raw.client_kill_filter(_type="pubsub")
        outcome = succeeded(held)
        await bench.exchange(outcome)
        assert await anext(ended) == outcome.record
        await bench.enqueue(job("j2"))
        outcome = succeeded(await bench.one())
        async with _ends(bench, "j2") as second:
            await anext(second)
            await bench.exchange(outcome)
            assert await anext(second) == outcome.record, "it listens again"


async def test_ends_are_published_only_while_somebody_has_said_of_late_that_he_waits(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"), job("j2"))
    first, second = await bench.claim()
    heard = bench.raw.pubsub()
    try:
        await heard.subscribe(bench.key("done:j1"), bench.key("done:j2"))
        await bench.exchange(succeeded(first))
        async with _ends(bench, "j2") as ended, asyncio.timeout(5):
            await anext(ended)
            assert 0 < await bench.raw.pttl(bench.key("waits")) <= 90_000
            await bench.exchange(succeeded(second))
            while (message := await heard.get_message(timeout=1)) is None or message["type"] != "message":
                pass
        assert message["channel"].decode() == bench.key("done:j2"), "nobody had said that he waits for j1"
    finally:
        await heard.aclose()


async def test_an_end_before_the_subscription_is_seen_by_it(bench: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    outcome = succeeded(await bench.one())
    await bench.exchange(outcome)

    async with _ends(bench, "j1") as ended, asyncio.timeout(5):
        assert await anext(ended) == outcome.record
