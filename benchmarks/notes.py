"""Where jobs note that they ran: a memory-mapped file, which costs no peer a Redis command and works across processes.

Each job has a slot of its own, so two processes never write to one place: a byte "has started", and when it started
first (monotonic nanoseconds, which all processes of a host share). A job that starts again appends its slot to a second
file, in one write that the kernel keeps whole. Not noticed: the same job starting twice within the same microsecond.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

SLOTS = 1_100_000  # the largest measurement has a million jobs
AGAIN = struct.Struct("=Q")


class Notes:
    """One such pair of files; made where there is none."""

    def __init__(self, path: Path) -> None:
        size = SLOTS * 9
        if not path.exists():
            with path.open("wb") as file:
                file.truncate(size)
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)
        view = memoryview(self._map)
        self._starts = view[: SLOTS * 8].cast("Q")
        self._done = view[SLOTS * 8 :]
        self._again = os.open(f"{path}.again", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._from = 0

    def clear(self) -> None:
        """As if nothing had run."""
        self._map[:] = bytes(len(self._map))
        os.ftruncate(self._again, 0)
        self._from = 0

    def ran(self, slot: int) -> None:
        """The job of that slot has started."""
        if self._done[slot]:
            os.write(self._again, AGAIN.pack(slot))
            return
        self._starts[slot] = time.monotonic_ns()
        self._done[slot] = 1

    def all_ran(self, count: int) -> bool:
        """Whether all slots below `count` have started. It remembers how far it got: asking often is cheap."""
        at = self._map.find(b"\0", SLOTS * 8 + self._from, SLOTS * 8 + count)
        self._from = count if at < 0 else at - SLOTS * 8
        return at < 0

    def count(self, below: int = SLOTS) -> int:
        """How many slots have started."""
        return bytes(self._done[:below]).count(1)

    def again(self) -> int:
        """How many starts there were beyond the first of each job."""
        return os.fstat(self._again).st_size // AGAIN.size

    def starts(self, count: int, first: int = 0) -> list[int]:
        """When each of these slots started first, ns; 0: it did not."""
        return self._starts[first : first + count].tolist()

    def start_ns(self, slot: int) -> int:
        """When the job of that slot started first; 0: not yet."""
        return self._starts[slot]

    def span_s(self, count: int) -> float:
        """From the first start to the latest among those slots."""
        started = [start for start in self.starts(count) if start]
        return (max(started) - min(started)) / 1e9


def from_environment() -> Notes:
    """The notes of the run that this process belongs to."""
    return Notes(Path(os.environ["BENCH_NOTES"]))
