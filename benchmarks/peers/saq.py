"""saq, as its docs set it up: a settings dict, `saq module.settings`.

concurrency 100 instead of 10, as for every asyncio peer. Its timers (due jobs each second, the sweep each minute) and
the sender's max_concurrent_ops (20) stay at their defaults; results are kept ten minutes, its default. Results are
waited for by `job.refresh(until_complete=...)`. Its docs show no way to enqueue in bulk without waiting for results.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from saq import Queue

from benchmarks import work
from benchmarks.peers.base import CONCURRENCY, URL, AsyncPeer, quiet, script

if TYPE_CHECKING:
    from collections.abc import Awaitable

quiet()


async def noop(_: Any, *, slot: int, text: str = "") -> None:
    await work.noop(slot, text)


async def nap(_: Any, *, slot: int, nap_s: float) -> None:
    await work.nap(slot, nap_s)


async def burn(_: Any, *, slot: int) -> None:
    await work.burn(slot)


async def echo(_: Any, *, slot: int) -> int:
    return await work.echo(slot)


NAMES = {"noop": ("slot", "text"), "nap": ("slot", "nap_s"), "burn": ("slot",), "echo": ("slot",)}
queue = Queue.from_url(URL)
settings = {"queue": queue, "functions": [noop, nap, burn, echo], "concurrency": CONCURRENCY}


class Saq(AsyncPeer):
    name = "saq"
    workers = [[script("saq"), "benchmarks.peers.saq.settings"]]
    jobs_s = 1_600
    bulk = False
    setup = "concurrency=100; timers as by default"

    async def open(self) -> None:
        await queue.connect()

    async def close(self) -> None:
        await queue.disconnect()

    def enqueue(self, task: str, *args: Any) -> Awaitable[Any]:
        return queue.enqueue(task, **dict(zip(NAMES[task], args, strict=False)))

    def enqueue_in(self, delay_s: float, task: str, *args: Any) -> Awaitable[Any]:
        named = dict(zip(NAMES[task], args, strict=False))
        return queue.enqueue(task, scheduled=time.time() + delay_s, **named)

    async def result(self, handle: Any) -> Any:
        # It reads the job and then listens: what ends in between is not heard, and is read at the next go.
        for _ in range(20):
            with contextlib.suppress(TimeoutError):
                await handle.refresh(until_complete=1)
            if handle.completed:
                break
        return handle.result


peer = Saq()
