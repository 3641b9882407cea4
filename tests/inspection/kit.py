"""Tasks to act on, what became of their jobs, and what the audit has of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aiotq import JobStatus
from aiotq.errors import JobFailed, JobNotFound
from tests.faults.proxy import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq import App, Inspector, Job


class Flaky:
    """A task that fails as often as it shall."""

    def __init__(self, app: App, *, fails: int, **options: Any) -> None:
        self.left = fails
        self.ran = 0

        async def flaky() -> str:
            self.ran += 1
            self.left -= 1
            if self.left >= 0:
                raise ValueError(f"no {self.ran}")
            return "done"

        self.task = app.task(flaky, name="flaky", **options)


async def failed(app: App, job: Job[Any], *, queues: Sequence[str] = ("default",)) -> None:
    async with app.worker(queues=queues):
        with pytest.raises(JobFailed):
            await job.result(timeout=10)


async def kept(hand: Inspector) -> list[tuple[str, str, str]]:
    """What the audit has, oldest first."""
    entries = (await hand.audit()).items
    assert {entry.by for entry in entries} <= {"ada@host"}
    return [(entry.action, entry.subject, entry.came_to) for entry in reversed(entries)]


async def records(app: App, job: Job[Any]) -> bytes | None:
    return await app._core.client().store.read(job.id)


# --- in trouble

CUTS = [fault for fault in Fault if fault is not Fault.BLACK_HOLE]
REAL = pytest.mark.parametrize("server", ["valkey", "redis"], indirect=True)


class Shop:
    """A job of each kind, for each act: `dies` has failed, `waits` is queued, `later` scheduled."""

    def __init__(self, app: App) -> None:
        async def fails() -> None:
            raise ValueError("no")

        async def runs() -> str:
            return "done"

        self.app = app
        self.fails = app.task(fails, name="fails", retries=0, queue="fails")
        self.runs = app.task(runs, name="runs", queue="runs")

    async def jobs(self) -> dict[str, Job[Any]]:
        """By their names."""
        dead = [await self.fails.delay() for _ in range(2)]
        async with self.app.worker(queues=["fails"]):
            for job in dead:
                with pytest.raises(JobFailed):
                    await job.result(timeout=10)
        waits = [await self.runs.delay() for _ in range(3)]
        later = await self.runs.options(countdown=3_600).delay()
        return dict(zip(("dead", "dead2", "waits", "waits2", "waits3", "later"), [*dead, *waits, later], strict=True))


async def came_to(job: Job[Any]) -> JobStatus | None:
    """None: it is gone."""
    try:
        return await job.status()
    except JobNotFound:
        return None
