"""Callers cancelled at every step of what they may ask for, and workers in the middle of their work.

Nobody gets another one's answer: after each a marker is asked for, on the same connections. Workers are of this
process, on a server that other tests use too, without a ledger for invariants.py: what ran is counted here instead.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App
from tests import servers
from tests.faults.proxy import FaultProxy
from tests.faults.scale import scaled
from tests.worker.kit import until, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from tests.servers import Server
    from tests.worker.kit import Keys

STEPS, STEP_S = 40, 0.0005  # steps of the loop, and then of time: more than any of them takes
LATE_S = 0.002  # each piece of an answer: the loop takes many steps while one is on its way
MARKER = "marker"
MANY, EVERY = 410, scaled(5, 1)  # more than one batch; which of the steps are tried
LIVES, LIFE_STEP_S = scaled(12, 120), scaled(0.005, 0.001)  # of workers, each cancelled that much later in its life


@pytest.fixture
async def far(app: App, valkey: Server, server_folder: Path) -> AsyncIterator[App]:
    """An app on the namespace of `app`, whose answers are slow."""
    async with (
        FaultProxy(valkey.url.removeprefix("unix://"), server_folder / "p") as proxy,
        App(proxy.url, namespace=app._core.settings.namespace) as slow,
    ):
        proxy.delay_s = LATE_S
        yield slow


async def walk(
    start: Callable[[int], Coroutine[Any, Any, Any]],
    marker: Callable[[], Coroutine[Any, Any, None]],
    *,
    every: int = 1,
    step_s: float = STEP_S,
) -> int:
    """Cancel it after so many steps of the loop, or some milliseconds; then ask for the marker. How many ended."""
    ended = 0
    for number in range(0, 2 * STEPS, every):
        leaving = asyncio.create_task(start(number))
        if number < STEPS:
            for _ in range(number):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep((number - STEPS) * step_s)  # the step at which it is cancelled
        leaving.cancel()
        await marker()
        await asyncio.wait([leaving])
        ended += not leaving.cancelled() and leaving.exception() is None
    return ended


async def test_delay_may_be_cancelled_at_any_step_and_repeated_under_its_id(app: App, far: App) -> None:
    ran: list[str] = []

    @far.task
    async def note(job_id: str) -> str:
        ran.append(job_id)
        return job_id

    await note.options(job_id=MARKER).delay(MARKER)

    async def marker() -> None:
        assert (await far.job(MARKER).info()).arguments["args"] == [MARKER]

    ended = await walk(lambda number: note.options(job_id=f"job-{number}").delay(f"job-{number}"), marker)
    assert 0 < ended < 2 * STEPS
    repeated = [await note.options(job_id=f"job-{number}").delay(f"job-{number}") for number in range(2 * STEPS)]
    async with far.worker() as worker:
        await worker.run_until_empty()
    assert sorted(ran) == sorted([MARKER, *(job.id for job in repeated)])


async def test_result_may_be_cancelled_at_any_step_and_asked_for_again(app: App, far: App) -> None:
    @far.task
    async def echo(number: int) -> int:
        return number

    await echo.options(job_id=MARKER, queue="unserved").delay(-1)
    jobs = [await echo.delay(number) for number in range(2 * STEPS)]

    async def marker() -> None:
        assert (await far.job(MARKER).info()).arguments["args"] == [-1]

    await walk(lambda number: jobs[number].result(), marker)  # each gone before there is one
    async with far.worker(["default"]):
        await walk(lambda number: jobs[number].result(), marker)
        assert [await job.result(timeout=10) for job in jobs] == list(range(2 * STEPS))
    assert await far.job(MARKER).cancel()


async def test_a_cancel_may_be_cancelled_at_any_step_and_repeated(app: App, far: App) -> None:
    @far.task
    async def never() -> None:
        raise AssertionError("it was cancelled before")

    await never.options(job_id=MARKER).delay()
    jobs = [await never.delay() for _ in range(2 * STEPS)]

    async def marker() -> None:
        assert await far.job(MARKER).status() == "queued"

    await walk(lambda number: jobs[number].cancel(), marker)
    for job in (*jobs, far.job(MARKER)):
        await job.cancel()
        assert await job.status() == "cancelled"
    async with far.worker() as worker:
        await worker.run_until_empty()
        assert worker.tally["failed"] == 0


async def test_enqueue_many_may_be_cancelled_at_any_step_and_repeated_under_its_ids(app: App, far: App) -> None:
    ran: list[str] = []

    async def run(job_id: str) -> str:
        ran.append(job_id)
        return job_id

    note = far.task(run, name="note")
    app.task(run, name="note")

    def many(number: int) -> Coroutine[Any, Any, Any]:  # more than one batch
        names = [f"job-{number}-{one}" for one in range(MANY)]
        return far.enqueue_many([note.options(job_id=name).s(name) for name in names])

    await note.options(job_id=MARKER).delay(MARKER)

    async def marker() -> None:
        assert (await far.job(MARKER).info()).arguments["args"] == [MARKER]

    ended = await walk(many, marker, every=EVERY, step_s=20 * STEP_S)
    assert 0 < ended < 2 * STEPS / EVERY
    jobs = [job for number in range(0, 2 * STEPS, EVERY) for job in await many(number)]
    async with app.worker() as worker:  # which is not far
        await worker.run_until_empty()
    again = [name for name, times in Counter(ran).items() if times > 1]
    assert not again
    assert {job.id for job in jobs} <= set(ran)


async def test_info_may_be_cancelled_at_any_step_and_asked_for_again(app: App, far: App) -> None:
    @far.task
    async def echo(number: int) -> int:
        return number

    await echo.options(job_id=MARKER, queue="unserved").delay(-1)
    jobs = [await echo.delay(number) for number in range(2 * STEPS)]

    async def marker() -> None:
        assert (await far.job(MARKER).info()).arguments["args"] == [-1]

    assert await walk(lambda number: jobs[number].info(), marker) > 0
    assert await walk(lambda number: jobs[number].status(), marker) > 0
    assert [(await job.info()).arguments["args"] for job in jobs] == [[number] for number in range(2 * STEPS)]
    for job in (*jobs, far.job(MARKER)):
        await job.cancel()


async def test_a_durable_delay_may_be_cancelled_at_any_step_and_repeated_under_its_id(server_folder: Path) -> None:
    ran: list[str] = []
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    with servers.running("valkey", server_folder, *durable) as server:
        async with FaultProxy(server.socket, server_folder / "p") as proxy, App(proxy.url, namespace="test") as far:
            proxy.delay_s = LATE_S

            @far.task
            async def note(job_id: str) -> str:
                ran.append(job_id)
                return job_id

            def safe(job_id: str) -> Coroutine[Any, Any, Any]:
                return note.options(job_id=job_id, durable=True).delay(job_id)

            await safe(MARKER)

            async def marker() -> None:
                assert (await far.job(MARKER).info()).arguments["args"] == [MARKER]

            ended = await walk(lambda number: safe(f"job-{number}"), marker)
            assert 0 < ended < 2 * STEPS
            jobs = [await safe(f"job-{number}") for number in range(2 * STEPS)]
            async with far.worker() as worker:
                await worker.run_until_empty()
    assert sorted(ran) == sorted([MARKER, *(job.id for job in jobs)])


async def test_a_job_cancelled_in_the_middle_of_its_own_delay_leaves_its_workers_connection_in_step(
    app: App, far: App
) -> None:
    """What a task enqueues goes out on the connection of its worker's claims and outcomes."""
    ran: list[str] = []
    begun: dict[int, asyncio.Task[Any]] = {}
    came = asyncio.Event()

    @far.task
    async def note(job_id: str) -> str:
        ran.append(job_id)
        return job_id

    @far.task(retries=0)
    async def parent(number: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        begun[number] = task
        came.set()
        await note.options(job_id=f"job-{number}").delay(f"job-{number}")

    async def start(number: int) -> None:
        came.clear()
        job = await parent.delay(number)
        await came.wait()
        parents.append(job)

    parents: list[Any] = []
    async with far.worker() as worker:
        for number in range(2 * STEPS):
            await start(number)
            if number < STEPS:
                for _ in range(number):
                    await asyncio.sleep(0)
            else:
                await asyncio.sleep((number - STEPS) * STEP_S)  # the step at which it is cancelled
            begun[number].cancel()
            assert await (await note.options(job_id=f"marker-{number}").delay("marker")).result(timeout=10) == "marker"
        for number in range(2 * STEPS):
            await note.options(job_id=f"job-{number}").delay(f"job-{number}")
        await worker.run_until_empty()
        ended = Counter([str((await job.info()).status) for job in parents])
        assert ended["failed"] > 0 < ended["succeeded"], ended
    assert Counter(ran) == Counter(["marker"] * 2 * STEPS + [f"job-{number}" for number in range(2 * STEPS)])


async def test_a_worker_may_be_cancelled_at_any_moment_of_its_life_with_jobs_in_hand(
    app: App, far: App, keys: Keys
) -> None:
    """`async with app.worker()` in a task that is cancelled: what it holds ends, and it goes."""
    ended: list[int] = []
    worked = asyncio.Event()

    @far.task
    async def nap(number: int) -> int:
        await asyncio.sleep(0.005)  # the work
        ended.append(number)
        worked.set()
        return number

    await nap.options(job_id=MARKER, queue="unserved").delay(-1)
    jobs: list[Any] = []

    async def live() -> None:
        async with far.worker(["default"], concurrency=3, grace=10):
            await asyncio.Event().wait()

    async def nobody() -> bool:
        return await keys.workers() == []

    for number in range(LIVES):
        jobs += await far.enqueue_many([nap.s(len(jobs) + one) for one in range(20)])
        living = asyncio.create_task(live())
        await asyncio.sleep(number * LIFE_STEP_S)  # the moment at which it is cancelled
        if number == LIVES - 1:
            async with within():
                await worked.wait()  # one at least has had jobs
        living.cancel()
        assert (await far.job(MARKER).info()).arguments["args"] == [-1]
        await asyncio.wait([living])
        assert living.cancelled()
        await until(nobody)
        assert await keys.active() == set()
    before = len(ended)
    async with far.worker(["default"]) as worker:
        await worker.run_until_empty()
    assert 0 < before < len(jobs), "no worker was cancelled with jobs left"
    assert sorted(ended) == list(range(len(jobs)))
    assert [await job.result(timeout=5) for job in jobs] == list(range(len(jobs)))
    await far.job(MARKER).cancel()
