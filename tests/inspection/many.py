"""Tasks whose jobs are acted on together, and what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, JobStatus
from aiotq.inspection import JobFilter
from tests.worker.kit import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq import Inspector, Job, Task

REAL = pytest.mark.parametrize("server", ["valkey"], indirect=True)
ALL = JobFilter()


class Shop:
    """Tasks of one app."""

    def __init__(self, app: App) -> None:
        self.ran: list[int] = []

        async def fails(number: int, error: str = "ValueError") -> None:
            raise {"ValueError": ValueError, "KeyError": KeyError}[error](number)

        async def runs(number: int) -> None:
            self.ran.append(number)

        self.fails: Task[Any, Any] = app.task(fails, name="shop:fails", retries=0)
        self.runs: Task[Any, Any] = app.task(runs, name="shop:runs")


async def all_end(app: App, jobs: Sequence[Job[Any]], *, queues: Sequence[str] = ("default",)) -> None:
    async with app.worker(queues=queues):

        async def ended() -> bool:
            return all([(await job.status()).ended for job in jobs])

        await until(ended)


async def kept(hand: Inspector) -> list[tuple[str, str, str]]:
    return [(entry.action, entry.subject, entry.came_to) for entry in reversed((await hand.audit()).items)]


async def statuses(jobs: Sequence[Job[Any]]) -> set[JobStatus]:
    return {await job.status() for job in jobs}
