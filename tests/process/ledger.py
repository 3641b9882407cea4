"""What really ran: the ledger that the tasks of tasks.py write (tests/faults/invariants.py judges it)."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from aiotq import Job

LOOK_EVERY_S = 0.01
WITHIN_S = 30.0


async def until(condition: Callable[[], Awaitable[bool]], what: str, *, within_s: float = WITHIN_S) -> None:
    """Look again and again until something has come true in another process. Fails by name."""
    try:
        async with asyncio.timeout(within_s):
            while not await condition():  # noqa: ASYNC110  other processes set no event of this loop
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s: {what}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the ledger."""

    job_id: str
    attempt: int
    pid: int
    at_s: float  # CLOCK_MONOTONIC, the same for all processes
    what: str  # "start" or "end"


@dataclass(kw_only=True)
class Ledger:
    """The file, as far as it has been written."""

    path: Path
    entries: list[Entry] = field(default_factory=list[Entry])
    _counts: Counter[tuple[str, int | None]] = field(default_factory=Counter[tuple[str, int | None]])
    _offset: int = 0

    def read(self) -> list[Entry]:
        """All entries so far."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._offset)
                whole, _, _ = file.read().rpartition(b"\n")
            if whole:
                self._offset += len(whole) + 1
                more = [_entry(line) for line in whole.decode().split("\n")]
                self.entries += more
                self._counts.update((entry.what, entry.pid) for entry in more)
                self._counts.update((entry.what, None) for entry in more)
        return self.entries

    def starts(self, *jobs: Job[Any], pid: int | None = None) -> list[Entry]:
        """The starts of these jobs, or of all, in their order; in one process if that is named."""
        return self._of("start", jobs, pid)

    def ends(self, *jobs: Job[Any], pid: int | None = None) -> list[Entry]:
        """The same of ends."""
        return self._of("end", jobs, pid)

    def unended(self, pid: int) -> set[str]:
        """Ids of jobs that one process has started and not ended."""
        return {entry.job_id for entry in self.starts(pid=pid)} - {entry.job_id for entry in self.ends(pid=pid)}

    async def until(
        self, count: int, what: str = "start", *, pid: int | None = None, within_s: float = WITHIN_S
    ) -> None:
        """Until so many attempts have started, or ended."""

        async def enough() -> bool:
            self.read()
            return self._counts[what, pid] >= count

        await until(enough, f"{count} {what}s in {'all' if pid is None else f'process {pid}'}", within_s=within_s)

    def _of(self, what: str, jobs: tuple[Job[Any], ...], pid: int | None) -> list[Entry]:
        wanted = {job.id for job in jobs}
        return [
            entry
            for entry in self.read()
            if entry.what == what and (not wanted or entry.job_id in wanted) and pid in (None, entry.pid)
        ]


def _entry(line: str) -> Entry:
    job_id, attempt, pid, at_ns, what = line.split(" ")
    return Entry(job_id=job_id, attempt=int(attempt), pid=int(pid), at_s=int(at_ns) / 1e9, what=what)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """The ends of jobs that the store has published, counted from when it was made."""

    pubsub: Any
    channel: str

    async def count(self, raw: Any) -> Counter[str]:
        """How often each job's end was published."""
        counted: Counter[str] = Counter()
        await raw.publish(f"{self.channel}last", b"")
        async with asyncio.timeout(WITHIN_S):
            async for message in self.pubsub.listen():
                job_id = message["channel"].decode().removeprefix(self.channel)
                if job_id == "last":
                    return counted
                counted[job_id] += message["type"] == "pmessage"
        raise AssertionError("the subscription has ended")
