"""Each read costs no more than a bounded number of commands and bytes, however many jobs there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from aiotq import App, JobStatus
from aiotq.inspection import JobFilter
from tests import servers
from tests.inspection.crowd import cost, fill

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from aiotq import Inspector

MANY = 100_000
KIB = 1 << 10
LAST = "w" + f"{MANY - 1:031x}"

# What a read may send and be sent back.
READS: dict[str, tuple[Callable[[Inspector], Awaitable[Any]], int, int]] = {
    "a page of all jobs": (lambda look: look.jobs(limit=100), 40, 80 * KIB),
    "a page of a queue": (lambda look: look.jobs(JobFilter(queue="mail", status=JobStatus.QUEUED)), 40, 80 * KIB),
    "a page of the schedule": (lambda look: look.jobs(JobFilter(status=JobStatus.SCHEDULED)), 40, 80 * KIB),
    "a page of failed jobs": (lambda look: look.jobs(JobFilter(status=JobStatus.FAILED)), 120, 80 * KIB),
    "a page of ended jobs": (lambda look: look.jobs(JobFilter(status=JobStatus.SUCCEEDED)), 120, 80 * KIB),
    "a page for a filter that none matches": (
        lambda look: look.jobs(JobFilter(task="nothing")), 2_300, 1_500 * KIB,
    ),
    "a page of the schedule for another queue": (
        lambda look: look.jobs(JobFilter(status=JobStatus.SCHEDULED, queue="sms")), 100, 1_500 * KIB,
    ),
    "a page of dead letters by an error": (lambda look: look.dead(JobFilter(error="KeyError")), 2_300, 1_500 * KIB),
    "a job": (lambda look: look.job(LAST), 20, 20 * KIB),
    "a job by the end of its id": (lambda look: look.find(LAST[-6:]), 120, 1_500 * KIB),
    "queues": (lambda look: look.queues(), 60, 80 * KIB),
    "workers": (lambda look: look.workers(), 20, 20 * KIB),
    "the overview": (lambda look: look.overview(), 700, 400 * KIB),
    "counts": (lambda look: look.counts(), 80, 80 * KIB),
    "how many are queued": (lambda look: look.count(JobFilter(status=JobStatus.QUEUED)), 20, 20 * KIB),
    "failures": (lambda look: look.failures(), 20, 20 * KIB),
    "tasks": (lambda look: look.tasks(hours=24), 600, 80 * KIB),
}  # fmt: skip


async def test_every_read_is_bounded(server_folder: Path) -> None:
    with servers.running("valkey", server_folder) as server:
        async with App(server.url, namespace="crowd") as app, Redis.from_url(server.url) as raw:
            for state, place in (("w", "queued"), ("f", "dead")):
                await fill(raw, "{crowd}:", MANY, state=state, place=place)
            await fill(raw, "{crowd}:", 10_000, state="s", place="ended")
            await fill(raw, "{crowd}:", MANY, state="w", place="schedule")
            over: list[str] = []
            for what, (call, commands, replied) in READS.items():
                await call(app.inspect)  # it connects, and teaches scripts
                _, took = await cost(raw, call(app.inspect))
                if took.commands > commands or took.replied > replied:
                    over.append(f"{what}: {took}")
            assert not over, "\n".join(over)
