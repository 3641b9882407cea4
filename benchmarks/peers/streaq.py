"""streaq, as its docs set it up: a Worker, `streaq run module:worker`.

concurrency 100 instead of 16, as for every asyncio peer; prefetch and the results' five minutes at their defaults. Bulk
is `enqueue_many`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from streaq import Worker

from benchmarks import work
from benchmarks.peers.base import CONCURRENCY, URL, AsyncPeer, quiet, script

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

quiet()

worker = Worker(redis_url=URL, concurrency=CONCURRENCY)
TASKS = {
    "noop": worker.task(name="noop")(work.noop),
    "nap": worker.task(name="nap")(work.nap),
    "burn": worker.task(name="burn")(work.burn),
    "echo": worker.task(name="echo")(work.echo),
}
CHUNK = 1_000


class Streaq(AsyncPeer):
    name = "streaq"
    workers = [[script("streaq"), "run", "benchmarks.peers.streaq:worker"]]
    setup = "concurrency=100"

    async def open(self) -> None:
        await worker.__aenter__()

    async def close(self) -> None:
        await worker.__aexit__(None, None, None)

    def enqueue(self, task: str, *args: Any) -> Awaitable[Any]:
        return TASKS[task].enqueue(*args)

    def enqueue_in(self, delay_s: float, task: str, *args: Any) -> Awaitable[Any]:
        return TASKS[task].enqueue(*args).start(delay=timedelta(seconds=delay_s))

    async def enqueue_bulk(self, task: str, calls: Iterable[tuple[Any, ...]]) -> None:
        made = [TASKS[task].enqueue(*args) for args in calls]
        for at in range(0, len(made), CHUNK):
            await worker.enqueue_many(made[at : at + CHUNK])

    async def result(self, handle: Any) -> Any:
        return (await handle.result(20)).result


peer = Streaq()
