"""arq, as its docs set it up: a WorkerSettings class, `arq module.WorkerSettings`.

max_jobs 100 instead of 10, as for every asyncio peer. poll_delay stays 0.5 s and the results' keep_result an hour, its
defaults. Its docs show no way to enqueue in bulk.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from arq import create_pool, func
from arq.connections import RedisSettings

from benchmarks import work
from benchmarks.peers.base import CONCURRENCY, URL, AsyncPeer, quiet, script

if TYPE_CHECKING:
    from collections.abc import Awaitable

quiet()


async def noop(_: Any, slot: int, text: str = "") -> None:
    await work.noop(slot, text)


async def nap(_: Any, slot: int, nap_s: float) -> None:
    await work.nap(slot, nap_s)


async def burn(_: Any, slot: int) -> None:
    await work.burn(slot)


async def echo(_: Any, slot: int) -> int:
    return await work.echo(slot)


class WorkerSettings:
    functions: ClassVar[list[Any]] = [func(noop), func(nap), func(burn), func(echo)]
    redis_settings = RedisSettings.from_dsn(URL)
    max_jobs = CONCURRENCY


class Arq(AsyncPeer):
    name = "arq"
    workers = [[script("arq"), "benchmarks.peers.arq.WorkerSettings"]]
    bulk = False
    setup = "max_jobs=100; poll_delay 0.5 s as by default"

    async def open(self) -> None:
        self.pool = await create_pool(WorkerSettings.redis_settings)

    async def close(self) -> None:
        await self.pool.aclose()

    def enqueue(self, task: str, *args: Any) -> Awaitable[Any]:
        return self.pool.enqueue_job(task, *args)

    def enqueue_in(self, delay_s: float, task: str, *args: Any) -> Awaitable[Any]:
        return self.pool.enqueue_job(task, *args, _defer_by=timedelta(seconds=delay_s))

    async def result(self, handle: Any) -> Any:
        return await handle.result(timeout=20)


peer = Arq()
