"""What the figures stand on: the server's counters, the notes, a worker process."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.notes import Notes

PINGS = 3_000
WITHIN_S = 120


class Bench:
    """One run. jobs: for the figures that count many; few: for those that time one by one."""

    def __init__(self, redis: Any, notes: Notes, *, jobs: int, few: int, idle_s: float) -> None:
        self.redis, self.notes, self.jobs, self.few, self.idle_s = redis, notes, jobs, few, idle_s

    async def fresh(self) -> None:
        """An empty server, and notes of nothing."""
        await self.redis.flushall()
        self.notes.clear()

    @contextlib.asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        """A default worker process, ready and idle; ended gently."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "aiotq", "benchmarks.tasks:app", "--log-format", "json",
            stderr=asyncio.subprocess.PIPE, limit=1 << 22,
        )  # fmt: skip
        assert process.stderr is not None
        reader = None
        try:
            while b'"ready"' not in (line := await process.stderr.readline()):
                if not line:
                    raise RuntimeError("the worker process ended at its start")
            reader = asyncio.create_task(process.stderr.read())
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
            if reader is not None:
                await reader

    async def until(self, count: int) -> None:
        """Until so many jobs have started. Looks at memory only: nothing is asked of Redis."""
        deadline = time.monotonic() + WITHIN_S
        while self.notes.count < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.notes.count} of {count} jobs have started after {WITHIN_S} s")
            await asyncio.sleep(0.001)

    async def ping_s(self) -> float:
        """Bare redis-py: sequential PINGs a second."""
        started = time.perf_counter()
        for _ in range(PINGS):
            await self.redis.ping()
        return PINGS / (time.perf_counter() - started)

    async def memory(self) -> int:
        """Bytes in use."""
        return int((await self.redis.info("memory"))["used_memory"])

    async def cpu_s(self) -> float:
        """CPU seconds of the server."""
        cpu = await self.redis.info("cpu")
        return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])

    async def commands(self) -> int:
        """Commands run so far, those inside scripts counted, INFO left out."""
        stats = await self.redis.info("commandstats")
        return sum(entry["calls"] for name, entry in stats.items() if name not in {"cmdstat_info", "cmdstat_ping"})

    async def sent(self) -> int:
        """Commands sent so far: those outside of scripts, INFO left out."""
        stats = await self.redis.info("commandstats")
        names = ("cmdstat_evalsha", "cmdstat_blpop", "cmdstat_script", "cmdstat_subscribe", "cmdstat_unsubscribe")
        return sum(entry["calls"] for name, entry in stats.items() if name.startswith(names))
