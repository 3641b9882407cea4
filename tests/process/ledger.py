"""What really ran: the ledger that the tasks of tasks.py write, and what must be true of it in the end.

The invariants, of every scenario:

    every acknowledged job has ended, in the store and in one terminal state
    every one that succeeded has run to its end; every one that is a dead letter is one that the test expects
    no attempt has started twice but those that the test names: they ran where a lease was lost
    no attempt was used up but by a task that failed
    its end was published once
    nothing is left but the terminal records with their TTL: no ticket, no mark, no worker, no key without an end
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiotq.job import JobStatus
from aiotq.record import decode
from aiotq.store.keys import PERMANENT
from tests import leaks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
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


async def check(
    jobs: Iterable[Job[Any]],
    *,
    ledger: Ledger,
    raw: Any,
    prefix: str,
    ends: Ends | None = None,
    dead: Collection[str] = (),
    may_repeat: Collection[str] = (),
    failures: Mapping[str, int] | None = None,
) -> None:
    """Check the invariants.

    dead, may_repeat: ids of the jobs expected as dead letters, and of those that may have run twice. failures: how
    often a job's task has failed, by id; 0 for those not named. ends: None where a fault has cut the subscription.
    """
    ids, failures = [job.id for job in jobs], failures or {}
    assert len(set(ids)) == len(ids)
    await _check_records(ids, raw=raw, prefix=prefix, dead=dead)
    ended = {entry.job_id for entry in ledger.ends()}
    never = [job_id for job_id in ids if job_id not in ended and job_id not in dead]
    assert not never, f"{len(never)} of {len(ids)} jobs never ran to their end: {never[:5]}"
    starts = Counter((entry.job_id, entry.attempt) for entry in ledger.starts())
    twice = {run: count for run, count in starts.items() if count > 1 and run[0] not in may_repeat}
    assert not twice, f"{len(twice)} attempts were started more than once without cause: {list(twice.items())[:5]}"
    surplus = [run for run in starts if run[1] > 1 + failures.get(run[0], 0)]
    assert not surplus, f"attempts were used up though no task has failed: {surplus[:5]}"
    if ends is not None:
        published = await ends.count(raw)
        wrong = {job_id: published[job_id] for job_id in ids if published[job_id] != 1}
        assert not wrong, f"{len(wrong)} ends were not published once: {list(wrong.items())[:5]}"
    await _check_keys(raw, prefix)


async def _check_records(ids: list[str], *, raw: Any, prefix: str, dead: Collection[str]) -> None:
    """Each job has its terminal record, and the record an end. Removes them, so that what else is there stands out."""
    wrong: list[str] = []
    for first in range(0, len(ids), 1_000):
        some = ids[first : first + 1_000]
        keys = [f"{prefix}job:{job_id}" for job_id in some]
        async with raw.pipeline(transaction=False) as pipe:
            pipe.mget(keys)
            for key in keys:
                pipe.pttl(key)
            pipe.delete(*keys)
            records, *ttls, _ = await pipe.execute()
        for job_id, data, ttl_ms in zip(some, records, ttls, strict=True):
            status = decode(job_id, data).status if data else "gone"
            if status is not (JobStatus.FAILED if job_id in dead else JobStatus.SUCCEEDED):
                wrong.append(f"{job_id}: {status or 'waits or runs'}")
            elif ttl_ms <= 0:
                wrong.append(f"{job_id}: its record has no TTL")
    assert not wrong, f"{len(wrong)} of {len(ids)} jobs have not ended as they should: {wrong[:5]}"


async def _check_keys(raw: Any, prefix: str) -> None:
    """Nothing is queued, scheduled, in a worker's hands or marked; no worker is registered; all else has a TTL."""
    left = await leaks.leaked_keys(raw, prefix)
    space = await leaks.read(raw, prefix)
    left += [f"{name}: has no TTL" for name in sorted(space.endless - set(PERMANENT))]
    left += [f"{name}: still holds {tickets[:3]}" for name, tickets in space.tickets.items() if tickets]
    left += [f"workers: still names {worker}" for worker in space.members.get("workers", ())]
    assert not left, "left over in the end:\n" + "\n".join(dict.fromkeys(left))
