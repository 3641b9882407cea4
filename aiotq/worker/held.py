"""A job in this worker's hands, from its claim to the acknowledged outcome."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from aiotq.job import parse_ticket

if TYPE_CHECKING:
    import asyncio

    from aiotq.job import Outcome
    from aiotq.record import Record
    from aiotq.registry import RegisteredTask
    from aiotq.store.contract import Claimed


class Why(Enum):
    """Why a running job is cancelled."""

    TIMEOUT = "timeout"  # its attempt took too long
    ASKED = "asked"  # a person or a caller wants it stopped
    STOPPING = "stopping"  # the worker stops; it goes back to its queue
    LOST = "lost"  # it is another worker's now; whatever it comes to is dropped


class Held:
    """One claimed job. The fetcher owns it; while it runs, the runner writes its last eight fields."""

    __slots__ = (
        "__weakref__",
        "attempt",
        "begun",
        "cancelled",
        "claimed_s",
        "data",
        "fence",
        "generation",
        "handle",
        "job_id",
        "line",
        "lost",
        "number",
        "outcome",
        "pooled",
        "queue",
        "record",
        "started_ms",
        "started_s",
        "suspect",
        "task",
        "threaded",
        "ticket",
        "traceback",
        "why",
    )

    def __init__(self, claim: Claimed, *, number: int, fence: int, now_s: float) -> None:
        """number: grows with every job that this worker claims. now_s: monotonic."""
        parts = parse_ticket(claim.ticket)
        self.ticket, self.queue, self.job_id = claim.ticket, parts.queue, parts.job_id
        self.line, self.generation, self.suspect = parts.line, parts.generation, parts.suspect
        self.data, self.lost, self.cancelled, self.fence = claim.record, claim.lost, claim.cancelled, fence
        self.number, self.claimed_s = number, now_s
        self.record: Record | None = None  # once decoded
        self.task: RegisteredTask | None = None  # once found
        self.attempt = 0
        self.threaded = False  # runs in a thread: it can't be cancelled
        self.pooled = False  # runs in a process of the pool
        self.handle: asyncio.Task[None] | None = None
        self.begun = False  # its coroutine has taken its first step
        self.started_s = 0.0  # monotonic
        self.started_ms: int | None = None  # Redis's clock; None: no attempt was made
        self.why: Why | None = None  # the first reason to cancel it
        self.outcome: Outcome | None = None  # once decided; a later one is dropped
        self.traceback: str | None = None  # all frames of what it raised, where somebody wants to see them

    @property
    def name(self) -> str:
        """The task's name, as far as it is known."""
        return self.record.doc.task if self.record is not None else "(unreadable)"
