"""What the rest of aiotq may ask of a store about what jobs write: their logs, and how far they are. A part of
contract.py.

A stored line is JSON: {"at": Unix ms by Redis's clock, "level", "text", "attempt", "k": "claim:number:of all:bytes"}.
`k` is the store's: the number of the claim whose attempt wrote it, and the line's in there, by which a repetition is
known; then the line's number among all that the job has written, and how many bytes these took: what has been left out
shows as a gap. Progress is JSON: {"done", "of", "note", "at", "attempt"}.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from msgspec import Struct

MOST_LINES = 200  # kept of a job, the last ones
MOST_BYTES = 64 << 10  # ... of JSON, without what the store adds
MOST_PROGRESS = 8 << 10  # bytes of a job's progress that are read
MAX_NOTED = 50  # jobs in one call
MAX_NOTED_LINES = 600  # ... of all of them; MOST_LINES of one job
MAX_NOTED_BYTES = 128 << 10


class Noted(Struct, frozen=True, kw_only=True):
    """What one job has written of late."""

    ticket: str
    claim: int  # the claim's number, its fence: in each the numbers of lines begin at 1
    ttl_ms: int  # how long the log is kept from now on
    lines: Sequence[tuple[int, bytes]] = ()  # number in the claim, and JSON without its last brace
    progress: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes it takes of a batch."""
        return 128 + len(self.progress or b"") + sum(len(text) for _, text in self.lines)


class NotesTaken(Struct, frozen=True, kw_only=True):
    """The reply of `note`."""

    noted: Sequence[bool]  # False: the worker does not hold that job, or it has no record
    garbage: Sequence[str] = ()  # keys in which something was found that is not ours, and put aside


class Notes(Struct, frozen=True, kw_only=True):
    """What a job has written, as it is stored: anybody may have put anything there."""

    enqueued_ms: int | None  # of the job that has the id now; what was written before that is another's. None: no job
    lines: Sequence[bytes] = ()
    progress: bytes | None = None


class News(Struct, frozen=True, kw_only=True):
    """What has been heard of a job that is watched."""

    progress: bytes | None = None  # None: nothing new
    record: bytes | None = None  # as `ended` gives it, for what has ended or is looked at; empty: to be read


class NoteVerbs(Protocol):
    """A part of `contract.Store`."""

    async def note(self, worker_id: str, notes: Sequence[Noted]) -> NotesTaken:
        """Keep what 1..MAX_NOTED of this worker's jobs have written: MAX_NOTED_LINES, MAX_NOTED_BYTES, or one job's.

        Safe to repeat. A server whose memory is full refuses it.
        """
        ...

    async def notes(self, job_id: str) -> Notes:
        """What a job has written."""
        ...

    def noted(self, job_id: str) -> AsyncIterator[News]:
        """Yields both as they are once subscribed and after each reconnect, progress as it is stored, and the end."""
        ...
