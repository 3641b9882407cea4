"""What a task may know of the job that it is running for."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from aiotq.errors import UsageError


class CurrentJob(Struct, frozen=True, kw_only=True):
    """The job that the running code belongs to."""

    id: str
    attempt: int  # 1 is the first
    retries: int  # at most this many attempts follow the first one
    task: str  # the registered name
    queue: str
    priority: int
    enqueued_ms: int  # Unix milliseconds, by Redis's clock
    # Grows with every attempt, whatever Redis has lost meanwhile (64 bits; below 2^53): write it beside what a task
    # stores elsewhere, and refuse a lower one: so a worker that came back too late can't overwrite its successor's.
    fence: int
    state: Any = None  # what the app's `lifespan` yielded in this worker
    headers: Mapping[str, str] = {}  # what the call and middlewares sent along with it

    @property
    def enqueued_at(self) -> datetime:
        """When it was enqueued: aware, in UTC, by Redis's clock."""
        return datetime.fromtimestamp(self.enqueued_ms / 1000, UTC)

    @property
    def last_attempt(self) -> bool:
        """Whether no further attempt follows if this one fails."""
        return self.attempt > self.retries


CURRENT: ContextVar[CurrentJob] = ContextVar("aiotq_current_job")  # set by the worker in each job's own context


def current_job() -> CurrentJob:
    """The job that this code is running for. Raises UsageError outside of one."""
    job = CURRENT.get(None)
    if job is None:
        raise UsageError(
            "current_job() was called outside of a job; it is known only to a task that a worker runs; "
            "pass what you need as an argument where a function is also called directly"
        )
    return job
