"""`python -m benchmarks.driver PEER`: enqueues, in the peer's own environment, as JSON lines on stdin ask.

It needs the peer and the standard library. Each line is {"do": name, ...}; each answer {"ok": ...} or {"error": words}.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import sys
import threading
import time
from importlib import metadata
from typing import TYPE_CHECKING, Any

from benchmarks.notes import from_environment
from benchmarks.peers.base import AsyncPeer, SyncPeer

if TYPE_CHECKING:
    from collections.abc import Iterable

SAMPLE_S = 10  # within which a job of an idle worker must have started
POLL_S = 0.001


class Blocking(AsyncPeer):
    """A SyncPeer behind the asyncio interface. It blocks the loop, on which nothing else runs."""

    def __init__(self, peer: SyncPeer) -> None:
        self.peer = peer

    async def open(self) -> None:
        self.peer.open()

    async def close(self) -> None:
        self.peer.close()

    async def enqueue(self, task: str, *args: Any) -> Any:
        return self.peer.enqueue(task, *args)

    async def enqueue_in(self, delay_s: float, task: str, *args: Any) -> Any:
        return self.peer.enqueue_in(delay_s, task, *args)

    async def enqueue_bulk(self, task: str, calls: Iterable[tuple[Any, ...]]) -> None:
        self.peer.enqueue_bulk(task, calls)

    async def result(self, handle: Any) -> Any:
        return self.peer.result(handle)


def versions(*names: str) -> dict[str, str]:
    """Of the packages among these that are installed."""
    found: dict[str, str] = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


class Driver:
    """One peer and its verbs: each public `do_` method is one."""

    def __init__(self, peer: Any) -> None:
        self.told = peer
        self.blocks = isinstance(peer, SyncPeer)
        self.peer: AsyncPeer = Blocking(peer) if self.blocks else peer
        self.notes = from_environment()

    async def do_hello(self) -> dict[str, Any]:
        """Who this is and how its workers are started."""
        told = self.told
        return {
            "versions": versions(told.name, "redis", "hiredis", "coredis", "taskiq-redis", "uvloop"),
            "workers": told.workers, "schedulers": told.schedulers, "slots": told.slots, "jobs_s": told.jobs_s,
            "bulk": told.bulk, "setup": told.setup, "skip": told.skip(),
        }  # fmt: skip

    async def do_open(self) -> None:
        await self.peer.open()

    async def do_fresh(self) -> None:
        """All keys are gone."""
        await self.peer.fresh()

    async def do_close(self) -> None:
        await self.peer.close()

    async def do_call(self, method: str, args: list[Any]) -> Any:
        """A method that only one peer has."""
        return await getattr(self.peer, method)(*args)

    async def do_fill(self, task: str, jobs: int, first: int = 0, rest: list[Any] | None = None) -> None:
        """Enqueue in the fastest way that there is."""
        calls = ((slot, *(rest or ())) for slot in range(first, first + jobs))
        if self.told.bulk:
            await self.peer.enqueue_bulk(task, calls)
        elif self.blocks:
            for args in calls:
                self.told.enqueue(task, *args)
        else:
            await self._callers(100, lambda args: self.peer.enqueue(task, *args), calls)

    async def do_one(self, jobs: int, first: int = 0) -> float:
        """Jobs a second by one caller, one after the other."""
        enqueue = self.peer.enqueue
        started = time.perf_counter()
        for slot in range(first, first + jobs):
            await enqueue("noop", slot)
        return jobs / (time.perf_counter() - started)

    async def do_callers(self, jobs: int, callers: int = 100) -> float:
        """Jobs a second by many callers at once: tasks of one loop, or threads."""
        started = time.perf_counter()
        if self.blocks:
            self._threads(callers, jobs)
        else:
            await self._callers(callers, lambda slot: self.peer.enqueue("noop", slot), iter(range(jobs)))
        return jobs / (time.perf_counter() - started)

    async def do_bulk(self, jobs: int) -> float:
        """Jobs a second in bulk."""
        started = time.perf_counter()
        await self.peer.enqueue_bulk("noop", ((slot,) for slot in range(jobs)))
        return jobs / (time.perf_counter() - started)

    async def do_latency(self, jobs: int, first: int, gap_s: float, limit_s: float) -> list[float]:
        """From the call to the job's start, ms, one job at a time."""
        found: list[float] = []
        ends = time.monotonic() + limit_s
        for slot in range(first, first + jobs):
            await asyncio.sleep(gap_s)
            called = time.monotonic_ns()
            await self.peer.enqueue("noop", slot)
            found.append((await self._started(slot) - called) / 1e6)
            if time.monotonic() > ends:
                break
        return found

    async def do_loaded(self, rate: float, for_s: float, first: int) -> dict[str, Any]:
        """From the call to the job's start, ms, of jobs that come at a steady rate, in ticks of 10 ms."""
        each = max(1, round(rate / 100))
        called: list[int] = []
        began = time.monotonic()
        for tick in range(round(for_s * rate / each)):
            await asyncio.sleep(max(0, began + tick * each / rate - time.monotonic()))
            calls = []
            for slot in range(first + len(called), first + len(called) + each):
                called.append(time.monotonic_ns())
                calls.append(self.peer.enqueue("noop", slot))
            await asyncio.gather(*calls)
            if time.monotonic() - began > 2 * for_s:
                break  # it can't enqueue that fast
        offered = len(called) / (time.monotonic() - began)
        await self._started(first + len(called) - 1)
        await asyncio.sleep(0.2)
        starts = self.notes.starts(len(called), first)
        return {
            "offered": offered,
            "ms": [(start - call) / 1e6 for start, call in zip(starts, called, strict=True) if start],
        }

    async def do_roundtrip(self, jobs: int, first: int, limit_s: float) -> list[float]:
        """From the call to the job's result in the caller's hands, ms."""
        found: list[float] = []
        ends = time.monotonic() + limit_s
        for slot in range(first, first + jobs):
            called = time.monotonic_ns()
            async with asyncio.timeout(2 * SAMPLE_S):
                value = await self.peer.result(await self.peer.enqueue("echo", slot))
            if value != slot:
                raise RuntimeError(f"the result of job {slot} is {value!r}")
            found.append((time.monotonic_ns() - called) / 1e6)
            if time.monotonic() > ends:
                break
        return found

    async def do_delayed(self, jobs: int, first: int, delay_s: float, gap_s: float, limit_s: float) -> list[float]:
        """How much later than asked for each of some delayed jobs started, ms; they are due one after the other."""
        due: list[float] = []
        for number in range(jobs):
            called = time.monotonic_ns()
            await self.peer.enqueue_in(delay_s + number * gap_s, "noop", first + number)
            # A server's clock starts the delay between the call and its answer.
            due.append((called + time.monotonic_ns()) / 2 + (delay_s + number * gap_s) * 1e9)
        await self._all_started(first, jobs, limit_s)
        return [(start - at) / 1e6 for start, at in zip(self.notes.starts(jobs, first), due, strict=True)]

    async def do_at_once(self, jobs: int, delay_s: float, limit_s: float) -> dict[str, Any]:
        """Jobs that are all due in the same millisecond: how late the last one started."""
        due = time.monotonic_ns() + delay_s * 1e9
        calls = iter(range(jobs))

        def later(slot: int) -> Any:
            return self.peer.enqueue_in(max(0.001, (due - time.monotonic_ns()) / 1e9), "noop", slot)

        if self.blocks:
            for slot in calls:
                await later(slot)
        else:
            await self._callers(100, later, calls)
        in_time = time.monotonic_ns() < due
        await self._all_started(0, jobs, max(0, (due - time.monotonic_ns()) / 1e9) + limit_s)
        late = sorted((start - due) / 1e6 for start in self.notes.starts(jobs))
        return {"in_time": in_time, "first_ms": late[0], "median_ms": late[jobs // 2], "last_ms": late[-1]}

    async def _callers(self, callers: int, call: Any, calls: Any) -> None:
        async def caller() -> None:
            for args in calls:
                await call(args)

        await asyncio.gather(*(caller() for _ in range(callers)))

    def _threads(self, callers: int, jobs: int) -> None:
        failed: list[BaseException] = []

        def caller(first: int) -> None:
            try:
                for slot in range(first, jobs, callers):
                    self.told.enqueue("noop", slot)
            except Exception as error:  # noqa: BLE001  it is the measurement's
                failed.append(error)

        threads = [threading.Thread(target=caller, args=(first,), daemon=True) for first in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    async def _started(self, slot: int) -> int:
        ends = time.monotonic() + SAMPLE_S
        while not (start := self.notes.start_ns(slot)):
            if time.monotonic() > ends:
                raise TimeoutError(f"a job has not started {SAMPLE_S} s after it was enqueued")
            await asyncio.sleep(POLL_S)
        return start

    async def _all_started(self, first: int, jobs: int, limit_s: float) -> None:
        ends = time.monotonic() + limit_s
        while missing := self.notes.starts(jobs, first).count(0):
            if time.monotonic() > ends:
                raise TimeoutError(f"{jobs - missing:,} of {jobs:,} delayed jobs had started after {limit_s:g} s")
            await asyncio.sleep(0.05)


async def serve(name: str, out: Any) -> None:
    """Answer until stdin ends."""
    loop = asyncio.get_running_loop()
    driver: Driver | None = None
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        verb = asked.pop("do")
        try:
            if driver is None:
                driver = Driver(importlib.import_module(f"benchmarks.peers.{name}").peer)
            answer = {"ok": await getattr(driver, f"do_{verb}")(**asked)}
        except Exception as error:  # noqa: BLE001  the table says it
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")}
        print(json.dumps(answer), file=out, flush=True)


def main() -> None:
    """stdout is for answers; what a peer prints goes to stderr."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    name = sys.argv[1].replace("-", "_")
    run = asyncio.run
    if name == "aiotq_uvloop":
        with contextlib.suppress(ImportError):
            run = importlib.import_module("uvloop").run
    with contextlib.suppress(KeyboardInterrupt):
        run(serve(name, out))
    os._exit(0)  # whatever a peer left behind


if __name__ == "__main__":
    main()
