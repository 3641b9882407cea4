"""Records too large to come with a claim, and large results."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aiotq import RetryPolicy, current_job
from aiotq.errors import StoreUnavailable
from aiotq.job import LARGE_RECORD
from tests.worker.kit import Gate, fetcher_of, within

if TYPE_CHECKING:
    from aiotq import App
    from tests.worker.kit import Keys

MIB = 1 << 20


@pytest.mark.parametrize("size", [LARGE_RECORD - 100, LARGE_RECORD, LARGE_RECORD + 100, 100_000, MIB - 10])
async def test_large_arguments_arrive_whole(app: App, size: int) -> None:
    @app.task
    async def measure(text: str) -> list[object]:
        return [len(text), set(text) == {"x"}]

    async with app.worker():
        job = await measure.delay("x" * size)
        assert await job.result(timeout=10) == [size, True]


@pytest.mark.parametrize("size", [LARGE_RECORD, 200_000, MIB - 2])
async def test_results_up_to_max_result_come_back_whole(app: App, size: int) -> None:
    @app.task
    async def give(size: int) -> str:
        return "y" * size

    async with app.worker():
        assert await (await give.delay(size)).result(timeout=10) == "y" * size


async def test_large_jobs_are_retried_scheduled_and_cancelled_as_any(app: App) -> None:
    text = "x" * 50_000

    @app.task(retry=RetryPolicy(delays=[0]))
    async def second_time(text: str) -> int:
        if current_job().attempt == 1:
            raise ValueError
        return len(text)

    async with app.worker():
        retried = await second_time.delay(text)
        scheduled = await second_time.options(countdown=0.05).delay(text)
        dropped = await second_time.options(countdown=60).delay(text)
        assert await dropped.cancel()
        assert await retried.result(timeout=10) == len(text)
        assert await scheduled.result(timeout=10) == len(text)
        assert await dropped.status() == "cancelled"


async def test_a_worker_claims_no_more_large_jobs_than_it_can_run(app: App) -> None:
    gate, most = Gate(comers=2), 0

    @app.task
    async def wait(text: str) -> None:
        nonlocal most
        most = max(most, len(fetcher_of(worker).held))
        await gate.pass_through()

    jobs = await app.enqueue_many([wait.s("x" * 50_000) for _ in range(8)])
    async with app.worker(concurrency=2) as worker:
        await gate.reached()
        assert len(fetcher_of(worker).held) == 2
        gate.open()
        await worker.run_until_empty()
    assert most == 2
    assert {await job.status() for job in jobs} == {"succeeded"}


async def test_many_large_jobs_among_small_ones_all_run_once(app: App) -> None:
    ran: list[int] = []

    @app.task
    async def note(number: int, text: str) -> None:
        ran.append(number)

    sizes = [10, 20_000, 10, 300_000, 10]
    await app.enqueue_many([note.s(number, "x" * sizes[number % 5]) for number in range(100)])
    async with app.worker(concurrency=10) as worker:
        await worker.run_until_empty()
    assert sorted(ran) == list(range(100))


async def test_a_large_job_whose_record_is_read_while_the_worker_stops_goes_back(
    app: App, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    @app.task
    async def note(text: str) -> None:
        ran.append(text)

    store = app._core.client().store
    read, begun, go_on = store.read, asyncio.Event(), asyncio.Event()

    async def slow_read(job_id: str, *, at_most: int | None = None) -> bytes | None:
        begun.set()
        await go_on.wait()
        return await read(job_id, at_most=at_most)

    monkeypatch.setattr(store, "read", slow_read)
    job = await note.delay("x" * 50_000)
    async with app.worker():
        await begun.wait()
        asyncio.get_running_loop().call_later(0.01, go_on.set)
    monkeypatch.undo()
    assert not ran
    assert await keys.line("default:5") == [job.id]
    assert (await job.info()).attempt == 0
    await job.cancel()


async def test_a_record_that_can_not_be_read_at_first_is_read_again(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    store = app._core.client().store
    read, refusals = store.read, 2

    async def refusing(job_id: str, *, at_most: int | None = None) -> bytes | None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise StoreUnavailable("read: no answer", verb="read", url=store.url, sent=True)
        return await read(job_id, at_most=at_most)

    @app.task
    async def measure(text: str) -> int:
        return len(text)

    job = await measure.delay("x" * 50_000)
    monkeypatch.setattr(store, "read", refusing)
    async with app.worker() as worker:
        await worker.run_until_empty()
    monkeypatch.undo()
    assert await job.result(timeout=5) == 50_000
    assert refusals == 0


async def test_a_forced_stop_does_not_wait_for_a_record_that_is_read(
    app: App, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def never(job_id: str, *, at_most: int | None = None) -> bytes | None:
        begun.set()
        await asyncio.Event().wait()
        return None

    @app.task
    async def measure(text: str) -> int:
        return len(text)

    job = await measure.delay("x" * 50_000)
    worker = app.worker()
    monkeypatch.setattr(app._core.client().store, "read", never)
    await worker.start()
    async with within():
        await begun.wait()
        worker.stop(now=True)
        assert await worker.run() == 130
    monkeypatch.undo()
    assert await keys.line("default:5") == [job.id]
    await job.cancel()
