"""Middlewares around tasks with process=True: they run in the worker, the task in its process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import Middleware
from aiotq.errors import JobCancelled
from aiotq.hooks import Hooks
from tests.process import burn
from tests.process.ledger import Ledger, until
from tests.process.pool_rig import WITHIN_S, app, failure, ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiotq import App
    from aiotq.hooks import Incoming, RunNext

__all__ = ["app", "ledger"]  # fixtures


@pytest.fixture
def doubles(app: App) -> Iterator[burn.Doubles]:
    made = burn.Doubles()
    app.add_middleware(made)
    yield made
    app._core.hooks = Hooks()


async def test_it_may_change_arguments_and_result_of_a_process(app: App, doubles: burn.Doubles) -> None:
    async with app.worker():
        assert await (await burn.scale.delay(2)).result(timeout=WITHIN_S) == 1.25
        assert (await (await burn.add.delay(1, 2)).result(timeout=WITHIN_S))[1] == 3  # as it was, untouched
        assert await (await burn.scale.delay(0)).result(timeout=WITHIN_S) == -1  # it made a success of an error
    assert doubles.seen == ["JobFailed"]


async def test_headers_are_known_in_the_process(app: App) -> None:
    async with app.worker():
        job = await burn.job_of.options(headers={"tenant": "Zoë"}).delay()
        assert (await job.result(timeout=WITHIN_S))["headers"] == {"tenant": "Zoë"}


async def test_what_a_process_raises_keeps_its_own_words(app: App, doubles: burn.Doubles, ledger: Ledger) -> None:
    async with app.worker():
        error = await failure(await burn.scale.delay(6))
        assert (error.error_type, error.error_message) == ("tests.process.burn:OutOfLuck", "12")
        assert error.frames[-1].function == "scale"
        error = await failure(await burn.scale.delay(5))
        assert error.error_type == "Retry"
    assert doubles.seen == ["JobFailed", "JobFailed", "Retry", "Retry"]
    ledger.read()
    assert len(ledger.starts()) == 4


async def test_timeout_and_cancel_kill_the_process_and_the_middleware_sees_it(
    app: App, doubles: burn.Doubles, ledger: Ledger
) -> None:
    async with app.worker():
        error = await failure(await burn.scale.options(timeout=0.3, retries=0).delay(1_000))
        assert error.error_type == "JobTimeout"
        job = await burn.scale.delay(1_000)

        async def begun() -> bool:
            ledger.read()
            return len(ledger.starts(job)) == 1

        await until(begun, "its start")
        assert await job.cancel()
        with pytest.raises(JobCancelled):
            await job.result(timeout=WITHIN_S)
    assert doubles.seen == ["CancelledError", "CancelledError"]


async def test_a_middleware_that_waits_in_front_of_a_process_times_out(app: App, ledger: Ledger) -> None:
    class Waits(Middleware):
        async def run(self, job: Incoming, call: RunNext) -> Any:
            await asyncio.Event().wait()

    app.add_middleware(Waits())
    try:
        async with app.worker():
            error = await failure(await burn.scale.options(timeout=0.1, retries=0).delay(1))
            assert error.error_type == "JobTimeout"
    finally:
        app._core.hooks = Hooks()
    assert not ledger.read()
