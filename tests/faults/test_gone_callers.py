"""Callers cancelled at every step of `delay()`, `result()` and `cancel()`: nobody gets another one's answer.

The worker is one of this process, on a server that other tests use too: there is no ledger for the invariants of
invariants.py to look into. What ran is counted here, and the fixtures see that no key, task or connection is left.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App
from tests.faults.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from tests.servers import Server

STEPS = 40  # more than any of them takes
LATE_S = 0.002  # each piece of an answer: the loop takes many steps while one is on its way
MARKER = "marker"


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
    start: Callable[[int], Coroutine[Any, Any, Any]], marker: Callable[[], Coroutine[Any, Any, None]]
) -> int:
    """Cancel it after so many steps of the loop, or some milliseconds; then ask for the marker. How many ended."""
    ended = 0
    for number in range(2 * STEPS):
        leaving = asyncio.create_task(start(number))
        if number < STEPS:
            for _ in range(number):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep((number - STEPS) / 2_000)
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
