"""Where jobs note that they ran: a memory-mapped file, which costs no Redis command and works across processes.

Layout: a count, then the first start and the latest start, then one start a slot; monotonic nanoseconds, which all
processes of a host share.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

HEAD = struct.Struct("=QQQ")
SLOT = struct.Struct("=Q")
SLOTS = 20_000


class Notes:
    """One such file."""

    def __init__(self, path: Path) -> None:
        size = HEAD.size + SLOTS * SLOT.size
        if not path.exists() or path.stat().st_size != size:
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)

    def clear(self) -> None:
        """As if nothing had run."""
        self._map[:] = bytes(len(self._map))

    def ran(self, slot: int | None = None) -> None:
        """A job has started. For one worker process at a time."""
        now = time.monotonic_ns()
        count, first, _ = HEAD.unpack_from(self._map)
        HEAD.pack_into(self._map, 0, count + 1, first or now, now)
        if slot is not None:
            SLOT.pack_into(self._map, HEAD.size + slot * SLOT.size, now)

    @property
    def count(self) -> int:
        """How many have started."""
        return HEAD.unpack_from(self._map)[0]

    @property
    def span_s(self) -> float:
        """From the first start to the latest."""
        _, first, latest = HEAD.unpack_from(self._map)
        return (latest - first) / 1e9

    def start_ns(self, slot: int) -> int:
        """When the job of that slot started; 0: not yet."""
        return SLOT.unpack_from(self._map, HEAD.size + slot * SLOT.size)[0]


def from_environment() -> Notes:
    """The notes of the run that this process belongs to."""
    return Notes(Path(os.environ["BENCH_NOTES"]))
