"""A sender, and a store that only remembers what it was given."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aiotq.errors import QueueFull, StoreUnavailable
from aiotq.sender import Sender
from aiotq.store.contract import Enqueued, NewJob

if TYPE_CHECKING:
    from collections.abc import Sequence


URL = "redis://here"


def a_job(job_id: str, size: int = 0) -> NewJob:
    return NewJob(job_id=job_id, line="default:5", generation="aaaa", head=b"1waaaa", body=b"x" * size)


def queue_full(job_id: str) -> QueueFull:
    return QueueFull(queue="default", max_len=3, job_id=job_id, verb="enqueue", url=URL)


class FakeStore:
    """Remembers its batches. While `gate` is shut, an answer waits for it. errors: one a batch, None for none."""

    url = URL

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.batches: list[list[str]] = []
        self.timeouts: list[float] = []
        self.errors: list[Exception | None] = []
        self.refusals: list[Exception] = []  # of `open`
        self.opened = 0
        self.known: set[str] = set()
        self.full: set[str] = set()  # ids that do not fit their queue
        self.arrived = asyncio.Event()  # a batch is here

    async def open(self, *, timeout_s: float) -> None:
        self.opened += 1
        if self.refusals:
            raise self.refusals.pop(0)

    async def enqueue(self, jobs: Sequence[NewJob], *, timeout_s: float) -> list[Enqueued | QueueFull]:
        self.batches.append([job.job_id for job in jobs])
        self.timeouts.append(timeout_s)
        self.arrived.set()
        await self.gate.wait()
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        answers: list[Enqueued | QueueFull] = []
        for job in jobs:
            if job.job_id in self.full:
                answers.append(queue_full(job.job_id))
                continue
            answers.append(Enqueued.EXISTED if job.job_id in self.known else Enqueued.NEW)
            self.known.add(job.job_id)
        return answers


@pytest.fixture
async def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
async def sender(store: FakeStore) -> Sender:
    return Sender(store, timeout_s=5)  # pyright: ignore[reportArgumentType]


def unavailable(*, sent: bool) -> StoreUnavailable:
    return StoreUnavailable("enqueue: no answer", verb="enqueue", url=URL, sent=sent)
