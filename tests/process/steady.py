"""A sender that goes on while something breaks: which of its jobs was sent when, and how long each waited."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiotq import Job
    from tests.process.rig import Rig

EVERY_S = 0.02


@dataclass(kw_only=True)
class Steady:
    """What was sent so far."""

    jobs: list[Job[int]] = field(default_factory=list["Job[int]"])
    sent_s: dict[str, float] = field(default_factory=dict[str, float])  # by id; CLOCK_MONOTONIC, as in the ledger

    def waits_s(self, rig: Rig) -> list[float]:
        """How long each waited for its first start. All of them have started."""
        first: dict[str, float] = {}
        for entry in rig.ledger.starts(*self.jobs):
            first.setdefault(entry.job_id, entry.at_s)
        return [first[job_id] - sent_s for job_id, sent_s in self.sent_s.items()]


@asynccontextmanager
async def steady(rig: Rig, *, every_s: float = EVERY_S) -> AsyncIterator[Steady]:
    """Send a `note` again and again, as long as the context lasts."""
    sent, over = Steady(), asyncio.Event()

    async def send() -> None:
        while not over.is_set():
            sent_s = time.monotonic()
            job = await rig.tasks.note.delay()
            sent.jobs.append(job)
            sent.sent_s[job.id] = sent_s
            await asyncio.sleep(every_s)  # the pace of the load

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        try:
            yield sent
        finally:
            over.set()
