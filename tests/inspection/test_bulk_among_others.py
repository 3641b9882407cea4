"""Acts on all jobs that match, while others claim, enqueue and act; and what goes wrong meanwhile."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, JobStatus
from aiotq.errors import StoreUnavailable, UsageError
from aiotq.inspection import JobFilter, bulk
from aiotq.inspection.walking import CHUNK, FromTheFront
from aiotq.store import operator
from aiotq.store.inspection import Line
from tests.inspection.many import ALL, REAL, Shop, kept, statuses
from tests.worker.kit import until

if TYPE_CHECKING:
    from aiotq import Inspector, Job

# --- while others go on


async def test_each_job_is_cancelled_or_run_and_none_left_while_workers_claim(shop: App, hand: Inspector) -> None:
    tasks = Shop(shop)
    jobs = await shop.enqueue_many([tasks.runs.s(number) for number in range(1_500)])
    async with shop.worker():
        came = await hand.cancel_all(JobFilter(task="shop:runs"))

        async def ended() -> bool:
            return all([(await job.status()).ended for job in jobs[-300:]])

        await until(ended)
    found = [await job.status() for job in jobs]
    assert found.count(JobStatus.SUCCEEDED) == len(set(tasks.ran)) == len(tasks.ran)
    assert found.count(JobStatus.CANCELLED) + len(tasks.ran) == 1_500
    assert came.done >= found.count(JobStatus.CANCELLED)


@REAL
async def test_a_bulk_act_ends_though_as_much_comes_as_it_does(
    shop: App, hand: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = Shop(shop)
    before = await shop.enqueue_many([tasks.runs.s(number) for number in range(CHUNK + 10)])
    came: list[Job[Any]] = []
    act_as_seen = bulk.act_as_seen

    async def and_more(*given: Any, **named: Any) -> Any:
        await asyncio.sleep(0.002)
        came.append(await tasks.runs.options(lifo=len(came) % 3 == 0).delay(7))
        return await act_as_seen(*given, **named)

    monkeypatch.setattr(bulk, "act_as_seen", and_more)

    assert (await hand.cancel_all(ALL)).done == len(before)

    assert await statuses(before) == {JobStatus.CANCELLED}
    assert await statuses(came) == {JobStatus.QUEUED}
    assert len(came) == len(before)


@REAL
@pytest.mark.parametrize(
    ("claimed", "put_to_the_front", "put_to_the_back"),
    [
        (0, 0, 0),
        (30, 0, 0),
        (100, 0, 0),
        (150, 0, 50),
        (399, 0, 0),
        (700, 0, 9),
        (0, 80, 300),
        (5, 40, 0),
        (1_000, 0, 0),
    ],
)
async def test_a_walk_over_a_line_meets_all_that_is_left_of_it(
    shop: App, raw: Any, prefix: str, claimed: int, put_to_the_front: int, put_to_the_back: int
) -> None:
    key = f"{prefix}line:q:5"
    tickets = [f"q:5:AAAA:{number}" for number in range(1_000)]
    await raw.rpush(key, *tickets)
    walk = await FromTheFront.of(operator(shop._core.client().store), Line(queue="q", place="5", length=1_000))
    seen: list[str] = []
    at = None
    while entries := await walk.window(at, CHUNK):
        seen += [entry.job_id or "" for entry in entries]
        if at is None:  # after the first window
            await raw.lpop(key, max(1, claimed))
            await raw.rpush(key, *(f"q:5:AAAA:back-{number}" for number in range(max(1, put_to_the_back))))
            await raw.lpush(key, *(f"q:5:AAAA:front-{number}" for number in range(max(1, put_to_the_front))))
        at = entries[-1].at
    await raw.delete(key)

    left = set(map(str, range(max(100, claimed), 1_000)))
    assert left <= set(seen)
    assert claimed == 1_000 or not [name for name in seen if name.startswith("back")]


@REAL
async def test_what_an_act_came_to_stands_in_the_audit_instead_of_its_beginning_whoever_acted_meanwhile(
    shop: App, hand: Inspector, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Shop(shop).runs.delay(1)
    together = bulk._together

    others = [f'{{"at":8,"action":"pause","stamp":"{number:x}"}}' for number in range(150)]

    async def while_others_act(*given: Any) -> Any:
        await raw.lpush(f"{prefix}audit", *others)
        return await together(*given)

    monkeypatch.setattr(bulk, "_together", while_others_act)

    assert (await hand.cancel_all(ALL)).done == 1

    entries = (await hand.audit(limit=500)).items
    assert [entry.came_to for entry in entries if entry.action == "cancel all"] == ["1 job"]
    assert len(entries) == 151


# --- what goes wrong


@pytest.mark.parametrize(
    "wanted",
    [None, "all", JobFilter(queue="a b"), JobFilter(task=""), JobFilter(since=datetime(2026, 1, 1))],  # noqa: DTZ001
)
async def test_a_filter_that_can_not_be_right_is_refused(hand: Inspector, wanted: Any) -> None:
    for act in (hand.retry_all, hand.cancel_all, hand.discard_all, hand.promote_all, hand.requeue_all):
        with pytest.raises(UsageError):
            await act(wanted)
    with pytest.raises(UsageError):
        await hand.requeue_all(ALL, queue="a b")
    assert await kept(hand) == []


@REAL
async def test_a_bulk_act_that_fails_says_how_far_it_came(
    shop: App, hand: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = Shop(shop)
    jobs = await shop.enqueue_many([tasks.runs.s(number) for number in range(2 * bulk.AT_ONCE)])
    act_as_seen, calls = bulk.act_as_seen, 0

    async def breaks(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > bulk.AT_ONCE + 3:
            raise StoreUnavailable("gone", verb="replace", url="x", sent=True)
        return await act_as_seen(*given, **named)

    monkeypatch.setattr(bulk, "act_as_seen", breaks)

    with pytest.raises(StoreUnavailable) as caught:
        await hand.cancel_all(ALL)

    assert caught.value.__notes__ == ["of 28 jobs, or up to 22 more, it had been done before"]
    assert await kept(hand) == [("cancel all", "all", "failed after 28 jobs, or up to 22 more: gone")]
    monkeypatch.undo()
    assert (await hand.cancel_all(ALL)).done == len(jobs) - bulk.AT_ONCE - 3


@REAL
async def test_what_was_done_beside_a_job_that_fails_is_counted(
    shop: App, hand: Inspector, url: str, namespace: str
) -> None:
    tasks = Shop(shop)
    async with App(url, namespace=namespace, signing_keys=["x" * 40]) as signing:
        signed = await Shop(signing).runs.delay(0)
        jobs = [await tasks.runs.delay(number) for number in range(20)]

        with pytest.raises(UsageError, match="signed") as caught:
            await hand.cancel_all(ALL)

        assert await statuses(jobs) == {JobStatus.CANCELLED}
        assert caught.value.__notes__ == ["of 20 jobs it had been done before"]
        [(*_, came_to)] = await kept(hand)
        assert came_to.startswith("failed after 20 jobs: ")
        await signing.inspect.cancel(signed.id)


@REAL
async def test_an_act_that_is_stopped_in_the_middle_says_how_far_it_came(
    shop: App, hand: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, together, reached = Shop(shop), bulk._together, asyncio.Event()
    jobs = await shop.enqueue_many([tasks.runs.s(number) for number in range(bulk.AT_ONCE + 5)])

    async def stops(*given: Any) -> Any:
        if reached.is_set():
            acting = asyncio.current_task()
            assert acting is not None
            acting.cancel()
        reached.set()
        return await together(*given)

    monkeypatch.setattr(bulk, "_together", stops)
    with pytest.raises(asyncio.CancelledError):
        await hand.cancel_all(ALL)

    assert await kept(hand) == [("cancel all", "all", "stopped after 25 jobs, or up to 25 more")]
    monkeypatch.undo()
    assert (await hand.cancel_all(ALL)).done in range(6)  # what had been sent was done; the connection is as it was
    assert await statuses(jobs) == {JobStatus.CANCELLED}
