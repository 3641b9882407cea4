"""A task that fails as often as it shall, and what became of its jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aiotq.errors import JobFailed

if TYPE_CHECKING:
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


async def failed(app: App, job: Job[Any]) -> None:
    async with app.worker():
        with pytest.raises(JobFailed):
            await job.result(timeout=10)


async def kept(hand: Inspector) -> list[tuple[str, str, str]]:
    """What the audit has, oldest first."""
    entries = (await hand.audit()).items
    assert {entry.by for entry in entries} <= {"ada@host"}
    return [(entry.action, entry.subject, entry.came_to) for entry in reversed(entries)]


async def records(app: App, job: Job[Any]) -> bytes | None:
    return await app._core.client().store.read(job.id)
