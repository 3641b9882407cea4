"""A job, as values: its states and moves, its id, its ticket, and what an attempt came to.

No I/O, and no clock but a passed one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from aiotq.errors import Frame

PRIORITIES = range(10)  # 0 is first
DEFAULT_PRIORITY = 5
DEFAULT_QUEUE = "default"


class JobStatus(StrEnum):
    """Where a job is in its life."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether it is one of the three states that a job never leaves by itself."""
        return self in ENDED


ENDED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})

# ARCHITECTURE.md draws this table; a test holds both to it.
MOVES: Mapping[JobStatus, frozenset[JobStatus]] = MappingProxyType(
    {
        JobStatus.SCHEDULED: frozenset({JobStatus.QUEUED, JobStatus.CANCELLED}),
        JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELLED}),
        JobStatus.RUNNING: frozenset(
            {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.SCHEDULED, JobStatus.QUEUED}
        ),
        JobStatus.FAILED: frozenset({JobStatus.QUEUED}),  # a dead letter, retried by a person
        JobStatus.SUCCEEDED: frozenset(),
        JobStatus.CANCELLED: frozenset(),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """What an attempt raised."""

    type: str  # "ValueError", "JobTimeout"; "module:Name" for a class that is neither a builtin nor aiotq's
    message: str
    frames: tuple[Frame, ...] = ()  # the user's own, outermost first


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptInfo:
    """One attempt that has ended."""

    number: int  # 1 is the first
    started_at: datetime
    finished_at: datetime
    worker: str  # the worker's label
    error: ErrorInfo | None  # None if it succeeded; without frames but for the last attempt's


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """All that is known of a job at one moment. Two reads of an unchanged job are equal.

    Times are aware, in UTC, by Redis's clock.
    """

    id: str
    task: str
    queue: str
    priority: int
    status: JobStatus
    reason: str | None  # why it failed or was cancelled: "error", "expired", "cancelled", "lost", "unknown task", ...
    arguments: Mapping[str, Any]  # as plain JSON values: {"args": [...], "kwargs": {...}}
    result: Any  # as a plain JSON value; None while there is none
    error: ErrorInfo | None  # of the last attempt that failed
    attempt: int  # attempts used so far, a running one included
    attempts: tuple[AttemptInfo, ...]  # the last 10, oldest first
    lost: int  # how often its worker vanished
    enqueued_at: datetime
    due_at: datetime | None  # None if it was never delayed
    started_at: datetime | None  # of the last attempt that has ended
    finished_at: datetime | None
    worker: str | None  # the label of the worker that holds it, or that ended it
    headers: Mapping[str, str] = field(default_factory=dict[str, str])  # what middlewares and the call sent along


# --- outcomes: what an attempt came to; decided in Python, stored by scripts ------------------------------------


class Succeeded(Struct, frozen=True, kw_only=True, gc=False):
    """The task returned."""

    result: bytes | None  # JSON, or None if it is not to be stored


class Failed(Struct, frozen=True, kw_only=True, gc=False):
    """No further attempt will be made: a dead letter."""

    error: ErrorInfo
    reason: str = "error"


class Retried(Struct, frozen=True, kw_only=True, gc=False):
    """Another attempt in `delay_ms`. `counts`: whether this one is used up (an unknown task uses none)."""

    delay_ms: int
    error: ErrorInfo
    counts: bool = True


class Cancelled(Struct, frozen=True, kw_only=True, gc=False):
    """It was cancelled, or had expired before it started."""

    reason: str = "cancelled"


class Returned(Struct, frozen=True, kw_only=True, gc=False):
    """Not the job's fault (the worker stops): back to the front of its line, the attempt given back."""


Outcome = Succeeded | Failed | Retried | Cancelled | Returned


# --- ids, lines, tickets ----------------------------------------------------------------------------------------


def job_id(now_ms: int, random: bytes) -> str:
    """A UUIDv7 as 32 hex digits (RFC 9562, 5.7): 48 bits of Unix milliseconds, then 74 random bits.

    now_ms: Unix milliseconds of this host, for sorting only. random: 10 bytes.
    """
    tail = int.from_bytes(random, "big")
    value = (now_ms & 0xFFFF_FFFF_FFFF) << 80 | tail
    value &= ~(0xF << 76) & ~(0x3 << 62)
    return f"{value | 0x7 << 76 | 0x2 << 62:032x}"


FRONT = "abcdefghij"  # a letter for the priority says: to the front of it (LIFO)
SUSPECT = "s"  # the line of jobs whose worker vanished twice or more
SUSPECT_FROM = 2  # ... so often, as reclaim.lua counts
GENERATION_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
LARGE = "!"  # first character of the generation of a record that is too large to come with a claim
LARGE_RECORD = 16 << 10  # bytes; a larger record does not come with the claim: its owner reads it


def line(queue: str, priority: int, *, lifo: bool = False) -> str:
    """The line a job waits in: `<queue>:<priority>`, with a letter for the priority if it goes to the front."""
    return f"{queue}:{FRONT[priority] if lifo else priority}"


def lines(queue: str, priority: int) -> tuple[str, str, str]:
    """The lines that the ticket of a job may name: its priority's back and front, and the suspects'."""
    return line(queue, priority), line(queue, priority, lifo=True), f"{queue}:{SUSPECT}"


def ticket(line: str, generation: str, job_id: str) -> str:
    """A job's place-holder: `<line>:<generation>:<id>`."""
    return f"{line}:{generation}:{job_id}"


class Ticket(Struct, frozen=True, gc=False):
    """A ticket, taken apart."""

    queue: str
    place: str  # a priority, a letter for the front of one, or SUSPECT
    generation: str
    job_id: str

    @property
    def line(self) -> str:
        """The line it is for."""
        return f"{self.queue}:{self.place}"

    @property
    def suspect(self) -> bool:
        """Whether the job's worker vanished twice or more."""
        return self.place == SUSPECT


def parse_ticket(text: str) -> Ticket:
    """Take a ticket apart. The scripts have checked its form; an id may hold colons."""
    return Ticket(*text.split(":", 3))
