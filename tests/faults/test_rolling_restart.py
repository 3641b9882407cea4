"""A deploy: each worker is stopped gently and followed by a new one, under load. Nobody notices."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiotq import Job
    from tests.process.rig import Rig

WORKERS, ROUNDS = 2, 2
SEND_EVERY_S = 0.005


async def test_a_rolling_restart_under_load_loses_nothing_and_runs_nothing_twice(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    crew = await rig.workers(WORKERS, "--grace", "5")
    jobs: list[Job[Any]] = []
    sent_s: dict[str, float] = {}
    over = asyncio.Event()

    async def send() -> None:
        while not over.is_set():
            began_s = time.monotonic()
            job = await (rig.tasks.nap.delay(0.3) if len(jobs) % 50 == 0 else rig.tasks.note.delay())
            jobs.append(job)
            sent_s[job.id] = began_s
            await asyncio.sleep(SEND_EVERY_S)

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        for number in range(WORKERS * ROUNDS):
            successor = await rig.worker("--grace", "5")
            await rig.stop(crew[number % WORKERS])
            crew[number % WORKERS] = successor
        over.set()
    await rig.all_ended(jobs)
    waited_s = sorted(entry.at_s - sent_s[entry.job_id] for entry in rig.ledger.starts())
    rig.measured(
        f"{len(jobs)} jobs during {WORKERS * ROUNDS} replacements; started after {waited_s[len(waited_s) // 2]:.4f} s "
        f"in the median, {waited_s[len(waited_s) * 99 // 100]:.4f} s at p99"
    )
    await rig.stop(*crew)
    await rig.check(jobs)
