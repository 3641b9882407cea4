"""What the worker's tests are made of."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from aiotq.errors import JobError
from aiotq.store.contract import Reclaimed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiotq import Job, Worker
    from aiotq.store.contract import Store
    from aiotq.worker.fetch import Fetcher

WITHIN_S = 10  # long enough for a machine that is busy; no test that passes takes so long


@asynccontextmanager
async def within(limit_s: float = WITHIN_S) -> AsyncIterator[None]:
    """Fail, rather than wait for ever."""
    async with asyncio.timeout(limit_s):
        yield


async def until(true: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for what no event tells of."""
    async with within():
        while True:
            answer = true()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.005)


class Events(logging.Handler):
    """Log records by their event. Records of other threads (the keeper) are taken as well."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        for loop, waiter in tuple(self._waiters):
            loop.call_soon_threadsafe(waiter.set)

    def of(self, event: str, **wanted: object) -> list[logging.LogRecord]:
        """The records so far of an event whose extras are as wanted."""
        return [
            record
            for record in tuple(self.records)
            if vars(record).get("event") == event
            and all(vars(record).get(name) == value for name, value in wanted.items())
        ]

    async def line(self, event: str, **wanted: object) -> Any:
        """The first record of that event, as soon as there is one."""
        waiter = asyncio.Event()
        entry = (asyncio.get_running_loop(), waiter)
        self._waiters.append(entry)
        try:
            async with within():
                while not (found := self.of(event, **wanted)):
                    waiter.clear()
                    await waiter.wait()
        finally:
            self._waiters.remove(entry)
        return found[0]


class Keys:
    """The keys of one namespace, by their names without the prefix."""

    def __init__(self, client: Any, prefix: str) -> None:
        self.client, self.prefix = client, prefix

    async def workers(self) -> list[str]:
        """Ids of the workers that are members, reclaimed ones left out."""
        return [member.decode() for member in await self.client.zrangebyscore(f"{self.prefix}workers", "(0", "+inf")]

    async def active(self) -> set[str]:
        """Every ticket that is in some worker's hands."""
        found: set[str] = set()
        async for key in self.client.scan_iter(match=self.prefix.replace("{", "\\{") + "active:*"):
            found |= {ticket.decode() for ticket in await self.client.smembers(key)}
        return found

    async def line(self, line: str) -> list[str]:
        """The ids in a line, the first first."""
        tickets = await self.client.lrange(f"{self.prefix}line:{line}", 0, -1)
        return [ticket.decode().split(":", 3)[3] for ticket in tickets]

    async def end_states(self) -> Counter[str]:
        """How many records there are of each state: w waiting, s succeeded, f failed, c cancelled."""
        pattern = self.prefix.replace("{", "\\{") + "job:*"
        found = [key async for key in self.client.scan_iter(match=pattern, count=1_000)]
        return Counter(record[1:2].decode() for record in await self.client.mget(found) if record)

    async def record(self, job_id: str) -> bytes | None:
        """A job's record."""
        return await self.client.get(f"{self.prefix}job:{job_id}")

    async def set_record(self, job_id: str, record: bytes) -> None:
        """Write a job's record by hand."""
        await self.client.set(f"{self.prefix}job:{job_id}", record)

    async def forget_ended(self) -> None:
        """Remove all records, after a test of so many jobs that to look at each of their keys would take long."""
        pattern = self.prefix.replace("{", "\\{") + "job:*"
        records = [key async for key in self.client.scan_iter(match=pattern, count=1_000)]
        if records:
            await self.client.unlink(*records)

    async def wait_past(self, job_id: str, *, ms: int) -> None:
        """Wait until a job was enqueued so long ago, by the server's clock."""
        record = await self.record(job_id)
        assert record is not None
        until_ms = int(record[6:19]) + ms

        async def past() -> bool:
            seconds, microseconds = await self.client.time()
            return seconds * 1000 + microseconds // 1000 > until_ms

        await until(past)

    async def end_lease(self, worker_id: str) -> int:
        """Let a worker's lease have ended a while ago. Returns the lease end, in Unix ms."""
        seconds, _ = await self.client.time()
        ended_ms = int(seconds) * 1000 - 60_000
        await self.client.zadd(f"{self.prefix}workers", {worker_id: ended_ms})
        return ended_ms

    async def reclaim(self, store: Store, worker_id: str) -> None:
        """Take a worker's jobs away, as another worker would after its lease."""

        async def taken() -> bool:
            return await store.reclaim(worker_id, seen_ms=await self.end_lease(worker_id)) is Reclaimed.DONE

        await until(taken)  # the worker may renew its lease just between the two


class Gate:
    """Jobs come to it, and wait there until it opens."""

    def __init__(self, comers: int = 1) -> None:
        self.here: list[Any] = []
        self._wanted = comers
        self._all_here = asyncio.Event()
        self._open = asyncio.Event()

    async def pass_through(self, who: Any = None) -> None:
        """Come, and wait."""
        self.here.append(who)
        if len(self.here) >= self._wanted:
            self._all_here.set()
        await self._open.wait()

    async def reached(self) -> None:
        """Wait until as many as announced have come."""
        async with within():
            await self._all_here.wait()

    def open(self) -> None:
        """Let all pass, also those who come later."""
        self._open.set()


def fetcher_of(worker: Worker) -> Fetcher:
    """What holds the jobs of a worker that has been started."""
    assert worker._life is not None
    return worker._life.fetcher


async def ended(*jobs: Job[Any]) -> None:
    """Wait until each has ended, in whatever way."""
    for job in jobs:
        with suppress(JobError):
            await job.result(timeout=WITHIN_S)
        assert (await job.status()).ended


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[asyncio.Task[int]]:
    """A worker that runs as a process's would; the task gives its exit code."""
    running = asyncio.create_task(worker.run())
    await until(lambda: worker._life is not None and worker._life.started.done())
    yield running
    async with within():
        await running
