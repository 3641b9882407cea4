"""What a worker tells of its work now and then: counters, failures, and how it does.

All of it is for people to look at; no job's fate hangs on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

# Upper bounds of the latency histograms, in ms; one bucket more takes what is longer.
BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000)

# Bounds of one tally.
MAX_COUNTERS = 200
MAX_FAILURES = 50


class Failing(Struct, frozen=True, kw_only=True, gc=False):
    """Attempts at one task that failed with one error, since that was told last."""

    task: str
    error: str  # its type
    count: int  # 0: jobs were put back without one
    job_id: str  # of the last one
    message: str
    dead: bool  # whether the last one was its job's last attempt


class Tally(Struct, frozen=True, kw_only=True):
    """What happened since the last one that was answered."""

    number: int  # grows with each tally of a process; one that was told counts once, however often it comes
    counters: Mapping[str, int] = {}  # by field of `stats:m:<minute>`, how many more; at most MAX_COUNTERS
    failures: Sequence[Failing] = ()  # at most MAX_FAILURES
    vitals: bytes | None = None  # how it does, as JSON; None: as it was


class Tallied(Struct, frozen=True, kw_only=True):
    """The reply of `tally`."""

    known: bool  # False: no worker of that id is registered, or it is being reclaimed; nothing was counted
    garbage: Sequence[str] = ()  # keys in which something was found that is not ours, and put aside


class Counting(Protocol):
    """The part of a store that counts what workers tell."""

    async def tally(self, worker_id: str, tally: Tally, *, now_ms: int = 0) -> Tallied:
        """Count what a worker tells, in the minute that it is; and count whole minutes in hours and days.

        Safe to repeat, by the tally's number, while no higher one has been told.
        """
        ...
