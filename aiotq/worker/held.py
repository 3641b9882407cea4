"""A job in this worker's hands, from its claim to the acknowledged outcome."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct

from aiotq.job import SUSPECT, Outcome
from aiotq.record import Record
from aiotq.registry import RegisteredTask

if TYPE_CHECKING:
    from aiotq.store.contract import Claimed

MAX_NAME = 200  # characters


class Why(Enum):
    """Why a running job is cancelled."""

    TIMEOUT = "timeout"  # its attempt took too long
    ASKED = "asked"  # a person or a caller wants it stopped
    STOPPING = "stopping"  # the worker stops; it goes back to its queue
    LOST = "lost"  # it is another worker's now; whatever it comes to is dropped


class Held(Struct, weakref=True, eq=False):
    """One claimed job. The fetcher owns it; while it runs, the runner writes its last eight fields.

    A Struct, as it is made for each job: in a third of the time that a class of slots takes.
    """

    ticket: str
    queue: str
    place: str  # a priority, a letter for the front of one, or SUSPECT
    generation: str
    job_id: str
    data: bytes | None  # the record; None until one too large to come along has been read
    lost: int  # how often its worker vanished
    cancelled: bool  # a person wants it stopped
    fence: int
    number: int  # grows with every job that this worker claims
    claimed_s: float  # monotonic
    record: Record | None = None  # once decoded
    task: RegisteredTask | None = None  # once found
    attempt: int = 0
    threaded: bool = False  # runs in a thread: it can't be cancelled
    pooled: bool = False  # runs in a process of the pool
    handle: asyncio.Task[None] | None = None
    begun: bool = False  # its coroutine has taken its first step
    outside: bool = False  # it is in a middleware, before or after the task's function itself
    started_s: float = 0.0  # monotonic
    started_ms: int | None = None  # Redis's clock; None: no attempt was made
    why: Why | None = None  # the first reason to cancel it
    outcome: Outcome | None = None  # once decided; a later one is dropped
    traceback: str | None = None  # all frames of what it raised, where somebody wants to see them

    @property
    def line(self) -> str:
        """The line that its ticket names."""
        return f"{self.queue}:{self.place}"

    @property
    def suspect(self) -> bool:
        """Whether its worker vanished twice or more."""
        return self.place == SUSPECT

    @property
    def on_loop(self) -> bool:
        """Whether it may be what the worker's loop executes now."""
        return self.outside or not (self.threaded or self.pooled)

    @property
    def in_thread(self) -> bool:
        """Whether it is where nothing can cancel it."""
        return self.threaded and not self.outside

    @property
    def name(self) -> str:
        """The task's name, as far as it is known; what only a record says may be anything, and is shown as one word."""
        if self.task is not None:
            return self.task.name
        return shown_name(self.record.doc.task) if self.record is not None else "(unreadable)"


def shown_name(text: str) -> str:
    """Somebody's text in a line of a log: without line breaks and control characters, and not too long."""
    plain = text if text.isprintable() else text.encode("unicode_escape").decode()
    return plain if len(plain) <= MAX_NAME else f"{plain[:MAX_NAME]}…"


def claimed(claim: Claimed, *, number: int, fence: int, now_s: float) -> Held:
    """A claim, taken in hand. Cost: 0.5 µs."""
    # The script has checked the ticket's form; an id may hold colons.
    queue, place, generation, job_id = claim.ticket.split(":", 3)
    return Held(
        claim.ticket, queue, place, generation, job_id, claim.record, claim.lost, claim.cancelled, fence, number, now_s
    )
