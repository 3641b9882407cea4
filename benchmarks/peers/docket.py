"""docket (pydocket), as its docs set it up: a Docket, `docket worker --tasks module:tasks`.

--concurrency 100 instead of 10, as for every asyncio peer; results in its default storage. max_connections=500 in its
URL: with redis-py 8's default of 100 connections a worker of 100 jobs met MaxConnectionsError in its heartbeat, and a
job waited for its redelivery. Bulk is `add_many`.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from docket import Docket

from benchmarks import work
from benchmarks.peers.base import CONCURRENCY, URL, AsyncPeer, quiet, script

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

quiet()

POOLED = f"{URL}?max_connections=500"
tasks = [work.noop, work.nap, work.burn, work.echo]
TASKS = {task.__name__: task for task in tasks}


class DocketPeer(AsyncPeer):
    name = "pydocket"
    workers = [
        [script("docket"), "worker", "--url", POOLED, "--tasks", "benchmarks.peers.docket:tasks",
         "--concurrency", str(CONCURRENCY), "--logging-level", "WARNING"],
    ]  # fmt: skip
    setup = "--concurrency 100; max_connections=500, since redis-py 8's 100 are too few for it"

    async def open(self) -> None:
        self.docket = Docket(url=POOLED)
        await self.docket.__aenter__()
        for task in tasks:
            self.docket.register(task)

    async def close(self) -> None:
        await self.docket.__aexit__(None, None, None)

    def enqueue(self, task: str, *args: Any) -> Awaitable[Any]:
        return self.docket.add(TASKS[task])(*args)

    def enqueue_in(self, delay_s: float, task: str, *args: Any) -> Awaitable[Any]:
        due = datetime.now(timezone.utc) + timedelta(seconds=delay_s)  # noqa: UP017  as its docs write it
        return self.docket.add(TASKS[task], when=due)(*args)

    async def enqueue_bulk(self, task: str, calls: Iterable[tuple[Any, ...]]) -> None:
        await self.docket.add_many(self.docket.call(TASKS[task])(*args) for args in calls)

    async def result(self, handle: Any) -> Any:
        return await handle.get_result(timeout=timedelta(seconds=20))


peer = DocketPeer()
